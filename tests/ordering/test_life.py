"""An order from the basket to the door, and the ways it can end otherwise."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from core.geo import Point
from models.delivery import DeliveryState
from models.ordering import FulfilmentMode, OrderAction, OrderState
from services import payments
from services.delivery import reading as delivery_reading
from services.delivery import riders, tasks
from services.errors import (
    BusinessError,
    DeliveryTaken,
    IdempotencyConflict,
    InsufficientStock,
    InvalidInput,
    NotFound,
    OfferExpired,
    OrderActionNotAllowed,
    OutOfDeliveryArea,
    PaymentFailed,
    QuoteAlreadyUsed,
    QuoteExpired,
    RefundExceedsCaptured,
    RiderBusy,
    StoreClosed,
)
from services.ordering import actions, placing, reading
from services.ordering.machine import Actor, available_actions
from services.pricing import RequestedLine
from subscriptions import feeds
from tests.ordering.world import HOME, STORE_AT, City


async def test_a_delivery_from_quote_to_completion(city: City) -> None:
    runtime = city.runtime
    rider = await city.rider()
    order = await city.place(quantity=2)
    assert (order.state, order.subtotal, order.delivery_fee, order.total) == (OrderState.PLACED, 5000, 500, 5500)
    assert await city.stock() == (2, 0, 20)
    await city.pay(order)
    assert await city.stock() == (0, 2, 20)

    accepted = await actions.accept(runtime, city.clerk, order.id, 10)
    assert accepted.delivery is not None and accepted.delivery.state is DeliveryState.OFFERED
    assert accepted.delivery.rider_id == rider.rider_id and accepted.eta is not None
    delivery = accepted.delivery.id
    await tasks.accept_offer(runtime, rider, delivery)
    await actions.start_preparing(runtime, city.clerk, order.id)
    await tasks.arrive(runtime, rider, delivery)
    with pytest.raises(OrderActionNotAllowed):
        await tasks.pick_up(runtime, rider, delivery)
    await actions.mark_ready(runtime, city.clerk, order.id)
    await tasks.pick_up(runtime, rider, delivery)
    await tasks.complete(runtime, rider, delivery)
    done = await actions.confirm_receipt(runtime, city.consumer, order.id, "received")

    assert done.state is OrderState.COMPLETED
    free = await delivery_reading.rider_of(runtime, rider)
    assert free.online and free.active_delivery_id is None
    balances = await city.escrow()
    assert sum(balances.values()) == 0 and balances["escrow"] == 0
    assert balances[f"rider:{rider.rider_id}"] == -500 and balances["platform"] == -250
    assert balances[f"merchant:{city.store_id}"] == -4750

    log = await feeds.read(runtime.database, feeds.ORDER.of(order.id), 0)
    assert [e.offset for e in log] == list(range(1, done.version + 1))
    assert [e.type for e in log] == [
        "order.placed", "order.paid", "order.accepted", "delivery.offered", "delivery.assigned", "order.preparing",
        "delivery.at_store", "order.ready", "order.picked_up", "order.delivered", "order.completed",
    ]  # fmt: skip
    board = await feeds.read(runtime.database, feeds.STORE_ORDERS.of(city.store_id), 0)
    assert [e.type for e in board] == [e.type for e in log][1:]
    assert [e.payload["order"]["version"] for e in board] == list(range(2, done.version + 1))


@pytest.mark.parametrize("mode", [FulfilmentMode.PICKUP, FulfilmentMode.DINE_IN])
async def test_pickup_and_dine_in_need_no_rider(city: City, mode: FulfilmentMode) -> None:
    order = await city.accepted(mode=mode)
    assert order.delivery is None and order.delivery_fee == 0
    await actions.mark_ready(city.runtime, city.clerk, order.id)
    handed = await actions.hand_over(city.runtime, city.clerk, order.id)
    assert handed.state is OrderState.DELIVERED
    await city.run_jobs("order_complete")
    assert (await reading.get(city.runtime, city.consumer, order.id)).state is OrderState.COMPLETED
    assert (await city.escrow())["escrow"] == 0


async def test_rejecting_gives_stock_and_money_back(city: City) -> None:
    order = await city.place()
    await city.pay(order)
    rejected = await actions.reject(city.runtime, city.clerk, order.id, "out of noodles", "k1")
    assert rejected.state is OrderState.REJECTED and await city.stock() == (0, 0, 20)
    assert await city.run_jobs("refund_execute") == 1
    await city.notify_refunds()
    await city.notify_refunds()
    refunded = await reading.get(city.runtime, city.consumer, order.id)
    assert refunded.refunded == order.total
    assert set((await city.escrow()).values()) == {0}


async def test_the_deadlines_expire_and_refund(city: City) -> None:
    unpaid, unaccepted = await city.place(), await city.place()
    await city.pay(unaccepted)
    await city.run_jobs("order_payment_deadline", "order_accept_deadline")
    states = [(await reading.get(city.runtime, city.consumer, o.id)).state for o in (unpaid, unaccepted)]
    assert states == [OrderState.EXPIRED, OrderState.EXPIRED]
    assert await city.run_jobs("refund_execute") == 1
    assert await city.stock() == (0, 0, 20)


async def test_a_deadline_of_an_order_that_moved_on_does_nothing(city: City) -> None:
    order = await city.accepted()
    await city.run_jobs("order_payment_deadline", "order_accept_deadline")
    assert (await reading.get(city.runtime, city.consumer, order.id)).state is OrderState.ACCEPTED


async def test_partial_refunds_never_exceed_what_was_captured(city: City) -> None:
    order = await city.accepted()
    refund = payments.refund_part
    await refund(city.runtime, city.admin, order.id, 1000, "cold", "r1")
    await refund(city.runtime, city.admin, order.id, 1000, "cold", "r1")
    with pytest.raises(IdempotencyConflict):
        await refund(city.runtime, city.admin, order.id, 999, "cold", "r1")
    with pytest.raises(RefundExceedsCaptured) as refused:
        await refund(city.runtime, city.admin, order.id, order.total - 999, "all", "r2")
    assert refused.value.refundable.amount == order.total - 1000
    with pytest.raises(InvalidInput):
        await refund(city.runtime, city.admin, order.id, -1, "minus", "r3")
    assert await city.run_jobs("refund_execute") == 1
    await city.notify_refunds()
    assert (await reading.get(city.runtime, city.consumer, order.id)).refunded == 1000


async def test_the_same_key_gives_the_same_answer_also_at_once(city: City) -> None:
    quote = await placing.quote(
        city.runtime, city.consumer, city.store_id, FulfilmentMode.PICKUP, [RequestedLine(city.skus[0], 1, ())], None
    )

    async def tap(key: str) -> object:
        try:
            order = await placing.place(city.runtime, city.consumer, quote.id, None, None, "", key)
        except BusinessError as error:
            return type(error)
        return order.id, order.version, order.state

    answers = await asyncio.gather(*[tap("same") for _ in range(8)])
    assert len(set(answers)) == 1
    assert await city.stock() == (1, 0, 20)
    assert await tap("another") is QuoteAlreadyUsed
    with pytest.raises(IdempotencyConflict):
        await placing.place(city.runtime, city.consumer, quote.id, None, None, "other note", "same")


async def test_a_receipt_confirmed_again_is_the_same_receipt(city: City) -> None:
    """The money is split once, and who heard no answer is told of that once, however often they ask."""
    order, other = await city.accepted(mode=FulfilmentMode.PICKUP), await city.accepted(mode=FulfilmentMode.PICKUP)
    for each in (order, other):
        await actions.mark_ready(city.runtime, city.clerk, each.id)

    async def confirm(key: str, of: UUID = order.id) -> object:
        done = await actions.confirm_receipt(city.runtime, city.consumer, of, key)
        return done.state, done.version, done.completed_at

    with pytest.raises(OrderActionNotAllowed):
        await confirm("received")
    for each in (order, other):
        await actions.hand_over(city.runtime, city.clerk, each.id)
    answers = await asyncio.gather(*[confirm("received") for _ in range(8)])  # a refusal is not kept
    assert len(set(answers)) == 1 and answers[0] == await confirm("received")
    with pytest.raises(IdempotencyConflict):
        await confirm("received", other.id)
    with pytest.raises(OrderActionNotAllowed):
        await confirm("another key")
    log = await feeds.read(city.runtime.database, feeds.ORDER.of(order.id), 0)
    assert [e.type for e in log].count("order.completed") == 1
    assert (await city.escrow())["escrow"] == -other.total


async def test_thirty_buyers_of_twenty_units(city: City) -> None:
    buyers = [await city.other_consumer() for _ in range(30)]

    async def buy(who: object) -> bool:
        try:
            await city.place(FulfilmentMode.PICKUP, 1, who)  # type: ignore[arg-type]
        except InsufficientStock:
            return False
        return True

    assert sum(await asyncio.gather(*[buy(b) for b in buyers])) == 20
    assert await city.stock() == (20, 0, 20)
    assert await city.runtime.database.fetchval('SELECT count(*) FROM "order"') == 20


async def test_other_peoples_orders_do_not_exist(city: City) -> None:
    order = await city.place()
    stranger, rider = await city.other_consumer(), await city.rider()
    for who in (stranger, rider, city.clerk):  # the store learns of it with the payment
        with pytest.raises(NotFound):
            await reading.get(city.runtime, who, order.id)
    with pytest.raises(NotFound):
        await actions.cancel(city.runtime, stranger, order.id, "mine now", "k")
    with pytest.raises(NotFound):
        await payments.pay(city.runtime, stranger, order.id, "sandbox", "k")


async def test_refusals_write_nothing(city: City) -> None:
    runtime, lines = city.runtime, [RequestedLine(city.skus[0], 1, ())]
    far = Point(40.2, 116.9)
    delivery = FulfilmentMode.DELIVERY
    with pytest.raises(OutOfDeliveryArea):
        await placing.quote(runtime, city.consumer, city.store_id, delivery, lines, far)
    with pytest.raises(InvalidInput):
        await placing.quote(runtime, city.consumer, city.store_id, delivery, lines, Point(200, 0))
    for quantity in (0, -1, 10**9):
        with pytest.raises(BusinessError):
            await placing.quote(
                runtime, city.consumer, city.store_id, delivery, [RequestedLine(city.skus[0], quantity, ())], HOME
            )
    quote = await placing.quote(runtime, city.consumer, city.store_id, delivery, lines, HOME)
    with pytest.raises(InvalidInput):
        await placing.place(runtime, city.consumer, quote.id, None, None, "", "no address")
    await runtime.database.execute("UPDATE store SET status = 'PAUSED' WHERE id = $1", city.store_id)
    with pytest.raises(StoreClosed):
        await city.place()
    await runtime.database.execute("UPDATE store SET status = 'OPEN' WHERE id = $1", city.store_id)
    city.later(minutes=11)
    with pytest.raises(QuoteExpired):
        await placing.place(runtime, city.consumer, quote.id, None, None, "", "late")
    for table in ("order", "order_line", "idempotency_record", "feed_event", "pgqueuer"):
        assert await runtime.database.fetchval(f'SELECT count(*) FROM "{table}"') == 0, table
    assert await city.stock() == (0, 0, 20)


async def test_a_provider_that_is_down_can_be_tried_again_with_the_same_key(city: City) -> None:
    order = await city.place()
    city.provider.down = True
    with pytest.raises(PaymentFailed):
        await payments.pay(city.runtime, city.consumer, order.id, "sandbox", "p")
    city.provider.down = False
    first = await payments.pay(city.runtime, city.consumer, order.id, "sandbox", "p")
    again = await payments.pay(city.runtime, city.consumer, order.id, "sandbox", "p")
    assert first.pay_url == again.pay_url and first.id == again.id


async def test_a_lost_notification_is_asked_for(city: City) -> None:
    order = await city.place()
    payment = await payments.pay(city.runtime, city.consumer, order.id, "sandbox", "p")
    city.provider.consumer_pays(payment.out_trade_no)
    await city.run_jobs("payment_check")
    assert (await reading.get(city.runtime, city.consumer, order.id)).state is OrderState.PAID


async def test_a_notification_with_another_amount_is_not_taken(city: City) -> None:
    order = await city.place()
    payment = await payments.pay(city.runtime, city.consumer, order.id, "sandbox", "p")
    city.provider.charges[payment.out_trade_no]["amount"] = 1
    with pytest.raises(InvalidInput):
        await city.notify_paid(payment.out_trade_no)
    assert (await reading.get(city.runtime, city.consumer, order.id)).state is OrderState.PLACED


# riders


async def test_the_nearest_free_rider_is_offered_and_the_next_after_a_refusal(city: City) -> None:
    far = await city.rider(Point(39.95, 116.45))
    near = await city.rider(Point(39.911, 116.411))
    await city.rider(STORE_AT, online=False)
    order = await city.accepted()
    assert order.delivery is not None and order.delivery.rider_id == near.rider_id
    declined = await tasks.decline_offer(city.runtime, near, order.delivery.id)
    assert declined.delivery is not None and declined.delivery.rider_id == far.rider_id
    city.later(minutes=1)
    with pytest.raises(OfferExpired):
        await tasks.accept_offer(city.runtime, far, order.delivery.id)
    await city.run_jobs("offer_deadline")
    waiting = await reading.get(city.runtime, city.consumer, order.id)
    assert waiting.delivery is not None and waiting.delivery.state is DeliveryState.SEARCHING
    fresh = await city.rider(Point(39.92, 116.42), online=False)
    await riders.go_online(city.runtime, fresh, Point(39.92, 116.42))
    offered = (await reading.get(city.runtime, city.consumer, order.id)).delivery
    assert offered is not None and offered.rider_id == fresh.rider_id


async def test_a_delivery_is_grabbed_once(city: City) -> None:
    order = await city.accepted()
    assert order.delivery is not None and order.delivery.state is DeliveryState.SEARCHING
    delivery = order.delivery.id
    crowd = [await city.rider() for _ in range(6)]

    async def grab(rider: object) -> str:
        try:
            await tasks.grab(city.runtime, rider, delivery)  # type: ignore[arg-type]
        except DeliveryTaken:
            return "taken"
        return "mine"

    assert sorted(await asyncio.gather(*[grab(r) for r in crowd])) == ["mine"] + ["taken"] * 5


async def test_many_orders_and_riders_are_matched_one_to_one(city: City) -> None:
    orders = [await city.place() for _ in range(8)]
    for order in orders:
        await city.pay(order)
    crowd = [await city.rider(online=False) for _ in range(8)]
    await asyncio.gather(
        *[actions.accept(city.runtime, city.clerk, order.id, 5) for order in orders],
        *[riders.go_online(city.runtime, rider, STORE_AT) for rider in crowd],
    )
    rows = await city.runtime.database.fetch("SELECT rider_id FROM delivery WHERE state = 'OFFERED'")
    assert len(rows) == 8 and len({row["rider_id"] for row in rows}) == 8


async def test_going_offline_declines_an_offer_but_not_a_job(city: City) -> None:
    rider = await city.rider()
    order = await city.accepted()
    assert order.delivery is not None
    offline = await riders.go_offline(city.runtime, rider)
    assert not offline.online
    await riders.go_online(city.runtime, rider, STORE_AT)
    again = await city.accepted()
    assert again.delivery is not None and again.delivery.rider_id == rider.rider_id
    await tasks.accept_offer(city.runtime, rider, again.delivery.id)
    with pytest.raises(RiderBusy):
        await riders.go_offline(city.runtime, rider)
    await actions.cancel(city.runtime, city.admin, again.id, "storm", "c")
    assert not (await riders.go_offline(city.runtime, rider)).online


async def test_a_consumer_may_give_up_on_food_that_nobody_fetches(city: City) -> None:
    order = await city.accepted()
    with pytest.raises(OrderActionNotAllowed):
        await actions.cancel(city.runtime, city.consumer, order.id, "too slow", "c1")
    await actions.mark_ready(city.runtime, city.clerk, order.id)
    assert OrderAction.CANCEL in available_actions(
        await reading.get(city.runtime, city.consumer, order.id), Actor.CONSUMER
    )
    cancelled = await actions.cancel(city.runtime, city.consumer, order.id, "too slow", "c2")
    assert cancelled.state is OrderState.CANCELLED
    assert await city.stock() == (0, 1, 20)  # the food exists
