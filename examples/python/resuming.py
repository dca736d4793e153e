"""A client of `graphql-transport-ws` on the package `websockets` that resumes by itself.

    async with Client("wss://…/graphql", token=token) as client:
        async for update in client.subscribe(QUERY, {"order": order}):
            ...

``update`` is the value of the subscription's root field. What the client does:

- it keeps the cursor of the last update of each subscription and subscribes again with it as ``after`` whenever a
  connection is lost; the document must declare ``$after: String``, pass it on, and select
  ``cursor kind reset { reason }``;
- an update whose cursor it had last is not told twice; one with ``reset`` replaces everything told before;
- it asks ``token`` for a new access token before the old one ends and sends it by a ``ping``;
- the server's pings carry the newest cursor of each subscription's feed: who is behind at two of them, without an
  update in between, has lost something; the connection is given up, and the next one resumes.

A subscription ends with the server's word that it is complete, or raises :class:`Ended` with the errors.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

RENEW_AT = 0.7
"""Part of a token's life after which the next one is asked for."""
SHORTEST_RENEWAL = 1.0
FIRST_WAIT, LONGEST_WAIT = 0.25, 15.0
ACK_TIMEOUT = 10.0
SILENCE = 60.0
"""Seconds without any message after which the connection is given up; the server pings more often."""
HOPELESS = frozenset({4400, 4401, 4406, 4409, 4429})


@dataclass(frozen=True)
class Token:
    """``expires_at`` None: it is never renewed."""

    access_token: str
    expires_at: datetime | None = None


class TokenFailed(Exception):
    """``token`` raised; it is asked again with the next connection."""


