"""Refresh tokens rotate; a copied one ends the session; signing out and losing a role take effect."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from auth.authenticate import Authenticator
from auth.principals import ANONYMOUS, View
from auth.tokens import Reason, Unauthenticated
from models.identity import GrantRole
from services import identity
from services.errors import InvalidInput, NotFound, PermissionDenied, SessionInvalid
from services.identity import Caller
from services.runtime import Runtime
from services.sessions import open_sessions
from tests.identity.world import World, ago, build, code_sent, phone, principal, sign_in


async def refreshed(runtime: Runtime, session: identity.Session, seconds: float) -> None:
    """As if the last refresh had been so long ago."""
    await runtime.database.execute(
        "UPDATE refresh_session SET refreshed_at = $2 WHERE person_id = $1", session.person.id, ago(seconds=seconds)
    )


async def refused(runtime: Runtime, token: str) -> str:
    with pytest.raises(SessionInvalid) as refusal:
        await identity.refresh_session(runtime, token)
    return refusal.value.reason


async def reason(authenticator: Authenticator, token: str, view: View | None = None) -> Reason:
    with pytest.raises(Unauthenticated) as refusal:
        await authenticator.principal(token, view)
    return refusal.value.reason


async def test_each_refresh_token_works_once_and_gives_the_next(runtime: Runtime) -> None:
    session = await sign_in(runtime, phone(), View.CONSUMER)
    tokens = {session.refresh_token}
    for _ in range(4):
        following = await identity.refresh_session(runtime, session.refresh_token)
        assert following.person.id == session.person.id
        assert following.view is View.CONSUMER
        tokens.add(following.refresh_token)
        session = following
    assert len(tokens) == 5
    assert (await principal(runtime, session)).subject == session.person.id


async def test_only_hashes_of_refresh_tokens_are_stored(runtime: Runtime) -> None:
    session = await sign_in(runtime, phone(), View.CONSUMER)
    row = await runtime.database.fetchrow("SELECT * FROM refresh_session WHERE person_id = $1", session.person.id)
    assert row is not None
    secret = session.refresh_token.split(".")[1]
    assert all(secret not in str(value) for value in row.values())


async def test_an_old_refresh_token_ends_the_session(runtime: Runtime) -> None:
    first = await sign_in(runtime, phone(), View.CONSUMER)
    second = await identity.refresh_session(runtime, first.refresh_token)
    await refreshed(runtime, second, runtime.settings.refresh_grace.total_seconds())
    assert await refused(runtime, first.refresh_token) == "REUSED"
    assert await refused(runtime, second.refresh_token) == "ENDED"
    authenticator = Authenticator(runtime.database, runtime.keys)
    assert await reason(authenticator, second.access_token) is Reason.REVOKED


async def test_the_same_token_at_the_same_time_refreshes_once(runtime: Runtime) -> None:
    session = await sign_in(runtime, phone(), View.CONSUMER)
    results = await asyncio.gather(*(identity.refresh_session(runtime, session.refresh_token) for _ in range(8)))
    assert len({result.refresh_token for result in results}) == 1
    generation = await runtime.database.fetchval(
        "SELECT generation FROM refresh_session WHERE person_id = $1", session.person.id
    )
    assert generation == 1


async def test_a_phone_that_lost_the_answer_asks_again(runtime: Runtime) -> None:
    session = await sign_in(runtime, phone(), View.CONSUMER)
    lost = await identity.refresh_session(runtime, session.refresh_token)
    await refreshed(runtime, session, 25)
    again = await identity.refresh_session(runtime, session.refresh_token)
    assert again.refresh_token == lost.refresh_token
    assert (await principal(runtime, again)).session_id == (await principal(runtime, lost)).session_id
    # Asking again does not prolong the time for it.
    await refreshed(runtime, session, 31)
    assert await refused(runtime, session.refresh_token) == "REUSED"
    assert await refused(runtime, again.refresh_token) == "ENDED"


async def test_a_token_before_the_last_one_ends_the_session_at_once(runtime: Runtime) -> None:
    first = await sign_in(runtime, phone(), View.CONSUMER)
    second = await identity.refresh_session(runtime, first.refresh_token)
    third = await identity.refresh_session(runtime, second.refresh_token)
    assert await refused(runtime, first.refresh_token) == "REUSED"
    assert await refused(runtime, third.refresh_token) == "ENDED"


async def test_a_thief_and_the_owner_never_go_on_side_by_side(runtime: Runtime) -> None:
    """Whoever of them comes with a token that the other has moved on from ends the session of both."""
    stolen = (await sign_in(runtime, phone(), View.CONSUMER)).refresh_token
    owner = await identity.refresh_session(runtime, stolen)
    thief = await identity.refresh_session(runtime, stolen)
    await refreshed(runtime, owner, 900)
    following = await identity.refresh_session(runtime, owner.refresh_token)
    await refreshed(runtime, owner, 31)
    assert await refused(runtime, thief.refresh_token) == "REUSED"
    assert await refused(runtime, following.refresh_token) == "ENDED"
    authenticator = Authenticator(runtime.database, runtime.keys)
    for session in (owner, thief, following):
        assert await reason(authenticator, session.access_token) is Reason.REVOKED


async def test_without_a_grace_every_second_use_ends_the_session(runtime: Runtime) -> None:
    strict = replace(runtime, settings=runtime.settings.model_copy(update={"refresh_grace": timedelta(0)}))
    session = await sign_in(strict, phone(), View.CONSUMER)
    results = await asyncio.gather(
        *(identity.refresh_session(strict, session.refresh_token) for _ in range(8)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert {r.reason for r in results if isinstance(r, SessionInvalid)} <= {"REUSED", "ENDED"}


async def test_sessions_tell_their_device_and_when_they_were_used(runtime: Runtime) -> None:
    number = phone()
    caller = Caller(device="Mi 14")
    await identity.request_otp(runtime, number, View.CONSUMER, caller)
    session = await identity.sign_in(runtime, number, code_sent(runtime, number), View.CONSUMER, None, caller)
    who = await principal(runtime, session)
    [listed] = await open_sessions(runtime, who)
    assert (listed.device, listed.last_used_at, listed.current) == ("Mi 14", listed.created_at, True)
    await identity.refresh_session(runtime, session.refresh_token)
    [listed] = await open_sessions(runtime, who)
    assert listed.last_used_at > listed.created_at


async def test_made_up_tokens_are_unknown_and_end_nothing(runtime: Runtime) -> None:
    session = await sign_in(runtime, phone(), View.CONSUMER)
    family, secret, tag = session.refresh_token.split(".")
    for made_up in ("", "x", family, f"{family}.{secret}", f"{family}.guess.{tag}", f"{family}.é.{tag}", "a" * 5000):
        assert await refused(runtime, made_up) == "UNKNOWN"
    assert await identity.refresh_session(runtime, session.refresh_token)


async def test_an_unused_refresh_token_expires(runtime: Runtime) -> None:
    session = await sign_in(runtime, phone(), View.CONSUMER)
    await runtime.database.execute(
        "UPDATE refresh_session SET expires_at = $2 WHERE person_id = $1", session.person.id, ago(seconds=1)
    )
    assert await refused(runtime, session.refresh_token) == "EXPIRED"


async def test_signing_out_ends_the_session_and_only_that(runtime: Runtime) -> None:
    number = phone()
    one, other = await sign_in(runtime, number, View.CONSUMER), await sign_in(runtime, number, View.CONSUMER)
    authenticator = Authenticator(runtime.database, runtime.keys)
    await identity.sign_out(runtime, await authenticator.principal(one.access_token))
    assert await reason(authenticator, one.access_token) is Reason.REVOKED
    assert await refused(runtime, one.refresh_token) == "ENDED"
    assert (await authenticator.principal(other.access_token)).subject == other.person.id


async def test_without_a_session_there_is_nothing_to_sign_out_of(runtime: Runtime) -> None:
    with pytest.raises(PermissionDenied):
        await identity.sign_out(runtime, ANONYMOUS)


async def test_nobody_without_a_token(runtime: Runtime) -> None:
    assert await Authenticator(runtime.database, runtime.keys).principal(None) is ANONYMOUS


async def test_a_token_for_another_view_is_refused(runtime: Runtime) -> None:
    session = await sign_in(runtime, phone(), View.CONSUMER)
    authenticator = Authenticator(runtime.database, runtime.keys)
    assert await reason(authenticator, session.access_token, View.MERCHANT) is Reason.WRONG_AUDIENCE
    assert (await authenticator.principal(session.access_token, View.CONSUMER)).view is View.CONSUMER


async def test_a_revoked_grant_is_gone_from_the_very_next_request(world: World) -> None:
    runtime, clerk, store = world.runtime, phone(), await world.store()
    kept = await world.store()
    grant = await identity.grant_store_role(runtime, world.admin, store, clerk, GrantRole.STORE_MANAGER)
    await identity.grant_store_role(runtime, world.admin, kept, clerk, GrantRole.STORE_CLERK)
    session = await sign_in(runtime, clerk, View.MERCHANT)
    authenticator = Authenticator(runtime.database, runtime.keys)
    before = await authenticator.principal(session.access_token)
    assert before.works_at(store, managing=True)
    assert before.works_at(kept)
    assert not before.works_at(kept, managing=True)
    await identity.revoke_grant(runtime, world.admin, grant.id)
    after = await authenticator.principal(session.access_token)
    assert not after.works_at(store)
    assert after.works_at(kept)


async def test_grants_count_only_in_their_view(world: World) -> None:
    runtime, number, store = world.runtime, phone(), await world.store()
    await identity.grant_store_role(runtime, world.admin, store, number, GrantRole.STORE_OWNER)
    rider = await world.rider_session(number)
    consumer, merchant = await sign_in(runtime, number, View.CONSUMER), await sign_in(runtime, number, View.MERCHANT)
    as_rider, as_consumer, as_merchant = [await principal(runtime, s) for s in (rider, consumer, merchant)]
    assert as_consumer.grants == ()
    assert as_merchant.store_ids == [store]
    assert as_rider.store_ids == []
    assert as_rider.rider_id is not None
    assert as_merchant.rider_id is None
    assert not as_merchant.administers(world.city_id)


async def test_a_rider_whose_grant_ends_goes_offline_and_is_no_rider(world: World) -> None:
    runtime, number = world.runtime, phone()
    session = await world.rider_session(number)
    rider_id = (await principal(runtime, session)).rider_id
    await runtime.database.execute("UPDATE rider SET online = true WHERE id = $1", rider_id)
    grant = await runtime.database.fetchval(
        "SELECT id FROM \"grant\" WHERE person_id = $1 AND role = 'RIDER'", session.person.id
    )
    await identity.revoke_grant(runtime, world.admin, grant)
    assert await runtime.database.fetchval("SELECT online FROM rider WHERE id = $1", rider_id) is False
    assert (await principal(runtime, session)).rider_id is None


async def test_registering_a_rider_again_changes_nothing(world: World) -> None:
    number = phone()
    once = await identity.register_rider(world.runtime, world.admin, world.city_id, number, "Wang")
    results = await asyncio.gather(
        *(identity.register_rider(world.runtime, world.admin, world.city_id, number, "Wang") for _ in range(6))
    )
    assert {rider.id for rider in results} == {once.id}
    live = await world.runtime.database.fetchval(
        'SELECT count(*) FROM "grant" WHERE person_id = $1 AND revoked_at IS NULL', once.person_id
    )
    assert live == 1


async def test_granting_a_role_again_gives_the_same_grant(world: World) -> None:
    number, store = phone(), await world.store()
    grants = await asyncio.gather(
        *(identity.grant_store_role(world.runtime, world.admin, store, number, GrantRole.STORE_CLERK) for _ in range(6))
    )
    assert len({grant.id for grant in grants}) == 1
    await identity.revoke_grant(world.runtime, world.admin, grants[0].id)
    again = await identity.grant_store_role(world.runtime, world.admin, store, number, GrantRole.STORE_CLERK)
    assert again.id != grants[0].id
    ended = await identity.revoke_grant(world.runtime, world.admin, grants[0].id)
    assert ended.revoked_at is not None


async def test_owners_choose_their_staff_and_nobody_elses(world: World) -> None:
    runtime, owner, manager = world.runtime, phone(), phone()
    mine, foreign = await world.store(), await world.store()
    await identity.grant_store_role(runtime, world.admin, mine, owner, GrantRole.STORE_OWNER)
    await identity.grant_store_role(runtime, world.admin, mine, manager, GrantRole.STORE_MANAGER)
    as_owner = await principal(runtime, await sign_in(runtime, owner, View.MERCHANT))
    as_manager = await principal(runtime, await sign_in(runtime, manager, View.MERCHANT))
    clerk = await identity.grant_store_role(runtime, as_owner, mine, phone(), GrantRole.STORE_CLERK)
    with pytest.raises(NotFound):
        await identity.grant_store_role(runtime, as_owner, foreign, phone(), GrantRole.STORE_CLERK)
    with pytest.raises(PermissionDenied):
        await identity.grant_store_role(runtime, as_manager, mine, phone(), GrantRole.STORE_CLERK)
    with pytest.raises(PermissionDenied):
        await identity.revoke_grant(runtime, as_manager, clerk.id)
    # Being the owner counts in the merchant's view alone.
    as_consumer = await principal(runtime, await sign_in(runtime, owner, View.CONSUMER))
    with pytest.raises(NotFound):
        await identity.revoke_grant(runtime, as_consumer, clerk.id)
    assert (await identity.revoke_grant(runtime, as_owner, clerk.id)).revoked_at is not None


@pytest.mark.parametrize("role", [GrantRole.RIDER, GrantRole.CITY_ADMIN])
async def test_a_store_gives_store_roles_only(world: World, role: GrantRole) -> None:
    with pytest.raises(InvalidInput):
        await identity.grant_store_role(world.runtime, world.admin, await world.store(), phone(), role)


async def test_admins_rule_their_own_city_only(world: World) -> None:
    other = await build(world.runtime)
    store = await world.store()
    with pytest.raises(NotFound):
        await identity.register_rider(world.runtime, other.admin, world.city_id, phone(), "Rider")
    with pytest.raises(NotFound):
        await identity.grant_store_role(world.runtime, other.admin, store, phone(), GrantRole.STORE_CLERK)
    grant = await identity.grant_store_role(world.runtime, world.admin, store, phone(), GrantRole.STORE_CLERK)
    with pytest.raises(NotFound):
        await identity.revoke_grant(world.runtime, other.admin, grant.id)


async def test_the_last_admin_cannot_lock_everybody_out(world: World) -> None:
    own = await world.runtime.database.fetchval('SELECT id FROM "grant" WHERE person_id = $1', world.admin.subject)
    with pytest.raises(PermissionDenied):
        await identity.revoke_grant(world.runtime, world.admin, own)
