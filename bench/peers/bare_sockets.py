"""Floor of the realtime bench: a program that does nothing but write ready bytes to WebSockets, one after the other.

It knows the handshake and how a subscription begins, and nothing else of GraphQL: no operation is read, nobody is
asked who he is, nothing is queued. What it costs is what the kernel and the event loop ask of anybody who sends as
many bytes to as many sockets; ``POST /publish`` with a list of feed numbers sends the next event of each.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import re
import socket
from typing import Final, cast

import uvloop

_KEY: Final = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PUBLISHED: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
_EVENT: Final = (
    '{{"id":"1","type":"next","payload":{{"data":{{"orderUpdates":{{"cursor":"3f9c2a71.{version:x}.8d0e4b12","order":'
    '{{"id":"ord_01m865h66kf6p8x1eb0{feed:0>7}","number":"{feed:0>6}","state":"PREPARING","version":{version},'
    '"mode":"DELIVERY","note":"","placedAt":"2026-03-02T04:00:00Z","total":{{"amount":6900,"currency":"CNY"}}}}}}}}}}}}'
)

versions: Final[dict[str, int]] = {}
watchers: Final[dict[str, list[asyncio.Transport]]] = {}


def frame(text: str) -> bytes:
    """A text frame of a server (RFC 6455, section 5.2)."""
    payload = text.encode()
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return b"\x81" + size + payload


def event(feed: str) -> bytes:
    return frame(_EVENT.format(feed=feed, version=versions.setdefault(feed, 1)))


def publish(feed: str) -> None:
    versions[feed] = versions.get(feed, 1) + 1
    message = event(feed)
    for transport in watchers.get(feed, ()):
        transport.write(message)


class Connection(asyncio.Protocol):
    """A WebSocket with one subscription, or the publisher's HTTP."""

    def __init__(self) -> None:
        self._held = b""
        self._upgraded = False
        self._feed: str | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._feed is not None and self._transport is not None:
            watchers[self._feed].remove(self._transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while self._frame() if self._upgraded else self._request():
            pass

    def _request(self) -> bool:
        head, found, rest = self._held.partition(b"\r\n\r\n")
        if not found:
            return False
        assert self._transport is not None
        key = _KEY.search(head)
        if key is not None:
            accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: graphql-transport-ws\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self._upgraded, self._held = True, rest
            return True
        length = int(re.findall(rb"content-length: *(\d+)", head, re.IGNORECASE)[0])
        if len(rest) < length:
            return False
        self._held = rest[length:]
        self._transport.write(_PUBLISHED)  # from now on the time counts
        for feed in json.loads(rest[:length]):
            publish(str(feed))
        return True

    def _frame(self) -> bool:
        """Take a frame of the client, which is short of 64 KiB and masked with zeros."""
        held = self._held
        if len(held) < 4:
            return False
        size, start = held[1] & 0x7F, 6
        if size == 126:
            size, start = int.from_bytes(held[2:4], "big"), 8
        if len(held) < start + size:
            return False
        self._held = held[start + size :]
        said = json.loads(held[start : start + size])
        assert self._transport is not None
        if said["type"] == "connection_init":
            self._transport.write(frame('{"type":"connection_ack"}'))
        elif said["type"] == "subscribe":
            self._feed = said["payload"]["variables"]["order"]
            watchers.setdefault(self._feed, []).append(self._transport)
            self._transport.write(event(self._feed))
        return True


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=4096)
    for listener in server.sockets:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    gc.collect()
    gc.freeze()
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
