"""Notifications: signed, fresh, delivered at least once, on bad days and over restarts."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import asyncpg
import pytest

from clients import sandbox_payments
from clients.payments import Notification, NotificationInvalid, NotificationKind
from clients.sandbox_payments import SandboxPayments
from core.clock import wall_now
from core.settings import Settings
from tests.payments_provider.world import Receiver, World, number_with_fate, provider


async def one(world: World) -> tuple[dict[str, str], bytes]:
    await world.paid("order-1")
    await world.receiver.until(1)
    return world.receiver.received[0]


def invalid(payments: SandboxPayments, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(NotificationInvalid):
        payments.verify(headers, body)


async def test_what_was_tampered_with_is_invalid(world: World) -> None:
    headers, body = await one(world)
    assert world.payments.verify(headers, body).amount == 1000
    invalid(world.payments, headers, body.replace(b"1000", b"9000"))
    invalid(world.payments, headers, body + b" ")
    invalid(world.payments, headers, b"")
    signed = [name for name in headers if name.startswith("x-sandbox-")]
    assert len(signed) == 3
    for name in signed:
        invalid(world.payments, {k: v for k, v in headers.items() if k != name}, body)
        for other in ("", "1", "é", "0" * 88, headers[name] + "0"):
            invalid(world.payments, {**headers, name: other}, body)
    invalid(world.payments, {}, body)


async def test_another_installations_notification_is_invalid(world: World) -> None:
    headers, body = await one(world)
    invalid(SandboxPayments(Settings(), b"another secret"), headers, body)
    same = SandboxPayments(Settings(), b"the secret of this installation")
    assert same.verify(headers, body).out_trade_no == "order-1"


async def test_a_stale_notification_is_invalid(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    headers, body = await one(world)
    sent = wall_now()
    for minutes, fresh in ((4, True), (-4, True), (6, False), (-6, False)):
        monkeypatch.setattr(sandbox_payments, "wall_now", lambda by=minutes: sent + timedelta(minutes=by))
        if fresh:
            assert world.payments.verify(headers, body)
        else:
            invalid(world.payments, headers, body)


async def test_a_refused_notification_comes_again_until_it_is_taken(world: World) -> None:
    world.receiver.answer = lambda number: 500 if number < 3 else 204
    await world.paid("order-1")
    told = await world.told(3)
    assert len(set(told)) == 1
    # Signed anew each time, so that the last one is as fresh as the first.
    assert len({headers["x-sandbox-nonce"] for headers, _ in world.receiver.received}) == 3
    await world.settled()
    assert len(world.receiver.received) == 3


async def test_unsent_notifications_survive_a_restart(database_url: str) -> None:
    deaf = Receiver(answer=lambda number: 503)
    async with provider(database_url, deaf) as world:
        await world.paid("order-1")
        await world.payments.refund("order-1", "refund-1", 400, "why")
        await deaf.until(2)
        hook = world.base_url
    hearing = Receiver()
    async with provider(database_url, hearing) as world:
        # The new process listens elsewhere; in production the URL stays.
        await world.payments.stop()
        await _move_hooks(database_url, hook, world.base_url)
        await world.payments.start(database_url, world.base_url)
        told = await world.told(2)
        assert Counter(t.kind for t in told) == {NotificationKind.PAID: 1, NotificationKind.REFUNDED: 1}
        await world.settled()


async def _move_hooks(database_url: str, old: str, new: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE sandbox.notification SET url = replace(url, $1, $2)", old, new)
    await connection.close()


@pytest.mark.parametrize(("what", "times"), [("late", 1), ("twice", 2), ("lost", 1), (None, 1)])
async def test_bad_days(database_url: str, receiver: Receiver, what: str | None, times: int) -> None:
    no = number_with_fate(what)
    async with provider(database_url, receiver, faults=0.5) as world:
        begun = asyncio.get_running_loop().time()
        await world.paid(no)
        told = await world.told(times)
        assert {t.out_trade_no for t in told} == {no}
        assert asyncio.get_running_loop().time() - begun > (0.4 if what in ("late", "lost") else 0)
        await world.settled()
        assert len(receiver.received) == times


async def test_a_crowd_pays_and_everybody_is_told(database_url: str, receiver: Receiver) -> None:
    numbers = [f"order-{n}" for n in range(200)]
    async with provider(database_url, receiver, faults=0.2) as world:
        await asyncio.gather(*map(world.paid, numbers))
        await world.settled()
        told: list[Notification] = [world.payments.verify(headers, body) for headers, body in receiver.received]
    assert {t.out_trade_no for t in told} == set(numbers)
    assert len(told) > len(numbers)
    assert all(count <= 2 for count in Counter(t.out_trade_no for t in told).values())
