"""Signals between the processes of one installation, over broadcaster's ``Broadcast`` and ``BroadcastBackend``.

Signals are best effort: the event log is the truth, and a reader that may have missed some is told so and looks.

What broadcaster 0.3.1 gets wrong, and where it is dealt with (``tests/realtime/test_broadcaster.py`` notices when
one of these is mended):

- its Redis backend delivers nothing with redis-py 8, and its listener ends silently when Redis drops the
  connection: :class:`RedisBackend` is our own;
- two first subscribers of a channel that arrive together overwrite each other: :class:`BroadcastSignals` subscribes
  once per process and has one channel;
- its subscriber queues are unbounded: the one subscriber hands signals on without waiting for anything, so its
  queue is empty after each turn of the loop; queues of single watchers are bounded in :mod:`subscriptions.tail`;
- it replays nothing: after every (re)connection the backend sends :data:`GAP`, and the tails read the log's tops.

A connection may also be silent because nothing gets through any more (a frozen Redis, a firewall that forgot it): the
backend then asks for an answer and gives the connection up when none comes.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, cast

import orjson
from broadcaster import Broadcast, BroadcastBackend, Event
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio.client import PubSub

from clients.redis import AWAY, connect
from core import logs
from subscriptions.feeds import Carried, Signal

log = logs.get(__name__)

CHANNEL: Final = "signals"
GAP: Final = "null"
"""Message that stands for signals which may have been lost."""

_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 5.0
_TIMEOUT: Final = 2.0
_QUEUE: Final = 10_000
_WAITING: Final = 8 * 1024 * 1024
"""Characters that may wait for Redis."""
_TOGETHER: Final = 256 * 1024
"""Characters from which on a message to Redis is not made longer."""
_SEPARATOR: Final = "\x1e"
"""Between messages that travel as one; JSON has none."""

CONNECTED: Final = Gauge(
    "hutong_signals_connected",
    "1 while signals of other processes arrive; else the head check finds what they would tell.",
    registry=None,
)
CONNECTIONS: Final = Counter(
    "hutong_signals_connections_total", "Connections made to receive signals; all but the first again.", registry=None
)
UNSENT: Final = Counter("hutong_signals_unsent_total", "Messages of signals that Redis did not take.", registry=None)
TRAVEL: Final = Histogram(
    "hutong_signal_seconds",
    "From a commit in another process to its signal in this one, by the clocks of both.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=None,
)
METRICS: Final = (CONNECTED, CONNECTIONS, UNSENT, TRAVEL)
"""The gateway's registry exports them."""

Deliver = Callable[[Sequence[Signal] | None], None]
"""Takes signals, or None when some may have been lost. Must not block."""


