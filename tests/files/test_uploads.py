"""Uploading to the local store through HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from auth.principals import View
from core import ids
from core.clock import wall_now
from models.identity import GrantRole
from services import identity
from services.files import uploads
from services.unit import transaction
from tests.api.city import City, codes, key, new_phone, some_id
from tests.files.samples import JPEG, SECRET, WEBP, png
from tests.files.shops import items, names
from tests.files.world import (
    COMPLETE,
    REQUEST,
    SET_ITEM,
    get,
    picture,
    request,
    send,
)
from tests.realtime.log import until


async def test_from_a_file_to_a_picture_that_everybody_sees(city: City, shop: tuple[str, str], folder: Path) -> None:
    owner, store = shop
    upload = await request(city, owner, store, len(JPEG), "JPEG")
    assert upload["maxSize"] == 2_000_000 and upload["method"] == "PUT"
    assert (await city.do(owner, COMPLETE, upload=upload["id"]))["code"] == "UPLOAD_MISSING"
    assert await send(city, upload, JPEG) == (200, "")
    before = names(folder, "public")
    ready = await city.do(owner, COMPLETE, upload=upload["id"])
    assert {k: ready[k] for k in ("id", "format", "width", "height")} == {
        "id": upload["id"], "format": "JPEG", "width": 48, "height": 64,
    }  # fmt: skip
    (item,) = await items(city, store)
    assert item["picture"] is None
    shown = await city.do(owner, SET_ITEM, item=item["id"], picture=ready["id"])
    assert shown["picture"]["url"] == ready["url"]
    (item,) = await items(city, store)
    assert item["picture"] == {k: ready[k] for k in ("id", "url", "width", "height")}

    response, content = await get(city, ready["url"])
    assert (response.status, len(content)) == (200, ready["size"]) and SECRET not in content
    assert names(folder, "public") - before == {ready["url"].rsplit("/", 1)[1]}
    headers = response.headers
    assert headers["content-type"] == "image/jpeg" and headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["content-disposition"] == "inline" and "content-encoding" not in headers
    again, content = await get(city, ready["url"], **{"If-None-Match": headers["etag"]})
    assert (again.status, content) == (304, b"")
    part, content = await get(city, ready["url"], Range="bytes=0-1")
    assert (part.status, content, part.headers["content-range"]) == (206, b"\xff\xd8", f"bytes 0-1/{ready['size']}")
    head, content = await get(city, ready["url"], "HEAD")
    assert (head.status, head.headers["content-length"], content) == (200, str(ready["size"]), b"")


@pytest.mark.parametrize(("format", "content"), [("WEBP", WEBP), ("PNG", png(300, 200))])
async def test_other_formats(city: City, shop: tuple[str, str], format: str, content: bytes) -> None:
    ready = await picture(city, *shop, content, format)
    response, served = await get(city, ready["url"])
    assert (response.status, response.headers["content-type"]) == (200, f"image/{format.lower()}")
    assert SECRET not in served


async def test_nothing_that_was_uploaded_can_be_read_before_it_was_checked(city: City, shop: tuple[str, str]) -> None:
    content = png()
    upload = await request(city, *shop, len(content))
    await send(city, upload, content)
    for url in (
        upload["url"],
        f"/files/incoming/{upload['id']}",
        f"/files/{upload['id']}",
        f"/files/{upload['id']}.png",
    ):
        response, _ = await get(city, url)
        assert response.status in (404, 405), url


@pytest.mark.parametrize(
    "path",
    [
        "/files/..%2f..%2fkeys.json",
        "/files/%2e%2e/%2e%2e/keys.json",
        "/files/..%5c..%5ckeys.json",
        "/files//etc/passwd",
        "/files/",
        "/files/.png",
        "/files/a%00.png",
        "/files/keys.json",
        "/files/public",
    ],
)
async def test_no_way_out_of_the_folder(city: City, folder: Path, path: str) -> None:
    assert (folder / "keys.json").exists()
    _, _, port = city.url.rpartition(":")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))  # other clients tidy up paths
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.split(b" ")[1] == b"404"


async def test_the_signature_holds_the_upload_to_what_was_asked(
    city: City, shop: tuple[str, str], folder: Path
) -> None:
    owner, store = shop
    content = png()
    upload = await request(city, owner, store, len(content))
    url: str = upload["url"]
    other = await request(city, owner, store, len(content))
    forged = {
        "another key": url.replace(upload["id"], other["id"]),
        "more bytes": url.replace(f"size={len(content)}", "size=999999"),
        "another type": url.replace("image%2Fpng", "text%2Fhtml"),
        "a later end": url.replace("ends=1", "ends=2"),
        "no signature": url.split("&signature=")[0],
        "another signature": url[:-1] + ("0" if url[-1] != "0" else "1"),
        "no numbers": url.replace(f"size={len(content)}", "size=x"),
        "foreign numbers": url.replace(f"size={len(content)}", "size=%D9%A3"),
        "a very long number": url.replace(f"size={len(content)}", "size=" + "9" * 5000),
        "foreign letters": url.split("&signature=")[0] + "&signature=%C3%A9%ED%A0%80",
        "nothing": url.split("?")[0],
    }
    for what, address in forged.items():
        assert address != url, what
        assert await send(city, upload, content, url=address) == (403, "SignatureDoesNotMatch"), what
    assert (await send(city, upload, content, **{"content-type": "image/svg+xml"}))[0] == 403
    assert (await send(city, upload, content + b"x"))[0] == 413
    assert (await send(city, upload, content[:-1]))[0] == 413

    async def pieces() -> AsyncIterator[bytes]:
        yield content

    assert (await send(city, upload, pieces()))[0] == 411
    assert not names(folder, "incoming") & {upload["id"], other["id"]}
    assert (await send(city, upload, content))[0] == 200


async def test_a_page_of_another_origin_may_use_an_address_that_it_was_given(city: City, shop: tuple[str, str]) -> None:
    upload = await request(city, *shop, len(png()))
    asking = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type",
    }
    response, _ = await get(city, upload["url"], "OPTIONS", **asking)
    assert (response.status, response.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in response.headers
    assert (await send(city, upload, png(), Origin="https://shop.example"))[0] == 200


async def test_an_address_that_has_expired(city: City, shop: tuple[str, str]) -> None:
    past = wall_now() - timedelta(seconds=1)
    target = city.program.runtime.files.upload_target(some_id("Picture"), "image/png", 3, past)
    upload = {"headers": [{"name": n, "value": v} for n, v in target.headers], "method": "PUT", "url": target.url}
    assert await send(city, upload, b"abc") == (403, "Request has expired")


async def test_an_upload_goes_to_disk_as_it_comes_and_is_nothing_until_it_is_whole(
    city: City, shop: tuple[str, str], folder: Path
) -> None:
    content = png(10, 10, text=os.urandom(1_000_000))
    upload = await request(city, *shop, len(content))
    _, _, port = city.url.rpartition(":")
    _, writer = await asyncio.open_connection("127.0.0.1", int(port))
    head = (
        f"PUT {upload['url']} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    before = names(folder, "incoming")
    writer.write(head.encode() + content[:600_000])
    await writer.drain()
    incoming = folder / "files" / "incoming"

    def parts() -> list[Path]:
        return [incoming / name for name in names(folder, "incoming") - before]

    await until(lambda: sum(part.stat().st_size for part in parts()) > 500_000)
    assert [part.suffix for part in parts()] == [".part"]
    writer.transport.abort()
    await until(lambda: not parts())
    assert (await city.do(shop[0], COMPLETE, upload=upload["id"]))["code"] == "UPLOAD_MISSING"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "WRONG_TYPE"),
        (b"<html><script>alert(1)</script></html>", "WRONG_TYPE"),
        (JPEG, "WRONG_TYPE"),
        (png()[:-3], "DAMAGED"),
        (png(12_500, 1), "TOO_MANY_PIXELS"),
    ],
)
async def test_what_is_no_picture_is_refused_and_published_nowhere(
    city: City, shop: tuple[str, str], folder: Path, content: bytes, problem: str
) -> None:
    owner, store = shop
    before = names(folder, "public")
    upload = await request(city, owner, store, len(content))
    assert (await send(city, upload, content))[0] == 200
    refused = await city.do(owner, COMPLETE, upload=upload["id"])
    assert (refused["code"], refused["problem"]) == ("PICTURE_REJECTED", problem)
    assert names(folder, "public") == before
    (item,) = await items(city, store)
    assert (await city.do(owner, SET_ITEM, item=item["id"], picture=upload["id"]))["code"] == "NOT_FOUND"
    assert (await city.graphql(owner, "query ($id: ID!) { node(id: $id) { id } }", {"id": upload["id"]}))["data"] == {
        "node": None
    }


async def test_completing_twice_and_at_once_gives_one_picture(city: City, shop: tuple[str, str], folder: Path) -> None:
    content = png(40, 40)
    upload = await request(city, *shop, len(content))
    await send(city, upload, content)
    before = names(folder, "public")
    answers = await asyncio.gather(*(city.do(shop[0], COMPLETE, upload=upload["id"]) for _ in range(12)))
    assert all(answer == answers[0] for answer in answers) and answers[0]["__typename"] == "Picture"
    assert len(names(folder, "public") - before) == 1
    assert await city.do(shop[0], COMPLETE, upload=upload["id"]) == answers[0]


async def test_what_is_uploaded_after_the_check_changes_nothing(city: City, shop: tuple[str, str]) -> None:
    white, black = png(10, 10, shade=255), png(10, 10, shade=0)
    assert len(white) == len(black)
    upload = await request(city, *shop, len(white))
    await send(city, upload, white)
    ready = await city.do(shop[0], COMPLETE, upload=upload["id"])
    _, shown = await get(city, ready["url"])
    assert (await send(city, upload, black))[0] == 200
    assert await city.do(shop[0], COMPLETE, upload=upload["id"]) == ready
    assert (await get(city, ready["url"]))[1] == shown


async def test_two_contents_at_once_are_never_mixed(city: City, shop: tuple[str, str], folder: Path) -> None:
    """Each completion publishes what it looked at; the second content is refused, whoever is first."""
    both = [png(10, 10, shade=255), png(10, 10, shade=0)]
    upload = await request(city, *shop, len(both[0]))
    before = names(folder, "public")
    for turn in range(6):
        await send(city, upload, both[turn % 2])
        answers = await asyncio.gather(
            city.do(shop[0], COMPLETE, upload=upload["id"]),
            send(city, upload, both[(turn + 1) % 2]),
            city.do(shop[0], COMPLETE, upload=upload["id"]),
        )
        for answer in (answers[0], answers[2]):
            assert answer["__typename"] == "Picture" or answer.get("problem") == "CHANGED", answer
    assert len(names(folder, "public") - before) == 1


async def test_a_key_gives_one_upload_and_one_address(city: City, shop: tuple[str, str]) -> None:
    owner, store = shop
    once = key()
    count = "SELECT count(*) FROM picture WHERE store_id = $1"
    answers = await asyncio.gather(*(request(city, owner, store, 100, once=once) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers) and answers[0]["__typename"] == "PictureUpload"
    assert await city.fetchval(count, ids.decode("Store", store)) == 1
    assert (await request(city, owner, store, 101, once=once))["code"] == "IDEMPOTENCY_CONFLICT"


async def test_limits_of_size_and_number(city: City, shop: tuple[str, str]) -> None:
    owner, store = shop
    refused = await request(city, owner, store, 2_000_001)
    assert (refused["code"], refused["maximum"]) == ("PICTURE_TOO_LARGE", 2_000_000)
    assert (await request(city, owner, store, 0))["code"] == "INVALID_INPUT"
    answers = await asyncio.gather(*(request(city, owner, store, 100) for _ in range(uploads.MAX_UNUSED + 6)))
    counted = [answer["__typename"] for answer in answers]
    assert (counted.count("PictureUpload"), counted.count("TooManyUploads")) == (uploads.MAX_UNUSED, 6)


async def test_who_may_upload(city: City, shop: tuple[str, str]) -> None:
    owner, store = shop
    content = png()
    variables = {"store": store, "format": "PNG", "size": len(content), "key": key()}
    for view in ("consumer", "rider", "admin", "device"):
        assert set(codes(await city.graphql(city.tokens[view], REQUEST, variables))) == {"GRAPHQL_VALIDATION_FAILED"}
    assert codes(await city.graphql(None, REQUEST, variables)) != []
    stranger, _, _ = await city.shop()
    clerk = await staff(city, store, GrantRole.STORE_CLERK)
    manager = await staff(city, store, GrantRole.STORE_MANAGER)
    assert (await city.do(stranger, REQUEST, **variables))["code"] == "NOT_FOUND"
    assert (await city.do(clerk, REQUEST, **variables))["code"] == "PERMISSION_DENIED"
    upload = await city.do(manager, REQUEST, **variables)
    await send(city, upload, content)
    assert (await city.do(stranger, COMPLETE, upload=upload["id"]))["code"] == "NOT_FOUND"
    assert (await city.do(clerk, COMPLETE, upload=upload["id"]))["code"] == "PERMISSION_DENIED"
    assert (await city.do(owner, COMPLETE, upload=upload["id"]))["__typename"] == "Picture"
    (item,) = await items(city, store)
    assert (await city.do(stranger, SET_ITEM, item=item["id"], picture=upload["id"]))["code"] == "NOT_FOUND"
    assert (await city.do(clerk, SET_ITEM, item=item["id"], picture=upload["id"]))["code"] == "PERMISSION_DENIED"


async def staff(city: City, store: str, role: GrantRole) -> str:
    async with transaction(city.program.runtime) as unit:
        person = await identity.ensure_person(unit, new_phone(), "Somebody")
        await unit.sql.execute(
            """INSERT INTO "grant" (id, person_id, role, store_id, created_at) VALUES ($1, $2, $3, $4, now())""",
            ids.uuid7(),
            person,
            role.value,
            ids.decode("Store", store),
        )
    return await city.open_session(person, View.MERCHANT)


async def test_a_multipart_graphql_request_is_refused(city: City) -> None:
    """Files do not come through the API."""
    form = aiohttp.FormData()
    form.add_field("operations", '{"query": "{ viewer { kind } }", "variables": {"file": null}}')
    form.add_field("map", '{"0": ["variables.file"]}')
    form.add_field("0", png(), filename="a.png", content_type="image/png")
    async with city.http.post(f"{city.url}/graphql", data=form) as response:
        answer = await response.json(content_type=None)
        assert (response.status, codes(answer)) == (415, ["BAD_REQUEST"])
