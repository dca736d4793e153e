"""A store's owner decides which partners are told of its orders."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from auth.principals import Held, Principal, PrincipalKind, View
from core.ids import uuid7
from models.identity import GrantRole
from models.webhooks import SharingParty, SharingState, WebhookDeliveryState
from services import partners, webhooks
from services.errors import NotFound, PermissionDenied, SharingRefused
from services.ordering import actions
from services.webhooks import Sharing
from tests.webhooks.conftest import World
from tests.webhooks.receiver import status

S = WebhookDeliveryState


def staff(world: World, role: GrantRole = GrantRole.STORE_OWNER) -> Principal:
    return replace(world.city.clerk, subject=uuid7(), grants=(Held(role, world.city.store_id, None),))


async def decided(world: World) -> list[Sharing]:
    return (await webhooks.sharings_of_stores(world.runtime, [world.city.store_id], 100, None))[world.city.store_id]


async def audited(world: World) -> list[tuple[str, str]]:
    rows = await world.runtime.database.fetch(
        """SELECT action, view FROM audit_entry WHERE target_id = $1 AND action LIKE '%share_store'
           AND facts->>'store' = $2 ORDER BY at""",
        world.partner_id,
        str(world.city.store_id),
    )
    return [(row["action"], row["view"]) for row in rows]


async def test_what_the_owner_refuses_nobody_else_shares_until_an_owner_takes_it_back(world: World) -> None:
    runtime, owner, admin = world.runtime, staff(world), world.city.admin
    key = (world.partner_id, world.city.store_id)
    (before,) = await decided(world)
    assert (before.partner_id, before.state, before.by) == (world.partner_id, "SHARED", SharingParty.OPERATOR)
    await world.city.pay(await world.city.place())
    await world.send()

    world.city.later(minutes=1)
    refused_at = world.city.clock.now()
    await webhooks.unshare_store(runtime, owner, *key)
    world.city.later(minutes=1)
    await webhooks.unshare_store(runtime, owner, *key)
    assert await decided(world) == [Sharing(world.partner_id, SharingState.REFUSED, SharingParty.OWNER, refused_at)]
    for other in (admin, None):
        with pytest.raises(SharingRefused) as refusal:
            await webhooks.share_store(runtime, other, *key)
        assert (refusal.value.partner, refusal.value.store, refusal.value.since) == (*key, refused_at)
        await webhooks.unshare_store(runtime, other, *key)  # changes nothing: the refusal stands
    await world.city.accepted()
    await world.send()
    assert world.receiver.types == ["order.paid"]

    shared_at = world.city.clock.now()
    await webhooks.share_store(runtime, staff(world), *key)  # another owner
    assert await decided(world) == [Sharing(world.partner_id, SharingState.SHARED, SharingParty.OWNER, shared_at)]
    await webhooks.share_store(runtime, admin, *key)
    assert (await decided(world))[0].by is SharingParty.OWNER
    await world.city.pay(await world.city.place())
    await world.send()
    assert world.receiver.types == ["order.paid"] * 2  # and nothing of what was between

    await webhooks.unshare_store(runtime, admin, *key)
    assert await decided(world) == []
    await webhooks.share_store(runtime, admin, *key)
    assert (await decided(world))[0].by is SharingParty.ADMIN
    assert await audited(world) == [
        ("share_store", "OPERATOR"), ("unshare_store", "MERCHANT"), ("share_store", "MERCHANT"),
        ("unshare_store", "ADMIN"), ("share_store", "ADMIN"),
    ]  # fmt: skip


async def test_an_owner_refuses_a_partner_before_anybody_has_shared_the_store_with_it(world: World) -> None:
    stranger = await world.partner(shared=False)
    await webhooks.unshare_store(world.runtime, staff(world), stranger, world.city.store_id)
    with pytest.raises(SharingRefused):
        await webhooks.share_store(world.runtime, world.city.admin, stranger, world.city.store_id)
    assert {each.partner_id: each.state for each in await decided(world)} == {
        world.partner_id: "SHARED", stranger: "REFUSED",
    }  # fmt: skip


async def test_staff_who_are_no_owners_and_owners_of_other_shops_decide_nothing(world: World) -> None:
    before, store = await decided(world), world.city.store_id
    elsewhere = Principal(
        PrincipalKind.MERCHANT, View.MERCHANT, uuid7(), grants=(Held(GrantRole.STORE_OWNER, uuid7(), None),)
    )
    as_device = replace(staff(world), kind=PrincipalKind.DEVICE, view=View.DEVICE)
    as_consumer = replace(staff(world), kind=PrincipalKind.CONSUMER, view=View.CONSUMER)
    for act in (webhooks.share_store, webhooks.unshare_store):
        for somebody in (staff(world, GrantRole.STORE_CLERK), staff(world, GrantRole.STORE_MANAGER), as_device):
            with pytest.raises(PermissionDenied):
                await act(world.runtime, somebody, world.partner_id, store)
        for nobody in (elsewhere, as_consumer):
            with pytest.raises(NotFound):
                await act(world.runtime, nobody, world.partner_id, store)
        for nothing in (uuid7(), store):
            with pytest.raises(NotFound):
                await act(world.runtime, staff(world), nothing, store)
    far = uuid7()
    await world.runtime.database.execute(
        "INSERT INTO city VALUES ($1, $2, 'Far', 31.2, 121.5, 'Asia/Shanghai', 'CNY')", far, str(far)
    )
    foreign = await partners.create(world.runtime, None, far, "Foreign")
    with pytest.raises(NotFound):
        await webhooks.share_store(world.runtime, staff(world), foreign.partner.id, store)
    assert await decided(world) == before and len(await audited(world)) == 1


async def test_an_owner_refuses_a_disabled_partner_but_does_not_share_with_it(world: World) -> None:
    await world.runtime.database.execute("UPDATE client SET revoked_at = now() WHERE id = $1", world.partner_id)
    await webhooks.unshare_store(world.runtime, staff(world), world.partner_id, world.city.store_id)
    with pytest.raises(PermissionDenied):
        await webhooks.share_store(world.runtime, staff(world), world.partner_id, world.city.store_id)
    assert [each.state for each in await decided(world)] == ["REFUSED"]


async def test_the_end_stops_a_batch_that_is_being_sent(world: World) -> None:
    order = await world.city.accepted()
    await actions.mark_ready(world.runtime, world.city.clerk, order.id)

    async def end_it(receiver: Any, writer: asyncio.StreamWriter) -> None:
        await webhooks.unshare_store(world.runtime, staff(world), world.partner_id, world.city.store_id)
        await status(204)(receiver, writer)

    world.receiver.days = [end_it]
    await world.send()
    assert world.receiver.types == ["order.paid"]
    assert [d.state for d in await world.deliveries()] == [S.DELIVERED, S.CANCELLED, S.CANCELLED]


async def test_a_partner_sees_nothing_any_more_of_what_it_was_told_before(world: World) -> None:
    runtime, me = world.runtime, Principal(PrincipalKind.PARTNER, View.PARTNER, world.partner_id)
    ping = await world.ping()
    await world.city.pay(await world.city.place())
    await world.send()
    told = await world.delivery()

    async def seen() -> list[Any]:
        found = await webhooks.of_endpoints(runtime, [world.endpoint.id], None, 10, None, shared=True)
        return [each.id for each in found[world.endpoint.id]]

    assert await seen() == [told.id, ping.id]
    assert (await webhooks.get_delivery(runtime, me, told.id)).id == told.id
    await webhooks.unshare_store(runtime, staff(world), world.partner_id, world.city.store_id)
    assert await seen() == [ping.id]
    for act in (webhooks.get_delivery, webhooks.resend):
        with pytest.raises(NotFound):
            await act(runtime, me, told.id)
    assert (await webhooks.get_delivery(runtime, me, ping.id)).id == ping.id
    assert (await webhooks.get_delivery(runtime, world.city.admin, told.id)).id == told.id


async def test_decisions_of_owners_and_admins_at_once(world: World) -> None:
    """One after the other in some order: never both shared and refused; an audit entry for each that changes it."""
    runtime, key = world.runtime, (world.partner_id, world.city.store_id)

    async def one(act: Any, who: Principal | None) -> str:
        try:
            await act(runtime, who, *key)
        except SharingRefused:
            return "refused"
        return "done"

    share, unshare = webhooks.share_store, webhooks.unshare_store
    async with asyncio.TaskGroup() as group:
        tries = [
            group.create_task(one(act, who))
            for _ in range(4)
            for act, who in (
                (share, world.city.admin), (unshare, staff(world)), (share, None), (unshare, world.city.admin),
            )
        ]  # fmt: skip
    assert len(tries) == 16
    # Whatever came first, the owner's end was among them, and nobody took it back.
    assert [each.state for each in await decided(world)] == ["REFUSED"]
    assert await one(share, world.city.admin) == "refused"
    async with asyncio.TaskGroup() as group:
        for act in (share, unshare) * 6:
            group.create_task(one(act, staff(world)))
    (now,) = await decided(world)
    log = await audited(world)
    assert log[-1][0] == ("share_store" if now.state == "SHARED" else "unshare_store")
    owners = [action for action, view in log if view == "MERCHANT"]
    assert all(a != b for a, b in pairwise(owners)), owners
    positions = await runtime.database.fetchval(
        "SELECT count(*) FROM webhook_position WHERE endpoint_id = $1", world.endpoint.id
    )
    assert positions == (now.state == "SHARED")


async def test_pages_of_decisions_about_many_stores(world: World) -> None:
    others = [await world.partner(shared=shared) for shared in (True, False, True)]
    for partner in others[:2]:
        await webhooks.unshare_store(world.runtime, staff(world), partner, world.city.store_id)
    stores, found, after = [uuid7(), world.city.store_id], list[Sharing](), None
    while True:
        pages = await webhooks.sharings_of_stores(world.runtime, stores, 2, after)
        assert pages[stores[0]] == [] and len(pages[stores[1]]) <= 2
        found += pages[stores[1]]
        if len(pages[stores[1]]) < 2:
            break
        after = found[-1].partner_id
    assert [each.partner_id for each in found] == sorted([*others, world.partner_id])
    assert found == await decided(world)
