"""Files in a folder, served by this program: for one machine. More of them need a store that they share.

``PUT /files/incoming/{key}`` takes an upload by a signed address, as an S3-compatible store does, and writes it to disk
piece by piece; ``GET /files/{name}`` serves what is published.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import re
import tempfile
import time
from collections.abc import AsyncIterable, Callable, Generator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Final, TypeVar
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles

from clients.files import IMMUTABLE, INCOMING, PUBLIC, StoreUnavailable, UploadTarget
from core import logs
from core.clock import wall_now

T = TypeVar("T")

log = logs.get(__name__)

PREFIX: Final = "/files"
UPLOAD_TIME: Final = 300.0
"""Seconds that one upload may take."""
_PART: Final = ".part"
_PART_LIFE: Final = 3600.0
_KEY: Final = re.compile(r"[a-z0-9_]{1,60}")
_NUMBER: Final = re.compile(r"[0-9]{1,12}")
_NAME: Final = re.compile(r"[a-z0-9_-]{1,60}\.(jpg|png|webp)")
_TYPES: Final = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_HEADERS: Final = {
    "cache-control": IMMUTABLE,
    "content-disposition": "inline",
    # Were it ever shown as a page, it could do nothing; and pages of other origins may show it.
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
}


class LocalFiles:
    """``secret`` signs addresses; they begin with ``base``, the address under which others reach this server."""

    def __init__(self, folder: Path, secret: bytes, base: str) -> None:
        self._incoming = folder / INCOMING
        self._public = folder / PUBLIC
        self._secret = secret
        self._base = base
        self._published = StaticFiles(directory=self._public, check_dir=False)

    async def start(self) -> None:
        """Make the folders, and clear away what uploads of a killed process left.

        Where that cannot be done everything but pictures works all the same, and the log says so.
        """
        with contextlib.suppress(StoreUnavailable):
            await _on_disk(self._start)

    def _start(self) -> None:
        for folder in (self._incoming, self._public):
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob(f"*{_PART}"):
                with contextlib.suppress(FileNotFoundError):
                    if part.stat().st_mtime < time.time() - _PART_LIFE:
                        part.unlink()

    # the port

    def upload_target(self, key: str, media_type: str, size: int, ends_at: datetime) -> UploadTarget:
        end = int(ends_at.timestamp())
        signature = self._signature(key, media_type, size, end)
        query = urlencode({"type": media_type, "size": size, "ends": end, "signature": signature})
        return UploadTarget(f"{self._base}{PREFIX}/{INCOMING}/{key}?{query}", "PUT", (("content-type", media_type),))

    async def read(self, key: str, limit: int) -> bytes | None:
        def beginning() -> bytes | None:
            try:
                with (self._incoming / key).open("rb") as file:
                    return file.read(limit)
            except FileNotFoundError:
                return None

        return await _on_disk(beginning)

    async def publish(self, name: str, content: bytes, media_type: str) -> None:
        def write() -> None:
            with _part(self._public) as part:
                part.write(content)
                _settle(part, self._public / name)

        await _on_disk(write)

    async def remove(self, key: str | None, name: str | None) -> None:
        def unlink() -> None:
            if key is not None:
                (self._incoming / key).unlink(missing_ok=True)
            if name is not None:
                (self._public / name).unlink(missing_ok=True)

        await _on_disk(unlink)

    def url(self, name: str) -> str:
        return f"{self._base}{PREFIX}/{name}"

    # over HTTP

    def routes(self) -> list[BaseRoute]:
        """For the application, which serves other things too."""
        # Pages of any origin may upload: what they need is the address, and nothing that a browser adds by itself.
        asking = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["PUT"], allow_headers=["content-type"])
        return [
            Route(f"{PREFIX}/{INCOMING}/{{key}}", self._upload, methods=["PUT", "OPTIONS"], middleware=[asking]),
            Route(f"{PREFIX}/{{name}}", self._show, methods=["GET", "HEAD"]),
        ]

    async def _upload(self, request: Request) -> Response:
        if request.method != "PUT":
            return Response(status_code=204, headers={"allow": "PUT, OPTIONS"})
        key, query, headers = request.path_params["key"], request.query_params, request.headers
        size, ends = query.get("size", ""), query.get("ends", "")
        if not (_NUMBER.fullmatch(size) and _NUMBER.fullmatch(ends) and _KEY.fullmatch(key)):
            return _refused(403, "SignatureDoesNotMatch")
        expected = self._signature(key, query.get("type", ""), int(size), int(ends))
        if not hmac.compare_digest(expected.encode(), query.get("signature", "").encode()):
            return _refused(403, "SignatureDoesNotMatch")
        if wall_now().timestamp() >= int(ends):
            return _refused(403, "Request has expired")
        if headers.get("content-type") != query["type"]:
            return _refused(403, "The content-type is not the one that was signed")
        if "content-length" not in headers:
            return _refused(411, "MissingContentLength")
        if headers["content-length"] != size:
            return _refused(413, "The content-length is not the one that was signed")
        try:
            async with asyncio.timeout(UPLOAD_TIME):
                await self._receive(request.stream(), self._incoming / key, int(size))
        except TimeoutError:
            return _refused(408, "RequestTimeout")
        except (ClientDisconnect, _Incomplete):
            return _refused(400, "IncompleteBody")
        except (StoreUnavailable, OSError) as error:
            log.error("files.not_received", error=repr(error))
            return _refused(503, "SlowDown")
        return Response(status_code=200)

    async def _receive(self, body: AsyncIterable[bytes], target: Path, size: int) -> None:
        """Write the body beside ``target`` and let it take its place when it is whole."""
        with _part(self._incoming) as part:
            received = 0
            async for chunk in body:
                received += len(chunk)
                if received > size:
                    raise _Incomplete
                await _on_disk(partial(part.write, chunk))
            if received != size:
                raise _Incomplete
            await _on_disk(partial(_settle, part, target))

    async def _show(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = _NAME.fullmatch(name)
        if found is None:
            raise HTTPException(404)
        response = await self._published.get_response(name, request.scope)
        response.headers.update(_HEADERS)
        response.headers["content-type"] = _TYPES[found.group(1)]
        return response

    def _signature(self, key: str, media_type: str, size: int, end: int) -> str:
        return hmac.digest(self._secret, f"{key}\n{media_type}\n{size}\n{end}".encode(), "sha256").hex()


class _Incomplete(Exception):
    """The body is not as long as was said."""


def _refused(status: int, reason: str) -> Response:
    return PlainTextResponse(reason, status, {"cache-control": "no-store"})


@contextlib.contextmanager
def _part(folder: Path) -> Generator[IO[bytes]]:
    """A new file in the folder that is gone afterwards, unless it was settled."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=_PART, delete=False) as part:
        try:
            yield part
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part.name)


def _settle(part: IO[bytes], target: Path) -> None:
    """Give the file its name, in one step and to stay there."""
    part.flush()
    os.fsync(part.fileno())
    os.replace(part.name, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def _on_disk(work: Callable[[], T]) -> T:
    """``work`` in a thread. Raises StoreUnavailable."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        log.error("files.disk", error=repr(error))
        raise StoreUnavailable(repr(error)) from error