class Ended(Exception):
    """The server ended a subscription; ``errors`` as it sent them."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors[0].get("message", "") if errors else "")
        self.errors = errors

    @property
    def code(self) -> str:
        extensions: dict[str, Any] = self.errors[0].get("extensions", {}) if self.errors else {}
        return str(extensions.get("code", ""))


@dataclass(eq=False)
class _Subscription:
    query: str
    variables: dict[str, Any]
    answers: asyncio.Queue[Any] = field(default_factory=lambda: asyncio.Queue[Any]())
    cursor: str | None = None
    behind: str | None = None
    nothing_up_to: str | None = None


class Client:
    """:param token: gives a token that has just been got, or None for anonymous callers.
    :param told: hears of "connected", "renewed", "behind" and "closed".
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], Awaitable[Token | None]] | None = None,
        told: Callable[[str], None] = lambda event: None,
    ) -> None:
        self._url = url
        self._token = token
        self._told = told
        self._subscriptions: dict[str, _Subscription] = {}
        self._next = 1
        self._ws: ClientConnection | None = None
        self._ready = False
        self._started: set[str] = set()
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Client:
        self._tasks = [asyncio.create_task(self._run())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def subscribe(self, query: str, variables: dict[str, Any] | None = None) -> AsyncIterator[dict[str, Any]]:
        """The updates of a subscription, over any number of connections. Raises Ended."""
        async with aclosing(self.answers(query, variables)) as answers:
            async for data in answers:
                [update] = data.values()
                yield update

    async def answers(
        self, query: str, variables: dict[str, Any] | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The same as whole ``data``, for those who have types for it."""
        id = str(self._next)
        self._next += 1
        subscription = self._subscriptions[id] = _Subscription(query, dict(variables or {}))
        try:
            self._wanted.set()
            await self._start(id, subscription)
            while (data := await subscription.answers.get()) is not None:
                if isinstance(data, Ended):
                    raise data
                yield data
        finally:
            if self._subscriptions.pop(id, None) is not None:
                await self._send({"id": id, "type": "complete"})

    async def _start(self, id: str, subscription: _Subscription) -> None:
        if not self._ready or id in self._started:
            return
        self._started.add(id)
        variables = subscription.variables | ({"after": subscription.cursor} if subscription.cursor else {})
        await self._send(
            {"id": id, "type": "subscribe", "payload": {"query": subscription.query, "variables": variables}}
        )

    async def _send(self, message: dict[str, Any]) -> None:
        """On the connection there is; when it is lost, the next one begins with all subscriptions anyway."""
        if self._ws is not None and self._ready:
            with suppress(ConnectionClosed):
                await self._ws.send(json.dumps(message))

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._wanted.wait()
            try:
                async with connect(self._url, subprotocols=[Subprotocol("graphql-transport-ws")], max_size=None) as ws:
                    self._ws = ws
                    await self._serve(ws)
            except ConnectionClosed as closed:
                code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
                self._told("closed")
                if code in HOPELESS or reason == "session revoked":
                    self._give_up(code, reason)
            except (OSError, TimeoutError, InvalidHandshake, TokenFailed):
                pass  # the server is away
            finally:
                failures = 0 if self._ready else failures + 1
                self._ws, self._ready, self._started = None, False, set()
            # Full jitter: after a restart of the server its clients must not all come back in the same moment.
            await asyncio.sleep(random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures, 10))))

    async def _serve(self, ws: ClientConnection) -> None:
        given = await self._get_token()
        params = {"authorization": f"Bearer {given.access_token}"} if given is not None else {}
        await ws.send(json.dumps({"type": "connection_init", "payload": params}))
        async with asyncio.timeout(ACK_TIMEOUT):
            await ws.recv()
        self._ready = True
        self._told("connected")
        for id, subscription in list(self._subscriptions.items()):
            await self._start(id, subscription)
        renewing = asyncio.create_task(self._renew(ws, given))
        try:
            while True:
                async with asyncio.timeout(SILENCE):
                    message: dict[str, Any] = json.loads(await ws.recv())
                if message["type"] == "ping":
                    await ws.send(json.dumps({"type": "pong"}))
                    if self._is_behind((message.get("payload") or {}).get("cursors", {})):
                        self._told("behind")
                        return
                elif message["type"] == "pong" and "expiresAt" in (message.get("payload") or {}):
                    self._told("renewed")
                else:
                    self._take(message)
        finally:
            renewing.cancel()

    async def _get_token(self) -> Token | None:
        try:
            return await self._token() if self._token is not None else None
        except Exception as error:
            raise TokenFailed from error

    async def _renew(self, ws: ClientConnection, given: Token | None) -> None:
        while given is not None and given.expires_at is not None:
            left = (given.expires_at - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(left * RENEW_AT, SHORTEST_RENEWAL))
            try:
                given = await self._get_token()
            except TokenFailed:
                continue  # the server closes the connection when the old one ends
            if given is not None:
                payload = {"authorization": f"Bearer {given.access_token}"}
                await ws.send(json.dumps({"type": "ping", "payload": payload}))

    def _take(self, message: dict[str, Any]) -> None:
        subscription = self._subscriptions.get(message.get("id", ""))
        if subscription is None:
            return
        if message["type"] == "next":
            payload = message["payload"]
            if payload.get("data") is None:
                self._end(message["id"], Ended(payload.get("errors", [])))
                return
            [update] = payload["data"].values()
            cursor = update.get("cursor")
            if cursor is not None and cursor == subscription.cursor and update.get("kind") == "EVENT":
                return
            subscription.cursor, subscription.behind = cursor or subscription.cursor, None
            subscription.answers.put_nowait(payload["data"])
        elif message["type"] == "error":
            self._end(message["id"], Ended(message["payload"]))
        elif message["type"] == "complete":
            self._end(message["id"], None)

    def _is_behind(self, cursors: dict[str, str]) -> bool:
        for id, cursor in cursors.items():
            subscription = self._subscriptions.get(id)
            if subscription is None or subscription.cursor in (None, cursor) or cursor == subscription.nothing_up_to:
                continue
            if cursor == subscription.behind:
                # When resuming brings nothing either, what lies between is not for this caller.
                subscription.nothing_up_to = cursor
                return True
            subscription.behind = cursor
        return False

    def _end(self, id: str, ended: Ended | None) -> None:
        self._subscriptions.pop(id).answers.put_nowait(ended)

    def _give_up(self, code: int, reason: str) -> None:
        error = {"message": reason, "extensions": {"code": "CONNECTION_CLOSED", "closeCode": code}}
        for id in list(self._subscriptions):
            self._end(id, Ended([error]))
        self._wanted.clear()
