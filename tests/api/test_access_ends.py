"""A subscription whose reader loses the right to it ends, with the reason; what else the socket carries goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from auth.principals import View
from core import ids
from subscriptions.feeds import ACCESS, Signal
from subscriptions.websocket import Limits
from tests.api import documents as doc
from tests.api.city import City, new_phone
from tests.api.socket import open_socket

BOARD = """subscription ($store: ID!) { storeBoard(store: $store) { cursor kind type orders { id state } } }"""
QUEUE = """subscription ($store: ID!) { queueBoardUpdates(store: $store) { cursor board { open } } }"""
CITY = """subscription ($city: ID!) { cityUpdates(city: $city) { cursor } }"""
SIGN_OUT = "mutation { signOut { ... on SignedOut { at } ... on UserError { code } } }"


def ended(reason: str) -> list[dict[str, Any]]:
    return [{"code": "ACCESS_ENDED", "reason": reason}]


@pytest.fixture(autouse=True)
def never_by_time(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here waits for the periodic look at everybody."""
    monkeypatch.setattr(city.program.sockets, "limits", Limits(recheck=3600))


async def clerk_of(city: City, *shops: tuple[str, str, str]) -> tuple[str, list[str]]:
    """``(token, grant ids)`` of a new clerk of the shops."""
    phone = new_phone()
    grants = [(await city.do(owner, doc.GRANT_CLERK, store=store, phone=phone))["id"] for owner, store, _ in shops]
    person = await city.fetchval("SELECT id FROM person WHERE phone = $1", phone)
    return await city.open_session(person, View.MERCHANT), grants


async def test_only_what_the_grant_allowed_ends(city: City) -> None:
    ours, theirs = await city.shop(), await city.shop()
    clerk, (grant, _) = await clerk_of(city, ours, theirs)
    async with open_socket(city, clerk) as socket:
        await socket.subscribe("ours", BOARD, store=ours[1])
        await socket.subscribe("theirs", BOARD, store=theirs[1])
        await socket.subscribe("queue", QUEUE, store=ours[1])
        assert (await city.do(ours[0], doc.REVOKE, grant=grant))["revokedAt"]
        gone = await city.paid(await city.consumer(), ours[1], ours[2], "PICKUP")
        assert await socket.end("ours") == ended("GRANT_REVOKED")
        order = await city.paid(await city.consumer(), theirs[1], theirs[2], "PICKUP")
        board = socket.operations["theirs"]
        await socket.until(lambda: order in str(board.values))
        await city.do(ours[0], doc.QUEUE_OPEN, store=ours[1], open=False)
        await socket.until(lambda: socket.operations["queue"].values[-1]["board"]["open"] is False)
        assert gone not in str(socket.operations["ours"].values)
        assert await (again := socket).subscribe("again", BOARD, store=ours[1]) and not again.operations["again"].values
        assert (await socket.end("again"))[0]["code"] == "NOT_FOUND"
        assert board.ended is None and socket.closed is None