class RedisBackend(BroadcastBackend):
    """Redis pub/sub that comes back by itself.

    A published message reaches this process's own subscriber at once, without Redis, so that a process alone with a
    broken Redis still serves its own clients; its echo from Redis is dropped by the origin it carries. To Redis it
    goes in the background: no writer waits for it, and messages that come together travel together.

    :param idle: seconds without a message after which the connection is tested; a second silence ends it.
    """

    def __init__(self, url: str, *, idle: float = 5.0) -> None:
        # A retry inside redis-py would reconnect without telling that messages were lost meanwhile.
        # With version 3 of the protocol it would write out every message for a debug log that nobody keeps.
        self._reader = connect(url, _TIMEOUT, retries=0, protocol=2)
        self._writer = connect(url, _TIMEOUT)
        self._idle = idle
        self._origin = os.urandom(6).hex()
        self._channels: set[str] = set()
        self._wanted = asyncio.Event()
        self._pubsub: PubSub | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        self._overflowed: set[str] = set()
        self._outgoing: deque[tuple[str, str]] = deque()
        self._outgoing_size = 0
        self._waiting = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """Begin; does not wait for Redis, which may come later."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._send())]

    async def disconnect(self) -> None:
        # redis-py can swallow a cancellation that comes while it connects: insist.
        while running := [task for task in self._tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=0.1)
        self._tasks = []
        await self._reader.aclose()
        await self._writer.aclose()

    async def subscribe(self, group: str) -> None:
        self._channels.add(group)
        self._wanted.set()
        if self._pubsub is not None:
            # On failure the listener sees it too, and subscribes to all channels again.
            with suppress(*AWAY):
                await self._pubsub.subscribe(group)

    async def unsubscribe(self, group: str) -> None:
        self._channels.discard(group)
        if self._pubsub is not None:
            with suppress(*AWAY):
                await cast(Any, self._pubsub).unsubscribe(group)

    async def publish(self, channel: str, message: Any) -> None:
        if channel in self._channels:
            self._put(channel, message)
        self._outgoing.append((channel, f"{self._origin} {time.time():.6f} {message}"))
        self._outgoing_size += len(self._outgoing[-1][1])
        while len(self._outgoing) > _QUEUE or (self._outgoing_size > _WAITING and len(self._outgoing) > 1):
            UNSENT.inc()  # the oldest makes room
            self._outgoing_size -= len(self._outgoing.popleft()[1])
        self._waiting.set()

    async def next_published(self) -> Event:
        if self._overflowed and self._events.empty():
            return Event(self._overflowed.pop(), GAP)
        return await self._events.get()

    def _put(self, channel: str, message: str) -> None:
        try:
            self._events.put_nowait(Event(channel, message))
        except asyncio.QueueFull:
            self._overflowed.add(channel)

    async def _send(self) -> None:
        """Publish what is waiting, all of it in one round trip; what fails is lost."""
        failing = False
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            pipeline: Any = self._writer.pipeline(transaction=False)
            count = len(self._outgoing)
            for channel, text in self._taken():
                pipeline.publish(channel, text)
            try:
                await pipeline.execute()
                failing = False
            except Exception as error:  # whatever it is, those who publish later must not suffer from it
                UNSENT.inc(count)
                if not failing:
                    log.warning("signals.publish_failed", error=repr(error))
                failing = True

    def _taken(self) -> list[tuple[str, str]]:
        """What is waiting, messages of a channel that follow each other together: each costs every process a turn."""
        taken: list[tuple[str, str]] = []
        together: list[str] = []
        size = 0
        while self._outgoing:
            channel, text = self._outgoing.popleft()
            together.append(text)
            size += len(text)
            if size >= _TOGETHER or not self._outgoing or self._outgoing[0][0] != channel:
                taken.append((channel, _SEPARATOR.join(together)))
                together, size = [], 0
        self._outgoing_size = 0
        return taken

    def _received(self, channel: str, text: str) -> None:
        for message in text.split(_SEPARATOR):
            origin, _, rest = message.partition(" ")
            if origin == self._origin:
                continue
            sent, _, body = rest.partition(" ")
            with suppress(ValueError):
                TRAVEL.observe(max(time.time() - float(sent), 0.0))
            self._put(channel, body)

    async def _listen(self) -> None:
        """Keep one subscribed connection; after each failure wait a little longer, up to five seconds."""
        delay = _FIRST_DELAY
        while True:
            await self._wanted.wait()
            pubsub: Any = cast(Any, self._reader).pubsub()
            try:
                await pubsub.subscribe(*self._channels)
                self._pubsub = pubsub
                silent = False
                while True:
                    message: dict[str, Any] | None = await pubsub.get_message(timeout=self._idle)
                    if message is None:
                        if silent:
                            raise ConnectionError("no answer")
                        await pubsub.ping()
                        silent = True
                        continue
                    silent = False
                    if message["type"] == "subscribe":
                        # Only now are later messages sure to come; whatever was published before may be lost.
                        self._put(message["channel"].decode(), GAP)
                        delay = _FIRST_DELAY
                        CONNECTED.set(1)
                        CONNECTIONS.inc()
                    elif message["type"] == "message":
                        self._received(message["channel"].decode(), message["data"].decode(errors="replace"))
            except Exception as error:  # whatever it is, the next connection may be better
                log.warning("signals.disconnected", error=repr(error), retry_in=delay)
            finally:
                self._pubsub = None
                CONNECTED.set(0)
                with suppress(*AWAY):
                    await pubsub.aclose()
            await asyncio.sleep(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, _LONGEST_DELAY)


class BroadcastSignals:
    """The program's signal port (:class:`services.runtime.Signals`).

    :param redis_url: Redis that connects the processes; None keeps signals inside this one.
    :param backend: another way to connect them.
    """

    def __init__(self, redis_url: str | None = None, *, backend: BroadcastBackend | None = None) -> None:
        if backend is None and redis_url is not None:
            backend = RedisBackend(redis_url)
        if backend is None:
            CONNECTED.set(1)  # there are no other processes
        self._broadcast = Broadcast(backend=backend) if backend is not None else Broadcast("memory://")
        self._pump: asyncio.Task[None] | None = None

    async def start(self, deliver: Deliver | None = None) -> None:
        """Connect and, with ``deliver``, hand it every signal of every process from now on."""
        await self._broadcast.connect()
        if deliver is not None:
            subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._pump = asyncio.create_task(self._run(deliver, subscribed))
            await subscribed

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        await self._broadcast.disconnect()

    async def publish(self, signals: Sequence[Signal]) -> None:
        """Send ``signals`` to all processes; never raises and never waits for the network."""
        try:
            await self._broadcast.publish(CHANNEL, encode(signals))
        except Exception as error:
            log.warning("signals.publish_failed", error=repr(error))

    async def _run(self, deliver: Deliver, subscribed: asyncio.Future[None]) -> None:
        async with self._broadcast.subscribe(CHANNEL) as subscriber:
            subscribed.set_result(None)
            while True:
                event = await subscriber.get()
                try:
                    signals = decode(event.message)
                except Exception as error:
                    log.warning("signals.unreadable", error=repr(error), message=event.message[:200])
                    signals = None  # a process of another version may have told anything by it
                try:
                    deliver(signals)
                except Exception as error:
                    log.warning("signals.undeliverable", error=repr(error), message=event.message[:200])


def encode(signals: Sequence[Signal]) -> str:
    """A line of JSON ``[log, [[type, at], …], [[feed, offset, value, n], …]]``; event n's payload is a line."""
    numbers: dict[int, int] = {}
    events: list[Carried] = []
    items: list[tuple[str, int | None, dict[str, Any] | None, int | None]] = []
    for signal in signals:
        event, number = signal.event, None
        if event is not None:
            number = numbers.setdefault(id(event), len(events))
            if number == len(events):
                events.append(event)
        items.append((signal.feed, signal.offset, signal.value, number))
    log = events[0].log if events else None
    head = orjson.dumps([log, [(event.type, event.at) for event in events], items]).decode()
    # JSON has no line breaks but between its values, and PostgreSQL writes none there.
    return "\n".join([head, *(event.text for event in events)])


def decode(message: str) -> list[Signal] | None:
    """The signals of a message, None for :data:`GAP`. Raises ValueError or TypeError on anything else."""
    head, *texts = message.split("\n")
    found: tuple[str, list[tuple[str, str]], list[tuple[str, int | None, dict[str, Any] | None, int | None]]] | None
    found = orjson.loads(head)
    if found is None:
        return None
    log, heads, items = found
    fromisoformat = datetime.fromisoformat
    events = [Carried(log, type, fromisoformat(at), text) for (type, at), text in zip(heads, texts, strict=True)]
    return [
        Signal(feed, offset, value, None if number is None else events[number]) for feed, offset, value, number in items
    ]
