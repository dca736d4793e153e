"""What one operation carries to every resolver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.types import Info as StrawberryInfo

from auth.principals import Principal
from services.runtime import Runtime
from subscriptions.tail import FeedTails

if TYPE_CHECKING:
    from resolvers.feeds import Admission

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class Context:
    """One operation: the ports, the caller, the caller's language, and this operation's loaders."""

    runtime: Runtime
    tails: FeedTails
    principal: Principal
    locale: str = "en"
    request_id: str = ""
    client_address: str = ""
    admission: Admission[Any] | None = None
    """What feed the caller was allowed to follow, once a subscription was admitted to one."""
    _loaders: dict[Any, DataLoader[Any, Any]] = field(default_factory=dict[Any, DataLoader[Any, Any]])

    def loader(self, load: Callable[[Context, list[K]], Awaitable[list[V]]]) -> DataLoader[K, V]:
        """This operation's batching loader around ``load(context, keys)``, which returns values in key order."""
        existing = self._loaders.get(load)
        if existing is None:

            async def load_fn(keys: list[K]) -> list[V]:
                return await load(self, keys)

            existing = self._loaders[load] = DataLoader(load_fn=load_fn)  # pyright: ignore[reportArgumentType]
        return cast(DataLoader[K, V], existing)

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
