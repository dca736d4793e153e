"""A real server on a loopback port with a small schema, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from auth.principals import ANONYMOUS, Principal, PrincipalKind, View
from auth.tokens import Reason, Unauthenticated
from core.ids import uuid7
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.execution import Gateway
from gateway.http import GraphQLEndpoint
from gateway.requests import Origins
from resolvers.base import action
from resolvers.context import Context, Info
from resolvers.feeds import follow
from schema import enums as _enums  # noqa: F401
from schema.base import ALL, C, M, computed, exposes, mutation, query, result, shared, subscription
from schema.build import assemble
from schema.delivery import FeedReset
from services import errors
from services.feeds import Feed
from subscriptions.direct import DirectHttpProtocol, DirectWebSocketProtocol
from subscriptions.feeds import ORDER, QUEUE, Event
from subscriptions.protocol import SUBPROTOCOL
from subscriptions.sessions import Limits
from subscriptions.sse import EventStreams
from subscriptions.updates import UpdateKind
from subscriptions.websocket import GraphQLSockets
from tests.realtime.log import PATIENCE, reader, until

UNHURRIED = {"tick": 0.02, "init": PATIENCE, "stall": PATIENCE, "goodbye": PATIENCE}
"""Limits that no machine is too slow for; they are looked at often."""

METHODS = ["GET", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"]
ALICE = Principal(PrincipalKind.CONSUMER, View.CONSUMER, uuid7(), uuid7(), expires_at=4e9)
BOB = Principal(PrincipalKind.CONSUMER, View.CONSUMER, uuid7(), uuid7(), expires_at=4e9)


@dataclass
class Stage:
    """What the test and the resolvers share."""

    opened: int = 0
    closed: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    done: list[str] = field(default_factory=list)
    failures: int = 0
    failure: Exception = field(default_factory=lambda: RuntimeError("a mistake of ours"))
    executions: list[str] = field(default_factory=list)
    snapshots: int = 0
    banned: set[UUID | None] = field(default_factory=set)
    hidden: set[tuple[UUID | None, str]] = field(default_factory=set)


STAGE = Stage()


@dataclass(frozen=True, slots=True)
class Number:
    value: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    cursor: str
    marks: list[str]
    reset: str | None


@exposes(Number)
@strawberry.type
class NumberUpdate:
    value: int
    text: str

    @strawberry.field
    async def fragile(self: Any) -> int:
        if STAGE.failures:
            STAGE.failures -= 1
            raise STAGE.failure
        return self.value

    @strawberry.field
    async def brittle(self: Any) -> int | None:
        """Null on failure, so that the rest of the answer stays."""
        if STAGE.failures:
            STAGE.failures -= 1
            raise STAGE.failure
        return self.value


@exposes(Told)
@strawberry.type
class FeedUpdate:
    cursor: str
    marks: list[str]
    reset: str | None

    @strawberry.field
    def grants(self: Any, info: Info) -> int:
        return len(info.context.principal.grants)


def marks_of(root: Any) -> list[str]:
    return root.value


def count(root: Any, info: Info) -> int:
    """Number of executions so far."""
    STAGE.executions.append("shared")
    return len(STAGE.executions)


async def count_slowly(root: Any, info: Info) -> int:
    await STAGE.go.wait()
    return count(root, info)


async def fail_sometimes(root: Any, info: Info) -> int:
    if STAGE.failures:
        STAGE.failures -= 1
        raise STAGE.failure
    return count(root, info)


@exposes(shared=True)
@strawberry.type
class WatchUpdate:
    cursor: str
    kind: UpdateKind
    reset: FeedReset | None
    marks: list[str] = computed(marks_of)
    counted: int = shared(computed(count))
    slow: int = shared(computed(count_slowly))
    fragile: int = shared(computed(fail_sometimes))

    @strawberry.field
    def me(self: Any, info: Info) -> str:
        """Who asks: nothing that others may be shown."""
        STAGE.executions.append(str(info.context.principal.subject))
        return str(info.context.principal.subject)

    @strawberry.field
    def grants(self: Any, info: Info) -> int:
        """How many the one has who asks."""
        return len(info.context.principal.grants)

    @strawberry.field
    def times(self: Any, number: int) -> int:
        return number


async def admit_to_marks(runtime: Any, principal: Principal, key: UUID) -> str:
    if principal.subject in STAGE.banned:
        raise errors.NotFound(resource="Order")
    return ORDER.of(key)


async def read_marks(runtime: Any, principal: Principal, key: UUID) -> tuple[int, list[str]]:
    STAGE.snapshots += 1
    return await reader(runtime.database, ORDER.of(key))()


async def read_state(runtime: Any, principal: Principal, key: UUID) -> tuple[int, list[str]]:
    STAGE.snapshots += 1
    return await reader(runtime.database, QUEUE.of(key))()


async def admit_to_state(runtime: Any, principal: Principal, key: UUID) -> str:
    await admit_to_marks(runtime, principal, key)
    return QUEUE.of(key)


WATCHED : Feed[list[str]] = Feed(
    name="watch", kind=ORDER, key="Order", readers="all but the banned", admit=admit_to_marks, snapshot=read_marks,
    value=lambda event, columns: [event.payload["mark"]],
    shows=lambda principal, value: (principal.subject, value[-1] if value else "") not in STAGE.hidden,
    over=lambda value: "last" in value,
)  # fmt: skip
STATE : Feed[list[str]] = Feed(
    name="state", kind=QUEUE, key="Store", readers="all but the banned", admit=admit_to_state, snapshot=read_state,
    over=lambda value: "last" in value,
)  # fmt: skip
WATCH = """subscription Watch($order: ID!, $after: String) {
  watch(order: $order, after: $after) { cursor kind marks reset { reason } } }"""

WAITING = 'subscription { numbers(upTo: 1, end: "wait") { value } }'


class Query:
    @query(str, *ALL)
    async def hello(self, info: Info, wait: bool = False) -> object:
        if wait:
            STAGE.entered.set()
            await STAGE.go.wait()
        return f"hello {info.context.principal.kind.value} {info.context.locale}"


@action
async def do_note(context: Context, text: str, wait: bool) -> Number:
    own = STAGE  # what ends after its test is none of the next one's business
    if wait:
        own.entered.set()
        await own.go.wait()
    own.done.append(text)
    return Number(len(own.done))


class Mutation:
    @mutation(result("NoteResult", NumberUpdate), C, M)
    async def note(self, info: Info, text: str, wait: bool = False) -> object:
        """Remember a text."""
        return await do_note(info.context, text, wait)


class Subscription:
    @subscription(NumberUpdate, C, M)
    async def numbers(self, info: Info, up_to: int, end: str = "stop", size: int = 0) -> AsyncIterator[Any]:
        """Numbers from 0, then the end asked for."""
        own = STAGE
        own.opened += 1
        try:
            if end == "denied":
                raise errors.PermissionDenied(reason="NOT_YOURS")
            for value in range(up_to):
                yield Number(value, "x" * size)
            if end == "broken":
                raise ConnectionError("the database is away")
            if end == "revoked":
                raise errors.PermissionDenied(reason="GRANT_REVOKED")
            if end == "wait":
                await asyncio.Event().wait()
        finally:
            own.closed += 1

    @subscription(FeedUpdate, C, M)
    async def marks(self, info: Info, feed: str, after: str | None = None) -> AsyncIterator[Any]:
        """The marks of a feed's events; all so far at first."""
        database = info.context.runtime.database
        async for update in info.context.tails.follow(feed, after, reader(database, feed)):
            value = update.value
            marks = [value.payload["mark"]] if isinstance(value, Event) else value
            yield Told(update.cursor, marks, update.reset.reason.value if update.reset else None)

    @subscription(WatchUpdate, C, M)
    def watch(self, info: Info, order: strawberry.ID, after: str | None = None) -> object:
        """The marks of a lossless feed."""
        return follow(info.context, WATCHED, order, after)

    @subscription(WatchUpdate, C, M)
    def state(self, info: Info, store: strawberry.ID, after: str | None = None) -> object:
        """The marks so far of a feed of states."""
        return follow(info.context, STATE, store, after)


