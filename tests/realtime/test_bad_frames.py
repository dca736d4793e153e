"""Frames that no well-behaved client sends, over the wire as bytes; and what other operations notice of it."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.realtime.log import PATIENCE, until
from tests.realtime.wire import WAITING, Site, serve

TEXT, BINARY, CONTINUED, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


@pytest.fixture(scope="module", params=["direct", "asgi"])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with serve(direct=request.param == "direct", message=100_000) as running:
        yield running


@pytest.fixture
async def site(shared: Site) -> AsyncIterator[Site]:
    """The module's site, with nothing left of the test before."""
    yield shared
    await until(lambda: (shared.sockets.sockets, shared.sockets.operations) == (0, 0))


def frame(opcode: int, payload: bytes, *, final: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """A frame of RFC 6455, section 5.2, right or wrong as asked for."""
    length = len(payload)
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", length)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def message(**content: Any) -> bytes:
    return orjson.dumps(content)


class Wire:
    """One connection, seen as frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *frames: bytes) -> None:
        self._writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """``(opcode, payload)`` of the next frame."""
        async with asyncio.timeout(PATIENCE):
            first, second = await self._reader.readexactly(2)
            assert first & 0xF0 == 0x80 and not second & 0x80, "final, uncompressed, unmasked"
            length = second
            if length == 126:
                (length,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
            return first & 0x0F, await self._reader.readexactly(length)

    async def receive(self) -> dict[str, Any]:
        opcode, payload = await self.frame()
        assert opcode == TEXT, (opcode, payload)
        return orjson.loads(payload)

    async def closed(self) -> int:
        """The code of the close frame; messages before it are dropped."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0]

    async def init(self) -> None:
        self.send(frame(TEXT, message(type="connection_init")))
        assert (await self.receive())["type"] == "connection_ack"

    async def watch(self, id: str) -> None:
        """Have a subscription run."""
        self.send(frame(TEXT, message(id=id, type="subscribe", payload={"query": WAITING})))
        assert (await self.receive())["type"] == "next"

    async def alive(self) -> None:
        """Assert that nothing is on its way and that the socket answers."""
        self.send(frame(TEXT, message(type="ping", payload={"n": 1})))
        assert await self.receive() == {"type": "pong", "payload": {"n": 1}}


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(
        b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert head.startswith(b"HTTP/1.1 101 ") and b"permessage-deflate" not in head
        wire = Wire(reader, writer)
        await wire.init()
        yield wire
    finally:
        writer.close()


SUBSCRIBE = message(id="2", type="subscribe", payload={"query": "{ hello }"})


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(BINARY, SUBSCRIBE)], 4400),
        ([frame(BINARY, b"\x00"), frame(TEXT, SUBSCRIBE)], 4400),
        ([frame(TEXT, b"\xff\xfe")], 1007),
        ([frame(TEXT, b'{"type":"ping","payload":{"x":"\xc3\x28"}}')], 1007),
        ([frame(TEXT, SUBSCRIBE, masked=False)], 1002),
        ([frame(TEXT, SUBSCRIBE, reserved=4)], 1002),
        ([frame(3, SUBSCRIBE)], 1002),
        ([frame(CONTINUED, SUBSCRIBE)], 1002),
        ([frame(TEXT, SUBSCRIBE[:9], final=False), frame(TEXT, SUBSCRIBE[9:])], 1002),
        ([frame(PING, b"x" * 126)], 1002),
        ([frame(PING, b"x", final=False)], 1002),
        ([frame(TEXT, message(type="ping", payload={"x": "x" * 100_000}))], 1009),
        ([frame(TEXT, b"x" * 30_000, final=False), *[frame(CONTINUED, b"x" * 30_000, final=False)] * 3,
          frame(CONTINUED, b"")], 1009),
        ([frame(TEXT, b"x" * 20_000_000)], 1009),
        ([frame(TEXT, message(id="\x00", type="subscribe"))], 4400),
        ([frame(TEXT, b'{"type":"ping","payload":' + b'{"x":' * 2000 + b"1" + b"}" * 2001)], 4400),
        ([frame(TEXT, b'{"id":"1","type":"subscribe","payload":{"query":"{ hello }"}')], 4400),
    ],
)  # fmt: skip
async def test_what_ends_the_socket(site: Site, frames: list[bytes], code: int) -> None:
    async with connected(site) as wire:
        await wire.watch("1")
        wire.send(*frames)
        assert await wire.closed() == code
    await until(lambda: (site.sockets.sockets, site.sockets.operations) == (0, 0))


