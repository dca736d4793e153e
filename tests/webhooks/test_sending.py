"""Events arrive, signed, at those who may see them; what fails comes again, as the schedule says."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from core import ids
from models.webhooks import WebhookDeliveryState, WebhookDisabledReason, WebhookEndpointState, WebhookFault
from services import webhooks
from services.ordering import actions
from services.webhooks import schedule
from subscriptions import feeds
from tests.patience import PATIENCE
from tests.webhooks.conftest import World
from tests.webhooks.receiver import Day, flood, raw, receiving, silence, status, then_silence

S, F = WebhookDeliveryState, WebhookFault


async def test_a_life_of_an_order_is_told_in_order_and_signed(world: World) -> None:
    order = await world.city.accepted()
    await actions.mark_ready(world.runtime, world.city.clerk, order.id)
    await world.send()
    assert world.receiver.types == ["order.paid", "order.accepted", "order.ready"]
    contents = [each.verified(world.secret) for each in world.receiver.received]
    for content in contents:
        assert content.keys() == {"type", "timestamp", "cursor", "data"}
        assert content["timestamp"].endswith("Z")
        assert content["data"]["order"]["id"] == ids.encode("Order", order.id)
        assert content["data"]["order"]["store"] == ids.encode("Store", world.city.store_id)
    assert [c["data"]["order"]["state"] for c in contents] == ["PAID", "ACCEPTED", "READY"]
    versions = [c["data"]["order"]["version"] for c in contents]
    assert versions == sorted(set(versions))
    assert [d.state for d in await world.deliveries()] == [S.DELIVERED] * 3
    assert [each.id for each in world.receiver.received] == [
        ids.encode("WebhookDelivery", d.id) for d in await world.deliveries()
    ]
    await world.send()
    assert len(world.receiver.received) == 3


async def test_nothing_about_a_person_is_told(world: World) -> None:
    await world.city.accepted()
    await world.send()
    order = world.receiver.received[-1].content["data"]["order"]
    assert order.keys() == {
        "id", "number", "pickupNumber", "version", "state", "mode", "store", "subtotal", "deliveryFee", "total",
        "refunded", "placedAt", "paidAt", "acceptedAt", "promisedReadyAt", "readyAt", "pickedUpAt", "deliveredAt",
        "completedAt", "closedAt", "eta", "delivery",
    }  # fmt: skip
    assert order["total"] == {"amount": 3000, "currency": "CNY"}
    assert order["delivery"].keys() == {"id", "state", "pickupEta", "eta"}
    for fact in (b"13800138000", b"Home 1", b"Li", str(world.city.consumer.subject).encode(), b"39.915"):
        assert not any(fact in each.body for each in world.receiver.received)


async def test_only_the_chosen_events_come(world: World) -> None:
    made = await webhooks.create(world.runtime, None, world.partner_id, world.receiver.url, ["order.ready"])
    order = await world.city.accepted()
    await actions.mark_ready(world.runtime, world.city.clerk, order.id)
    await world.send(made.endpoint.id)
    assert world.receiver.types == ["order.ready"]
    world.receiver.received[0].verified(made.secret)


async def test_a_partner_hears_of_its_own_stores_only(world: World) -> None:
    async with receiving() as theirs:
        stranger = await world.partner(shared=False)
        other = await webhooks.create(world.runtime, None, stranger, theirs.url)
        await world.city.accepted()
        await world.send(world.endpoint.id, other.endpoint.id)
        assert world.receiver.types == ["order.paid", "order.accepted"]
        assert theirs.received == [] and await world.deliveries(other.endpoint.id) == []
        await webhooks.share_store(world.runtime, None, stranger, world.city.store_id)
        await world.send(world.endpoint.id, other.endpoint.id)
        assert theirs.received == []  # what was before is not told
        await world.city.pay(await world.city.place())
        await world.send(world.endpoint.id, other.endpoint.id)
        assert theirs.types == ["order.paid"]
        theirs.received[0].verified(other.secret)


async def test_what_is_no_longer_shared_is_not_sent_even_when_it_waits_already(world: World) -> None:
    await world.city.accepted()
    await webhooks.relay(world.runtime)
    await webhooks.unshare_store(world.runtime, None, world.partner_id, world.city.store_id)
    await world.send()
    assert world.receiver.received == []
    assert [d.state for d in await world.deliveries()] == [S.CANCELLED] * 2
    replayed = await webhooks.replay(world.runtime, None, world.endpoint.id, starting=world.city.clock.now())
    assert replayed.scheduled == 0
    await webhooks.share_store(world.runtime, None, world.partner_id, world.city.store_id)
    await world.city.pay(await world.city.place())
    await world.send()
    assert world.receiver.types == ["order.paid"]


async def until_done_or_waiting(world: World, task: asyncio.Task[None]) -> None:
    """Until it is over, or has to wait in the database for whoever is reading."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(PATIENCE):
        while not task.done() and not await world.runtime.database.fetchval(waiting):
            pass


