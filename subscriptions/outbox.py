"""What is on its way to one connection: bounded, in order, and never in anybody else's way.

A message is written at once while the peer takes what it is sent. When it does not, messages wait here, up to a
limit in bytes and in number; a message that replaces an older one of its kind takes the older one's place and its
room. Whoever can wait (a snapshot, an answer, the reading of an old log) waits for :meth:`Outbox.ready` instead.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

from subscriptions.direct import DirectWebSocketProtocol

Parts = tuple[bytes, ...]
"""One message in pieces, most of which it shares with others."""

LIMIT_BYTES: Final = 512 * 1024
LIMIT_MESSAGES: Final = 1000


class Outbox:
    """Messages that wait for one connection. ``overflowed`` is called once when they are too many.

    Subclasses know the connection: whether it takes more, and how a message is written.
    """

    __slots__ = (
        "_bytes", "_limit_bytes", "_limit_messages", "_overflowed", "_ready", "_serial", "_waiting", "closed",
        "since",
    )  # fmt: skip

    def __init__(
        self, overflowed: Callable[[], None], limit_bytes: int = LIMIT_BYTES, limit_messages: int = LIMIT_MESSAGES
    ) -> None:
        self._overflowed = overflowed
        self._limit_bytes = limit_bytes
        self._limit_messages = limit_messages
        self._waiting: OrderedDict[Hashable, Parts] | None = None
        self._bytes = 0
        self._serial = 0
        self._ready: asyncio.Event | None = None
        self.closed = False
        self.since: float | None = None
        """When the connection last stopped taking messages, in the loop's time; None while it takes them."""

    def send(self, parts: Parts, replaces: Hashable = None) -> None:
        """Send a message, after those that wait; in the place of the waiting one sent with the same ``replaces``."""
        raise NotImplementedError

    async def ready(self) -> None:
        """Until nothing waits, and the connection takes more or is gone."""
        while not self.closed and (self._waiting or self.blocked):
            if self._ready is None:
                self._ready = asyncio.Event()
            await self._ready.wait()

    @property
    def blocked(self) -> bool:
        """Whether the connection takes nothing at the moment."""
        raise NotImplementedError

    @property
    def troubled(self) -> bool:
        """Whether it is to be looked at, because the connection does not take all that it is sent."""
        return self.since is not None or self.blocked

    @property
    def waiting(self) -> tuple[int, int]:
        """Number and bytes of the messages that wait here."""
        return (len(self._waiting), self._bytes) if self._waiting else (0, 0)

    def look(self, now: float) -> None:
        """Note at ``now``, in the loop's time, whether the peer takes anything."""

    def close(self) -> None:
        """Forget what waits; nothing is sent any more."""
        self.closed = True
        self._waiting = None
        self._bytes = 0
        self.since = None
        self._tell()

    def _put(self, parts: Parts, replaces: Hashable) -> None:
        if self.closed:
            return
        if self._waiting is None:
            self._waiting = OrderedDict()
        if self.since is None:
            self.since = asyncio.get_running_loop().time()
        if replaces is None:
            self._serial += 1
            replaces = self._serial
        old = self._waiting.get(replaces)
        self._waiting[replaces] = parts
        self._bytes += sum(map(len, parts)) - (sum(map(len, old)) if old is not None else 0)
        # A message alone may be as long as it is.
        many = len(self._waiting)
        if many > 1 and (self._bytes > self._limit_bytes or many > self._limit_messages):
            self.close()
            self._overflowed()

    def _pop(self) -> Parts | None:
        """The message that has waited longest."""
        if not self._waiting:
            return None
        _, parts = self._waiting.popitem(last=False)
        self._bytes -= sum(map(len, parts))
        if not self._waiting:
            self._waiting = None
        return parts

    def _tell(self) -> None:
        if self._ready is not None:
            self._ready.set()
            self._ready = None


class DirectOutbox(Outbox):
    """Writes into the transport of uvicorn's WebSocket protocol."""

    __slots__ = ("_protocol", "_unsent")

    def __init__(
        self,
        protocol: DirectWebSocketProtocol,
        overflowed: Callable[[], None],
        limit_bytes: int = LIMIT_BYTES,
        limit_messages: int = LIMIT_MESSAGES,
    ) -> None:
        super().__init__(overflowed, limit_bytes, limit_messages)
        self._protocol = protocol
        self._unsent = 0
        protocol.resumed = self._flush

    def send(self, parts: Parts, replaces: Hashable = None) -> None:
        if self._protocol.paused or self._waiting is not None or self.closed:
            self._put(parts, replaces)
        else:
            self._protocol.send_text(parts)

    @property
    def blocked(self) -> bool:
        return self._protocol.paused

    def look(self, now: float) -> None:
        unsent = self._protocol.unsent if self._protocol.paused else 0
        if not unsent:
            self.since = None if self._waiting is None else self.since
        elif self.since is None or unsent < self._unsent:
            self.since = now
        self._unsent = unsent

    def _flush(self) -> None:
        while not self._protocol.paused:
            parts = self._pop()
            if parts is None:
                self.since = None
                self._tell()
                return
            self._protocol.send_text(parts)


class TaskOutbox(Outbox):
    """Writes by a coroutine, ``write``, which returns when the connection takes more; a task while messages wait.

    ``together``: messages that wait may be written as one.
    """

    __slots__ = ("_task", "_together", "_write", "_writing")

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        overflowed: Callable[[], None],
        limit_bytes: int = LIMIT_BYTES,
        limit_messages: int = LIMIT_MESSAGES,
        *,
        together: bool = False,
    ) -> None:
        super().__init__(overflowed, limit_bytes, limit_messages)
        self._write = write
        self._together = together
        self._writing = False
        self._task: asyncio.Task[None] | None = None

    def send(self, parts: Parts, replaces: Hashable = None) -> None:
        self._put(parts, replaces)
        if self._task is None and not self.closed:
            self._task = asyncio.create_task(self._flush())

    @property
    def blocked(self) -> bool:
        return self._writing

    def close(self) -> None:
        super().close()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (parts := self._pop()) is not None:
                self.since = loop.time()
                self._writing = True
                while self._together and (more := self._pop()) is not None:
                    parts += more
                await self._write(b"".join(parts))
                self._writing = False
            self.since = None
        except OSError:
            self.close()  # the peer is gone; whoever reads from it learns it too
        finally:
            self._writing = False
            self._task = None
            self._tell()
