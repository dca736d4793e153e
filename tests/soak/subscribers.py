"""Subscribers that come back by themselves: Python clients of several kinds, and the npm client in its process."""

from __future__ import annotations

import asyncio
import random
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from examples.python.resuming import Client, Ended, Token
from replay.api import Session
from replay.operations import Operation
from tests import node
from tests.soak.record import Record

SCRIPT = Path(__file__).with_name("terminals.mjs")
FATAL = frozenset({1011, 4400, 4401, 4406, 4409, 4429})
"""Close codes after which no client comes back: none of them may happen."""
ACK_WITHIN = 20.0
RENEWED_EVERY = timedelta(seconds=8)


class Subscriber(ABC):
    """One subscription in this process, by some client that comes back by itself. Cleared ``reading`` pauses it."""

    def __init__(
        self, record: Record, url: str, session: Session, operation: Operation, variables: dict[str, Any]
    ) -> None:
        self.record = record
        self.reading = asyncio.Event()
        self.reading.set()
        self._url = url
        self._session = session
        self._operation = operation
        self._variables = variables
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        self.record.finished = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _cursor(self) -> str | None:
        return self.record.updates[-1]["cursor"] if self.record.updates else None

    @abstractmethod
    async def _run(self) -> None:
        """Follow until cancelled."""


class SocketSubscriber(Subscriber):
    """On a WebSocket of its own."""

    async def _run(self) -> None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            while self.record.ended is None:
                try:
                    await self._converse(http)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self.record.closes[type(error).__name__] += 1
                await asyncio.sleep(random.uniform(0.05, 0.35))

    async def _converse(self, http: aiohttp.ClientSession) -> None:
        async with http.ws_connect(
            self._url, protocols=("graphql-transport-ws",), compress=0, max_msg_size=0, autoclose=False
        ) as ws:
            self.record.connections += 1
            await ws.send_json({"type": "connection_init", "payload": {"token": self._session.access}})
            while True:
                await self.reading.wait()
                message = await ws.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    self._closed(message.data, message.extra or "")
                    return
                if message.type is not aiohttp.WSMsgType.TEXT:
                    self.record.closes["broken"] += 1
                    return
                await self._take(ws, orjson.loads(message.data))
                if self.record.ended is not None:
                    return

    def _closed(self, code: int, reason: str) -> None:
        self.record.closes[f"{code} {reason.split(' ')[0]}".strip()] += 1
        if code in FATAL:
            self.record.ended = f"closed with {code} {reason}"

    async def _take(self, ws: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
        match message["type"]:
            case "connection_ack":
                payload = {"query": self._operation.text, "variables": {**self._variables, "after": self._cursor}}
                await ws.send_json({"id": "1", "type": "subscribe", "payload": payload})
            case "ping":
                await ws.send_json({"type": "pong"})
            case "next" if "errors" not in message["payload"]:
                self.record.updates.append(message["payload"]["data"][self._operation.field])
            case "pong":
                pass
            case _:
                self.record.ended = orjson.dumps(message).decode()


class StreamSubscriber(Subscriber):
    """By an event stream, resumed by ``Last-Event-ID`` as a browser does."""

    async def _run(self) -> None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            while self.record.ended is None:
                try:
                    await self._listen(http)
                except (aiohttp.ClientError, OSError) as error:
                    self.record.closes[type(error).__name__] += 1
                await asyncio.sleep(random.uniform(0.05, 0.35))

    async def _listen(self, http: aiohttp.ClientSession) -> None:
        headers = {"accept": "text/event-stream", "authorization": f"Bearer {self._session.access}"}
        if self._cursor is not None:
            headers["last-event-id"] = self._cursor
        body = {"query": self._operation.text, "variables": self._variables}
        url = "http" + self._url.removeprefix("ws")
        timeout = aiohttp.ClientTimeout(total=None)
        async with http.post(url, json=body, headers=headers, timeout=timeout) as response:
            if response.status != 200:
                self.record.closes[f"stream {response.status}"] += 1
                if response.status != 503:
                    self.record.ended = f"{response.status} {await response.text()}"
                return
            self.record.connections += 1
            name = ""
            async for line in response.content:
                await self.reading.wait()
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data" or (field == "data:" and name):
                    self._take(name, value)
        self.record.closes["stream ended"] += 1

    def _take(self, name: str, data: str) -> None:
        answer = orjson.loads(data) if data else {}
        if name == "next" and "errors" not in answer:
            self.record.updates.append(answer["data"][self._operation.field])
        else:
            self.record.ended = f"{name} {data}"


class ExampleSubscriber(Subscriber):
    """By the Python client in ``examples/``."""

    async def _token(self) -> Token:
        """Renewed every few seconds on the open connection, long before it ends."""
        return Token(self._session.access, datetime.now(UTC) + RENEWED_EVERY)

    def _told(self, event: str) -> None:
        if event == "connected":
            self.record.connections += 1
        elif event == "closed":
            self.record.closes["example client"] += 1

    async def _run(self) -> None:
        async with Client(self._url, self._token, self._told) as client:
            try:
                async for update in client.subscribe(self._operation.text, self._variables):
                    self.record.updates.append(update)
                    await self.reading.wait()
                self.record.ended = "complete"
            except Ended as ended:
                self.record.ended = f"{ended.code} {ended}"


KINDS = (SocketSubscriber, StreamSubscriber, ExampleSubscriber)


class NodeSubscribers:
    """The process of the npm client and the subscriptions in it."""

    def __init__(self, errors: Path, changed: Callable[[], None] = lambda: None) -> None:
        self.records: dict[str, Record] = {}
        self.closes: dict[str, int] = {}
        self._users: dict[str, bool] = {}
        self._errors = errors
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await asyncio.to_thread(node.install)
        with self._errors.open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *node.node_command(),
                str(SCRIPT),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=node.environment(),
                limit=1 << 24,
            )
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    def signal(self, number: int) -> None:
        assert self._process is not None and self._process.returncode is None, self._errors.read_text()
        self._process.send_signal(number)

    def open(
        self, record: Record, user: str, url: str, session: Session, operation: Operation, **variables: Any
    ) -> None:
        """Subscribe; every other user has the client in ``examples/``."""
        self.records[record.name] = record
        self._users.setdefault(user, len(self._users) % 2 == 1)
        self._tell(
            {
                "open": record.name,
                "user": user,
                "example": self._users[user],
                "url": url,
                "token": session.access,
                "query": operation.text,
                "variables": variables,
            }
        )

    def finish(self, record: Record) -> None:
        record.finished = True
        self._tell({"close": record.name})

    def renew(self, user: str, session: Session) -> None:
        self._tell({"user": user, "token": session.access})

    def _tell(self, what: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(what) + b"\n")

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        async for line in self._process.stdout:
            told = orjson.loads(line)
            if "user" in told:
                key = f"{told['closed']}" if "closed" in told else "connected"
                self.closes[key] = self.closes.get(key, 0) + 1
            elif not (record := self.records[told["name"]]).finished:
                if "value" in told:
                    record.updates.append(told["value"])
                else:
                    record.ended = str(told["ended"])