async def test_what_happened_between_two_shares_is_not_told_to_whoever_reads_just_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.city.pay(await world.city.place())
    read_pages, sharing = feeds.read_pages, list[asyncio.Task[None]]()

    async def meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(feeds, "read_pages", read_pages)
        pages = await read_pages(*args)
        await webhooks.unshare_store(world.runtime, None, world.partner_id, world.city.store_id)
        await world.city.accepted()
        again = webhooks.share_store(world.runtime, None, world.partner_id, world.city.store_id)
        sharing.append(asyncio.create_task(again))
        await until_done_or_waiting(world, sharing[0])
        return pages

    monkeypatch.setattr(feeds, "read_pages", meanwhile)
    await webhooks.relay(world.runtime)
    await asyncio.gather(*sharing)
    await world.city.pay(await world.city.place())
    await world.send()
    assert world.receiver.types == ["order.paid"]


async def test_a_disabled_partner_is_told_nothing(world: World) -> None:
    await world.city.accepted()
    await webhooks.relay(world.runtime)
    await world.runtime.database.execute("UPDATE client SET revoked_at = now() WHERE id = $1", world.partner_id)
    await world.city.pay(await world.city.place())
    await world.send()
    assert world.receiver.received == [] and len(await world.deliveries()) == 2


# bad days

