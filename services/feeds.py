"""Every feed: who may read it, from which state one starts, and what an event of it says.

Subscriptions, polls and re-checks all read feeds through this table; ``docs/realtime.md`` prints it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from auth.principals import Principal, View
from models.queueing import QueueTicketState
from services import devices, insight, merchants, queueing
from services.columns import ALL, Columns
from services.delivery import reading as riders
from services.devices import CommandRecord, DeviceRecord
from services.errors import NotFound
from services.insight import CityOverview
from services.ordering import reading as orders
from services.ordering.machine import ACTORS_LOOK_AT, actor_of
from services.ordering.records import DeliveryRecord, OrderRecord, orders_in_json
from services.queueing import Board, Ticket
from services.runtime import Runtime
from subscriptions.feeds import (
    CITY,
    DEVICE_COMMANDS,
    ORDER,
    QUEUE,
    RIDER_LOCATION,
    RIDER_TASKS,
    STORE_DEVICES,
    STORE_ORDERS,
    Event,
    FeedKind,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Feed(Generic[T]):
    """How callers read one kind of feed. ``T`` is what an update carries."""

    name: str
    """The subscription's name in the schema."""
    kind: FeedKind
    key: str
    """The type of the thing whose id the reader gives."""
    readers: str
    """In words: who passes ``admit``."""
    admit: Callable[[Runtime, Principal, UUID], Awaitable[str]]
    """The name of the feed to follow, for a principal who may read it. Raises NotFound."""
    snapshot: Callable[[Runtime, Principal, UUID], Awaitable[tuple[int, T]]] | None = None
    """``(offset, state)`` of one instant. Raises NotFound."""
    value: Callable[[Event, Columns], T] | None = None
    """What an event says, as far as it is looked at. None: the state is read again after an event."""
    shows: Callable[[Principal, T], bool] | None = None
    """Whether an admitted principal may see this value; None: every one."""
    over: Callable[[T], bool] | None = None
    """Whether nothing can follow this value."""
    distinct: bool = False
    """Whether an update that leaves the value as it was is passed over."""
    poll: str | None = None
    """The query that polls the same feed; None: it is not logged."""


def order_in(event: Event, columns: Columns = ALL) -> OrderRecord:
    """The order as it was when the event happened: what is wanted of it, and what says who may see it."""
    return orders_in_json(columns, ACTORS_LOOK_AT)(event.payload["order"])


# one order


async def _admit_to_order(runtime: Runtime, principal: Principal, order_id: UUID) -> str:
    await orders.get(runtime, principal, order_id)
    return ORDER.of(order_id)


async def _order(runtime: Runtime, principal: Principal, order_id: UUID) -> tuple[int, OrderRecord]:
    return await orders.snapshot(runtime, order_id)


def _is_party(principal: Principal, order: OrderRecord) -> bool:
    return actor_of(order, principal) is not None


# a store's board


async def _admit_to_board(runtime: Runtime, principal: Principal, store_id: UUID) -> str:
    if not principal.works_at(store_id):
        store = await merchants.get_store(runtime, store_id)
        if not principal.administers(store.city_id):
            raise NotFound(resource="Store")
    return STORE_ORDERS.of(store_id)


async def _board(runtime: Runtime, principal: Principal, store_id: UUID) -> tuple[int, list[OrderRecord]]:
    return await orders.board(runtime, store_id)


# a rider's tasks


async def _admit_to_tasks(runtime: Runtime, principal: Principal, rider_id: UUID) -> str:
    if principal.rider_id != rider_id:
        raise NotFound(resource="Rider")
    return RIDER_TASKS.of(rider_id)


@dataclass(frozen=True, slots=True)
class TasksChange:
    """Deliveries that are the rider's, and the keys of those that no longer are: of these the rider is told no more."""

    tasks: list[DeliveryRecord]
    gone: list[UUID]


async def _tasks(runtime: Runtime, principal: Principal, rider_id: UUID) -> tuple[int, TasksChange]:
    offset, tasks = await riders.tasks(runtime, rider_id)
    return offset, TasksChange(tasks, [])


def _task_of(event: Event, columns: Columns) -> TasksChange:
    delivery = order_in(event, columns).delivery
    if delivery is None:
        return TasksChange([], [])
    if delivery.rider_id is None or RIDER_TASKS.of(delivery.rider_id) != event.feed:
        return TasksChange([], [delivery.id])
    return TasksChange([delivery], [])


# a store's queue


async def _admit_to_queue(runtime: Runtime, principal: Principal, store_id: UUID) -> str:
    if principal.view is View.DEVICE and not principal.works_at(store_id):
        raise NotFound(resource="Store")
    await merchants.get_store(runtime, store_id)
    return QUEUE.of(store_id)


async def _admit_to_ticket(runtime: Runtime, principal: Principal, ticket_id: UUID) -> str:
    ticket = await queueing.get_ticket(runtime, principal, ticket_id)
    return QUEUE.of(ticket.store_id)


