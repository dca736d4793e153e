"""An S3-compatible store: what it is sent is signed as it demands, and its bad days are told as such."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import UUID

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from yarl import URL

from auth.principals import Principal
from clients.files import StoreUnavailable, UploadTarget
from clients.s3_files import S3Files
from core.clock import wall_now
from core.ids import encode
from core.settings import Settings
from gateway.edge import edge
from models.files import PictureFormat, PictureProblem
from services import files
from services.errors import FilesUnavailable, PictureRejected, UploadMissing
from services.files import PictureUpload
from tests.api.city import key
from tests.files.samples import png
from tests.merchants.world import World, make_world
from tests.patience import PATIENCE
from tests.realtime.log import until
from tests.support import make_runtime

REGION, ACCESS, SECRET = "cn-north-1", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclass
class Bucket:
    """A store that checks signatures as AWS documents them ("Authenticating Requests: Using Query Parameters")."""

    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    failing: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    url: str = ""

    async def handle(self, request: Request) -> Response:
        body = await request.body()
        refusal = self._check(request)
        if refusal:
            return _xml(403, refusal)
        if self.failing:
            status = self.failing.pop(0)
            return _xml(status, {503: "SlowDown", 500: "InternalError"}.get(status, "AccessDenied"))
        path = request.url.path.removeprefix("/bucket/")
        if request.method == "PUT":
            self.objects[path] = (body, dict(request.headers))
            return Response(headers={"etag": f'"{hashlib.md5(body).hexdigest()}"'})
        if request.method == "DELETE":
            self.objects.pop(path, None)
            return Response(status_code=204)
        if path not in self.objects:
            return _xml(404, "NoSuchKey")
        return Response(self.objects[path][0])

    @staticmethod
    def _check(request: Request) -> str | None:
        query = dict(parse_qsl(request.scope["query_string"].decode(), keep_blank_values=True))
        given = query.pop("X-Amz-Signature", "")
        if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
            return "AccessDenied"
        began = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if not began - timedelta(minutes=15) <= wall_now() < began + timedelta(seconds=int(query["X-Amz-Expires"])):
            return "Request has expired"
        signed = query["X-Amz-SignedHeaders"].split(";")
        canonical = "\n".join(
            (
                request.method,
                quote(request.scope["raw_path"].decode(), safe="/%"),
                "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items())),
                *(f"{name}:{request.headers.get(name, '').strip()}" for name in signed),
                "",
                ";".join(signed),
                "UNSIGNED-PAYLOAD",
            )
        )
        access, day, *scope = query["X-Amz-Credential"].split("/")
        if (access, scope) != (ACCESS, [REGION, "s3", "aws4_request"]):
            return "InvalidAccessKeyId"
        secret = f"AWS4{SECRET}".encode()
        for part in (day, *scope):
            secret = hmac.digest(secret, part.encode(), "sha256")
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{'/'.join((day, *scope))}\n{digest}"
        expected = hmac.new(secret, to_sign.encode(), "sha256").hexdigest()
        return None if hmac.compare_digest(expected, given) else "SignatureDoesNotMatch"


def _xml(status: int, code: str) -> Response:
    return Response(f"<Error><Code>{code}</Code></Error>", status, media_type="application/xml")


@pytest.fixture(scope="module")
async def bucket() -> AsyncIterator[Bucket]:
    bucket = Bucket()
    app = Starlette(routes=[Route("/bucket/{key:path}", bucket.handle, methods=["GET", "PUT", "DELETE"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bucket.url = f"http://127.0.0.1:{listener.getsockname()[1]}/bucket"
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
        serving = asyncio.create_task(server._serve([listener]))  # without its signal handlers
        await until(lambda: server.started)
        yield bucket
        server.should_exit = True
        await serving


@pytest.fixture
async def store(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Files]:
    monkeypatch.setattr("clients.s3_files.TIMEOUT", aiohttp.ClientTimeout(total=PATIENCE))
    bucket.objects.clear()
    bucket.failing.clear()
    store = S3Files(bucket.url, REGION, ACCESS, SECRET, "https://cdn.example/p")
    yield store
    await store.close()


@dataclass
class Shop:
    world: World
    owner: Principal
    id: UUID

    async def request(self, content: bytes) -> PictureUpload:
        runtime = self.world.runtime
        return await files.request_upload(runtime, self.owner, self.id, PictureFormat.PNG, len(content), key())

    async def complete(self, upload: PictureUpload) -> files.PictureRecord:
        return await files.complete_upload(self.world.runtime, self.owner, upload.id)


@pytest.fixture
async def shop(module_database_url: str, store: S3Files) -> AsyncIterator[Shop]:
    async with make_runtime(module_database_url, files=store) as runtime:
        world = await make_world(runtime)
        made = await world.store()
        yield Shop(world, world.staff(made.id), made.id)


async def send(target: UploadTarget, content: bytes, url: str | None = None, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http:
        address = URL(url or target.url, encoded=True)
        async with http.request(
            target.method, address, data=content, headers=dict(target.headers) | headers
        ) as response:
            return response.status, await response.text()


async def test_an_upload_goes_to_the_bucket_and_its_picture_to_the_public_part(shop: Shop, bucket: Bucket) -> None:
    content = png(20, 10)
    upload = await shop.request(content)
    assert upload.target.url.startswith(f"{bucket.url}/incoming/{encode('Picture', upload.id)}?")
    assert (await send(upload.target, content))[0] == 200
    picture = await shop.complete(upload)
    assert (picture.width, picture.height) == (20, 10)
    published, headers = bucket.objects[f"public/{picture.name}"]
    assert len(published) == picture.size < len(content)
    assert headers["content-type"] == "image/png" and headers["content-disposition"] == "inline"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert shop.world.runtime.files.url(picture.name) == f"https://cdn.example/p/{picture.name}"
    assert await shop.complete(upload) == picture


async def test_the_signature_is_for_one_key_type_and_size_and_some_minutes(shop: Shop, bucket: Bucket) -> None:
    content = png()
    upload = await shop.request(content)
    other = await shop.request(content)
    target = upload.target
    moved = target.url.replace(encode("Picture", upload.id), encode("Picture", other.id))
    for address in (
        moved,
        target.url.replace("/incoming/", "/public/"),
        target.url.replace("X-Amz-Expires=", "X-Amz-Expires=9"),
        target.url[:-1] + ("0" if target.url[-1] != "0" else "1"),
    ):
        assert (await send(target, content, address))[0] == 403
    for wrong in (content + b"x", content[:-1]):
        assert (await send(target, wrong))[0] == 403
    assert (await send(target, content, **{"content-type": "text/html"}))[0] == 403
    expired = target.url.replace(_value(target.url, "X-Amz-Date"), "20200101T000000Z")
    assert await send(target, content, expired) == (403, "<Error><Code>Request has expired</Code></Error>")
    assert bucket.objects == {}
    assert (await send(target, content))[0] == 200
    life = int(_value(target.url, "X-Amz-Expires"))
    assert life <= shop.world.runtime.settings.upload_ttl.total_seconds()
    with pytest.raises(UploadMissing):
        await shop.complete(other)


def _value(url: str, name: str) -> str:
    return dict(parse_qsl(urlsplit(url).query))[name]


async def test_on_bad_days_nothing_is_lost(shop: Shop, bucket: Bucket) -> None:
    content = png(8, 8)
    upload = await shop.request(content)
    await send(upload.target, content)
    for status in (503, 500, 403):
        bucket.failing.append(status)
        with pytest.raises(FilesUnavailable) as caught:
            await shop.complete(upload)
        assert caught.value.retry_after_seconds > 0
    assert (await shop.complete(upload)).width == 8


async def test_when_publishing_fails_it_is_tried_again_with_the_same_content(shop: Shop, bucket: Bucket) -> None:
    white, black = png(8, 8, shade=255), png(8, 8)
    upload = await shop.request(white)
    await send(upload.target, white)
    reading = shop.world.runtime.files.read

    async def read_then_fail(key: str, limit: int) -> bytes | None:
        content = await reading(key, limit)
        bucket.failing.append(503)
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop.world.runtime.files, "read", read_then_fail)
        with pytest.raises(FilesUnavailable):
            await shop.complete(upload)
    assert not [name for name in bucket.objects if name.startswith("public/")]
    await send(upload.target, black)
    with pytest.raises(PictureRejected) as caught:
        await shop.complete(upload)
    assert caught.value.problem is PictureProblem.CHANGED
    await send(upload.target, white)
    picture = await shop.complete(upload)
    assert bucket.objects[f"public/{picture.name}"]


async def test_a_store_that_is_gone_or_lies_is_unavailable(store: S3Files, bucket: Bucket) -> None:
    assert await store.read("nothing", 10) is None
    bucket.objects["incoming/long"] = (bytes(1000), {})
    assert await store.read("long", 10) == bytes(10)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = S3Files(f"http://127.0.0.1:{free.getsockname()[1]}", REGION, ACCESS, SECRET, None)
        with pytest.raises(StoreUnavailable) as caught:
            await nobody.read("x", 10)
        await nobody.close()
    assert "Signature" not in str(caught.value)
    wrong = S3Files(bucket.url, REGION, ACCESS, "another secret", None)
    with pytest.raises(StoreUnavailable, match="403"):
        await wrong.publish("x.png", b"x", "image/png")
    await wrong.close()
    assert wrong.url("x.png") == f"{bucket.url}/public/x.png"


async def test_the_sweep_goes_on_after_an_outage(shop: Shop, bucket: Bucket) -> None:
    runtime = shop.world.runtime
    content = png(9, 9)
    upload = await shop.request(content)
    await send(upload.target, content)
    picture = await shop.complete(upload)
    await runtime.database.execute(
        """UPDATE picture SET created_at = created_at - '2 days'::interval,
               upload_ends_at = upload_ends_at - '2 days'::interval"""
    )
    bucket.failing.append(503)
    await files.sweep(runtime)
    assert {f"incoming/{encode('Picture', upload.id)}", f"public/{picture.name}"} <= bucket.objects.keys()
    await files.sweep(runtime)
    assert bucket.objects == {}
    assert await runtime.database.fetchval("SELECT count(*) FROM picture WHERE id = $1", upload.id) == 0


def test_a_bucket_without_its_keys_is_told_of_at_the_start() -> None:
    with pytest.raises(ValueError, match="HUTONG_FILES_ACCESS_KEY"):
        Settings(files_bucket_url="https://b.s3.example", files_access_key="x")


def test_pages_may_show_pictures_of_the_bucket_and_upload_to_it() -> None:
    def policy(**chosen: str) -> str:
        layers = edge(Settings(**chosen))  # type: ignore[arg-type]
        (headers,) = [layer for layer in layers if layer.cls.__name__ == "SecurityHeaders"]
        made = headers.cls(None, **headers.kwargs)
        return dict(made._plain)[b"content-security-policy"].decode()

    plain = policy()
    assert "img-src 'self' data:;" in plain and "connect-src 'self' ws: wss:;" in plain
    keys = {"files_access_key": "x", "files_secret_key": "y"}
    bucketed = policy(files_bucket_url="https://b.s3.example/x", files_public_url="https://cdn.example/p", **keys)
    assert "img-src 'self' data: https://cdn.example;" in bucketed
    assert "connect-src 'self' ws: wss: https://b.s3.example;" in bucketed
