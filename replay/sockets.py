"""One user's WebSocket: all subscriptions of the user over it, kept alive and resumed by cursor.

Protocol: graphql-transport-ws. A connection that breaks is made again and every live subscription goes on after
the last cursor it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

import aiohttp
import orjson

from replay.api import Api, CallFailed, Refused, Session
from replay.operations import Operation

ACK_TIMEOUT: Final = 15.0
MOST_RETRIES: Final = 8


def authorization(session: Session) -> dict[str, str]:
    """What a connection or a ping says about the caller."""
    return {"authorization": f"Bearer {session.access}"}


class Subscriber(Protocol):
    """What a socket delivers to."""

    operation: Operation

    def variables(self) -> dict[str, object]:
        """Of the next ``subscribe``, with the cursor to go on after."""
        ...

    def deliver(self, value: dict[str, Any]) -> None:
        """One update: the value of the root field."""
        ...

    def ended(self, reason: str | None) -> None:
        """The server ended it: None when it is complete."""
        ...


@dataclass(slots=True)
class Traffic:
    """What all sockets of a day went through."""

    opened: int = 0
    live: int = 0
    messages: int = 0
    dropped_on_purpose: int = 0
    closed_by_server: Counter[str] = field(default_factory=Counter[str])
    failures: Counter[str] = field(default_factory=Counter[str])


class Socket:
    """The connection of one user. Opens with the first subscription."""

    def __init__(self, api: Api, session: Session, traffic: Traffic) -> None:
        self._api = api
        self._session = session
        self._traffic = traffic
        self._subscribers: dict[str, Subscriber] = {}
        self._number = 0
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._acknowledged = False
        self._task: asyncio.Task[None] | None = None
        self._dropping = False
        self._closing = False

    @property
    def session(self) -> Session:
        return self._session

    async def subscribe(self, subscriber: Subscriber) -> str:
        """Start delivering; the id to :meth:`unsubscribe` by."""
        self._number += 1
        key = str(self._number)
        self._subscribers[key] = subscriber
        if self._task is None:
            self._closing = False
            self._task = asyncio.create_task(self._run(), name="socket")
        elif self._acknowledged and self._ws is not None:
            await self._send(self._start(key, subscriber))
        return key

    async def unsubscribe(self, key: str) -> None:
        """Stop delivering; the last one closes the connection."""
        if self._subscribers.pop(key, None) is not None:
            if not self._subscribers:
                await self.close()
            elif self._acknowledged:
                await self._send({"id": key, "type": "complete"})

    async def close(self) -> None:
        """Leave in good order."""
        self._closing = True
        self._subscribers.clear()
        if self._ws is not None:
            with contextlib.suppress(Exception):
                await self._ws.close()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def drop(self) -> None:
        """Lose the connection as a phone in a tunnel does: no farewell, and what is under way is not looked at."""
        if self._ws is None or not self._acknowledged or self._dropping:
            return
        self._dropping = True
        self._traffic.dropped_on_purpose += 1
        pseudo = self._ws.get_extra_info("socket")
        if pseudo is not None:
            # The transport owns the descriptor; shutting down a copy ends the connection for both.
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(pseudo.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)

    async def refreshed(self) -> None:
        """Tell the server the session's new token in-band."""
        if self._acknowledged:
            await self._send({"type": "ping", "payload": authorization(self._session)})

    def _start(self, key: str, subscriber: Subscriber) -> dict[str, Any]:
        payload = {"query": subscriber.operation.text, "variables": subscriber.variables()}
        return {"id": key, "type": "subscribe", "payload": payload}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._ws is not None and not self._ws.closed:
            # A connection that is going down will be made again, with everything that is due then.
            with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError):
                await self._ws.send_str(orjson.dumps(message).decode())

    async def _run(self) -> None:
        retries = 0
        while self._subscribers and not self._closing:
            try:
                if await self._converse():
                    retries = 0
            except (CallFailed, Refused) as error:
                self._traffic.failures[str(error)[:160]] += 1
            finally:
                self._acknowledged = False
                self._ws = None
            if self._closing or not self._subscribers:
                break
            if not self._dropping:
                retries += 1
            self._dropping = False
            if retries > MOST_RETRIES:
                for subscriber in list(self._subscribers.values()):
                    subscriber.ended("the connection could not be kept")
                break
            await asyncio.sleep(Random().uniform(0.02, 0.1) * 2**retries)

    async def _converse(self) -> bool:
        """One connection from handshake to end; whether it ever was acknowledged."""
        if self._session.refresh:
            await self._api.renew(self._session)
        ws = await self._api.connect()
        self._ws = ws
        self._traffic.opened += 1
        self._traffic.live += 1
        try:
            async with asyncio.timeout(ACK_TIMEOUT):
                init = {"type": "connection_init", "payload": authorization(self._session)}
                await ws.send_str(orjson.dumps(init).decode())
                first = await ws.receive()
            if first.type is not aiohttp.WSMsgType.TEXT or orjson.loads(first.data)["type"] != "connection_ack":
                self._note_close(ws, "before acknowledgement")
                return False
            self._acknowledged = True
            for key, subscriber in list(self._subscribers.items()):
                await self._send(self._start(key, subscriber))
            await self._read(ws)
            if not self._closing and not self._dropping:
                self._note_close(ws, "")
            return True
        except (TimeoutError, ConnectionError, aiohttp.ClientError) as error:
            self._traffic.failures[f"WebSocket: {type(error).__name__}"] += 1
            return self._acknowledged
        finally:
            self._traffic.live -= 1
            await ws.close()

    def _note_close(self, ws: aiohttp.ClientWebSocketResponse, when: str) -> None:
        self._traffic.closed_by_server[f"{ws.close_code} {when}".strip()] += 1

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in ws:
            if self._dropping or self._closing:
                return
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            self._traffic.messages += 1
            message: Any = orjson.loads(frame.data)
            kind = message["type"]
            if kind == "next":
                self._next(message)
            elif kind == "ping":
                await self._send({"type": "pong"})
            elif kind == "complete":
                self._end(message["id"], None)
            elif kind == "error":
                errors = message["payload"]
                self._end(message["id"], _words(errors))

    def _next(self, message: Any) -> None:
        subscriber = self._subscribers.get(message["id"])
        if subscriber is None:
            return
        payload = message["payload"]
        if payload.get("errors"):
            self._traffic.failures[f"{subscriber.operation.name}: {_words(payload['errors'])}"] += 1
            return
        subscriber.deliver(payload["data"][subscriber.operation.field])

    def _end(self, key: str, reason: str | None) -> None:
        subscriber = self._subscribers.pop(key, None)
        if subscriber is not None:
            subscriber.ended(reason)


def _words(errors: Any) -> str:
    first: dict[str, Any] = errors[0] if errors else {}
    extensions: dict[str, Any] = first.get("extensions") or {}
    code = extensions.get("code", "")
    return f"{code} {first.get('message', '')}".strip()[:160]
