"""Quotes and orders in the graph."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from core.geo import Point
from core.phones import masked
from models.ordering import FulfilmentMode, OrderAction, OrderState
from models.payments import Payment as PaymentModel
from models.payments import PaymentState
from resolvers import catalog, identity, merchants
from resolvers import ordering as resolvers
from resolvers.context import Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import (
    A,
    C,
    Connection,
    FeedPage,
    GeoPoint,
    GeoPointInput,
    Int64,
    M,
    Money,
    Node,
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
    subscription,
)  # fmt: skip
from schema.delivery import Delivery, FeedReset
from services import errors
from services.ordering.placing import Address as AddressRecord
from services.ordering.placing import QuoteLine as QuoteLineRecord
from services.ordering.placing import QuoteRecord
from services.ordering.reading import LineRecord
from services.ordering.reading import OrderEvent as OrderEventRecord
from services.ordering.records import OrderRecord
from services.payments import PaymentRecord
from subscriptions.updates import UpdateKind

if TYPE_CHECKING:
    from schema.catalog import Sku
    from schema.identity import Person
    from schema.merchants import DiningTable, Store

StoreType = Annotated["Store", strawberry.lazy("schema.merchants")]
SkuType = Annotated["Sku", strawberry.lazy("schema.catalog")]
PersonType = Annotated["Person", strawberry.lazy("schema.identity")]
TableType = Annotated["DiningTable", strawberry.lazy("schema.merchants")]

PARTIES = frozenset({C, M, R, A})


@exposes(QuoteLineRecord, views={C})
@strawberry.type
class QuoteLine:
    sku: SkuType | None = computed(catalog.sku_of, needs=("sku_id",))
    item_name: str
    sku_name: str
    options: list[str]
    quantity: int
    unit_price: Money = money_field("unit_price")
    total: Money = money_field("total")


@exposes(QuoteRecord, views={C})
@strawberry.type(description="Prices that hold until `expiresAt`. Nothing is reserved before the order is placed.")
class Quote(Node):
    id: strawberry.ID = node_id("Quote")
    store: StoreType = computed(merchants.store_of, needs=("store_id",))
    mode: FulfilmentMode
    lines: list[QuoteLine] = sized(5)
    subtotal: Money = money_field("subtotal")
    delivery_fee: Money = money_field("delivery_fee")
    total: Money = money_field("total")
    expires_at: datetime


@exposes(AddressRecord, views=PARTIES)
@strawberry.type
class Address:
    contact: str
    phone: str = strawberry.field(description="Masked for everybody but the consumer.")
    text: str
    location: GeoPoint


@exposes(LineRecord, views=PARTIES, shared=True)
@strawberry.type(description="Names and prices as they were when the order was placed.")
class OrderLine(Node):
    id: strawberry.ID = node_id("OrderLine")
    sku: SkuType | None = shared(computed(catalog.sku_of, needs=("sku_id",)))
    item_name: str
    sku_name: str
    options: list[str]
    quantity: int
    unit_price: Money = money_field("unit_price")
    total: Money = money_field("total")


@exposes(PaymentModel, PaymentRecord, views={C, M, A}, shared=True)
@strawberry.type
class Payment(Node):
    id: strawberry.ID = node_id("Payment")
    state: PaymentState
    amount: Money = money_field("amount")
    refunded: Money = money_field("refunded")
    channel: str
    pay_url: str | None = computed(
        resolvers.pay_url, C, needs=("pay_url", "state"), description="Where the consumer pays, while PENDING."
    )


@exposes(OrderEventRecord, views=PARTIES, shared=True)
@strawberry.type
class OrderEvent:
    type: str
    at: datetime
    version: int
    actor: str
    state: OrderState


ADDRESS = ("address", "contact", "contact_phone", "consumer_id", "latitude", "longitude")


def _address(root: Any, info: Info) -> AddressRecord | None:
    order: OrderRecord = root
    if order.address is None or order.latitude is None or order.longitude is None:
        return None
    phone = order.contact_phone or ""
    own = info.context.principal.subject == order.consumer_id
    return AddressRecord(
        order.contact or "", phone if own else masked(phone), order.address, Point(order.latitude, order.longitude)
    )


@exposes(OrderRecord, views=PARTIES, shared=True)
@strawberry.type
class Order(Node):
    id: strawberry.ID = node_id("Order")
    number: str
    pickup_number: int | None = strawberry.field(
        description="What people call at the counter: counts the store's paid orders of a business day, from 1."
    )
    state: OrderState
    mode: FulfilmentMode
    version: int = strawberry.field(description="Counts the order's events; grows by one with each.")
    store: StoreType = shared(computed(merchants.store_of, needs=("store_id",)))
    consumer: PersonType = shared(computed(identity.consumer_of, needs=("consumer_id",)))
    address: Address | None = computed(_address, needs=ADDRESS)
    table: TableType | None = shared(computed(merchants.table_of, needs=("table_id",)))
    note: str
    lines: list[OrderLine] = sized(5, shared(computed(resolvers.lines_of, needs=("id", "currency"))))
    subtotal: Money = money_field("subtotal")
    delivery_fee: Money = money_field("delivery_fee")
    total: Money = money_field("total")
    refunded: Money = money_field("refunded")
    payment: Payment | None = shared(computed(resolvers.payment_of, C, M, A, needs=("id",)))
    delivery: Delivery | None
    available_actions: list[OrderAction] = shared(
        computed(
            resolvers.actions_of, needs=("state", "mode", "delivery"), description="What you may do to the order now."
        )
    )
    placed_at: datetime
    paid_at: datetime | None
    accepted_at: datetime | None
    ready_at: datetime | None
    picked_up_at: datetime | None
    delivered_at: datetime | None
    completed_at: datetime | None
    closed_at: datetime | None
    pay_by: datetime | None
    accept_by: datetime | None
    promised_ready_at: datetime | None
    eta: datetime | None = strawberry.field(description="When it is expected at the door, or ready to be fetched.")
    close_reason: str | None
    events: Connection[OrderEvent] = shared(computed(resolvers.order_events, needs=("id",)))


def _value(root: Any) -> Any:
    return root.value


@exposes(views=PARTIES, shared=True)
@strawberry.type
class OrderUpdate:
    cursor: str
    kind: UpdateKind
    type: str | None = strawberry.field(description="Name of the event, for example `order.accepted`.")
    at: datetime
    reset: FeedReset | None
    order: Order = computed(_value)


@exposes(views={M, A}, shared=True)
@strawberry.type
class StoreBoardUpdate:
    cursor: str
    kind: UpdateKind
    type: str | None
    at: datetime
    reset: FeedReset | None
    orders: list[Order] = sized(
        5, computed(_value, description="SNAPSHOT: all live orders; EVENT: the one that changed.")
    )


@strawberry.input
class QuoteLineInput:
    sku: strawberry.ID
    quantity: int
    options: list[strawberry.ID] = strawberry.field(default_factory=list[strawberry.ID])


@strawberry.input
class CreateQuoteInput:
    store: strawberry.ID
    mode: FulfilmentMode
    lines: list[QuoteLineInput]
    location: GeoPointInput | None = None


@strawberry.input
class AddressInput:
    contact: str
    phone: str
    text: str
    location: GeoPointInput


@strawberry.input
class PlaceOrderInput:
    quote: strawberry.ID
    address: AddressInput | None = None
    table: strawberry.ID | None = None
    note: str = ""

    def to_address(self) -> AddressRecord | None:
        given = self.address
        if given is None:
            return None
        return AddressRecord(given.contact, given.phone, given.text, given.location.to_point())


QUOTE_ERRORS = (
    errors.StoreClosed, errors.ModeNotOffered, errors.ItemUnavailable, errors.InsufficientStock,
    errors.OutOfDeliveryArea,
)  # fmt: skip
STEP = (errors.OrderActionNotAllowed,)
KEYED = (errors.OrderActionNotAllowed, errors.IdempotencyConflict)


@strawberry.type
class OrderingQuery:
    @query(Order | None, C, M, R, A)
    async def order(self, info: Info, id: strawberry.ID) -> object:
        """An order you are a party of."""
        return await resolvers.order(info.context, id)

    @query(Connection[Order], C)
    async def my_orders(
        self, info: Info, first: int, states: list[OrderState] | None = None, after: str | None = None
    ) -> object:
        """My orders, newest first."""
        return await resolvers.my_orders(info.context, states, first, after)

    @query(FeedPage[OrderUpdate], C, M, R, A)
    async def order_feed(self, info: Info, order: strawberry.ID, first: int, after: str | None = None) -> object:
        """Polls what `orderUpdates` sends: a snapshot, or the events after a cursor, 100 at most."""
        return await resolvers.order_feed(info.context, order, after, first)

    @query(FeedPage[StoreBoardUpdate], M, A)
    async def store_board_feed(self, info: Info, store: strawberry.ID, first: int, after: str | None = None) -> object:
        """Polls what `storeBoard` sends: a snapshot, or the events after a cursor, 100 at most."""
        return await resolvers.store_board_feed(info.context, store, after, first)


@strawberry.type
class OrderingMutation:
    @mutation(result("CreateQuoteResult", Quote, errors.BelowMinimumOrder, *QUOTE_ERRORS), C)
    async def create_quote(self, info: Info, input: CreateQuoteInput) -> object:
        """Price a basket."""
        lines = [(str(line.sku), line.quantity, [str(o) for o in line.options]) for line in input.lines]
        location = None if input.location is None else input.location.to_point()
        return await resolvers.create_quote(info.context, input.store, input.mode, lines, location)

    @mutation(
        result(
            "PlaceOrderResult", Order, errors.QuoteExpired, errors.QuoteAlreadyUsed, errors.IdempotencyConflict,
            *QUOTE_ERRORS,
        ),
        C,
    )  # fmt: skip
    async def place_order(self, info: Info, input: PlaceOrderInput, idempotency_key: str) -> object:
        """Order what was quoted; its stock is held until it is paid or expires."""
        return await resolvers.place_order(
            info.context, input.quote, input.to_address(), input.table, input.note, idempotency_key
        )

    @mutation(result("PayOrderResult", Payment, errors.PaymentFailed, *KEYED), C)
    async def pay_order(
        self, info: Info, order: strawberry.ID, idempotency_key: str, channel: str = "sandbox"
    ) -> object:
        """Start to pay; the consumer pays at `payUrl`, and the order moves when the provider confirms."""
        return await resolvers.pay_order(info.context, order, channel, idempotency_key)

    @mutation(result("CancelOrderResult", Order, *KEYED), C, M, A)
    async def cancel_order(self, info: Info, order: strawberry.ID, reason: str, idempotency_key: str) -> object:
        """Call the order off; what was paid is refunded."""
        return await resolvers.cancel_order(info.context, order, reason, idempotency_key)

    @mutation(result("ConfirmReceiptResult", Order, *KEYED), C)
    async def confirm_receipt(self, info: Info, order: strawberry.ID, idempotency_key: str) -> object:
        """I have it: the order is complete."""
        return await resolvers.confirm_receipt(info.context, order, idempotency_key)

    @mutation(result("AcceptOrderResult", Order, *STEP), M)
    async def accept_order(self, info: Info, order: strawberry.ID, prep_minutes: int | None = None) -> object:
        """Take a paid order. `prepMinutes` until it is ready, by default the store's."""
        return await resolvers.accept_order(info.context, order, prep_minutes)

    @mutation(result("RejectOrderResult", Order, *KEYED), M)
    async def reject_order(self, info: Info, order: strawberry.ID, reason: str, idempotency_key: str) -> object:
        """Do not take a paid order; it is refunded."""
        return await resolvers.reject_order(info.context, order, reason, idempotency_key)

    @mutation(result("StartPreparingResult", Order, *STEP), M)
    async def start_preparing(self, info: Info, order: strawberry.ID) -> object:
        """The kitchen began."""
        return await resolvers.start_preparing(info.context, order)

    @mutation(result("MarkOrderReadyResult", Order, *STEP), M)
    async def mark_order_ready(self, info: Info, order: strawberry.ID) -> object:
        """It can be fetched."""
        return await resolvers.mark_order_ready(info.context, order)

    @mutation(result("HandOverOrderResult", Order, *STEP), M)
    async def hand_over_order(self, info: Info, order: strawberry.ID) -> object:
        """The consumer has it (pickup and dine-in)."""
        return await resolvers.hand_over_order(info.context, order)

    @mutation(result("RefundOrderResult", Order, errors.RefundExceedsCaptured, *KEYED), M, A)
    async def refund_order(
        self, info: Info, order: strawberry.ID, amount: Int64, reason: str, idempotency_key: str
    ) -> object:
        """Give part of the money back; `amount` in minor units."""
        return await resolvers.refund_order(info.context, order, amount, reason, idempotency_key)


@strawberry.type
class OrderingSubscription:
    @subscription(OrderUpdate, C, M, R, A)
    def order_updates(self, info: Info, order: strawberry.ID, after: str | None = None) -> object:
        """An order: as it is first, then every event exactly once."""
        return resolvers.order_updates(info.context, order, after)

    @subscription(StoreBoardUpdate, M, A)
    def store_board(self, info: Info, store: strawberry.ID, after: str | None = None) -> object:
        """A store's live orders: all of them first, then every event exactly once."""
        return resolvers.store_board(info.context, store, after)