LONG = b"sorry " * 1000
BAD_DAYS: list[tuple[str, Day, F, int | None]] = [
    ("an error", status(500, LONG), F.STATUS, 500),
    ("too many", status(429), F.STATUS, 429),
    ("a redirect", status(302, b"", "location: http://127.0.0.1:1/"), F.REDIRECT, 302),
    ("not modified", status(304), F.REDIRECT, 304),
    ("no answer", silence, F.TIMEOUT, None),
    ("half a head", then_silence(b"HTTP/1.1 200 OK\r\nconte"), F.TIMEOUT, None),
    ("hanging up", raw(b""), F.BROKEN, None),
    ("hanging up in the head", raw(b"HTTP/1.1 200 OK\r\ncontent-le"), F.BROKEN, None),
    ("no HTTP", raw(b"SSH-2.0-OpenSSH_9\r\n\r\n"), F.BROKEN, None),
    ("a huge head", raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"), F.BROKEN, None),
]


@pytest.mark.parametrize(("day", "fault", "code"), [row[1:] for row in BAD_DAYS], ids=[row[0] for row in BAD_DAYS])
async def test_a_bad_day_is_noted_and_the_event_comes_again(world: World, day: Day, fault: F, code: int | None) -> None:
    world.receiver.days = [day]
    sent = await world.ping()
    async with world.in_a_hurry() if fault is F.TIMEOUT else nullcontext():
        await world.send()
    after = await world.delivery()
    assert (after.state, after.attempts, len(world.receiver.received)) == (S.PENDING, 1, 1)
    [attempt] = await world.attempts(sent)
    assert (attempt.fault, attempt.status) == (fault, code)
    assert len(attempt.excerpt) <= 500
    assert ((await world.now()).failures, (await world.now()).failing_since) == (1, world.city.clock.now())
    world.city.later(seconds=6)
    await world.send()
    assert (await world.delivery()).state is S.DELIVERED
    first, second = world.receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    second.verified(world.secret)
    assert ((await world.now()).failures, (await world.now()).failing_since) == (0, None)


GOOD_DAYS: list[tuple[str, Day, str]] = [
    ("a word", status(200, b"thanks"), "thanks"),
    ("zeros and no UTF-8", status(202, b"a\0b\xff"), "a\ufffdb\ufffd"),
    ("a body without an end", flood, "x" * 500),
    ("a body that stops", then_silence(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nwait"), "wait"),
    ("a body that is cut off", raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nwait"), "wait"),
    ("no compression", status(200, b"\x1f\x8b\x08", "content-encoding: gzip"), "\x1f\ufffd\x08"),
]


@pytest.mark.parametrize(("day", "excerpt"), [row[1:] for row in GOOD_DAYS], ids=[row[0] for row in GOOD_DAYS])
async def test_the_status_is_the_answer_whatever_the_body_is(world: World, day: Day, excerpt: str) -> None:
    world.receiver.day = day
    sent = await world.ping()
    await world.send()
    assert (await world.delivery()).state is S.DELIVERED
    [attempt] = await world.attempts(sent)
    assert (attempt.fault, attempt.excerpt) == (None, excerpt)


async def test_nobody_listens(world: World) -> None:
    with socket.socket() as bound:  # nobody else may get the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/hook"
        await webhooks.update(world.runtime, None, world.endpoint.id, url, None, "")
        sent = await world.ping()
        await world.send()
    [attempt] = await world.attempts(sent)
    assert (attempt.fault, attempt.status) == (F.UNREACHABLE, None)


# schedule


async def fail_until_given_up(world: World) -> list[timedelta]:
    """Let the newest delivery fail until it is given up; the pauses between its attempts."""
    pauses: list[timedelta] = []
    while True:
        before = world.city.clock.now()
        await world.send()
        delivery = await world.delivery()
        if delivery.state is not S.PENDING:
            return pauses
        pauses.append(delivery.due_at - before)
        await world.send()  # not before it is due
        assert (await world.delivery()).attempts == delivery.attempts
        world.city.clock.advance(delivery.due_at - before)


async def test_the_schedule_of_attempts_and_the_end_of_an_endpoint_that_is_never_there(world: World) -> None:
    world.receiver.day = status(500)
    await world.ping()
    pauses = await fail_until_given_up(world)
    assert len(pauses) == len(schedule.RETRIES) == 9
    for pause, planned in zip(pauses, schedule.RETRIES, strict=True):
        assert planned <= pause <= planned * 1.2
    assert timedelta(days=3) < sum(pauses, timedelta()) < timedelta(days=4)
    assert len({pause / planned for pause, planned in zip(pauses, schedule.RETRIES, strict=True)}) > 1
    delivery = await world.delivery()
    assert (delivery.state, delivery.attempts, len(world.receiver.received)) == (S.FAILED, 10, 10)
    assert len({each.id for each in world.receiver.received}) == 1
    endpoint = await world.now()
    assert (endpoint.state, endpoint.disabled_reason) == (
        WebhookEndpointState.DISABLED,
        WebhookDisabledReason.EXHAUSTED,
    )
    assert endpoint.failures == 10


async def test_an_endpoint_that_only_refuses_one_event_goes_on(world: World) -> None:
    async def picky(receiver: object, writer: asyncio.StreamWriter) -> None:
        last = world.receiver.received[-1].content["type"]
        await status(500 if last == "order.paid" else 204)(world.receiver, writer)

    world.receiver.day = picky
    await world.city.pay(await world.city.place())
    await world.send()
    for _ in range(20):
        world.city.later(hours=25)
        await world.ping()
        await world.send()
    deliveries = await world.deliveries()
    assert deliveries[0].state is S.FAILED
    assert {d.state for d in deliveries[1:]} == {S.DELIVERED}
    assert (await world.now()).state is WebhookEndpointState.ENABLED


async def test_410_disables_at_once(world: World) -> None:
    world.receiver.day = status(410)
    for _ in range(3):
        await world.ping()
    await world.city.accepted()
    await world.send()
    endpoint = await world.now()
    assert (endpoint.state, endpoint.disabled_reason) == (WebhookEndpointState.DISABLED, WebhookDisabledReason.GONE)
    asked = len(world.receiver.received)
    assert asked <= 4  # those that were on their way together
    world.city.later(days=1)
    await world.send()
    assert len(world.receiver.received) == asked


async def test_an_endpoint_that_is_enabled_again_goes_on_where_it_was_left(world: World) -> None:
    await webhooks.disable(world.runtime, None, world.endpoint.id, "maintenance")
    await world.city.accepted()
    await world.send()
    assert world.receiver.received == [] and await world.deliveries() == []
    await webhooks.enable(world.runtime, None, world.endpoint.id)
    await world.send()
    assert world.receiver.types == ["order.paid", "order.accepted"]


async def test_a_server_that_is_down_gets_a_rest_and_not_a_request_for_each_event(world: World) -> None:
    world.receiver.day = silence
    for _ in range(40):
        await world.ping()
    async with world.in_a_hurry():
        await world.send()
    asked = len(world.receiver.received)
    assert schedule.PATIENCE <= asked <= schedule.PATIENCE + 3
    endpoint = await world.now()
    assert endpoint.resume_at is not None and endpoint.resume_at > world.city.clock.now()
    await world.send()
    assert len(world.receiver.received) == asked
    world.receiver.released.set()
    world.receiver.day = None
    world.city.later(minutes=6)
    await world.send()
    await world.send()
    assert {d.state for d in await world.deliveries()} == {S.DELIVERED}


async def test_a_server_that_asks_for_a_rest_gets_it(world: World) -> None:
    world.receiver.days = [status(503, b"", "retry-after: 120")]
    await world.ping()
    await world.send()
    await world.ping()
    for wait in (0, 119):
        world.city.later(seconds=wait)
        await world.send()
        assert len(world.receiver.received) == 1
    world.city.later(seconds=1)
    await world.send()
    assert {d.state for d in await world.deliveries()} == {S.DELIVERED}


@pytest.mark.parametrize("wish", ["soon", "-1", "1e3", "٣", "9999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "0"])
async def test_a_wish_that_is_no_number_of_seconds_is_passed_over(world: World, wish: str) -> None:
    world.receiver.days = [status(429, b"", f"retry-after: {wish}")]
    await world.ping()
    await world.send()
    assert ((await world.delivery()).attempts, (await world.now()).resume_at) == (1, None)


async def test_a_wish_for_ever_is_granted_for_an_hour(world: World) -> None:
    world.receiver.days = [status(503, b"", "retry-after: 999999")]
    await world.ping()
    await world.send()
    assert (await world.now()).resume_at == world.city.clock.now() + timedelta(hours=1)


# who sends


async def test_two_workers_at_once_send_each_event_once(world: World) -> None:
    for _ in range(30):
        await world.ping()
    await world.city.accepted()
    gate = asyncio.Event()

    async def slow(receiver: object, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await status(204)(world.receiver, writer)

    world.receiver.day = slow
    workers = [asyncio.create_task(world.send()) for _ in range(3)]
    await world.receiver.until(lambda: bool(world.receiver.received))
    await asyncio.gather(*[world.send() for _ in range(3)])  # while somebody waits for an answer
    gate.set()
    await asyncio.gather(*workers)
    await world.send()
    assert len(world.receiver.received) == 32
    assert set(Counter(each.id for each in world.receiver.received).values()) == {1}
    assert {d.state for d in await world.deliveries()} == {S.DELIVERED}
    assert [len(await world.attempts(d)) for d in await world.deliveries()] == [1] * 32


async def test_events_of_one_order_follow_each_other_and_orders_do_not_wait_for_each_other(world: World) -> None:
    for _ in range(3):
        order = await world.city.accepted()
        await actions.mark_ready(world.runtime, world.city.clerk, order.id)
    gate = asyncio.Event()

    async def slow(receiver: object, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await status(204)(world.receiver, writer)

    world.receiver.day = slow
    sending = asyncio.create_task(world.send())
    await world.receiver.until(lambda: len(world.receiver.received) == 3)
    assert {each.content["type"] for each in world.receiver.received} == {"order.paid"}
    gate.set()
    await sending
    told: dict[str, list[int]] = {}
    for each in world.receiver.received:
        order_told = each.content["data"]["order"]
        told.setdefault(order_told["id"], []).append(order_told["version"])
    assert len(told) == 3 and all(versions == sorted(versions) and len(versions) == 3 for versions in told.values())


async def test_while_one_endpoint_is_slow_the_others_get_theirs(world: World) -> None:
    async with receiving(silence) as slow:
        other = await webhooks.create(world.runtime, None, await world.partner(), slow.url)
        await world.city.accepted()
        await webhooks.relay(world.runtime)
        job = webhooks.JOBS["webhook_send"]
        stuck = asyncio.create_task(job(world.runtime, {"endpoint": str(other.endpoint.id)}))
        await slow.until(lambda: bool(slow.received))
        await job(world.runtime, {"endpoint": str(world.endpoint.id)})
        assert world.receiver.types == ["order.paid", "order.accepted"]
        assert not stuck.done()
        slow.released.set()
        await stuck


async def test_the_job_is_enqueued_with_the_deliveries_and_again_for_a_retry(world: World) -> None:
    own = str(world.endpoint.id)

    async def jobs() -> int:
        return await world.runtime.database.fetchval(
            """SELECT count(*) FROM pgqueuer WHERE entrypoint = 'webhook_send'
               AND convert_from(payload, 'UTF8')::json ->> 'endpoint' = $1""",
            own,
        )

    await world.runtime.database.execute("DELETE FROM pgqueuer")
    await world.city.accepted()
    await webhooks.relay(world.runtime)
    assert await jobs() == 1
    world.receiver.days = [status(500)]
    assert await world.city.run_jobs("webhook_send") == 1
    assert await jobs() == 1  # in five seconds
    assert len(world.receiver.received) == 2
    await world.ping()
    assert await jobs() == 2
    await webhooks.JOBS["webhook_send"](world.runtime, {"endpoint": own})
    assert await jobs() == 2  # the one that comes soon does it all
    await world.runtime.database.execute("DELETE FROM pgqueuer")
    await webhooks.sweep(world.runtime)
    assert await jobs() == 0
    world.city.later(seconds=20)
    await webhooks.sweep(world.runtime)
    assert await jobs() == 1  # the job was lost
    await world.city.run_jobs("webhook_send")
    assert {d.state for d in await world.deliveries()} == {S.DELIVERED}


async def test_events_that_left_the_log_are_told_to_be_missing(world: World) -> None:
    await webhooks.disable(world.runtime, None, world.endpoint.id, "for weeks")
    await world.city.accepted()
    await world.runtime.database.execute("DELETE FROM feed_event WHERE ref_feed IS NOT NULL OR payload IS NOT NULL")
    await world.city.pay(await world.city.place())
    await webhooks.enable(world.runtime, None, world.endpoint.id)
    await world.send()
    told = sorted(world.receiver.received, key=lambda each: each.content["type"])
    assert [each.content["type"] for each in told] == ["events.missing", "order.paid"]
    assert told[0].content["data"] == {"store": ids.encode("Store", world.city.store_id), "count": 2}