CONTRACTS = build_contracts(assemble([Query], [Mutation], [Subscription]))


class Doorman:
    """An authenticator whose answers the test sets; a token without one is invalid."""

    def __init__(self) -> None:
        self.answers: dict[str | None, Principal | Exception] = {None: ANONYMOUS, "alice": ALICE, "bob": BOB}
        self.asked = 0

    async def principal(self, token: str | None) -> Principal:
        self.asked += 1
        answer = self.answers.get(token, Unauthenticated(Reason.INVALID))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def prepare(self, tokens: Collection[str]) -> None:
        """Nothing to prepare."""


class QuietServer(uvicorn.Server):
    """A server in the test's own loop, which leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@dataclass
class Terminal:
    """A client of the subprotocol that does what the test says."""

    connection: ClientConnection

    async def send(self, message: Any) -> None:
        await self.connection.send(message if isinstance(message, str | bytes) else orjson.dumps(message).decode())

    async def receive(self) -> Any:
        """The next message; a close raises."""
        frame = await asyncio.wait_for(self.connection.recv(), PATIENCE)
        assert isinstance(frame, str), "binary frames are not of the protocol"
        return orjson.loads(frame)

    async def init(self, **payload: Any) -> Terminal:
        await self.send({"type": "connection_init", "payload": payload} if payload else {"type": "connection_init"})
        assert await self.receive() == {"type": "connection_ack"}
        return self

    async def subscribe(self, id: str, query: str | None = None, **payload: Any) -> None:
        if query is not None:
            payload["query"] = query
        await self.send({"id": id, "type": "subscribe", "payload": payload})

    async def closed(self) -> tuple[int, str]:
        """The close frame; messages before it are dropped."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""

    async def alive(self) -> None:
        """Assert that the socket still answers."""
        await self.send({"type": "ping", "payload": {"are": "you"}})
        assert await self.receive() == {"type": "pong", "payload": {"are": "you"}}


