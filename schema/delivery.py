"""Riders and deliveries in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry

from core import ids
from core.geo import Crs, Point
from models.delivery import DeliveryState
from resolvers import delivery as resolvers
from resolvers.context import Info
from resolvers.delivery import Offer, Sighting
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import (
    A,
    C,
    Connection,
    FeedPage,
    GeoPoint,
    GeoPointInput,
    M,
    Money,
    Node,
    R,
    built_by,
    computed,
    exposes,
    money_field,
    mutation,
    node_id,
    only,
    query,
    result,
    shared,
    sized,
    subscription,
)  # fmt: skip
from services import errors
from services.delivery import nearby
from services.delivery.fixes import Fix, FixProblem, Position
from services.delivery.fixes import ImplausibleFix as ImplausibleFixRecord
from services.delivery.fixes import LocationReport as LocationReportRecord
from services.delivery.reading import RiderRecord
from services.delivery.tracks import TrackPoint as TrackPointRecord
from services.feeds import TasksChange
from services.ordering.records import DeliveryRecord
from subscriptions.updates import FeedReset as FeedResetRecord
from subscriptions.updates import ResetReason, UpdateKind

if TYPE_CHECKING:
    from schema.ordering import Order

ANYONE = frozenset({C, M, R, A})
OrderType = Annotated["Order", strawberry.lazy("schema.ordering")]


@exposes(FeedResetRecord, shared=True)
@strawberry.type(description="The log no longer reaches back to `after`: this snapshot replaces what you had.")
class FeedReset:
    reason: ResetReason


@exposes(Position, views=ANYONE, shared=True)
@strawberry.type
class RiderLocation:
    location: GeoPoint
    recorded_at: datetime
    accuracy_metres: float | None
    heading: float | None = strawberry.field(description="Degrees clockwise from north.")
    speed: float | None = strawberry.field(description="Metres per second.")
    age_seconds: int = shared(
        computed(resolvers.age_of, description="When it was sent; `recordedAt` says it at any time.")
    )
    is_stale: bool = shared(computed(resolvers.is_stale, description="Too old to be taken for where the rider is."))


@exposes(TrackPointRecord, views={R, A})
@strawberry.type(description="Where the rider of a delivery was.")
class TrackPoint:
    location: GeoPoint
    recorded_at: datetime
    accuracy_metres: float | None


@exposes(RiderRecord, views=ANYONE, shared=True)
@strawberry.type
class Rider(Node):
    id: strawberry.ID = node_id("Rider")
    name: str
    phone: str = shared(
        computed(
            resolvers.phone_of, needs=("id", "city_id", "phone"), description="Masked for everybody but the rider."
        ),
        C,
        M,
    )
    online: bool
    location: GeoPoint | None = computed(resolvers.own_location, R, A, needs=("id", "city_id", "position"))
    located_at: datetime | None = strawberry.field(metadata=only(R, A))
    position: RiderLocation | None = computed(resolvers.own_position, R, A, needs=("id", "city_id", "position"))
    connected: bool | None = computed(
        resolvers.is_connected,
        A,
        needs=("id", "city_id"),
        description="Whether the app was connected some seconds ago.",
    )
    current_task: Annotated[Delivery, strawberry.lazy("schema.delivery")] | None = computed(
        resolvers.current_task,
        R,
        A,
        needs=("id", "city_id", "active_delivery_id"),
        description="What the rider is offered or carries out.",
    )


@exposes(Offer, views={M, R, A}, shared=True)
@strawberry.type
class DeliveryOffer:
    rider: Rider = shared(computed(resolvers.offered_rider, needs=("rider_id",)))
    expires_at: datetime


def _pickup(root: Any) -> Point:
    return Point(root.pickup_latitude, root.pickup_longitude)


def _dropoff(root: Any) -> Point:
    return Point(root.dropoff_latitude, root.dropoff_longitude)


def _distance_metres(root: Any) -> int:
    return root.distance_m


@exposes(DeliveryRecord, views=ANYONE, shared=True)
@strawberry.type
class Delivery(Node):
    id: strawberry.ID = node_id("Delivery")
    state: DeliveryState
    order: OrderType
    rider: Rider | None = shared(
        computed(resolvers.rider_of, needs=("rider_id", "state"), description="Once a rider has the job.")
    )
    pickup: GeoPoint = computed(_pickup, needs=("pickup_latitude", "pickup_longitude"))
    dropoff: GeoPoint = computed(_dropoff, needs=("dropoff_latitude", "dropoff_longitude"))
    distance_metres: int = computed(_distance_metres, needs=("distance_m",))
    offer: DeliveryOffer | None = computed(resolvers.offer_of, M, R, A, needs=("rider_id", "state", "offer_expires_at"))
    pickup_eta: datetime | None
    eta: datetime | None
    fee: Money = money_field("fee")
    rider_location: RiderLocation | None = shared(
        computed(resolvers.location_of, needs=("id", "state"), description="Only while a rider is on the job.")
    )
    track: Connection[TrackPoint] = computed(
        resolvers.track_of, R, A, needs=("id", "city_id", "rider_id"), description="Oldest first; kept for a while."
    )


@exposes(nearby.NearbyRider, views={A})
@strawberry.type
class NearbyRider:
    rider: Rider
    distance_metres: int


@exposes(ImplausibleFixRecord, views={R})
@strawberry.type(description="A fix that was not believed.")
class ImplausibleFix:
    index: int
    problem: FixProblem


@exposes(LocationReportRecord, views={R})
@strawberry.type
class LocationReport:
    accepted: int
    ignored: int = strawberry.field(description="Fixes that were known, older than the last position, or implausible.")
    implausible: list[ImplausibleFix]
    last: RiderLocation | None
    received_at: datetime = strawberry.field(description="By the server's clock: correct the phone's by it.")


def _fix(given: Mapping[str, Any]) -> Fix:
    return Fix(
        Point(given["latitude"], given["longitude"], given["crs"]),
        given["recordedAt"],
        given.get("accuracyMetres"),
        given.get("heading"),
        given.get("speed"),
    )


@built_by(_fix)
@strawberry.input
class LocationFixInput:
    latitude: float
    longitude: float
    recorded_at: datetime
    crs: Crs = Crs.GCJ02
    accuracy_metres: float | None = None
    heading: float | None = None
    speed: float | None = None


def _tasks(root: Any) -> list[DeliveryRecord]:
    change: TasksChange = root.value
    return change.tasks


def _gone(root: Any) -> list[strawberry.ID]:
    change: TasksChange = root.value
    return [strawberry.ID(ids.encode("Delivery", delivery)) for delivery in change.gone]


@exposes(views={R}, shared=True)
@strawberry.type
class RiderTasksUpdate:
    cursor: str
    kind: UpdateKind
    type: str | None
    at: datetime
    reset: FeedReset | None
    tasks: list[Delivery] = sized(3, computed(_tasks, description="SNAPSHOT: all tasks; EVENT: the one that changed."))
    gone: list[strawberry.ID] = computed(
        _gone, description="Deliveries that are the rider's no longer: declined, offered to others, or called off."
    )


def _position(root: Any) -> Position:
    sighting: Sighting = root.value
    return sighting.position


def _eta(root: Any) -> datetime | None:
    sighting: Sighting = root.value
    return sighting.eta


@exposes(views={C, M, A}, shared=True)
@strawberry.type
class RiderLocationUpdate:
    cursor: str
    kind: UpdateKind
    at: datetime
    rider_location: RiderLocation = computed(_position)
    eta: datetime | None = computed(_eta)


TASK_ERRORS = (errors.DeliveryActionNotAllowed,)


@strawberry.type
class DeliveryQuery:
    @query(Rider | None, R)
    async def rider(self, info: Info) -> object:
        """The caller as a rider."""
        return await resolvers.viewer_rider(info.context)

    @query(list[Delivery], R)
    async def my_tasks(self, info: Info) -> object:
        """What I am offered and what I carry out."""
        return await resolvers.my_tasks(info.context)

    @query(list[Delivery], R)
    async def open_deliveries(self, info: Info, first: int) -> object:
        """Deliveries that can be grabbed, the nearest store first."""
        return await resolvers.open_deliveries(info.context, first)

    @query(FeedPage[RiderTasksUpdate], R)
    async def rider_tasks_feed(self, info: Info, first: int, after: str | None = None) -> object:
        """Polls what `riderTasks` sends: a snapshot, or the events after a cursor, 100 at most."""
        return await resolvers.rider_tasks_feed(info.context, after, first)


@strawberry.type
class DeliveryMutation:
    @mutation(result("GoOnlineResult", Rider), R)
    async def go_online(self, info: Info, location: GeoPointInput) -> object:
        """Be ready for offers."""
        return await resolvers.go_online(info.context, location.to_point())

    @mutation(result("GoOfflineResult", Rider, errors.RiderBusy), R)
    async def go_offline(self, info: Info) -> object:
        """Get no more offers; an open offer is declined."""
        return await resolvers.go_offline(info.context)

    @mutation(result("ReportLocationResult", LocationReport, errors.LocationRejected, errors.RiderOffline), R)
    async def report_location(self, info: Info, fixes: list[LocationFixInput]) -> object:
        """Tell 1–100 positions, in any order and as often as needed: the newest by `recordedAt` counts."""
        return await resolvers.report_location(info.context, cast(list[Fix], fixes))

    @mutation(result("AcceptOfferResult", Delivery, errors.OfferExpired, *TASK_ERRORS), R)
    async def accept_offer(self, info: Info, delivery: strawberry.ID) -> object:
        """Take the offered delivery."""
        return await resolvers.accept_offer(info.context, delivery)

    @mutation(result("DeclineOfferResult", Delivery, *TASK_ERRORS), R)
    async def decline_offer(self, info: Info, delivery: strawberry.ID) -> object:
        """Leave the offered delivery to others."""
        return await resolvers.decline_offer(info.context, delivery)

    @mutation(
        result(
            "GrabDeliveryResult", Delivery, errors.DeliveryTaken, errors.RiderBusy, errors.RiderOffline, *TASK_ERRORS
        ),
        R,
    )
    async def grab_delivery(self, info: Info, delivery: strawberry.ID) -> object:
        """Take a delivery that looks for a rider."""
        return await resolvers.grab_delivery(info.context, delivery)

    @mutation(result("ArriveAtStoreResult", Delivery, *TASK_ERRORS), R)
    async def arrive_at_store(self, info: Info, delivery: strawberry.ID) -> object:
        """I am at the store."""
        return await resolvers.arrive_at_store(info.context, delivery)

    @mutation(result("PickUpDeliveryResult", Delivery, errors.OrderActionNotAllowed, *TASK_ERRORS), R)
    async def pick_up_delivery(self, info: Info, delivery: strawberry.ID) -> object:
        """I have the finished order."""
        return await resolvers.pick_up_delivery(info.context, delivery)

    @mutation(result("CompleteDeliveryResult", Delivery, errors.OrderActionNotAllowed, *TASK_ERRORS), R)
    async def complete_delivery(self, info: Info, delivery: strawberry.ID) -> object:
        """The consumer has it."""
        return await resolvers.complete_delivery(info.context, delivery)


@strawberry.type
class DeliverySubscription:
    @subscription(RiderTasksUpdate, R)
    def rider_tasks(self, info: Info, after: str | None = None) -> object:
        """My tasks: all of them first, then every change."""
        return resolvers.rider_tasks(info.context, after)

    @subscription(RiderLocationUpdate, C, M, A)
    def rider_location(self, info: Info, order: strawberry.ID, min_interval_ms: int = 1000) -> object:
        """Where the rider of the order is; latest wins. Ends with ACCESS_ENDED when the delivery is over."""
        return resolvers.rider_location(info.context, order, min_interval_ms)
