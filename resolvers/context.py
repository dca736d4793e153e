"""What one operation carries to every resolver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

import strawberry
from strawberry.types import Info as StrawberryInfo

from auth.principals import Principal
from resolvers.loading import Loader
from services.columns import ALL, Columns
from services.runtime import Runtime
from subscriptions.tail import FeedTails

if TYPE_CHECKING:
    from resolvers.feeds import Admission

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Load: TypeAlias = "Callable[[Context, list[K]], Awaitable[Sequence[V | Exception]]]"
"""Reads distinct keys: their values in the same order, an exception as the value of a key that failed."""


@dataclass(slots=True)
class Context:
    """One operation: the ports, the caller, the caller's language, and this operation's loaders."""

    runtime: Runtime
    tails: FeedTails
    principal: Principal
    locale: str = "en"
    request_id: str = ""
    client_address: str = ""
    columns: Columns = ALL
    """What the operation shows of the records it reads."""
    admission: Admission[Any] | None = None
    """What feed the caller was allowed to follow, once a subscription was admitted to one."""
    _loaders: dict[Any, Loader[Any, Any]] = field(default_factory=dict[Any, Loader[Any, Any]])

    def loader(self, load: Load[K, V]) -> Loader[K, V]:
        """This operation's loader around ``load``."""
        existing = self._loaders.get(load)
        if existing is None:
            existing = self._loaders[load] = Loader(partial(load, self))
        return cast(Loader[K, V], existing)

    def forget(self) -> None:
        """Let go of what was read, when the operation is over.

        Loaders hold the context that holds them: what they have read would stay until the garbage collector comes.
        """
        self._loaders.clear()

    async def adopt(self, principal: Principal) -> None:
        """Go on as ``principal``: the same caller, whose grants may have changed.

        Raises AccessEnded when the feed that is followed is none of theirs any more.
        """
        if self.admission is None:
            self.principal = principal
        else:
            await self.admission.recheck(principal)

    def fresh(self) -> Context:
        """The same caller with empty loaders, for the next event of a subscription."""
        return Context(self.runtime, self.tails, self.principal, self.locale, self.request_id, self.client_address)


Info: TypeAlias = StrawberryInfo[Context, None]

ID = strawberry.ID


@dataclass(frozen=True, slots=True)
class Batch(Generic[K, V]):
    """How a field of many objects is read at once: ``load`` for the keys that ``key`` takes from the objects.

    An object whose key is None has no value.
    """

    load: Load[K, V]
    key: Callable[[Any], K | None]


class Batched(Protocol[K, V]):
    """A field's resolver that says, for whoever executes a whole list, what it does."""

    batch: Batch[K, V]

    def __call__(self, root: Any, info: Info) -> Coroutine[Any, Any, V | None]: ...


def by_arguments(
    read: Callable[[Context, list[K], Any], Awaitable[Mapping[K, V]]],
) -> Load[tuple[K, Any], V]:
    """For fields with arguments: a loader of (key, arguments) that calls ``read`` once for all keys with the same."""

    async def load(context: Context, keys: list[tuple[K, Any]]) -> list[V]:
        found: dict[tuple[K, Any], V] = {}
        for arguments in dict.fromkeys(arguments for _, arguments in keys):
            wanted = [key for key, asked in keys if asked == arguments]
            values = await read(context, wanted, arguments)
            found.update(((key, arguments), values[key]) for key in wanted)
        return [found[asked] for asked in keys]

    return load


def batched(load: Load[K, V], key: Callable[[Any], K | None]) -> Batched[K, V]:
    """The resolver of a field that ``load`` reads by ``key(root)``; None, unread, where that is None."""

    async def resolve(root: Any, info: Info) -> V | None:
        wanted = key(root)
        return None if wanted is None else await info.context.loader(load).load(wanted)

    resolver = cast(Batched[K, V], resolve)
    resolver.batch = Batch(load, key)
    return resolver
