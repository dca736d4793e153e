"""Between the gateway and the connections: operations become serialised answers, each of them made once.

Subscribers who follow the same thing by the same document, with the same variables below its root field, in the same
view and language, form a group. An event is executed and serialised once for the group; each member gets the same
bytes. Members of a group are the same to the event: where the document selects a field that depends on who asks
(:mod:`gateway.visibility`), only subscriptions of one caller with one set of grants share a group.

Sharing never decides who gets what. Each subscriber is admitted by itself, keeps its own position in the feed, reads
its own snapshot and asks for itself whether it may see an event; the group only remembers what an event looks like.

- On a lossless feed a subscriber reads by a task until it has caught up; then it parks, without a task, and the tail
  hands it the events as they come, all in one synchronous go from the log's page to the transport.
- On a feed of states one task per group reads the state after each change and sends it to all; a member whose
  connection takes nothing finds the newest when it goes on.
- Sources of any other kind are iterated by a task of each subscriber.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, cast

from graphql import OperationType
from prometheus_client import Gauge

from auth.principals import Principal
from core import logs
from gateway import metrics
from gateway.execution import Answer, Gateway, Interrupted, Operation
from gateway.refusals import Refused
from gateway.throttle import Meter
from resolvers.context import Context
from resolvers.feeds import Following
from subscriptions import watchers
from subscriptions.feeds import Event
from subscriptions.group_keys import GroupKeys
from subscriptions.groups import Group, Rendering, StateGroup, offset_of
from subscriptions.updates import Update
from subscriptions.watchers import EventWatcher

GROUPS: Final = Gauge("hutong_subscription_groups", "Groups that share executions.", registry=metrics.REGISTRY)


class Subscription(ABC):
    """One operation of a connection while it runs. Transports say how its answers travel."""

    __slots__ = (
        "_began", "_done", "_held", "_meter", "_operation", "_position", "_state", "_task", "_updates", "_waiting",
        "_watcher", "context", "following", "group", "hub",
    )  # fmt: skip

    def __init__(self, hub: Hub, context: Context) -> None:
        self.hub = hub
        self.context = context
        self.following: Following[Any] | None = None
        self.group: Group | None = None
        self._operation: Operation | None = None
        self._meter: Meter | None = None
        self._task: asyncio.Task[None] | None = None
        self._watcher: EventWatcher | None = None
        self._updates: AsyncGenerator[Update[Any] | None, None] | None = None
        self._waiting: deque[Rendering] | None = None
        self._state: tuple[int, Rendering, bool] | None = None
        self._position = -1
        self._held: asyncio.Event | None = None
        self._began = 0.0
        self._done = False

    # what a transport does

    @abstractmethod
    def deliver(self, body: bytes, cursor: str | None, latest: bool) -> None:
        """Send an answer. ``latest``: one that still waits may be replaced by it."""

    @abstractmethod
    async def ready(self) -> None:
        """Until the connection takes more."""

    @abstractmethod
    def end(self, failure: Refused | Interrupted | None) -> None:
        """Tell the client that nothing comes any more; it has not told so itself."""

    # from the connection

    def start(self, admit: Callable[[], Awaitable[Operation]], after: str | None = None) -> None:
        """Run the operation that ``admit`` returns; ``after`` is a cursor that the transport brings along."""
        self._task = asyncio.create_task(self._run(admit, after))

    def stop(self) -> None:
        """End without a word. A mutation that has begun goes on, as over HTTP."""
        if not self._done:
            self._close(None)

    def hold(self) -> None:
        """Deliver no event until :meth:`release`: it may be that the caller must not see it."""
        if self._held is None:
            self._held = asyncio.Event()
            self._unmake()

    def release(self) -> None:
        """Go on."""
        held, self._held = self._held, None
        if held is None or self._done:
            return
        held.set()
        self._flush()
        if self._state is not None and not self._done:
            state, self._state = self._state, None
            self.take_state(*state)

    async def adopt(self, principal: Principal) -> None:
        """Go on as ``principal``, the same caller with other grants, or end when that may not follow this."""
        if self._done:
            return
        try:
            await self.context.adopt(principal)
        except Exception as error:
            self.fail(error)
            return
        group, operation, following = self.group, self._operation, self.following
        if group is None or operation is None or following is None or self._done:
            return
        if group.key != self.hub.keys.of(operation, self.context, following):
            if isinstance(group, StateGroup):
                group.leave(self)
                self.group = self._state = None
                self._task = asyncio.create_task(self._guarded(self._follow_states()))
            else:
                group.leave(self)
                self.group = self.hub.join(self, operation, following)
                self._unmake()
                if self._waiting:  # made for other grants; who comes back gets it as it is for those that hold
                    self.fail(Interrupted(""))

    @property
    def top(self) -> str | None:
        """The cursor of the newest event that this process knows of in the feed that is followed."""
        if self.following is None or self.group is None:
            return None
        return self.context.tails.top_cursor(self.following.admission.feed_name)

    @property
    def follows(self) -> bool:
        """Whether this is a subscription, rather than something that is answered once."""
        return self._operation is not None

    # running

    def _send(self, rendering: Rendering, *, latest: bool) -> None:
        """Deliver what was made of an event, and count what it cost."""
        assert rendering.body is not None
        self.deliver(rendering.body, rendering.cursor, latest)
        if rendering.cost and self._meter is not None:
            self._meter.add(rendering.cost)

    async def _run(self, admit: Callable[[], Awaitable[Operation]], after: str | None) -> None:
        self._began = time.perf_counter()
        logs.REQUEST_ID.set(self.context.request_id)
        try:
            await self._permitted()  # so that a right that was granted a moment ago counts
            operation = await admit()
        except Exception as error:
            self.fail(error)
            return
        if operation.kind is OperationType.SUBSCRIPTION:
            self._operation = operation
            await self._guarded(self._subscribe(operation, after))
        else:
            await self._guarded(self._answer(operation))

    async def _guarded(self, work: Awaitable[bool]) -> None:
        """Until ``work`` has ended, which says whether the operation has ended with it, or is parked."""
        try:
            ended = await work
        except Exception as error:
            self.fail(error)
        else:
            if ended:
                self.fail(None)
            else:
                self._task = None

    async def _answer(self, operation: Operation) -> bool:
        answer = await self.hub.respond(operation, self.context)
        if not self._done:
            self.deliver(answer.body, None, False)
        return True

    async def _subscribe(self, operation: Operation, after: str | None) -> bool:
        source = await self.hub.gateway.open(operation, self.context)
        self._meter = self.hub.gateway.throttle.meter(self.context.principal, self.context.client_address)
        if isinstance(source, Following):
            following: Following[Any] = cast("Following[Any]", source)
            self.following = following
            if after is not None:
                following.after = after
            await following.admit()
            if following.lossless:
                self.group = self.hub.join(self, operation, following)
                self._watcher = EventWatcher(self._take)
                self._updates = following.watch(self._watcher)
                return await self._read()
            return await self._follow_states()
        return await self._iterate(operation, source)

    async def _iterate(self, operation: Operation, source: AsyncIterator[Any]) -> bool:
        """A source that nobody else can share."""
        try:
            async for event in source:
                value, cursor = getattr(event, "value", None), getattr(event, "cursor", None)
                while True:
                    principal = self.context.principal
                    group = Group(self.hub, None, operation, self.context)
                    rendering = group.render(event, value, cursor)
                    await rendering.bytes()
                    await self._permitted()
                    if principal is self.context.principal:
                        break
                self._send(rendering, latest=False)
                await self.ready()
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
        return True

    # on a lossless feed

    async def _read(self) -> bool:
        """Read the feed until it ends (True) or this parks (False)."""
        assert self._updates is not None and self.following is not None
        async for update in self._updates:
            if update is None:
                return False
            await self._flushed()
            while True:
                group = self.group
                assert group is not None
                rendering = group.of_update(update)
                await rendering.bytes()
                await self._permitted()
                if group is self.group:  # else it was made for other grants
                    break
            if not await self.following.admission.may_see(rendering.value):
                continue
            self._send(rendering, latest=False)
            if self.following.is_over(rendering.value):
                return True
            await self.ready()
        return True

    def _take(self, events: Sequence[Event] | None) -> None:
        """Called by the tail, while this is parked."""
        if events is None:
            self._task = asyncio.create_task(self._guarded(self._read()))
            return
        if self._held is not None:
            self._read_again(events[0].offset - 1)
            return
        group = self.group
        assert group is not None and group.feed is not None
        feed = group.feed
        try:
            for event in events:
                if self._waiting and len(self._waiting) >= watchers.QUEUE:
                    self._read_again(event.offset - 1)
                    return
                rendering = group.of_event(event)
                if feed.shows is not None and not feed.shows(self.context.principal, rendering.value):
                    self._read_again(event.offset - 1)
                    return
                if rendering.body is not None and not self._waiting:
                    self._send(rendering, latest=False)
                    if feed.over is not None and feed.over(rendering.value):
                        self.fail(None)
                        return
                else:
                    if self._waiting is None:
                        self._waiting = deque()
                    self._waiting.append(rendering)
                    if rendering.made:
                        self._flush()
                    else:
                        rendering.when_made(self._flush)
        except Exception as error:  # one event must not keep the others of its page from others
            self.fail(error)

    def _read_again(self, position: int) -> None:
        """Leave the shared stream, to read on from ``position`` with the time to ask whether that is allowed."""
        assert self.following is not None and self._watcher is not None
        self.context.tails.unpark(self.following.admission.feed_name, self._watcher, position)

    def _unmake(self) -> None:
        """While this is parked, have what waits for being made made again."""
        if self._waiting and self._watcher is not None and self._watcher.parked:
            position = self._waiting[0].offset - 1
            self._waiting = None
            self._read_again(position)

    def _flush(self) -> None:
        """Deliver what is made of what waits, in order."""
        while self._waiting and not self._done and self._held is None:
            rendering = self._waiting[0]
            if rendering.failure is not None:
                self.fail(rendering.failure)
            elif rendering.body is None:
                return
            else:
                self._waiting.popleft()
                assert self.following is not None
                if self.following.admission.shows(rendering.value):
                    self._send(rendering, latest=False)
                    if self.following.is_over(rendering.value):
                        self.fail(None)

    async def _flushed(self) -> None:
        """Until nothing waits for being made."""
        while self._waiting:
            await self._waiting[-1].bytes()
            await self._permitted()
            self._flush()

    async def _permitted(self) -> None:
        """Until nobody holds this back."""
        while self._held is not None:
            await self._held.wait()

    # on a feed of states

    async def _follow_states(self) -> bool:
        """Join the group of those who follow the same state, with an own first look at it.

        Without offsets nobody knows which of two looks is the later one: of a feed that is not logged the group's last
        look is the first.
        """
        operation, following = self._operation, self.following
        assert operation is not None and following is not None
        group, is_new = self.hub.join_states(self, operation, following)
        if is_new or not group.logged:
            self._join_states(group, is_new)
            return False
        group.members.discard(self)
        principal = self.context.principal
        async with aclosing(following.watch_latest()) as updates:
            first = await anext(updates)
        if first is not None:
            rendering = group.render(first, first.value, first.cursor)
            await rendering.bytes()
            await self._permitted()
            if principal is not self.context.principal:
                return await self._follow_states()
            self._send(rendering, latest=True)
            self._position = offset_of(following, first.cursor)
            if following.is_over(rendering.value):
                return True
            await self.ready()
        elif following.after is not None:
            self._position = offset_of(following, following.after)
        following.after = None
        self._join_states(*self.hub.join_states(self, operation, following))
        return False

    def _join_states(self, group: StateGroup, is_new: bool) -> None:
        if not group.logged:
            self._position = -1  # each group counts for itself
        self.group = group
        if is_new:
            group.lead(self)
        elif group.last is not None:
            self.take_state(*group.last, False)

    def take_state(self, offset: int, rendering: Rendering, over: bool) -> None:
        """Called by the group with a state that it has read."""
        if self._held is not None:
            self._state = (offset, rendering, over)
            return
        if offset > self._position:
            self._position = offset
            assert rendering.body is not None
            self._send(rendering, latest=True)
        if over:
            self.fail(None)

    # ending

    def fail(self, error: Exception | None) -> None:
        """End, for a reason of the client's, of ours, or for none."""
        if self._done:
            return
        failure = None if error is None else self.hub.gateway.failure(error, self.context)
        self._close(failure)
        self.end(failure)

    def _close(self, failure: Refused | Interrupted | None) -> None:
        self._done = True
        if self._operation is not None:
            self.hub.gateway.ended(self._operation, self.context, self._began, failure)
        if self.group is not None:
            self.group.leave(self)
        self._waiting = None
        if self._watcher is not None:
            self._watcher.take = None
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.add_done_callback(self._close_updates)
            task.cancel()
        else:
            self._close_updates()

    def _close_updates(self, _: object = None) -> None:
        """Close the generator, which stands at a yield and whose end waits for nothing."""
        if self._updates is not None:
            with suppress(StopIteration):
                cast(Any, self._updates.aclose()).send(None)


