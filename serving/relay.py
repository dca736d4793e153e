"""Requests that belong to another worker of the same port.

A GraphQL event stream in single connection mode is reserved by one request, read by a second one, and fed by others,
all with one token. The kernel sends each to any worker, so the token is made to name the worker that has the stream
(``1.…``), and the others hand such requests on to it, by the Unix socket on which every worker serves its siblings.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import aiohttp
import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import logs
from subscriptions.sse import TOKEN_HEADER

log = logs.get(__name__)

_ANEW: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "content-length", "date"}
)
"""Headers that each side writes for itself: those of one hop, and those that the server adds."""


def socket_of(folder: Path, index: int) -> Path:
    """Where worker ``index`` serves its siblings."""
    return folder / f"worker-{index}.sock"


class Relay:
    """ASGI middleware of worker ``index`` of ``count``."""

    def __init__(self, app: ASGIApp, folder: Path, index: int, count: int, max_body: int) -> None:
        self._app = app
        self._max_body = max_body
        self._folder = folder
        self._index = index
        self._count = count
        self._sessions: dict[int, aiohttp.ClientSession] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/graphql":
            if scope["type"] == "lifespan":
                send = self._closing(send)
            await self._app(scope, receive, send)
            return
        if scope["method"] == "PUT":
            send = self._naming(send)
        token = Headers(scope=scope).get(TOKEN_HEADER) or dict(parse_qsl(scope["query_string"].decode())).get("token")
        name, _, own = (token or "").partition(".")
        owner = int(name) if name.isdecimal() else -1
        if token is None or not 0 <= owner < self._count:
            await self._app(scope, receive, send)
        elif owner == self._index:
            await self._app(_with_token(scope, own), receive, send)
        else:
            await self._hand_on(owner, scope, receive, send)

    def _naming(self, send: Send) -> Send:
        """Put this worker's index before the token that a reservation is answered with."""
        start: Message = {}

        async def named(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and message["status"] == 201:
                start = message
                return
            if start:
                message["body"] = f"{self._index}.".encode() + message["body"]
                MutableHeaders(scope=start)["content-length"] = str(len(message["body"]))
                await send(start)
                start = {}
            await send(message)

        return named

    def _closing(self, send: Send) -> Send:
        async def close(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await asyncio.gather(*(session.close() for session in self._sessions.values()))
            await send(message)

        return close

    async def _hand_on(self, owner: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the worker that has the stream answer, for as long as it takes and the client listens."""
        body = await self._body(receive)
        if body is None:
            return
        answering = asyncio.create_task(self._answer(owner, scope, body, send))
        leaving = asyncio.ensure_future(receive())  # now there is nothing to receive but the client's farewell
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _body(self, receive: Receive) -> bytes | None:
        """The body of the request, or as much as shows that it is too long; None when the client has left."""
        body = bytearray()
        while len(body) <= self._max_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return bytes(body)

    async def _answer(self, owner: int, scope: Scope, body: bytes, send: Send) -> None:
        headers = [(k.decode(), v.decode("latin-1")) for k, v in scope["headers"] if k.decode() not in _ANEW]
        url = f"http://worker{scope['path']}?{scope['query_string'].decode()}"
        started = False
        try:
            async with self._session(owner).request(
                scope["method"], url, headers=headers, data=body, allow_redirects=False
            ) as response:
                passed = [(k.lower(), v) for k, v in response.raw_headers if k.lower().decode() not in _ANEW]
                await send({"type": "http.response.start", "status": response.status, "headers": passed})
                started = True
                async for chunk in response.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (aiohttp.ClientError, OSError) as error:
            log.warning("worker.not_reached", owner=owner, error=repr(error))
            if not started:
                await _refuse(send)
                return
        await send({"type": "http.response.body", "body": b""})

    def _session(self, owner: int) -> aiohttp.ClientSession:
        session = self._sessions.get(owner)
        if session is None:
            session = self._sessions[owner] = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(socket_of(self._folder, owner)), limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=2),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return session


def _with_token(scope: Scope, token: str) -> Scope:
    """The request with the token that this worker made."""
    headers: list[tuple[bytes, bytes]] = [
        (name, token.encode() if name == TOKEN_HEADER.encode() else value) for name, value in scope["headers"]
    ]
    query: list[tuple[str, Any]] = [
        (name, token if name == "token" else value)
        for name, value in parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
    ]
    return {**scope, "headers": headers, "query_string": urlencode(query).encode()}


async def _refuse(send: Send) -> None:
    error = {"message": "This process is about to end; connect again.", "extensions": {"code": "RESTARTING"}}
    content = orjson.dumps({"errors": [error]})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": content})
