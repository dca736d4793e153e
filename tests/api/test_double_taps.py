"""The same action sent many times at once, with one key, happens once; a key used for something else is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core import ids
from tests.api import documents as doc
from tests.api.city import City, key, place_input

TAPS = 8


async def tap(city: City, token: str, document: str, **variables: Any) -> list[Any]:
    """What every one of the parallel taps was answered."""
    return await asyncio.gather(*(city.do(token, document, **variables) for _ in range(TAPS)))


@pytest.fixture(scope="module")
async def shop(city: City) -> tuple[str, str, str]:
    return await city.shop()


async def test_double_taps_on_order_pay_and_cancel(city: City, shop: tuple[str, str, str]) -> None:
    _, store, sku = shop
    token = await city.consumer()
    quote = await city.quote(token, store, sku)
    before = await city.rows()
    one = key()
    placed = await tap(city, token, doc.PLACE, key=one, input=place_input(quote["id"]))
    assert placed == [placed[0]] * TAPS and placed[0]["__typename"] == "Order"
    assert (await city.rows())["order"] == before["order"] + 1
    order, pay_key, cancel_key = placed[0]["id"], key(), key()
    paid = await tap(city, token, doc.PAY, key=pay_key, order=order)
    assert paid == [paid[0]] * TAPS and paid[0]["__typename"] == "Payment"
    assert (await city.rows())["payment"] == before["payment"] + 1
    cancelled = await tap(city, token, doc.CANCEL, key=cancel_key, order=order)
    assert cancelled == [cancelled[0]] * TAPS and cancelled[0]["state"] == "CANCELLED"
    events = "SELECT count(*) FROM feed_event WHERE feed = $1 AND type = 'order.cancelled'"
    assert await city.fetchval(events, f"order:{ids.decode('Order', order)}") == 1
    after = await city.rows()
    again = await city.do(token, doc.PLACE, key=one, input=place_input(quote["id"]))
    assert again == placed[0]
    other_input = place_input(quote["id"]) | {"note": "without onions"}
    assert (await city.do(token, doc.PLACE, key=one, input=other_input))["code"] == "IDEMPOTENCY_CONFLICT"
    assert (await city.do(token, doc.CANCEL, key=one, order=order))["code"] == "IDEMPOTENCY_CONFLICT"
    assert await city.rows() == after


async def test_double_taps_with_keys_of_their_own(city: City, shop: tuple[str, str, str]) -> None:
    """A client that makes a new key for each tap still gets one order of one quote."""
    _, store, sku = shop
    token = await city.consumer()
    quote = await city.quote(token, store, sku)
    before = await city.rows()
    given = place_input(quote["id"])
    answers = await asyncio.gather(*(city.do(token, doc.PLACE, key=key(), input=given) for _ in range(TAPS)))
    assert sorted(a.get("code", "") for a in answers) == [""] + ["QUOTE_ALREADY_USED"] * (TAPS - 1)
    assert (await city.rows())["order"] == before["order"] + 1


async def test_double_taps_on_a_number(city: City) -> None:
    owner, store, _ = await city.shop()
    await city.do(owner, doc.QUEUE_OPEN, store=store, open=True)
    before = await city.rows()
    for token in (await city.consumer(), owner):
        one = key()
        taken = await tap(city, token, doc.TAKE, store=store, size=2, key=one)
        assert taken == [taken[0]] * TAPS and taken[0]["__typename"] == "QueueTicket"
        assert (await city.do(token, doc.TAKE, store=store, size=3, key=one))["code"] == "IDEMPOTENCY_CONFLICT"
    assert (await city.rows())["queue_ticket"] == before["queue_ticket"] + 2
    other = await city.consumer()
    answers = await asyncio.gather(*(city.do(other, doc.TAKE, store=store, size=2, key=key()) for _ in range(TAPS)))
    assert sorted(a.get("code", "") for a in answers) == [""] + ["ALREADY_QUEUED"] * (TAPS - 1)


async def test_bad_numbers(city: City) -> None:
    owner, store, _ = await city.shop()
    token = await city.consumer()
    await city.do(owner, doc.QUEUE_OPEN, store=store, open=False)
    before = await city.rows()
    assert (await city.do(token, doc.TAKE, store=store, size=2, key=key()))["code"] == "QUEUE_CLOSED"
    await city.do(owner, doc.QUEUE_OPEN, store=store, open=True)
    for size, code in (
        (0, "INVALID_INPUT"),
        (-1, "INVALID_INPUT"),
        (9, "PARTY_TOO_LARGE"),
        (2**31 - 1, "PARTY_TOO_LARGE"),
    ):
        assert (await city.do(token, doc.TAKE, store=store, size=size, key=key()))["code"] == code
    for bad in ("", "x" * 1000):
        assert (await city.do(token, doc.TAKE, store=store, size=2, key=bad))["code"] == "INVALID_INPUT"
    after = await city.rows()
    assert after["queue_ticket"] == before["queue_ticket"]
    assert after["idempotency_record"] == before["idempotency_record"]