class Hub:
    """The groups of subscriptions of this process, and its running mutations."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._groups: dict[Hashable, Group] = {}
        self.keys = GroupKeys()
        self._mutations: set[asyncio.Task[Answer]] = set()
        GROUPS.set_function(lambda: len(self._groups))

    @property
    def groups(self) -> int:
        """Number of groups that have members."""
        return len(self._groups)

    async def respond(self, operation: Operation, context: Context) -> Answer:
        """The answer to a query or mutation. A mutation that has begun goes on when nobody waits any more."""
        if operation.kind is not OperationType.MUTATION:
            return await self.gateway.respond(operation, context)
        running = asyncio.create_task(self.gateway.respond(operation, context))
        self._mutations.add(running)
        running.add_done_callback(self._mutations.discard)
        return await asyncio.shield(running)

    async def finish(self) -> None:
        """Wait for the mutations that are still running."""
        if self._mutations:
            await asyncio.wait(self._mutations)

    # groups

    def join(self, member: Subscription, operation: Operation, following: Following[Any]) -> Group:
        """The group of a follower of a lossless feed, with ``member`` in it."""
        key = self.keys.of(operation, member.context, following)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self, key, operation, member.context, following.feed)
        group.members.add(member)
        return group

    def join_states(
        self, member: Subscription, operation: Operation, following: Following[Any]
    ) -> tuple[StateGroup, bool]:
        """The group of a follower of states, with ``member`` in it, and whether it is new."""
        key = self.keys.of(operation, member.context, following)
        group = cast("StateGroup | None", self._groups.get(key))
        is_new = group is None
        if group is None:
            group = self._groups[key] = StateGroup(self, key, operation, member.context, following.feed)
        group.members.add(member)
        return group, is_new

    def forget(self, group: Group) -> None:
        """Drop a group without members."""
        if self._groups.get(group.key) is group:
            del self._groups[group.key]
