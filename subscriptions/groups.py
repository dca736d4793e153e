"""What an event looks like to subscriptions that are told the same: made once, remembered for a little while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import aclosing
from typing import Any, Final, Protocol, cast

from gateway.execution import Answer, Gateway, Interrupted, Operation
from gateway.refusals import INTERNAL, TIMEOUT, UNAVAILABLE
from resolvers.context import Context
from resolvers.feeds import Following
from services.feeds import Feed
from subscriptions.feeds import Cursor, Event, cursor_text, tag_of
from subscriptions.updates import Update, UpdateKind

_OURS: Final = frozenset({INTERNAL, TIMEOUT})
_REMEMBERED: Final = 16
"""Renderings of the last events that a group of several keeps, for members that are a little behind."""


class Groups(Protocol):
    """Where the groups are; the hub."""

    gateway: Gateway

    def forget(self, group: Group) -> None:
        """Drop a group without members."""
        ...


class Member(Protocol):
    """A subscription, as its group knows it."""

    following: Following[Any] | None

    def take_state(self, offset: int, rendering: Rendering, over: bool) -> None:
        """Be told a state that was read; with ``over`` it is the last."""
        ...

    def fail(self, error: Exception | None) -> None:
        """End."""
        ...


class Rendering:
    """What one event looks like to a group. Until it is made those who want to send it wait."""

    __slots__ = ("body", "cost", "cursor", "failure", "offset", "value", "waiting")

    def __init__(self, value: Any, cursor: str | None, offset: int = -1) -> None:
        self.offset = offset
        self.value = value
        self.cursor = cursor
        self.body: bytes | None = None
        self.cost = 0
        self.failure: Interrupted | None = None
        self.waiting: list[Callable[[], None]] | None = None

    @property
    def made(self) -> bool:
        return self.body is not None or self.failure is not None

    def settle(self, answer: Answer) -> None:
        """Take the answer; an event that could not be read for a reason of ours is a failure.

        A client that was given it as an answer could not ask for it again; one that comes back with its last cursor
        gets it. A part that is missing because the database was away will be there then; one that is missing for
        another reason may stay so, and must not stop what comes after it.
        """
        codes = answer.codes
        if codes and (UNAVAILABLE in codes or (not answer.has_data and not _OURS.isdisjoint(codes))):
            self.fail(Interrupted(answer.error_id))
            return
        self.body = answer.body
        self.cost = answer.cost
        if self.waiting is not None:
            self._tell()

    def fail(self, failure: Interrupted) -> None:
        self.failure = failure
        self._tell()

    def when_made(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called when it is made, which it is not yet."""
        if self.waiting is None:
            self.waiting = []
        self.waiting.append(tell)

    def _tell(self) -> None:
        waiting, self.waiting = self.waiting, None
        for tell in waiting or ():
            tell()

    async def bytes(self) -> bytes:
        """The body, when it is made. Raises Interrupted."""
        if not self.made:
            made: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def tell() -> None:
                if not made.done():
                    made.set_result(None)

            self.when_made(tell)
            await made
        if self.failure is not None:
            raise self.failure
        assert self.body is not None
        return self.body


