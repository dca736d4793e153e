"""Invariants under permutations, duplicates and concurrency."""

from __future__ import annotations

import asyncio
import itertools

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.money import allocate
from models.ordering import FulfilmentMode, OrderAction, OrderState
from services import ledger, payments
from services.errors import BusinessError
from services.ordering import actions, machine, reading
from services.ordering.machine import TRANSITIONS, Actor
from services.ordering.records import order_from_json, order_to_json
from services.unit import transaction
from subscriptions import feeds
from tests.ordering.world import City

STEPS = ("pay", "notify", "notify again", "cancel", "expire")


async def _do(city: City, step: str, order_id: object, trade: str) -> None:
    try:
        match step:
            case "pay":
                city.provider.consumer_pays(trade)
            case "notify" | "notify again":
                charge = await city.provider.query(trade)
                if charge is not None and charge.state == "PAID":
                    await city.notify_paid(trade)
            case "cancel":
                await actions.cancel(city.runtime, city.consumer, order_id, "changed my mind", "cancel")  # type: ignore[arg-type]
            case _:
                await city.run_jobs("order_payment_deadline")
    except BusinessError:
        pass


async def _settle_down(city: City) -> None:
    """Let every job run and every notification arrive, until nothing is left to do."""
    for _ in range(3):
        await city.run_jobs("payment_close", "payment_check", "refund_execute")
        await city.notify_refunds()


async def _check(city: City, order_id: object, trade: str) -> None:
    order = await reading.get(city.runtime, city.consumer, order_id)  # type: ignore[arg-type]
    charge = await city.provider.query(trade)
    given = sum(r["amount"] for r in city.provider.refunds.values() if r["out_trade_no"] == trade)
    paid = charge is not None and charge.state == "PAID"
    if order.state is OrderState.PAID:
        assert paid and given == 0
    else:
        assert order.state in (OrderState.CANCELLED, OrderState.EXPIRED), order.state
        assert given == (order.total if paid else 0)
        assert order.refunded == given
        assert all(balance == 0 for balance in (await city.escrow()).values())
    log = await feeds.read(city.runtime.database, feeds.ORDER.of(order.id), 0)
    assert [e.offset for e in log] == list(range(1, order.version + 1))
    assert order_from_json(log[-1].payload["order"]) == order


async def test_every_order_of_pay_cancel_timeout_and_callback_ends_well(city: City) -> None:
    """Paid and live, or closed and fully refunded: all permutations, one after the other."""
    for steps in itertools.permutations(STEPS):
        city.provider.charges.clear()
        city.provider.refunds.clear()
        who = city.consumer = await city.other_consumer()
        await city.runtime.database.execute("DELETE FROM pgqueuer")
        order = await city.place(FulfilmentMode.PICKUP, consumer=who)
        payment = await payments.pay(city.runtime, who, order.id, "sandbox", "p")
        for step in steps:
            await _do(city, step, order.id, payment.out_trade_no)
        await _settle_down(city)
        await _check(city, order.id, payment.out_trade_no)
        await city.runtime.database.execute("UPDATE sku SET held = 0, sold = 0")


async def test_all_of_it_at_once(city: City) -> None:
    for _ in range(12):
        city.provider.charges.clear()
        city.provider.refunds.clear()
        who = city.consumer = await city.other_consumer()
        await city.runtime.database.execute("DELETE FROM pgqueuer")
        order = await city.place(FulfilmentMode.PICKUP, consumer=who)
        payment = await payments.pay(city.runtime, who, order.id, "sandbox", "p")
        city.provider.consumer_pays(payment.out_trade_no)
        await asyncio.gather(
            *[
                _do(city, step, order.id, payment.out_trade_no)
                for step in ("notify", "notify again", "cancel", "expire")
            ]
        )
        await _settle_down(city)
        await _check(city, order.id, payment.out_trade_no)


async def test_an_unbalanced_ledger_transaction_is_refused_twice(city: City) -> None:
    with pytest.raises(ValueError, match="sum to zero"):
        async with transaction(city.runtime) as unit:
            await ledger.post(unit, "x", "x:1", None, "CNY", [("a", 1), ("b", -2)])
    with pytest.raises(asyncpg.CheckViolationError):
        async with city.runtime.database.transaction() as sql:
            key = city.runtime.new_id()
            await sql.execute(
                "INSERT INTO ledger_transaction (id, kind, reference, at) VALUES ($1, 'x', 'x:2', now())", key
            )
            await sql.execute(
                """INSERT INTO ledger_entry (id, transaction_id, account, currency, amount)
                   VALUES ($1, $2, 'a', 'CNY', 1)""",
                city.runtime.new_id(),
                key,
            )
    assert await city.runtime.database.fetchval("SELECT count(*) FROM ledger_transaction") == 0


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=20).filter(any))
def test_allocation_sums_exactly_and_is_fair(amount: int, weights: list[int]) -> None:
    parts = allocate(amount, weights)
    assert sum(parts) == amount and min(parts) >= 0
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - amount * weight) < sum(weights)


@given(st.integers(0, 10**7), st.integers(0, 10**5), st.data())
def test_settlement_balances_and_nobody_pays_for_selling(goods: int, fee: int, data: st.DataObject) -> None:
    refunded = data.draw(st.integers(0, goods + fee))
    permille = data.draw(st.integers(0, 1000))
    entries = ledger.settlement(goods, fee, refunded, permille, "merchant:1", "rider:1")
    assert sum(amount for _, amount in entries) == 0
    assert entries[0] == ("escrow", goods + fee - refunded)
    assert all(amount <= 0 for _, amount in entries[1:])


def test_the_transition_table_has_no_way_out_of_the_end_and_reaches_every_state() -> None:
    reachable = {OrderState.PLACED} | {t.to for t in TRANSITIONS.values()}
    assert reachable == set(OrderState)
    for state, action in TRANSITIONS:
        assert state not in machine.CLOSED
        assert state is not OrderState.COMPLETED or action is OrderAction.REFUND
    for transition in TRANSITIONS.values():
        assert transition.actors and transition.actors <= set(Actor)


async def test_an_order_survives_the_trip_through_an_event(city: City) -> None:
    await city.rider()
    order = await city.accepted()
    stored = (await feeds.read(city.runtime.database, feeds.ORDER.of(order.id), 0))[-1].payload["order"]
    assert order_from_json(stored) == order
    assert order_to_json(order_from_json(stored)).keys() == order_to_json(order).keys()