_FINAL_TICKETS: Final = frozenset({QueueTicketState.SEATED, QueueTicketState.CANCELLED, QueueTicketState.EXPIRED})


def _ticket_is_over(ticket: Ticket) -> bool:
    return ticket.state in _FINAL_TICKETS


# devices


async def _admit_to_commands(runtime: Runtime, principal: Principal, device_id: UUID) -> str:
    device = await devices.own(runtime, principal)
    if device.id != device_id:
        raise NotFound(resource="Device")
    return DEVICE_COMMANDS.of(device_id)


async def _commands(runtime: Runtime, principal: Principal, device_id: UUID) -> tuple[int, list[CommandRecord]]:
    return await devices.snapshot(runtime, await devices.own(runtime, principal))


async def _admit_to_devices(runtime: Runtime, principal: Principal, store_id: UUID) -> str:
    await devices.require_staff(runtime, principal, store_id)
    return STORE_DEVICES.of(store_id)


async def _devices(runtime: Runtime, principal: Principal, store_id: UUID) -> tuple[int, list[DeviceRecord]]:
    return 0, (await devices.of_stores(runtime, [store_id]))[store_id]


# what is not logged


async def _admit_to_rider(runtime: Runtime, principal: Principal, order_id: UUID) -> str:
    """The order's own feed, which says whose position is shown and until when."""
    if principal.view is View.RIDER:
        raise NotFound(resource="Order")
    return await _admit_to_order(runtime, principal, order_id)


async def _admit_to_city(runtime: Runtime, principal: Principal, city_id: UUID) -> str:
    insight.require_admin(principal, city_id)
    return CITY.of(city_id)


async def _city(runtime: Runtime, principal: Principal, city_id: UUID) -> tuple[int, CityOverview]:
    return 0, await insight.overview(runtime, principal, city_id)


ORDER_UPDATES: Final[Feed[OrderRecord]] = Feed(
    name="orderUpdates",
    poll="orderFeed",
    kind=ORDER,
    key="Order",
    readers="its consumer, its store's staff from payment on, the rider it is offered to or who brings it, city admins",
    admit=_admit_to_order,
    snapshot=_order,
    value=order_in,
    shows=_is_party,
)
STORE_BOARD: Final[Feed[list[OrderRecord]]] = Feed(
    name="storeBoard",
    poll="storeBoardFeed",
    kind=STORE_ORDERS,
    key="Store",
    readers="the store's staff and devices, city admins",
    admit=_admit_to_board,
    snapshot=_board,
    value=lambda event, columns: [order_in(event, columns)],
)
TASKS: Final[Feed[TasksChange]] = Feed(
    name="riderTasks",
    poll="riderTasksFeed",
    kind=RIDER_TASKS,
    key="Rider",
    readers="the rider",
    admit=_admit_to_tasks,
    snapshot=_tasks,
    value=_task_of,
)
QUEUE_BOARD: Final[Feed[Board]] = Feed(
    name="queueBoardUpdates",
    poll="queueBoardFeed",
    kind=QUEUE,
    key="Store",
    readers="everybody; a device that of its own store",
    admit=_admit_to_queue,
    snapshot=queueing.board_snapshot,
)
QUEUE_TICKET: Final[Feed[Ticket]] = Feed(
    name="queueTicketUpdates",
    poll="queueTicketFeed",
    kind=QUEUE,
    key="QueueTicket",
    readers="its owner, the store's staff",
    admit=_admit_to_ticket,
    snapshot=queueing.ticket_snapshot,
    over=_ticket_is_over,
    distinct=True,
)
RIDER_OF_ORDER: Final[Feed[Any]] = Feed(
    name="riderLocation",
    kind=RIDER_LOCATION,
    key="Order",
    readers="the order's consumer, its store's staff and city admins, while the delivery is live",
    admit=_admit_to_rider,
)
CITY_UPDATES: Final[Feed[CityOverview]] = Feed(
    name="cityUpdates", kind=CITY, key="City", readers="its admins", admit=_admit_to_city, snapshot=_city
)
# An event names a command, which is then read: a device is told what it is now (services/devices/reading.py).
COMMANDS: Final[Feed[list[CommandRecord]]] = Feed(
    name="deviceCommands",
    poll="pendingCommands",
    kind=DEVICE_COMMANDS,
    key="Device",
    readers="the device",
    admit=_admit_to_commands,
    snapshot=_commands,
)
DEVICES: Final[Feed[list[DeviceRecord]]] = Feed(
    name="storeDevices",
    kind=STORE_DEVICES,
    key="Store",
    readers="the store's staff, city admins",
    admit=_admit_to_devices,
    snapshot=_devices,
)

FEEDS: Final[tuple[Feed[Any], ...]] = (
    ORDER_UPDATES,
    STORE_BOARD,
    TASKS,
    QUEUE_BOARD,
    QUEUE_TICKET,
    RIDER_OF_ORDER,
    CITY_UPDATES,
    COMMANDS,
    DEVICES,
)
