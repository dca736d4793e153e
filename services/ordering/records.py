"""Orders and deliveries as slotted records: read from SQL rows or from the payload of an event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar, cast
from uuid import UUID

from models.database import FastUUID
from models.delivery import LIVE_WITH_RIDER, DeliveryState
from models.ordering import FulfilmentMode, OrderState
from services.columns import ALL, Chosen, Columns, Shape, Wanted, by_value

R = TypeVar("R")


@dataclass(slots=True)
class DeliveryRecord:
    """One row of ``delivery``. ``rider_id`` is the rider it is offered to or who carries it out."""

    id: UUID
    order_id: UUID
    city_id: UUID
    store_id: UUID
    state: DeliveryState
    rider_id: UUID | None
    offer_expires_at: datetime | None
    pickup_latitude: float
    pickup_longitude: float
    dropoff_latitude: float
    dropoff_longitude: float
    distance_m: int
    currency: str
    fee: int
    created_at: datetime
    pickup_eta: datetime | None
    eta: datetime | None
    order: OrderRecord | None = field(default=None, compare=False, repr=False)
    """The order as of the same instant, where the record was read together with it."""

    @property
    def is_live(self) -> bool:
        """Whether a rider is on the job."""
        return self.state in LIVE_WITH_RIDER


@dataclass(slots=True)
class OrderRecord:
    """One row of ``order`` with its delivery, if it has one, as of ``version``."""

    id: UUID
    number: str
    pickup_number: int | None
    state: OrderState
    mode: FulfilmentMode
    version: int
    city_id: UUID
    store_id: UUID
    consumer_id: UUID
    quote_id: UUID
    table_id: UUID | None
    contact: str | None
    contact_phone: str | None
    address: str | None
    latitude: float | None
    longitude: float | None
    note: str
    currency: str
    subtotal: int
    delivery_fee: int
    total: int
    refunded: int
    placed_at: datetime
    pay_by: datetime
    paid_at: datetime | None
    accept_by: datetime | None
    accepted_at: datetime | None
    promised_ready_at: datetime | None
    ready_at: datetime | None
    picked_up_at: datetime | None
    delivered_at: datetime | None
    completed_at: datetime | None
    closed_at: datetime | None
    eta: datetime | None
    close_reason: str | None
    delivery: DeliveryRecord | None = None


DELIVERY_COLUMNS: Final = tuple(f.name for f in fields(DeliveryRecord) if f.name != "order")
ORDER_COLUMNS: Final = tuple(f.name for f in fields(OrderRecord) if f.name != "delivery")
_LATER: Final = frozenset({"pickup_number"})
"""Columns that older events and answers do not have."""

_ORDERS: Final = Shape(
    OrderRecord,
    "o",
    read={"state": by_value(OrderState), "mode": by_value(FulfilmentMode)},
    blank={"delivery": None},
)
_DELIVERIES: Final = Shape(
    DeliveryRecord,
    "d",
    always=("id", "state", "rider_id"),
    sql={c: f"d.{c} AS d_{c}" for c in DELIVERY_COLUMNS},
    read={"state": by_value(DeliveryState)},
    blank={"order": None},
)


@dataclass(frozen=True, slots=True)
class Select(Generic[R]):
    """A SELECT as far as WHERE, of ``o`` (order) and ``d`` (delivery), and how its rows become records."""

    sql: str
    record: Callable[[Any], R]


def orders(columns: Columns = ALL, *also: str) -> Select[OrderRecord]:
    """Orders with what is wanted and ``also``; with their deliveries, where ``delivery`` is among it."""
    return _orders(columns.of(OrderRecord), columns.of(DeliveryRecord), also)


@lru_cache(maxsize=256)
def _orders(of_order: Wanted, of_delivery: Wanted, also: tuple[str, ...]) -> Select[OrderRecord]:
    wanted = None if of_order is None else of_order.union(also)
    order = _ORDERS.choose(wanted)
    if wanted is None or "delivery" in wanted:
        delivery = _DELIVERIES.choose(of_delivery)
        sql = f'SELECT {order.sql}, {delivery.sql} FROM "order" o LEFT JOIN delivery d ON d.order_id = o.id'
        return Select(sql, _both(order, delivery))
    return Select(f'SELECT {order.sql} FROM "order" o', order.record)


def _both(order: Chosen[OrderRecord], delivery: Chosen[DeliveryRecord]) -> Callable[[Any], OrderRecord]:
    middle, end = len(order.names), len(order.names) + len(delivery.names)

    def record(row: Any) -> OrderRecord:
        found = order.record(row[:middle])
        rest = row[middle:end]
        if rest[0] is not None:
            found.delivery = delivery.record(rest)
            found.delivery.order = found
        return found

    return record


def deliveries(columns: Columns = ALL) -> Select[DeliveryRecord]:
    """Deliveries with what is wanted; with their orders, where ``order`` is among it."""
    return _deliveries(columns.of(OrderRecord), columns.of(DeliveryRecord))


@lru_cache(maxsize=256)
def _deliveries(of_order: Wanted, of_delivery: Wanted) -> Select[DeliveryRecord]:
    if of_delivery is not None and "order" not in of_delivery:
        delivery = _DELIVERIES.choose(of_delivery)
        return Select(f"SELECT {delivery.sql} FROM delivery d", delivery.record)
    both = _orders(of_order, of_delivery, ("delivery",))

    def record(row: Any) -> DeliveryRecord:
        found = both.record(row).delivery
        assert found is not None
        return found

    return Select(both.sql.replace("LEFT JOIN", "JOIN"), record)


ORDER_SELECT: Final = orders().sql
"""Whole orders with their deliveries; append WHERE … ORDER BY o.id … [FOR UPDATE OF o]."""

order_from_row: Final = orders().record
"""From a row that begins with the columns of :data:`ORDER_SELECT`."""


_Reader = Callable[[str], Any]
_READERS: Final[dict[str, _Reader]] = {
    "UUID": FastUUID,
    "datetime": datetime.fromisoformat,
    "OrderState": {state.value: state for state in OrderState}.__getitem__,
    "FulfilmentMode": {mode.value: mode for mode in FulfilmentMode}.__getitem__,
    "DeliveryState": {state.value: state for state in DeliveryState}.__getitem__,
}


def _from_json(record: type[R], blank: str, columns: tuple[str, ...]) -> Callable[[dict[str, Any]], R]:
    """A function that makes a ``record`` of decoded JSON, with only these ``columns``, and with None as ``blank``.

    Records are made of every event of every followed feed, so it is written out.
    """
    types = {f.name: str(f.type) for f in fields(cast(Any, record))}
    names: dict[str, Any] = {"record": record, "new": record.__new__}
    lines = ["def make(data):", " r = new(record)", f" r.{blank} = None"]
    for column in columns:
        kind = types[column].removesuffix(" | None")
        value = f"data.get({column!r})" if column in _LATER else f"data[{column!r}]"
        if kind in _READERS:
            names[kind] = _READERS[kind]
            value = f"None if (v := {value}) is None else {kind}(v)" if kind != types[column] else f"{kind}({value})"
        lines.append(f" r.{column} = {value}")
    exec("\n".join([*lines, " return r"]), names)
    return cast("Callable[[dict[str, Any]], R]", names["make"])


@lru_cache(maxsize=512)
def _orders_from_json(of_order: Wanted, of_delivery: Wanted) -> Callable[[dict[str, Any]], OrderRecord]:
    make_order = _from_json(OrderRecord, "delivery", _ORDERS.choose(of_order).names)
    make_delivery = _from_json(DeliveryRecord, "order", _DELIVERIES.choose(of_delivery).names)

    def make(data: dict[str, Any]) -> OrderRecord:
        order = make_order(data)
        found = data["delivery"]
        if found is not None:
            order.delivery = delivery = make_delivery(found)
            delivery.order = order
        return order

    return make


def order_to_json(order: OrderRecord) -> dict[str, Any]:
    """Plain data of the order and its delivery; orjson writes the UUIDs and instants."""
    data: dict[str, Any] = {c: getattr(order, c) for c in ORDER_COLUMNS}
    delivery = order.delivery
    data["delivery"] = None if delivery is None else {c: getattr(delivery, c) for c in DELIVERY_COLUMNS}
    return data


@lru_cache(maxsize=512)
def orders_in_json(columns: Columns, also: tuple[str, ...] = ()) -> Callable[[dict[str, Any]], OrderRecord]:
    """:func:`order_from_json` that makes no more of an order and its delivery than is wanted, and ``also``."""
    of_order = columns.of(OrderRecord)
    return _orders_from_json(None if of_order is None else of_order.union(also), columns.of(DeliveryRecord))


order_from_json: Final = orders_in_json(ALL)
"""Inverse of :func:`order_to_json` after a trip through JSON."""