class Group:
    """Subscriptions that are told the same by the same bytes."""

    __slots__ = (
        "_context", "_event", "_groups", "_operation", "_remembered", "_rendering", "_tag", "_tasks", "feed", "key",
        "members",
    )  # fmt: skip

    def __init__(
        self, groups: Groups, key: Hashable, operation: Operation, context: Context, feed: Feed[Any] | None = None
    ) -> None:
        self.key = key
        self.feed = feed
        """What all members follow; None for one who is alone and follows something of another kind."""
        self.members: set[Member] = set()
        self._groups = groups
        self._operation = operation
        self._context = context.fresh()
        self._event: Event | None = None
        self._rendering: Rendering | None = None
        self._remembered: dict[str, tuple[Event, Rendering]] = {}
        self._tag: str | None = None
        self._tasks: set[asyncio.Future[None]] = set()

    def leave(self, member: Member) -> None:
        self.members.discard(member)
        if not self.members:
            self._groups.forget(self)

    def of_event(self, event: Event) -> Rendering:
        """The rendering of an event that all members of the feed are being handed."""
        if event is self._event:
            assert self._rendering is not None
            return self._rendering
        tag = self._tag
        if tag is None:
            tag = self._tag = tag_of(event.feed)
        cursor = cursor_text(self._context.tails.epoch, event.offset, tag)
        shared = len(self.members) > 1
        if not shared and not self._remembered:
            return self._of_logged(cursor, event)
        rendering = self._known(cursor, event)
        if shared:
            self._event, self._rendering = event, rendering
        return rendering

    def of_update(self, update: Update[Any]) -> Rendering:
        """The rendering of an update as it comes from the log."""
        event: Any = update.value
        if not isinstance(event, Event):
            return self.render(update, update.value, update.cursor)
        return self._known(update.cursor, event)

    def _known(self, cursor: str, event: Event) -> Rendering:
        known = self._remembered.get(cursor)
        # A log that was set back has another event there, and what failed may succeed for those who come back.
        if known is not None and known[0] == event and known[1].failure is None:
            return known[1]
        rendering = self._of_logged(cursor, event)
        if len(self.members) > 1:
            self._remembered[cursor] = (event, rendering)
            if len(self._remembered) > _REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
        return rendering

    def _of_logged(self, cursor: str, event: Event) -> Rendering:
        assert self.feed is not None and self.feed.value is not None
        value = self.feed.value(event, self._operation.columns)
        update = Update(cursor, UpdateKind.EVENT, event.type, event.at, None, value)
        return self.render(update, value, cursor, event.offset)

    def render(self, update: Any, value: Any = None, cursor: str | None = None, offset: int = -1) -> Rendering:
        """Execute the selection on one update, which carries ``value`` at ``cursor``."""
        rendering = Rendering(value, cursor, offset)
        answer = self._groups.gateway.render(self._operation, self._context, update)
        if isinstance(answer, Answer):
            rendering.settle(answer)
        else:
            task = asyncio.ensure_future(self._settle(rendering, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return rendering

    async def _settle(self, rendering: Rendering, answer: Awaitable[Answer]) -> None:
        try:
            rendering.settle(await answer)
        except Exception as error:
            rendering.fail(cast(Interrupted, self._groups.gateway.failure(error, self._context)))


class StateGroup(Group):
    """A group on a feed of states: one of its members, the leader, reads them for all."""

    __slots__ = ("_leader", "_task", "last", "logged")

    def __init__(self, groups: Groups, key: Hashable, operation: Operation, context: Context, feed: Feed[Any]) -> None:
        super().__init__(groups, key, operation, context, feed)
        self.last: tuple[int, Rendering] | None = None
        self.logged = feed.kind.logged
        self._leader: Member | None = None
        self._task: asyncio.Task[None] | None = None

    def lead(self, member: Member) -> None:
        """Let ``member``, which has joined, read for the group."""
        self._leader = member
        self._task = asyncio.create_task(self._read(member))

    def leave(self, member: Member) -> None:
        super().leave(member)
        if member is self._leader:
            self._leader = None
            if self._task is not None:
                self._task.cancel()
            successor = next(iter(self.members), None)
            if successor is not None:
                self.lead(successor)

    async def _read(self, leader: Member) -> None:
        following = leader.following
        assert following is not None
        feed = following.feed
        try:
            async with aclosing(following.watch_latest()) as updates:
                async for update in updates:
                    if update is None:
                        continue
                    if self.logged:
                        offset = offset_of(following, update.cursor)
                    else:  # looks are counted in place of events
                        offset = 0 if self.last is None else self.last[0] + 1
                    if self.last is not None and update.reset is None:
                        before = self.last[1]
                        same = self.logged and before.cursor == update.cursor
                        if same or (feed.distinct and before.value == update.value):
                            continue
                    rendering = self.render(update, update.value, update.cursor)
                    await rendering.bytes()
                    self.last = (offset, rendering)
                    over = feed.over is not None and feed.over(update.value)
                    for member in list(self.members):
                        member.take_state(offset, rendering, over)
                    if over:
                        return
        except Exception as error:
            leader.fail(error)


def offset_of(following: Following[Any], cursor: str) -> int:
    """The offset in a cursor of the feed that is followed, -1 when it is none of it."""
    decoded = Cursor.decode(cursor, following.admission.feed_name)
    return decoded.offset if decoded is not None else -1
