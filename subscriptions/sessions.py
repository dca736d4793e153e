"""Connections that stay open: who is at the other end, what runs for them, and what ends them.

WebSockets and event streams differ in how a message travels and in how one is closed; everything else is here.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Protocol, cast

from prometheus_client import Counter, Gauge

from auth.authenticate import Authenticator
from auth.principals import ANONYMOUS, Principal
from auth.tokens import Reason, Unauthenticated
from core import logs
from gateway import metrics
from gateway.execution import Gateway, Interrupted
from gateway.execution import Operation as Admitted
from gateway.refusals import Refused, told
from resolvers.context import Context
from services.errors import AccessEnded, EndReason
from subscriptions.hub import Hub, Subscription
from subscriptions.outbox import LIMIT_BYTES, LIMIT_MESSAGES, Outbox
from subscriptions.protocol import REASONS, Close

log = logs.get(__name__)

SOCKETS: Final = Gauge("hutong_sockets", "Open WebSockets and event streams.", registry=metrics.REGISTRY)
OPERATIONS: Final = Gauge("hutong_socket_operations", "Operations running on them.", registry=metrics.REGISTRY)
CLOSED: Final = Counter("hutong_sockets_closed_total", "Connections closed by us.", ["code"], registry=metrics.REGISTRY)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and sizes of a connection."""

    init: float = 3.0
    """From the handshake to ``connection_init``."""
    keep_alive: float = 25.0
    """Between two pings."""
    silence: float = 75.0
    """Without any message of the peer."""
    stall: float = 15.0
    """For which the peer may take nothing of what it is sent."""
    goodbye: float = 1.0
    """For which the peer may take the close frame."""
    recheck: float = 10.0
    """Between two looks whether the session and the grants of the caller still hold."""
    tick: float = 0.5
    """Precision of all these."""
    operations: int = 100
    message: int = 1_000_000
    """Characters of one message."""
    queue_bytes: int = LIMIT_BYTES
    """Bytes that may wait for one connection, besides the buffers of its transport and of the kernel."""
    queue_messages: int = LIMIT_MESSAGES


class Sessions(Protocol):
    """What a connection needs of the program; the endpoint of the WebSockets has it."""

    hub: Hub
    gateway: Gateway
    authenticator: Authenticator
    limits: Limits

    def context(self, principal: Principal, locale: str, address: str) -> Context: ...


