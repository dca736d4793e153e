"""A city's figures and live map, for its admins."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.ordering import OrderState
from resolvers import insight as resolvers
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import A, Money, computed, exposes, shared, sized, subscription
from services import insight
from subscriptions.updates import UpdateKind

if TYPE_CHECKING:
    from schema.delivery import Delivery, Rider
    from schema.merchants import Store


@exposes(insight.OrderStateCount, views={A}, shared=True)
@strawberry.type
class OrderStateCount:
    state: OrderState
    count: int


@exposes(insight.CityOverview, views={A}, shared=True)
@strawberry.type(description="Figures of a city at one instant. Today is the city's local day.")
class CityOverview:
    at: datetime
    orders_by_state: list[OrderStateCount] = sized(
        20, strawberry.field(description="Orders placed today, in every state.")
    )
    orders_today: int
    active_orders: int = strawberry.field(description="Paid and not yet handed over, of any day.")
    riders_online: int
    riders_busy: int = strawberry.field(description="Online with an offer or a delivery.")
    deliveries_waiting: int = strawberry.field(description="No rider has accepted yet.")
    stores_open: int
    queue_waiting: int = strawberry.field(description="Parties waiting for a table.")
    gross_today: Money = strawberry.field(
        description="Totals of today's paid orders that were not rejected or cancelled, before partial refunds."
    )
    click_to_door_mean_seconds: int | None = strawberry.field(
        description="From placing to the door, of today's delivered deliveries."
    )
    click_to_door_p90_seconds: int | None
    rider_connections: int = strawberry.field(description="Open connections of riders' apps, some seconds ago.")


@exposes(views={A}, shared=True)
@strawberry.type(description="The city now, at most once a second. Intermediate changes are skipped.")
class CityUpdate:
    cursor: str
    kind: UpdateKind
    at: datetime
    overview: CityOverview = strawberry.field(resolver=resolvers.overview_in)
    stores: list[Annotated[Store, strawberry.lazy("schema.merchants")]] = sized(
        100, shared(computed(resolvers.stores_in))
    )
    riders: list[Annotated[Rider, strawberry.lazy("schema.delivery")]] = sized(
        100, shared(computed(resolvers.riders_in, description="Online riders whose position is known."))
    )
    deliveries: list[Annotated[Delivery, strawberry.lazy("schema.delivery")]] = sized(
        100, shared(computed(resolvers.deliveries_in, description="Waiting for a rider or under way."))
    )


class InsightSubscription:
    @subscription(CityUpdate, A)
    def city_updates(self, info: Info, city: ID) -> object:
        """The city's figures and live map, after any change."""
        return resolvers.city_updates(info.context, city)
