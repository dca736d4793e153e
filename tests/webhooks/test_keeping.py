"""Secrets, replays, who may do what, and what a killed process leaves."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from auth.principals import Held, Principal, PrincipalKind, View
from core.clock import wall_now
from core.ids import uuid7
from models.identity import GrantRole
from models.webhooks import WebhookDeliveryState, WebhookEndpointState
from services import retention, webhooks
from services.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    WebhookEndpointDisabled,
    WebhookEndpointLimitReached,
)
from services.ordering import actions
from services.webhooks import messages
from tests.patience import PATIENCE
from tests.webhooks.conftest import World
from tests.webhooks.receiver import receiving, status

S = WebhookDeliveryState


def signs(world: World, secret: str) -> bool:
    """Whether the newest request has a signature by ``secret``."""
    try:
        world.receiver.received[-1].verified(secret)
    except WebhookVerificationError:
        return False
    return True


# secrets


def test_the_signature_is_that_of_the_reference_implementation() -> None:
    from tests.support import TEST_KEYS

    now, secret_id = wall_now(), uuid7()
    secret = messages.secret_text(TEST_KEYS, secret_id)
    body = '{"type":"ping","text":"面"}'
    ours = messages.signature(TEST_KEYS, [secret_id], "whd_1", int(now.timestamp()), body.encode())
    assert ours == Webhook(secret).sign("whd_1", now, body)
    assert secret.startswith("whsec_") and secret != messages.secret_text(TEST_KEYS, uuid7())


async def test_both_secrets_sign_until_the_first_one_ends(world: World) -> None:
    ends_at = wall_now() + timedelta(hours=1)
    second = await webhooks.rotate_secret(world.runtime, None, world.endpoint.id, ends_at)
    assert second.secret != world.secret
    await world.ping()
    await world.send()
    assert signs(world, world.secret) and signs(world, second.secret)
    assert len(world.receiver.received[-1].headers["webhook-signature"].split(" ")) == 2
    listed = (await webhooks.secrets_of(world.runtime, [world.endpoint.id]))[world.endpoint.id]
    assert [secret.ends_at for secret in listed] == [None, ends_at]
    await world.runtime.database.execute(
        "UPDATE webhook_secret SET ends_at = $1 WHERE ends_at IS NOT NULL AND endpoint_id = $2", wall_now(),
        world.endpoint.id,
    )  # fmt: skip
    await world.ping()
    await world.send()
    assert not signs(world, world.secret) and signs(world, second.secret)
    assert len((await webhooks.secrets_of(world.runtime, [world.endpoint.id]))[world.endpoint.id]) == 1


async def test_a_third_secret_ends_the_first_and_a_leak_ends_at_once(world: World) -> None:
    second = await webhooks.rotate_secret(world.runtime, None, world.endpoint.id)
    third = await webhooks.rotate_secret(world.runtime, None, world.endpoint.id)
    await world.ping()
    await world.send()
    assert [signs(world, each) for each in (world.secret, second.secret, third.secret)] == [False, True, True]
    fourth = await webhooks.rotate_secret(world.runtime, None, world.endpoint.id, wall_now())
    await world.ping()
    await world.send()
    known = (world.secret, second.secret, third.secret, fourth.secret)
    assert [signs(world, each) for each in known] == [False, False, False, True]
    for wrong in (timedelta(days=91), -timedelta(hours=1)):
        with pytest.raises(InvalidInput):
            await webhooks.rotate_secret(world.runtime, None, world.endpoint.id, wall_now() + wrong)


async def test_no_secret_lies_in_the_database(world: World) -> None:
    await webhooks.rotate_secret(world.runtime, None, world.endpoint.id)
    found = await world.runtime.database.fetchval("SELECT string_agg(s::text, ' ') FROM webhook_secret s")
    audited = await world.runtime.database.fetchval("SELECT string_agg(a::text, ' ') FROM audit_entry a")
    bare = world.secret.removeprefix("whsec_")
    assert "whsec" not in found + audited and bare not in found + audited


# replay


async def test_a_replay_from_a_cursor_sends_what_came_after_it_again_under_the_same_ids(world: World) -> None:
    order = await world.city.accepted()
    await actions.mark_ready(world.runtime, world.city.clerk, order.id)
    await world.send()
    first = list(world.receiver.received)
    done = await webhooks.replay(world.runtime, None, world.endpoint.id, after=first[0].content["cursor"])
    assert done.scheduled == 2
    await world.send()
    again = world.receiver.received[3:]
    assert [(each.id, each.body) for each in again] == [(each.id, each.body) for each in first[1:]]
    assert (
        await webhooks.replay(world.runtime, None, world.endpoint.id, after=first[2].content["cursor"])
    ).scheduled == 0


async def test_a_replay_from_an_instant_takes_what_was_never_sent_from_the_log(world: World) -> None:
    since = world.city.clock.now()
    await world.city.accepted()
    world.city.later(minutes=10)
    half = world.city.clock.now()
    await world.city.accepted()
    async with receiving() as newer:
        made = await webhooks.create(world.runtime, None, world.partner_id, newer.url)
        await world.send(made.endpoint.id)
        assert newer.received == []
        assert (await webhooks.replay(world.runtime, None, made.endpoint.id, starting=half)).scheduled == 2
        await world.send(made.endpoint.id)
        assert newer.types == ["order.paid", "order.accepted"]
        assert (await webhooks.replay(world.runtime, None, made.endpoint.id, starting=since)).scheduled == 4
        await world.send(made.endpoint.id)
        assert Counter(newer.types) == {"order.paid": 3, "order.accepted": 3}
        assert len({each.id for each in newer.received}) == 4
    # Not what happened before the partner had a right to it.
    stranger = await world.partner()
    late = await webhooks.create(world.runtime, None, stranger, world.receiver.url)
    assert (await webhooks.replay(world.runtime, None, late.endpoint.id, starting=half)).scheduled == 0


async def test_a_replay_revives_what_was_given_up(world: World) -> None:
    await world.city.accepted()
    await webhooks.relay(world.runtime)
    await world.runtime.database.execute(
        "UPDATE webhook_delivery SET state = 'FAILED', attempts = 10, settled_at = now() WHERE endpoint_id = $1",
        world.endpoint.id,
    )
    failed = await webhooks.of_endpoints(world.runtime, [world.endpoint.id], S.FAILED, 10, None)
    assert len(failed[world.endpoint.id]) == 2
    await webhooks.resend(world.runtime, None, failed[world.endpoint.id][0].id)
    await world.send()
    assert world.receiver.types == ["order.accepted"]
    assert (await world.delivery()).attempts == 1


async def test_what_cannot_be_replayed(world: World) -> None:
    async def refused(**asked: object) -> str:
        with pytest.raises(InvalidInput) as error:
            await webhooks.replay(world.runtime, None, world.endpoint.id, **asked)  # type: ignore[arg-type]
        return error.value.field

    other = await webhooks.create(world.runtime, None, world.partner_id, world.receiver.url)
    await webhooks.ping(world.runtime, None, other.endpoint.id)
    await world.send(other.endpoint.id)
    assert await refused() == "after"
    assert await refused(after="nonsense") == "after"
    assert await refused(after=world.receiver.received[0].content["cursor"]) == "after"
    await webhooks.disable(world.runtime, None, world.endpoint.id, "over")
    sent = world.city.clock.now()
    with pytest.raises(WebhookEndpointDisabled):
        await webhooks.replay(world.runtime, None, world.endpoint.id, starting=sent)
    with pytest.raises(WebhookEndpointDisabled):
        await world.ping()


# rights


def admin_of(city_id: UUID) -> Principal:
    return Principal(
        PrincipalKind.ADMIN, View.ADMIN, uuid7(), grants=(Held(GrantRole.CITY_ADMIN, None, city_id),)
    )  # fmt: skip


def as_partner(partner_id: UUID) -> Principal:
    return Principal(PrincipalKind.PARTNER, View.PARTNER, partner_id)


async def test_other_peoples_endpoints_do_not_exist(world: World) -> None:
    runtime, endpoint = world.runtime, world.endpoint.id
    sent = await world.ping()
    stranger = await world.partner()
    elsewhere = replace(world.city.clerk, grants=(Held(GrantRole.STORE_OWNER, uuid7(), None),))
    for nobody in (admin_of(uuid7()), as_partner(stranger), world.city.consumer, elsewhere):
        for act in (
            webhooks.get(runtime, nobody, endpoint),
            webhooks.get_delivery(runtime, nobody, sent.id),
            webhooks.ping(runtime, nobody, endpoint),
            webhooks.resend(runtime, nobody, sent.id),
            webhooks.replay(runtime, nobody, endpoint, starting=world.city.clock.now()),
            webhooks.rotate_secret(runtime, nobody, endpoint),
            webhooks.enable(runtime, nobody, endpoint),
            webhooks.disable(runtime, nobody, endpoint, "mine"),
            webhooks.update(runtime, nobody, endpoint, "https://example.com", None, ""),
            webhooks.create(runtime, nobody, world.partner_id, "https://example.com"),
            webhooks.share_store(runtime, nobody, world.partner_id, world.city.store_id),
            webhooks.unshare_store(runtime, nobody, world.partner_id, world.city.store_id),
        ):
            with pytest.raises(NotFound):
                await act


async def test_a_partner_looks_and_sends_again_but_does_not_say_where_to(world: World) -> None:
    runtime, endpoint, me = world.runtime, world.endpoint.id, as_partner(world.partner_id)
    sent = await webhooks.ping(runtime, me, endpoint)
    assert (await webhooks.get(runtime, me, endpoint)).id == endpoint
    assert (await webhooks.resend(runtime, me, sent.id)).state is S.PENDING
    await webhooks.replay(runtime, me, endpoint, starting=world.city.clock.now())
    for act in (
        webhooks.rotate_secret(runtime, me, endpoint),
        webhooks.update(runtime, me, endpoint, "https://example.com", None, ""),
        webhooks.disable(runtime, me, endpoint, "mine"),
        webhooks.create(runtime, me, world.partner_id, "https://example.com"),
        webhooks.share_store(runtime, me, world.partner_id, world.city.store_id),
    ):
        with pytest.raises(NotFound):
            await act


async def test_what_an_admin_does_is_in_the_audit(world: World) -> None:
    runtime, endpoint, admin = world.runtime, world.endpoint.id, world.city.admin
    await webhooks.update(
        runtime, admin, endpoint, "https://example.com/hook", ["order.ready", "order.ready"], "Kitchen"
    )
    await webhooks.disable(runtime, admin, endpoint, "noise")
    await webhooks.disable(runtime, admin, endpoint, "noise")
    assert (await webhooks.enable(runtime, admin, endpoint)).event_types == ["order.ready"]
    await webhooks.rotate_secret(runtime, admin, endpoint)
    await webhooks.unshare_store(runtime, admin, world.partner_id, world.city.store_id)
    actions_taken = await runtime.database.fetchval(
        "SELECT array_agg(action ORDER BY id) FROM audit_entry WHERE target_id = $1 AND actor_id = $2",
        world.partner_id,
        admin.subject,
    )
    assert actions_taken == [
        "update_webhook_endpoint", "disable_webhook_endpoint", "enable_webhook_endpoint", "rotate_webhook_secret",
        "unshare_store",
    ]  # fmt: skip


async def test_limits_and_wrong_input(world: World) -> None:
    for wrong in ([], ["order.placed"], ["nonsense"]):
        with pytest.raises(InvalidInput):
            await webhooks.create(world.runtime, None, world.partner_id, world.receiver.url, wrong)
    for _ in range(9):
        await webhooks.create(world.runtime, None, world.partner_id, world.receiver.url)
    with pytest.raises(WebhookEndpointLimitReached):
        await webhooks.create(world.runtime, None, world.partner_id, world.receiver.url)
    await webhooks.disable(world.runtime, None, world.endpoint.id, "room")
    await webhooks.create(world.runtime, None, world.partner_id, world.receiver.url)
    with pytest.raises(WebhookEndpointLimitReached):
        await webhooks.enable(world.runtime, None, world.endpoint.id)
    with pytest.raises(NotFound):
        await webhooks.share_store(world.runtime, None, world.partner_id, uuid7())
    await world.runtime.database.execute("UPDATE client SET revoked_at = now() WHERE id = $1", world.partner_id)
    with pytest.raises(PermissionDenied):
        await webhooks.create(world.runtime, None, world.partner_id, world.receiver.url)


# keeping


async def test_a_process_that_is_killed_before_it_writes_down_the_answer_loses_nothing(
    world: World, module_database_url: str
) -> None:
    sent = await world.ping()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.webhooks.dying", module_database_url, str(world.endpoint.id),
        world.city.clock.now().isoformat(),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), 2 * PATIENCE)
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert [each.id for each in world.receiver.received] != []
    assert ((await world.delivery()).state, await world.attempts(sent)) == (S.PENDING, [])
    await world.send()
    assert len(world.receiver.received) == 1  # whoever was killed could still be at it
    world.city.later(minutes=2)
    await webhooks.sweep(world.runtime)
    await world.city.run_jobs("webhook_send")
    first, second = world.receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert ((await world.delivery()).state, len(await world.attempts(sent))) == (S.DELIVERED, 1)


async def test_a_process_that_is_killed_while_it_takes_events_over_makes_them_neither_twice_nor_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.webhooks import relaying

    await world.city.accepted()
    add = relaying.add

    async def broken(*args: object) -> None:
        await add(*args)  # type: ignore[arg-type]
        raise ConnectionError("the database is gone")

    monkeypatch.setattr(relaying, "add", broken)
    with pytest.raises(ConnectionError):
        await webhooks.relay(world.runtime)
    assert await world.deliveries() == []
    monkeypatch.setattr(relaying, "add", add)
    await world.send()
    assert world.receiver.types == ["order.paid", "order.accepted"]


async def test_many_events_are_taken_over_in_parts_by_several_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.webhooks import relaying

    monkeypatch.setattr(relaying, "EVENTS", 3)
    for _ in range(5):
        await world.city.accepted()
    await asyncio.gather(*[webhooks.relay(world.runtime) for _ in range(4)])
    await webhooks.relay(world.runtime)
    deliveries = await world.deliveries()
    assert [d.sequence for d in deliveries] == list(range(1, 11))
    assert [d.type for d in deliveries] == ["order.paid", "order.accepted"] * 5


async def test_old_deliveries_are_dropped_with_their_attempts(world: World) -> None:
    world.receiver.days = [status(204), status(500)]
    await world.ping()
    await world.send()
    await world.ping()
    await world.send()
    world.city.later(days=31)
    await retention.forget(world.runtime)
    assert [d.state for d in await world.deliveries()] == [S.PENDING]
    attempts = await world.runtime.database.fetchval(
        "SELECT count(*) FROM webhook_attempt a LEFT JOIN webhook_delivery d ON d.id = a.delivery_id WHERE d.id IS NULL"
    )
    assert attempts == 0
    await webhooks.disable(world.runtime, None, world.endpoint.id, "over")
    assert (await world.now()).state is WebhookEndpointState.DISABLED
    await retention.forget(world.runtime)
    assert await world.deliveries() == []