class Session(ABC):
    """One open connection of one caller, of any transport."""

    operation_type: ClassVar[type[Operation]]

    def __init__(self, sessions: Sessions, address: str, locale: str) -> None:
        self.limits = sessions.limits
        self.loop = asyncio.get_running_loop()
        self.principal = ANONYMOUS
        self.operations: dict[str, Operation] = {}
        self.ended = False
        """Nothing is sent or received any more."""
        self.sessions = sessions
        self.task = cast("asyncio.Task[None]", asyncio.current_task())
        """What serves the connection; it ends with it."""
        self._address = address
        self._locale = locale
        self.token: str | None = None
        self._adopting = asyncio.Lock()
        self._suspensions = 0
        self._suspended = False
        self._tasks: set[asyncio.Task[None]] = set()
        now = self.loop.time()
        self._next_ping = now + self.limits.keep_alive * random.uniform(0.5, 1)
        self.due = now
        """When time asks for something next, in the loop's time; a peer that takes nothing is looked at besides."""
        self.recheck_at = now + self.limits.recheck * random.uniform(0.5, 1)

    # what a transport does

    @property
    @abstractmethod
    def outbox(self) -> Outbox:
        """What is on its way to the peer."""

    @abstractmethod
    def end(self, code: Close, reason: str) -> None:
        """End the connection, from anywhere; nothing happens when it has ended before."""

    @abstractmethod
    def ping(self) -> None:
        """Say that this side lives, and how far the feeds have got that are followed."""

    @abstractmethod
    def framed(self, id: str) -> tuple[bytes, bytes]:
        """What stands before and behind an answer of an operation."""

    @abstractmethod
    def tell_complete(self, id: str) -> None:
        """Say that an operation has completed."""

    @abstractmethod
    def tell_errors(self, id: str, errors: Sequence[dict[str, Any]]) -> None:
        """Say that an operation was refused, or has ended by ``errors``."""

    # time

    def tend(self, now: float, wall: float) -> None:
        """Do what time asks for, and note when it does next; ``now`` is of the loop, ``wall`` of the world."""
        outbox = self.outbox
        outbox.look(now)
        expires_at = self.principal.expires_at
        if expires_at is not None and wall >= expires_at:
            self.end(Close.FORBIDDEN, REASONS[Reason.EXPIRED])
        elif outbox.since is not None and now - outbox.since > self.limits.stall:
            self.end(Close.RESUME, "resume")
        elif now >= self._next_ping:
            self._next_ping = now + self.limits.keep_alive
            if outbox.since is None:
                self.ping()
        self.due = self._next_ping if expires_at is None else min(self._next_ping, now + expires_at - wall)

    # who is asking

    def suspend(self) -> None:
        """Hold back the events of all subscriptions until the rights of the caller are known again."""
        self._suspensions += 1
        self._suspended = True
        for operation in list(self.operations.values()):
            operation.hold()
        task = asyncio.create_task(self.recheck())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def recheck(self) -> None:
        """Look whether the session and the grants of the caller still hold, and end what they do not allow any more."""
        token, suspensions = self.token, self._suspensions
        if token is None or self.ended:
            return
        try:
            async with self._adopting:
                principal = await self.sessions.authenticator.principal(token)
                if token == self.token:
                    await self.adopt(principal, token)
        except Unauthenticated as error:
            if token == self.token:
                self.cut_off(error.reason)
        except Exception as error:
            log.warning("socket.not_rechecked", error=repr(error))
            self.recheck_at = self.loop.time()  # again at the next turn
        else:
            if suspensions == self._suspensions and self._suspended:
                self._suspended = False
                for operation in list(self.operations.values()):
                    operation.release()

    async def adopt(self, principal: Principal, token: str | None) -> None:
        """Go on as ``principal``; what it may not follow any more ends."""
        held, self.principal, self.due = self.principal, principal, 0.0
        try:
            if principal != replace(held, expires_at=principal.expires_at):
                for operation in list(self.operations.values()):
                    await operation.adopt(principal)
        except BaseException:
            self.principal = held
            raise
        self.token = token

    def cut_off(self, reason: Reason) -> None:
        """Close the connection, whose token does not hold any more."""
        if reason is Reason.REVOKED:
            # Coming back would not help the subscriptions; what else runs is a request that has begun.
            for operation in list(self.operations.values()):
                if operation.following is not None or operation.context.admission is not None:
                    operation.fail(AccessEnded(reason=EndReason.SESSION_REVOKED))
        self.end(Close.FORBIDDEN, REASONS[reason])

    # operations

    def operate(self, id: str, admit: Callable[[], Awaitable[Admitted]], after: str | None = None) -> None:
        """Run the operation that ``admit`` returns under a free ``id``; ``after`` is a cursor to go on from."""
        context = self.sessions.context(self.principal, self._locale, self._address)
        operation = self.operations[id] = self.operation_type(self, id, context)
        OPERATIONS.inc()
        if self._suspended:
            operation.hold()
        operation.start(admit, after)

    def drop(self, id: str, operation: Operation | None = None) -> Operation | None:
        """Take an operation, or whatever runs under ``id``, off the list; what was taken."""
        found = self.operations.get(id)
        if found is None or (operation is not None and found is not operation):
            return None
        del self.operations[id]
        OPERATIONS.dec()
        return found

    @property
    def busy(self) -> bool:
        """Whether the peer waits for the answer of a query or mutation."""
        return any(not operation.follows for operation in self.operations.values())

    def stop_all(self) -> None:
        """End all operations without a word."""
        for id in list(self.operations):
            operation = self.drop(id)
            if operation is not None:
                operation.stop()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    @property
    def tops(self) -> dict[str, str]:
        """Operation → cursor of the newest event in its feed that this process knows of."""
        tops: dict[str, str] = {}
        for id, operation in self.operations.items():
            top = operation.top
            if top is not None:
                tops[id] = top
        return tops


class Operation(Subscription):
    """One operation of a connection."""

    __slots__ = ("_before", "_behind", "_id", "_outbox", "_session")

    def __init__(self, session: Session, id: str, context: Context) -> None:
        super().__init__(session.sessions.hub, context)
        self._session = session
        self._outbox = session.outbox
        self._id = id
        self._before, self._behind = session.framed(id)

    def deliver(self, body: bytes, cursor: str | None, latest: bool) -> None:
        self._outbox.send((self._before, body, self._behind), self if latest else None)

    async def ready(self) -> None:
        await self._outbox.ready()

    def end(self, failure: Refused | Interrupted | None) -> None:
        session = self._session
        # The id is free before the client can know it: it may use it again at once.
        if session.drop(self._id, self) is None:
            return
        if failure is None:
            session.tell_complete(self._id)
        elif isinstance(failure, Refused):
            session.tell_errors(self._id, told(failure.errors, self.context.locale))
        else:
            session.end(Close.TRY_LATER, f"try again later {failure.error_id}".strip())
