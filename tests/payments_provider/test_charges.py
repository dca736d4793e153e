"""Charges and refunds of the sandbox provider: every call may be repeated, and money is never more than was paid."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from clients.payments import ChargeState, NotificationKind, ProviderError
from tests.payments_provider.world import World


async def refused(call: Any) -> ProviderError:
    with pytest.raises(ProviderError) as refusal:
        await call
    return refusal.value


async def test_a_charge_is_paid_and_told(world: World) -> None:
    assert await world.payments.query("order-1") is None
    pay_url = await world.charge("order-1", 2350)
    assert pay_url == f"{world.api}/charges/order-1/pay"
    pending = await world.payments.query("order-1")
    assert pending is not None
    assert (pending.state, pending.amount, pending.currency) == (ChargeState.PENDING, 2350, "CNY")
    status, shown = await world.pay("order-1")
    assert (status, shown["state"]) == (200, "PAID")
    paid = await world.payments.query("order-1")
    assert paid is not None
    assert paid.state is ChargeState.PAID
    [told] = await world.told(1)
    assert (told.kind, told.out_trade_no, told.out_refund_no) == (NotificationKind.PAID, "order-1", None)
    assert (told.amount, told.currency, told.provider_trade_no) == (2350, "CNY", paid.provider_trade_no)


async def test_the_same_charge_again_gives_the_same_answer(world: World) -> None:
    urls = await asyncio.gather(*(world.charge("order-1") for _ in range(8)))
    assert len(set(urls)) == 1
    await world.pay("order-1")
    assert await world.charge("order-1") == urls[0]
    for amount, currency in ((1001, "CNY"), (1000, "USD")):
        error = await refused(world.payments.prepay("order-1", amount, currency, "Order"))
        assert not error.retryable


async def test_paying_at_once_pays_once(world: World) -> None:
    await world.charge("order-1")
    answers = await asyncio.gather(*(world.pay("order-1") for _ in range(10)))
    assert {status for status, _ in answers} == {200}
    assert len({orjson.dumps(shown) for _, shown in answers}) == 1
    await world.told(1)
    await world.settled()
    assert len(world.receiver.received) == 1


async def test_a_closed_charge_takes_no_money(world: World) -> None:
    await world.charge("order-1")
    for _ in range(2):
        assert (await world.payments.close("order-1")).state is ChargeState.CLOSED
    status, answer = await world.pay("order-1")
    assert (status, answer["reason"]) == (409, "CHARGE_CLOSED")


async def test_closing_tells_when_it_was_too_late(world: World) -> None:
    await world.paid("order-1")
    assert (await world.payments.close("order-1")).state is ChargeState.PAID
    assert (await world.pay("order-1"))[0] == 200


async def test_pay_against_close_has_one_winner(world: World) -> None:
    for n in range(10):
        no = f"race-{n}"
        await world.charge(no)
        closed, (status, _) = await asyncio.gather(world.payments.close(no), world.pay(no))
        final = await world.payments.query(no)
        assert final is not None
        assert final.state is closed.state
        assert (status == 200) == (final.state is ChargeState.PAID)


async def test_unknown_numbers(world: World) -> None:
    assert await world.payments.query("nothing") is None
    assert not (await refused(world.payments.close("nothing"))).retryable
    assert not (await refused(world.payments.refund("nothing", "r1", 1, "why"))).retryable
    assert (await world.pay("nothing"))[0] == 404
    async with world.http.post(f"{world.api}/charges/%00/pay") as response:
        assert response.status == 404


async def test_a_refund_is_told_and_may_be_repeated(world: World) -> None:
    await world.paid("order-1")
    await world.told(1)
    for _ in range(3):
        await world.payments.refund("order-1", "refund-1", 300, "cold")
    told = (await world.told(2))[1]
    assert (told.kind, told.out_trade_no, told.out_refund_no) == (NotificationKind.REFUNDED, "order-1", "refund-1")
    assert (told.amount, told.currency) == (300, "CNY")
    await world.settled()
    assert len(world.receiver.received) == 2
    assert not (await refused(world.payments.refund("order-1", "refund-1", 301, "cold"))).retryable


async def test_the_same_refund_at_once_is_one_refund(world: World) -> None:
    await world.paid("order-1")
    await asyncio.gather(*(world.payments.refund("order-1", "refund-1", 600, "cold") for _ in range(6)))
    await world.payments.refund("order-1", "refund-2", 400, "the rest")
    await world.told(3)
    await world.settled()
    assert len(world.receiver.received) == 3


async def test_a_refund_number_belongs_to_one_charge(world: World) -> None:
    await world.paid("order-1")
    await world.paid("order-2")
    results = await asyncio.gather(
        *(world.payments.refund(no, "refund-1", 100, "why") for no in ("order-1", "order-2")), return_exceptions=True
    )
    errors = [result for result in results if isinstance(result, BaseException)]
    assert len(errors) == 1
    assert isinstance(errors[0], ProviderError)
    assert not errors[0].retryable


async def test_refunds_never_exceed_what_was_paid(world: World) -> None:
    await world.charge("order-1")
    assert not (await refused(world.payments.refund("order-1", "early", 1, "why"))).retryable
    await world.pay("order-1")
    results = await asyncio.gather(
        *(world.payments.refund("order-1", f"refund-{n}", 300, "why") for n in range(8)), return_exceptions=True
    )
    assert sum(result is None for result in results) == 3
    await world.payments.refund("order-1", "rest", 100, "why")
    assert not (await refused(world.payments.refund("order-1", "more", 1, "why"))).retryable


async def test_only_the_merchant_may_charge_look_close_and_refund(world: World) -> None:
    await world.paid("order-1")
    charge = {"out_trade_no": "x", "amount": 1, "currency": "CNY", "notify_url": world.base_url}
    refund = {"out_trade_no": "order-1", "out_refund_no": "r", "amount": 1}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": ""}):
        for method, path, body in (
            ("POST", "/charges", charge), ("GET", "/charges/order-1", None), ("POST", "/charges/order-1/close", None),
            ("POST", "/refunds", refund), ("GET", "/refunds/r", None),
        ):  # fmt: skip
            async with world.http.request(method, world.api + path, json=body, headers=headers) as response:
                assert response.status == 401, path


@pytest.mark.parametrize(
    ("no", "amount", "currency"),
    [("", 1, "CNY"), ("a/b", 1, "CNY"), ("x" * 65, 1, "CNY"), ("é", 1, "CNY"), ("a\0", 1, "CNY"),
     ("ok", 0, "CNY"), ("ok", -5, "CNY"), ("ok", 10**13, "CNY"), ("ok", 1, ""), ("ok", 1, "C\0Y")],
)  # fmt: skip
async def test_nonsense_is_refused(world: World, no: str, amount: int, currency: str) -> None:
    assert not (await refused(world.payments.prepay(no, amount, currency, "Order"))).retryable


async def test_an_unreachable_provider_is_worth_another_try(world: World) -> None:
    world.payments._base = "http://127.0.0.1:9"
    assert (await refused(world.payments.prepay("order-1", 1, "CNY", "Order"))).retryable
    await world.payments.stop()
    assert (await refused(world.payments.query("order-1"))).retryable
