"""Cities, merchants and stores in the graph."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.merchants import StoreStatus
from models.ordering import FulfilmentMode, OrderState
from resolvers import (
    audit,
    catalog,
    delivery,
    devices,
    files,
    identity,
    insight,
    ordering,
    partners,
    queueing,
    webhooks,
)
from resolvers import merchants as resolvers
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import (
    ALL,
    A,
    C,
    Connection,
    D,
    GeoPoint,
    GeoPointInput,
    Int64,
    M,
    Money,
    Node,
    P,
    R,
    computed,
    exposes,
    money_field,
    mutation,
    node_id,
    query,
    result,
    shared,
    sized,
)  # fmt: skip
from services import merchants
from services.delivery.nearby import RiderSupply

if TYPE_CHECKING:
    from schema.audit import AuditEntry
    from schema.catalog import Category
    from schema.delivery import NearbyRider, Rider
    from schema.devices import Device
    from schema.files import Picture
    from schema.identity import Grant
    from schema.insight import CityOverview
    from schema.ordering import Order
    from schema.partners import Partner
    from schema.queueing import QueueBoard
    from schema.webhooks import StoreSharing

OrderType = Annotated["Order", strawberry.lazy("schema.ordering")]
PictureType = Annotated["Picture", strawberry.lazy("schema.files")]
RiderType = Annotated["Rider", strawberry.lazy("schema.delivery")]
SharingType = Annotated["StoreSharing", strawberry.lazy("schema.webhooks")]
StoreType = Annotated["Store", strawberry.lazy("schema.merchants")]


@exposes(merchants.CityRecord, shared=True)
@strawberry.type
class City(Node):
    id: strawberry.ID = node_id("City")
    slug: str
    name: str
    center: GeoPoint
    timezone: str = strawberry.field(description="IANA name; opening hours are on its wall clock.")
    currency: str = strawberry.field(description="ISO 4217.")
    overview: Annotated[CityOverview, strawberry.lazy("schema.insight")] = computed(
        insight.overview_of, A, needs=("id",)
    )

    @query(Connection[Annotated["Partner", strawberry.lazy("schema.partners")]], A, needs=("id",))
    async def partners(self, info: Info, first: int, after: str | None = None) -> object:
        """Integrators who work in the city, for its admins."""
        return await partners.city_partners(self, info, first, after)

    @query(Connection[RiderType], A, needs=("id",))
    async def riders(self, info: Info, first: int, online_only: bool = False, after: str | None = None) -> object:
        """Riders of the city, for its admins."""
        return await delivery.city_riders(self, info, online_only, first, after)

    @query(list[Annotated["NearbyRider", strawberry.lazy("schema.delivery")]], A, needs=("id",))
    async def riders_near(
        self, info: Info, location: GeoPointInput, first: int, radius_metres: int = 3000, free_only: bool = False
    ) -> object:
        """Online riders within the radius, the nearest first, for the city's admins."""
        return await delivery.riders_near(self, info, location.to_point(), radius_metres, free_only, first)

    @query(Connection[OrderType], A, needs=("id",))
    async def orders(
        self, info: Info, first: int, states: list[OrderState] | None = None, after: str | None = None
    ) -> object:
        """Orders of the city, newest first, for its admins."""
        return await ordering.city_orders(self, info, states, first, after)

    @query(Connection[Annotated["AuditEntry", strawberry.lazy("schema.audit")]], A, needs=("id",))
    async def audit_entries(
        self,
        info: Info,
        first: int,
        after: str | None = None,
        target: ID | None = None,
        actor: ID | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> object:
        """What people with power over others did in the city, the newest first, for its admins. Not at `until` any
        more."""
        return await audit.city_entries(self, info, first, after, target, actor, action, since, until)

    stores: Connection[StoreType] = computed(resolvers.stores_of_city, A, needs=("id",), description="Oldest first.")


@exposes(merchants.MerchantRecord, shared=True)
@strawberry.type(description="A business with one or more stores.")
class Merchant(Node):
    id: strawberry.ID = node_id("Merchant")
    name: str
    stores: Connection[StoreType] = computed(resolvers.stores_of_merchant, needs=("id",), description="Oldest first.")


@exposes(merchants.OpeningHours, shared=True)
@strawberry.type(description="Open from `opens` to `closes`, which is on the next day when it is not after `opens`.")
class StoreHours:
    weekday: int = strawberry.field(description="ISO: 1 Monday to 7 Sunday.")
    opens: str = strawberry.field(description="Local HH:MM.")
    closes: str = strawberry.field(description="Local HH:MM, up to 24:00.")


@exposes(merchants.TagRecord, shared=True)
@strawberry.type(description="A category for finding stores.")
class StoreTag(Node):
    id: strawberry.ID = node_id("StoreTag")
    slug: str
    name: str


@exposes(merchants.TableRecord, shared=True)
@strawberry.type
class DiningTable(Node):
    id: strawberry.ID = node_id("DiningTable")
    code: str
    seats: int


OPENING = ("status", "hours", "timezone")


@exposes(merchants.StoreRecord, shared=True)
@strawberry.type
class Store(Node):
    id: strawberry.ID = node_id("Store")
    name: str
    merchant: Merchant = shared(computed(resolvers.merchant_of, needs=("merchant_id",)))
    city: City = shared(computed(resolvers.city_of, needs=("city_id",)))
    location: GeoPoint
    address: str
    phone: str
    status: StoreStatus = strawberry.field(description="Set by the staff.")
    is_open: bool = shared(computed(resolvers.is_open, needs=OPENING, description="OPEN by status and by hours."))
    opens_at: datetime | None = shared(
        computed(
            resolvers.opens_at, needs=OPENING, description="The next opening when only its hours keep the store closed."
        )
    )
    hours: list[StoreHours]
    delivery_radius_metres: int = computed(resolvers.delivery_radius, needs=("delivery_radius_m",))
    delivery_area: list[GeoPoint] | None = strawberry.field(description="Replaces the delivery radius when set.")
    minimum_order: Money = money_field("minimum_order")
    delivery_fee: Money = money_field("delivery_fee")
    prep_minutes: int
    tags: list[StoreTag] = sized(5, shared(computed(resolvers.tags_of, needs=("tag_ids",))))
    distance_metres: int | None = strawberry.field(description="From `near` of the list the store was found in.")
    menu: list[Annotated[Category, strawberry.lazy("schema.catalog")]] = computed(
        catalog.menu_of, C, M, R, A, P, needs=("id",)
    )
    logo: PictureType | None = shared(computed(files.logo_of_store, C, M, R, A, P, needs=("id",)))
    photos: list[PictureType] = sized(
        9, shared(computed(files.photos_of_store, C, M, R, A, P, needs=("id",), description="In the store's order."))
    )
    tables: list[DiningTable] = sized(20, shared(computed(resolvers.tables_of, needs=("id",))))
    queue: Annotated[QueueBoard, strawberry.lazy("schema.queueing")] = computed(
        queueing.board_of, C, M, A, D, needs=("id",)
    )
    services: list[FulfilmentMode] = computed(resolvers.services_of, needs=("services",))
    rider_supply: RiderSupply = shared(
        computed(
            delivery.rider_supply,
            C,
            M,
            A,
            needs=("id",),
            description="How many riders near the store could take a delivery now.",
        )
    )

    terminals_online: int | None = computed(
        resolvers.terminals_online,
        M,
        A,
        needs=("id", "city_id"),
        description="Connections of its staff and devices some seconds ago.",
    )

    @query(Connection[OrderType], M, A, needs=("id", "city_id"))
    async def orders(
        self, info: Info, first: int, states: list[OrderState] | None = None, after: str | None = None
    ) -> object:
        """Orders of the store, newest first, for its staff."""
        return await ordering.store_orders(self, info, states, first, after)

    devices: list[Annotated[Device, strawberry.lazy("schema.devices")]] = computed(
        devices.devices_of,
        M,
        A,
        needs=("id", "city_id"),
        description="Oldest first, for the store's staff and the city's admins.",
    )
    sharings: Connection[SharingType] | None = computed(
        webhooks.sharings_of,
        M,
        A,
        needs=("id", "city_id"),
        description="Partners that are told of its orders, and those that an owner refused; null but for owners and "
        "admins.",
    )
    staff: list[Annotated[Grant, strawberry.lazy("schema.identity")]] = computed(
        identity.staff_of, M, A, needs=("id", "city_id")
    )


@strawberry.input
class RegisterMerchantInput:
    city: ID
    name: str
    owner_phone: str


@strawberry.input
class StoreHoursInput:
    weekday: int
    opens: str
    closes: str


@strawberry.input
class DiningTableInput:
    code: str
    seats: int


@strawberry.input
class CreateStoreInput:
    merchant: ID
    name: str
    address: str
    phone: str
    location: GeoPointInput
    hours: list[StoreHoursInput]
    delivery_radius_metres: int
    minimum_order: Int64
    delivery_fee: Int64
    prep_minutes: int
    tags: list[ID]
    services: list[FulfilmentMode]
    tables: list[DiningTableInput]
    delivery_area: list[GeoPointInput] | None = None

    def to_store(self) -> merchants.NewStore:
        area = self.delivery_area
        return merchants.NewStore(
            name=self.name,
            address=self.address,
            phone=self.phone,
            location=self.location.to_point(),
            hours=[merchants.OpeningHours(entry.weekday, entry.opens, entry.closes) for entry in self.hours],
            delivery_radius_m=self.delivery_radius_metres,
            delivery_area=None if area is None else [corner.to_point() for corner in area],
            minimum_order=self.minimum_order,
            delivery_fee=self.delivery_fee,
            prep_minutes=self.prep_minutes,
            services=self.services,
            tables=[merchants.NewTable(table.code, table.seats) for table in self.tables],
        )


class MerchantsQuery:
    @query(list[City], *ALL)
    async def cities(self, info: Info) -> object:
        """All cities by name."""
        return await resolvers.cities(info.context)

    @query(City | None, C, A)
    async def city(self, info: Info, id: ID) -> object:
        """One city."""
        return await resolvers.city(info.context, id)

    @query(Connection[Store], C, P)
    async def stores(
        self,
        info: Info,
        near: GeoPointInput,
        first: int,
        radius_metres: int = 5000,
        open_now: bool = False,
        tag: ID | None = None,
        search: str | None = None,
        after: str | None = None,
    ) -> object:
        """Stores around a place, nearest first. `search` looks in the names of stores, their tags and items."""
        return await resolvers.stores(info.context, near.to_point(), radius_metres, open_now, tag, search, first, after)

    @query(list[StoreTag], C, P, M)
    async def store_tags(self, info: Info) -> object:
        """All categories for finding stores."""
        return await resolvers.store_tags(info.context)

    @query(Store | None, C, M, A, P, R)
    async def store(self, info: Info, id: ID) -> object:
        """One store."""
        return await resolvers.store(info.context, id)

    @query(list[Store], M)
    async def my_stores(self, info: Info) -> object:
        """The stores the viewer works at, oldest first."""
        return await resolvers.my_stores(info.context)


class MerchantsMutation:
    @mutation(result("RegisterMerchantResult", Merchant), A)
    async def register_merchant(self, info: Info, input: RegisterMerchantInput) -> object:
        """Take a business in. Its owner, found by phone, can then create its stores."""
        return await resolvers.register_merchant(info.context, input.city, input.name, input.owner_phone)

    @mutation(result("CreateStoreResult", Store), M, A)
    async def create_store(self, info: Info, input: CreateStoreInput) -> object:
        """Open a store of a merchant the viewer owns, or one in the city the viewer administers."""
        return await resolvers.create_store(info.context, input.merchant, input.tags, input.to_store())

    @mutation(result("SetStoreStatusResult", Store), M)
    async def set_store_status(self, info: Info, store: ID, status: StoreStatus) -> object:
        """Open, pause or close a store by hand."""
        return await resolvers.set_store_status(info.context, store, status)