async def test_a_new_grant_is_had_at_once(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who subscribes before the server has looked at the new rights is asked to wait, not sent away."""
    ours, theirs = await city.shop(), await city.shop()
    clerk, _ = await clerk_of(city, ours)
    person = await city.fetchval('SELECT person_id FROM "grant" ORDER BY created_at DESC, id DESC LIMIT 1')
    phone = await city.fetchval("SELECT phone FROM person WHERE id = $1", person)
    real, asked, go = city.program.authenticator.principal, asyncio.Event(), asyncio.Event()

    async def principal(token: str, *args: Any) -> Any:
        if token == clerk:
            asked.set()
            await go.wait()
        return await real(token, *args)

    async with open_socket(city, clerk) as socket:
        await socket.subscribe("ours", BOARD, store=ours[1])
        await socket.subscribe("early", BOARD, store=theirs[1])
        assert (await socket.end("early"))[0]["code"] == "NOT_FOUND"
        monkeypatch.setattr(city.program.authenticator, "principal", principal)
        await city.do(theirs[0], doc.GRANT_CLERK, store=theirs[1], phone=phone)
        await asked.wait()
        subscribing = asyncio.create_task(socket.subscribe("theirs", BOARD, store=theirs[1]))
        await socket.ws.send_json({"type": "ping", "payload": {"n": 1}})
        await socket.until(lambda: socket.pongs)  # the server has read what was sent before
        go.set()
        assert (await subscribing).values
        assert socket.operations["ours"].ended is None


async def test_an_admin_of_no_city_any_more(city: City) -> None:
    phone = new_phone()
    admin = await city._person(View.ADMIN, phone)
    person = await city.fetchval("SELECT id FROM person WHERE phone = $1", phone)
    await city.execute(
        """INSERT INTO "grant" (id, person_id, role, city_id, created_at)
           SELECT gen_random_uuid(), $1, 'CITY_ADMIN', city_id, now() FROM "grant" WHERE role = 'CITY_ADMIN' LIMIT 1""",
        person,
    )
    grant = await city.fetchval('SELECT id FROM "grant" WHERE person_id = $1', person)
    async with open_socket(city, admin) as socket:
        await socket.subscribe("city", CITY, city=city.id)
        await socket.subscribe("board", BOARD, store=city.store)
        assert (await city.do(city.tokens["admin"], doc.REVOKE, grant=ids.encode("Grant", grant)))["revokedAt"]
        assert await socket.end("city") == ended("GRANT_REVOKED")
        assert await socket.end("board") == ended("GRANT_REVOKED")
        assert socket.closed is None


async def test_signing_out_ends_every_subscription_and_the_socket(city: City) -> None:
    consumer = await city.consumer()
    async with open_socket(city, consumer) as socket, open_socket(city, await city.consumer()) as other:
        await socket.subscribe("queue", QUEUE, store=city.store)
        await other.subscribe("queue", QUEUE, store=city.store)
        await city.do(consumer, SIGN_OUT)
        assert await socket.end("queue") == ended("SESSION_REVOKED")
        assert await socket.close_code() == (4403, "session revoked")
        assert other.operations["queue"].ended is None and other.closed is None


async def test_what_another_process_revoked(city: City) -> None:
    """The row changes without this process's doing; the signal says whose."""
    shop = await city.shop()
    clerk, (grant,) = await clerk_of(city, shop)
    async with open_socket(city, clerk) as socket:
        await socket.subscribe("board", BOARD, store=shop[1])
        person = await city.fetchval(
            'UPDATE "grant" SET revoked_at = now() WHERE id = $1 RETURNING person_id', ids.decode("Grant", grant)
        )
        await city.program.runtime.signals.publish([Signal(ACCESS.of(person))])
        assert await socket.end("board") == ended("GRANT_REVOKED")


async def test_nothing_is_sent_before_the_rights_are_known(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the revocation and the look at the database, and while the database is away."""
    shop = await city.shop()
    clerk, (grant,) = await clerk_of(city, shop)
    real, broken = city.program.authenticator.principal, True

    async def principal(*args: Any) -> Any:
        if broken and args[0] == clerk:
            raise ConnectionError("the database is away")
        return await real(*args)

    async with open_socket(city, clerk) as socket:
        await socket.subscribe("board", BOARD, store=shop[1])
        monkeypatch.setattr(city.program.authenticator, "principal", principal)
        await city.do(shop[0], doc.REVOKE, grant=grant)
        order = await city.paid(await city.consumer(), shop[1], shop[2], "PICKUP")
        async with open_socket(city, shop[0]) as owner:
            await owner.subscribe("board", BOARD, store=shop[1])
        broken = False
        assert await socket.end("board") == ended("GRANT_REVOKED")
        assert order not in str(socket.operations["board"].values)