async def test_fragments_make_one_message(site: Site) -> None:
    async with connected(site) as wire:
        await wire.watch("1")
        wire.send(
            frame(TEXT, SUBSCRIBE[:1], final=False),
            frame(PING, b"between"),
            *[frame(CONTINUED, SUBSCRIBE[i : i + 1], final=False) for i in range(1, len(SUBSCRIBE) - 1)],
            frame(CONTINUED, SUBSCRIBE[-1:]),
        )
        assert await wire.frame() == (PONG, b"between")
        assert (await wire.receive())["payload"] == {"data": {"hello": "hello ANONYMOUS en"}}
        assert (await wire.receive())["type"] == "complete"
        await wire.alive()


async def test_bytes_one_by_one(site: Site) -> None:
    async with connected(site) as wire:
        for byte in frame(TEXT, SUBSCRIBE):
            wire.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.receive())["type"] == "next"


DEEP = "VARIABLES"
"""Stands for a value of 900 levels, which the encoder here would not write."""


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"query": "{" * 5000}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ hello }" + " " * 50_000 + "}"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ " + "hello " * 3000 + "}"}, "TOKEN_LIMIT_EXCEEDED"),
        ({"query": "{ " + " ".join(f"a{n}: hello" for n in range(60)) + " }"}, "ALIAS_LIMIT_EXCEEDED"),
        ({"query": "{ hello(wait: " + "[" * 300 + "]" * 300 + ") }"}, "INPUT_DEPTH_LIMIT_EXCEEDED"),
        ({"query": "query ($w: Boolean) { hello(wait: $w) }", "variables": {"w": DEEP}}, "INPUT_DEPTH_LIMIT_EXCEEDED"),
        ({"query": "query ($w: Boolean) { hello(wait: $w) }", "variables": {"w": [[[[]]]]}}, "BAD_USER_INPUT"),
        ({"query": "{ hello }", "operationName": "\ud7ff" * 1000}, "OPERATION_RESOLUTION_FAILURE"),
        ({"query": "{ hello }", "extensions": {"persistedQuery": {"version": 2}}}, "PERSISTED_QUERY_NOT_SUPPORTED"),
        ({"documentId": "x"}, "PERSISTED_QUERY_NOT_IN_LIST"),
    ],
)
async def test_what_ends_one_operation(site: Site, payload: dict[str, Any], code: str) -> None:
    async with connected(site) as wire:
        await wire.watch("1")
        text = message(id="bad", type="subscribe", payload=payload)
        wire.send(frame(TEXT, text.replace(b'"VARIABLES"', b'{"next":' * 900 + b"null" + b"}" * 900)))
        told = await wire.receive()
        assert (told["id"], told["type"]) == ("bad", "error"), told
        assert told["payload"][0]["extensions"]["code"] == code
        await wire.alive()
        assert site.sockets.operations == 1


async def test_a_thousand_operations_at_once(site: Site) -> None:
    """A hundred run, the others are refused one by one, and nobody is thrown out for it."""
    async with connected(site) as wire:
        wire.send(*(frame(TEXT, message(id=str(n), type="subscribe", payload={"query": WAITING})) for n in range(1000)))
        told: dict[str, int] = {}
        for _ in range(1000):
            answer = await wire.receive()
            told[answer["type"]] = told.get(answer["type"], 0) + 1
            if answer["type"] == "error":
                assert answer["payload"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
        assert told == {"next": 100, "error": 900}
        assert site.sockets.operations == 100
        wire.send(*(frame(TEXT, message(id=str(n), type="complete")) for n in range(1000)))
        await wire.alive()
        assert site.sockets.operations == 0


async def test_unknown_ids_mean_nothing(site: Site) -> None:
    async with connected(site) as wire:
        await wire.watch("1")
        for id in ("2", "☃", "x" * 10_000):
            wire.send(frame(TEXT, message(id=id, type="complete")))
        wire.send(frame(TEXT, message(type="pong")), frame(PONG, b"unasked"))
        await wire.alive()
        assert site.sockets.operations == 1


async def test_ids_are_told_back_as_they_came(site: Site) -> None:
    async with connected(site) as wire:
        for id in ('"', "\\", "☃", "\u2028", "</script>", "x" * 5000, '","type":"error'):
            wire.send(frame(TEXT, message(id=id, type="subscribe", payload={"query": "{ hello }"})))
            answer, complete = await wire.receive(), await wire.receive()
            assert (answer["id"], answer["type"]) == (id, "next")
            assert complete == {"id": id, "type": "complete"}


async def test_end_of_the_connection_at_any_byte(site: Site) -> None:
    """Cut anywhere, in a header, in a payload, between two frames: nothing is left of it."""
    whole = frame(TEXT, message(id="1", type="subscribe", payload={"query": WAITING})) + frame(PING, b"x" * 100)
    for cut in range(0, len(whole), 7):
        async with connected(site) as wire:
            wire.send(whole[:cut])
            await asyncio.sleep(0)
    await until(lambda: (site.sockets.sockets, site.sockets.operations) == (0, 0))
