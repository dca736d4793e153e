"""Cutting somebody off: what is open ends at once, and nothing of theirs works afterwards."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from auth.principals import View
from core import ids
from services import identity, seed
from services.unit import transaction
from subscriptions.websocket import Limits
from tests.api.city import City, new_phone, some_id
from tests.api.socket import open_socket

QUEUE = """subscription ($store: ID!) { queueBoardUpdates(store: $store) { cursor board { open } } }"""
REVOKE = """mutation ($input: RevokeSessionsInput!) { revokeSessions(input: $input) {
    ... on SessionsRevoked { count at } ... on UserError { code } } }"""
REFRESH = """mutation ($refresh: String!) { refreshSession(refreshToken: $refresh) {
    ... on Session { accessToken } ... on SessionInvalid { reason } } }"""
SESSIONS = "{ viewer { sessions { id view current } } }"
WHO = "{ viewer { kind person { id } } }"
REASON = {"reason": "lost phone"}


@pytest.fixture(autouse=True)
def never_by_time(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(city.program.sockets, "limits", Limits(recheck=3600))


async def person(city: City, *views: View) -> tuple[str, list[identity.Session]]:
    """``(person id, a session in each view)``."""
    async with transaction(city.program.runtime) as unit:
        person_id = await identity.ensure_person(unit, new_phone(), "Somebody")
        ttl = city.program.runtime.settings.access_token_ttl
        sessions = [await identity.open_session(unit, person_id, view, ttl) for view in views]
    return ids.encode("Person", person_id), sessions


async def works(city: City, session: identity.Session) -> bool:
    """Whether its access token does; the refresh token must be of the same opinion."""
    status, _ = await city.post({"query": WHO}, session.access_token)
    refreshed = await city.do(None, REFRESH, refresh=session.refresh_token)
    assert (status == 200) == ("accessToken" in refreshed), (status, refreshed)
    assert status == 200 or refreshed == {"reason": "ENDED"}
    return status == 200


async def revoke(city: City, token: str | None, **who: Any) -> dict[str, Any]:
    return await city.do(token, REVOKE, input=REASON | who)


async def test_all_of_ones_own(city: City) -> None:
    me, sessions = await person(city, View.CONSUMER, View.CONSUMER, View.RIDER)
    _, [other] = await person(city, View.CONSUMER)
    async with (
        open_socket(city, sessions[0].access_token) as one,
        open_socket(city, sessions[1].access_token) as two,
        open_socket(city, other.access_token) as three,
    ):
        for socket in (one, two, three):
            await socket.subscribe("queue", QUEUE, store=city.store)
        assert (await revoke(city, sessions[0].access_token))["count"] == 3
        for socket in (one, two):
            assert await socket.end("queue") == [{"code": "ACCESS_ENDED", "reason": "SESSION_REVOKED"}]
            assert await socket.close_code() == (4403, "session revoked")
        assert three.operations["queue"].ended is None
    assert [await works(city, session) for session in (*sessions, other)] == [False, False, False, True]
    entry = await city.fetchval(
        "SELECT row_to_json(a)::text FROM audit_entry a WHERE target_id = $1", ids.decode("Person", me)
    )
    told = orjson.loads(entry)
    assert (told["action"], told["view"], told["facts"]["reason"]) == ("revoke_sessions", "CONSUMER", "lost phone")
    assert told["actor_id"] == told["target_id"] == str(ids.decode("Person", me))


async def test_one_and_all_others(city: City) -> None:
    _, sessions = await person(city, View.CONSUMER, View.CONSUMER, View.CONSUMER)
    mine = (await city.do(sessions[0].access_token, SESSIONS))["sessions"]
    assert [s["current"] for s in mine].count(True) == 1 and len(mine) == 3
    current = next(s["id"] for s in mine if s["current"])
    another = next(s["id"] for s in mine if not s["current"])
    assert (await revoke(city, sessions[0].access_token, session=another))["count"] == 1
    assert (await revoke(city, sessions[0].access_token, session=another))["code"] == "NOT_FOUND"
    assert [s["id"] for s in (await city.do(sessions[0].access_token, SESSIONS))["sessions"]].count(another) == 0
    assert (await revoke(city, sessions[0].access_token, keepCurrent=True))["count"] == 1
    left = (await city.do(sessions[0].access_token, SESSIONS))["sessions"]
    assert [s["id"] for s in left] == [current]
    assert [await works(city, session) for session in sessions].count(True) == 1


async def test_an_admin_cuts_off_a_person_of_the_city(city: City) -> None:
    rider, _ = await city.rider(online=False)
    someone = (await city.do(rider, WHO))["person"]["id"]
    stranger, [session] = await person(city, View.CONSUMER)
    admin = city.tokens["admin"]
    assert (await revoke(city, admin, person=stranger))["code"] == "NOT_FOUND", "nothing to do with the city"
    assert (await revoke(city, admin, person=some_id("Person")))["code"] == "NOT_FOUND"
    assert (await revoke(city, rider, person=stranger))["code"] == "NOT_FOUND"
    assert (await revoke(city, city.tokens["merchant"], person=someone))["code"] == "NOT_FOUND"
    assert await works(city, session)
    async with open_socket(city, rider) as socket:
        tasks = "subscription { riderTasks { cursor } }"
        await socket.subscribe("tasks", tasks)
        assert (await revoke(city, admin, person=someone))["count"] == 1
        assert await socket.end("tasks") == [{"code": "ACCESS_ENDED", "reason": "SESSION_REVOKED"}]
        assert await socket.close_code() == (4403, "session revoked")


async def test_a_machine(city: City) -> None:
    """Its tokens are void; it comes back with its secret, until that is void too."""
    runtime = city.program.runtime
    name = "demo-device"
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": seed.demo_secret(runtime, name)}

    async def token() -> tuple[int, Any]:
        async with city.http.post(f"{city.url}/oauth/token", data=form) as response:
            return response.status, await response.json()

    admin, owner, device = city.tokens["admin"], city.tokens["merchant"], city.tokens["device"]
    for nobody in (await city.consumer(), (await city.shop())[0], (await city.rider(online=False))[0]):
        assert (await revoke(city, nobody, client=name))["code"] == "NOT_FOUND"
    for unknown in ("nobody", "", "demo\0device"):
        assert (await revoke(city, admin, client=unknown))["code"] == "NOT_FOUND"
    for who in (admin, owner):
        async with open_socket(city, device) as socket:
            await socket.subscribe("queue", QUEUE, store=city.store)
            assert (await revoke(city, who, client=name))["count"] == 1
            assert await socket.end("queue") == [{"code": "ACCESS_ENDED", "reason": "SESSION_REVOKED"}]
            assert await socket.close_code() == (4403, "session revoked")
        assert (await city.post({"query": WHO}, device))[0] == 401
        status, told = await token()
        assert status == 200
        device = told["access_token"]
        assert (await city.post({"query": WHO}, device))[0] == 200
    assert (await revoke(city, owner, client=name, disable=True))["count"] == 1
    assert (await city.post({"query": WHO}, device))[0] == 401
    assert (await token())[0] == 401


async def test_nobody_is_named_twice_and_reasons_are_given(city: City) -> None:
    me, [session] = await person(city, View.CONSUMER)
    for wrong in ({"person": me, "client": "x"}, {"session": some_id("Session"), "person": me}, {"reason": " "}):
        assert (await revoke(city, session.access_token, **wrong))["code"] == "INVALID_INPUT"
    assert (await revoke(city, None))["code"] == "PERMISSION_DENIED"
    assert (await revoke(city, session.access_token, session=some_id("Session")))["code"] == "NOT_FOUND"
    assert await works(city, session)
