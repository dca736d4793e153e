"""A cheap client of graphql-transport-ws: thousands of raw sockets on one epoll, answers counted but hardly read.

It runs as a process of its own (``python -m bench.sockets COUNTERS``) and does what standard input says, one JSON
object a line; :mod:`bench.streams` is the other end. Frames are told apart by their headers. A few sockets are
read in full, to see that each event comes once and in order. Numbers that change all the time (COUNTERS) are in a
file that both ends map.
"""

from __future__ import annotations

import base64
import json
import mmap
import os
import select
import socket
import struct
import sys
import time
from array import array
from collections import deque
from typing import Any, Final

UPGRADE: Final = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
COUNTERS: Final = ("nexts", "live", "started", "lost", "wrong")
"""Answers so far; open sockets; sockets that have had their first answer; ones that ended unasked; breaks of order."""
SAMPLED: Final = 4
"""Sockets that are read in full."""
_TEXT, _CLOSE, _PING = 1, 8, 9


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame; its mask is zero, which is a mask."""
    size = len(payload)
    head = bytes([0x80 | opcode])
    head += bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return head + b"\0\0\0\0" + payload


PONG: Final = frame(_TEXT, b'{"type":"pong"}')


class Peer:
    """One connection."""

    __slots__ = ("greeting", "last", "nexts", "rest", "sampled", "socket", "stuck", "upgraded")

    def __init__(self, connection: socket.socket, greeting: list[bytes], sampled: bool) -> None:
        self.socket = connection
        self.greeting = greeting
        self.upgraded = False
        self.rest = b""
        self.nexts = 0
        self.sampled = sampled
        self.last: int | None = None
        self.stuck = False


class Client:
    """All connections, and the one loop that serves them."""

    def __init__(self, counters: str) -> None:
        with open(counters, "r+b") as file:
            self._counters = mmap.mmap(file.fileno(), 8 * len(COUNTERS))
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._epoll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self._waiting: deque[dict[str, Any]] = deque()
        self._starting = 0
        self._at_once = 64
        self._arrivals: list[array[float]] | None = None
        self._churn = 0
        self._closing_after_start = False
        self._key = base64.b64encode(os.urandom(16)).decode()

    def _publish(self) -> None:
        struct.pack_into(f"{len(COUNTERS)}q", self._counters, 0, *self._counts.values())

    # what it is told

    def obey(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked["do"]:
            case "open":
                # Connections are made as earlier ones get their first answer, ``at_once`` at a time.
                self._at_once = asked["at_once"]
                self._closing_after_start = asked["once"]
                for n in range(asked["count"]):
                    feeds = asked["messages"]
                    self._waiting.append(asked | {"messages": feeds[n % len(feeds)], "n": n})
                self._fill()
            case "record":
                for peer in self._peers.values():
                    peer.nexts = 0
                self._arrivals = [array("d") for _ in range(asked["events"])]
            case "arrivals":
                arrivals, self._arrivals = self._arrivals or [], None
                return {"arrivals": [list(times) for times in arrivals]}
            case "stuck":
                # The newest connection takes nothing any more.
                peer = next(reversed(self._peers.values()))
                peer.stuck = True
                self._epoll.unregister(peer.socket)
                return {"port": peer.socket.getsockname()[1]}
            case "close":
                self._waiting.clear()
                for fd in list(self._peers):
                    self._drop(fd)
                self._starting = 0
        self._publish()
        return {}

    def _fill(self) -> None:
        while self._waiting and self._starting < self._at_once:
            asked = self._waiting.popleft()
            connection = socket.socket()
            if asked.get("receive_buffer"):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked["receive_buffer"])
            connection.connect(("127.0.0.1", asked["port"]))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            greeting = [frame(_TEXT, text.encode()) for text in asked["messages"]]
            self._peers[connection.fileno()] = Peer(connection, greeting, asked["n"] < SAMPLED)
            self._epoll.register(connection, select.EPOLLIN)
            self._starting += 1
            self._counts["live"] += 1
            connection.sendall(UPGRADE.format(path=asked["path"], key=self._key).encode())

    def _drop(self, fd: int) -> None:
        peer = self._peers.pop(fd)
        peer.socket.close()
        self._counts["live"] -= 1

    # the loop

    def run(self) -> None:
        commands = sys.stdin.fileno()
        self._epoll.register(commands, select.EPOLLIN)
        heard = b""
        while True:
            for fd, _ in self._epoll.poll(1.0):
                if fd == commands:
                    data = os.read(commands, 1 << 20)
                    if not data:
                        return
                    *lines, heard = (heard + data).split(b"\n")
                    for line in lines:
                        print(json.dumps(self.obey(json.loads(line))), flush=True)
                elif (peer := self._peers.get(fd)) is not None:
                    self._readable(fd, peer)
            self._publish()

    def _readable(self, fd: int, peer: Peer) -> None:
        try:
            data = peer.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(fd, peer)
            return
        if peer.rest:
            data = peer.rest + data
        if not peer.upgraded:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                peer.rest = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self._lose(fd, peer)
                return
            peer.upgraded = True
            data = data[head + 4 :]
            peer.socket.sendall(peer.greeting[0])
        peer.rest = self._frames(fd, peer, data)

    def _lose(self, fd: int, peer: Peer) -> None:
        if not peer.nexts:
            self._starting -= 1
        self._counts["lost"] += 1
        self._drop(fd)
        self._fill()

    def _frames(self, fd: int, peer: Peer, data: bytes) -> bytes:
        """Take the whole frames in ``data``; what is left."""
        position, end = 0, len(data)
        while end - position >= 2:
            size, start = data[position + 1], position + 2
            if size == 126:
                if end - position < 4:
                    break
                size, start = data[position + 2] << 8 | data[position + 3], position + 4
            elif size == 127:
                if end - position < 10:
                    break
                size, start = int.from_bytes(data[position + 2 : position + 10]), position + 10
            if start + size > end:
                break
            opcode = data[position] & 15
            position = start + size
            if opcode == _TEXT:
                if data.find(b'"next"', start, min(position, start + 60)) >= 0:
                    self._next(fd, peer, data, start, position)
                else:
                    self._other(fd, peer, data[start:position])
            elif opcode == _PING:
                peer.socket.sendall(frame(10, data[start:position]))
            elif opcode == _CLOSE:
                self._lose(fd, peer)
                return b""
            if fd not in self._peers:
                return b""
        return data[position:]

    def _next(self, fd: int, peer: Peer, data: bytes, start: int, end: int) -> None:
        self._counts["nexts"] += 1
        if self._arrivals is not None and peer.nexts < len(self._arrivals):
            self._arrivals[peer.nexts].append(time.monotonic())
        first = not peer.nexts
        peer.nexts += 1
        if peer.sampled:
            self._look(peer, json.loads(data[start:end])["payload"])
        if first and self._starting:
            self._starting -= 1
            self._counts["started"] += 1
            if self._closing_after_start:
                self._drop(fd)
            self._fill()

    def _look(self, peer: Peer, payload: dict[str, Any]) -> None:
        """See that the versions of an order come one after the other."""
        value = next(iter(payload["data"].values())) if payload.get("data") else None
        if value is None:
            self._counts["wrong"] += 1
        elif "order" in value:
            version = value["order"]["version"]
            if peer.last is not None and version != peer.last + 1:
                self._counts["wrong"] += 1
            peer.last = version

    def _other(self, fd: int, peer: Peer, text: bytes) -> None:
        kind = json.loads(text)["type"]
        if kind == "connection_ack":
            for message in peer.greeting[1:]:
                peer.socket.sendall(message)
        elif kind == "ping":
            peer.socket.sendall(PONG)
        elif kind in ("complete", "error"):
            print(f"an operation ended: {text[:500]!r}", file=sys.stderr)
            self._lose(fd, peer)


if __name__ == "__main__":
    Client(sys.argv[1]).run()
