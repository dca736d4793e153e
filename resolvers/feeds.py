"""Following and polling the feeds of :mod:`services.feeds` for one caller.

A subscription is admitted once and re-checked by its transport whenever its caller's grants may have changed
(:meth:`Admission.recheck`); every event is shown only if the caller may see the thing as it was then.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from auth.principals import Principal
from resolvers.base import key as key_in
from resolvers.base import page_size
from resolvers.context import Context
from services.columns import ALL
from services.errors import AccessEnded, EndReason, NotFound, PermissionDenied
from services.feeds import Feed
from subscriptions import paging
from subscriptions.feeds import Event, Policy
from subscriptions.paging import FeedPage
from subscriptions.updates import Update
from subscriptions.watchers import EventWatcher

T = TypeVar("T")


class Admission(Generic[T]):
    """What a running subscription was allowed to read.

    ``feed_name`` is the feed that it follows, ``feed`` how it is read, ``key`` what the caller named.
    """

    def __init__(self, context: Context, feed: Feed[T], key: UUID, feed_name: str) -> None:
        self._context = context
        self.feed = feed
        self.key = key
        self.feed_name = feed_name

    async def recheck(self, principal: Principal) -> None:
        """Go on as ``principal``, the same caller with other grants. Raises AccessEnded when it may not."""
        before, self._context.principal = self._context.principal, principal
        try:
            await self.feed.admit(self._context.runtime, principal, self.key)
        except (NotFound, PermissionDenied):
            lost = set(before.grants) > set(principal.grants) or before.rider_id != principal.rider_id
            raise AccessEnded(reason=EndReason.GRANT_REVOKED if lost else EndReason.NOT_A_PARTY) from None

    async def snapshot(self) -> tuple[int, T]:
        assert self.feed.snapshot is not None
        return await self.feed.snapshot(self._context.runtime, self._context.principal, self.key)

    def shows(self, value: T) -> bool:
        """Whether the caller may see ``value``, as far as can be told at once."""
        shows = self.feed.shows
        return shows is None or shows(self._context.principal, value)

    async def may_see(self, value: T) -> bool:
        """Whether the caller may see ``value``.

        Raises AccessEnded when what comes after it is none of the caller's business either.
        """
        if self.shows(value):
            return True
        await self.recheck(self._context.principal)
        return False

    async def shown(self, update: Update[T | Event]) -> Update[T] | None:
        """The update with what the caller is shown, None when it is shown nothing of it. Raises AccessEnded."""
        value: Any = update.value
        if isinstance(value, Event):
            assert self.feed.value is not None
            value = self.feed.value(value, ALL)
        return update.carrying(value) if await self.may_see(value) else None


async def admit(context: Context, feed: Feed[T], thing: str | UUID) -> Admission[T]:
    """Admit the caller to the feed of ``thing``, a public id or a key. Raises NotFound."""
    principal = context.principal
    key = key_in(feed.key, thing) if isinstance(thing, str) else thing
    admission = Admission(context, feed, key, await feed.admit(context.runtime, principal, key))
    context.admission = admission
    if context.principal is not principal:
        await admission.recheck(context.principal)
    return admission


class Following(AsyncIterator[Update[T]]):
    """What one subscription follows: a snapshot and everything that comes after it; after a final value nothing.

    Iterating raises NotFound at first and AccessEnded later. The hub, which shares work among those who follow the
    same, goes a shorter way: it admits, watches the feed itself and turns updates into what is shown.
    """

    def __init__(
        self, context: Context, feed: Feed[T], thing: str | UUID, after: str | None, min_interval: timedelta
    ) -> None:
        self.context = context
        self.feed = feed
        self.after = after
        """The cursor to resume from; may be set until the following begins."""
        self._thing = thing
        self._min_interval = min_interval
        self._admission: Admission[T] | None = None
        self._pulled: AsyncGenerator[Update[T], None] | None = None

    def __aiter__(self) -> Following[T]:
        return self

    async def __anext__(self) -> Update[T]:
        if self._pulled is None:
            self._pulled = self._pull()
        return await anext(self._pulled)

    async def aclose(self) -> None:
        if self._pulled is not None:
            await self._pulled.aclose()

    async def admit(self) -> Admission[T]:
        """Admit the caller. Raises NotFound."""
        self._admission = await admit(self.context, self.feed, self._thing)
        return self._admission

    @property
    def admission(self) -> Admission[T]:
        assert self._admission is not None
        return self._admission

    @property
    def lossless(self) -> bool:
        return self.feed.kind.policy is Policy.LOSSLESS

    def is_over(self, value: T) -> bool:
        """Whether nothing can follow ``value``."""
        return self.feed.over is not None and self.feed.over(value)

    @property
    def key(self) -> tuple[str, UUID]:
        """Equal for those who follow the same thing in the same way."""
        return (self.feed.name, self.admission.key)

    def watch(self, watcher: EventWatcher) -> AsyncGenerator[Update[T | Event] | None, None]:
        """The events of a lossless feed as they are in the log, for a watcher that parks."""
        admission = self.admission
        return self.context.tails.watch(watcher, admission.feed_name, self.after, admission.snapshot)

    def watch_latest(self) -> AsyncGenerator[Update[T] | None, None]:
        """The states of another feed, with None where nothing newer is known."""
        admission = self.admission
        return self.context.tails.watch_latest(admission.feed_name, self.after, admission.snapshot, self._min_interval)

    async def _pull(self) -> AsyncGenerator[Update[T], None]:
        admission = self._admission or await self.admit()
        feed, tails = self.feed, self.context.tails
        updates: AsyncGenerator[Update[Any], None]
        if self.lossless:
            updates = tails.follow(admission.feed_name, self.after, admission.snapshot)
        else:
            updates = tails.follow_latest(admission.feed_name, self.after, admission.snapshot, self._min_interval)
        last: Update[T] | None = None
        async with aclosing(updates):
            async for update in updates:
                told = await admission.shown(update)
                if told is None or (feed.distinct and last is not None and told.value == last.value and not told.reset):
                    continue
                yield told
                last = told
                if self.is_over(told.value):
                    return


def follow(
    context: Context, feed: Feed[T], thing: str | UUID, after: str | None, min_interval: timedelta = timedelta(0)
) -> Following[T]:
    """Follow the feed of ``thing``, a public id or a key."""
    return Following(context, feed, thing, after, min_interval)


async def poll(context: Context, feed: Feed[T], thing: str | UUID, after: str | None, first: int = 1) -> FeedPage[T]:
    """What follows ``after``, at most ``first`` updates; a snapshot without it. Raises NotFound, InvalidInput.

    Events that the caller may not see are left out, so that a page may be shorter although more follow.
    """
    admission = await admit(context, feed, thing)
    if feed.kind.policy is not Policy.LOSSLESS:
        return await paging.read_state(context.tails, admission.feed_name, after, admission.snapshot)
    page = await paging.read_events(context.tails, admission.feed_name, after, page_size(first), admission.snapshot)
    shown: list[Update[T]] = []
    for update in page.updates:
        told = await admission.shown(update)
        if told is not None:
            shown.append(told)
    return FeedPage(shown, page.cursor, page.has_more)