@dataclass
class Site:
    """One running server."""

    port: int
    server: QuietServer
    sockets: GraphQLSockets
    doorman: Doorman
    gateway: Gateway

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/graphql"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}/graphql"

    @asynccontextmanager
    async def terminal(self, *, subprotocol: str | None = SUBPROTOCOL, **headers: str) -> AsyncIterator[Terminal]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with connect(
            self.url,
            subprotocols=[subprotocol] if subprotocol else None,  # type: ignore[list-item]
            additional_headers=names,
            proxy=None,
            compression=None,
            max_size=None,
            ping_interval=None,
            close_timeout=1,
        ) as connection:
            yield Terminal(connection)


@asynccontextmanager
async def serve(
    runtime: Any = None, tails: Any = None, settings: Settings | None = None, direct: bool = True, **limits: Any
) -> AsyncIterator[Site]:
    """A site; ``limits`` as of Limits. Without ``direct`` it is served over plain ASGI messages."""
    global STAGE
    STAGE = Stage()
    settings = settings or Settings(allowed_origins=["https://shop.example"])
    runtime = runtime or SimpleNamespace(settings=settings)
    gateway, doorman = Gateway(CONTRACTS, settings), Doorman()
    sockets = GraphQLSockets(
        gateway,
        doorman,
        runtime,
        tails,
        Origins.of(settings),
        Limits(**(UNHURRIED | limits)),  # type: ignore[arg-type]
    )

    def context(principal: Principal, locale: str, request_id: str, address: str) -> Context:
        return Context(runtime, tails, principal, locale, request_id, address)

    endpoint = GraphQLEndpoint(gateway, doorman, context, settings, EventStreams(sockets, settings.max_body))  # type: ignore[arg-type]
    # Named as TCP, or asyncio leaves Nagle's algorithm on and every second small message waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    config = uvicorn.Config(
        Starlette(routes=[Route("/graphql", endpoint.handle, methods=METHODS), WebSocketRoute("/graphql", sockets)]),
        http=DirectHttpProtocol if direct else "httptools",
        ws=DirectWebSocketProtocol if direct else "websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await until(lambda: server.started)
        yield Site(listener.getsockname()[1], server, sockets, doorman, gateway)
    finally:
        await sockets.drain(timedelta(0))
        server.should_exit = True
        await serving
        await sockets.close()
        listener.close()


def stage() -> Stage:
    """What the resolvers of the running site share with the test."""
    return STAGE
