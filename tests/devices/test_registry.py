"""Pairing hardware, and cutting it off."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core import ids
from tests.api.city import City, codes, some_id
from tests.devices import shop as api
from tests.devices.shop import Shop, exchange, open_shop, sign_in


async def refused(city: City, code: str) -> None:
    status, answer = await exchange(city, code)
    assert (status, answer["error"]) == (401, "invalid_token")


async def test_a_code_is_exchanged_once_however_it_is_typed(city: City) -> None:
    shop = await open_shop(city)
    made = await city.do(shop.owner, api.REGISTER, store=shop.store, name="Bar", station="COUNTER", can=["PRINT"])
    assert made["device"]["state"] == "UNPAIRED"
    typed = made["code"].replace("-", " ").lower()
    answers = await asyncio.gather(*(exchange(city, typed) for _ in range(5)))
    assert sorted(status for status, _ in answers) == [201, 401, 401, 401, 401]
    credentials = next(answer for status, answer in answers if status == 201)
    assert credentials["client_name"] == "Bar" and credentials["client_secret_expires_at"] == 0
    assert (await sign_in(city, credentials))[0] == 200
    assert (await city.do(shop.owner, api.DEVICE, id=made["device"]["id"]))["state"] == "ACTIVE"
    rows = await city.fetchval("SELECT string_agg(d::text, '') FROM device d")
    assert made["code"] not in rows and made["code"].replace("-", "") not in rows


@pytest.mark.parametrize("code", ["", "x", "A" * 64, "A" * 65, "AAAAA-AAAAA", "'; --", "--", "\u00fc"])
async def test_codes_of_nobody_are_refused_alike(city: City, code: str) -> None:
    await refused(city, code)


async def test_no_code_and_too_much(city: City) -> None:
    async with city.http.post(f"{city.url}/oauth/register") as response:
        assert response.status == 401
        assert response.headers["www-authenticate"].startswith('Bearer realm="hutong", error="invalid_token"')
        assert response.headers["cache-control"] == "no-store"
    async with city.http.post(f"{city.url}/oauth/register", data=b"x" * 9000) as response:
        assert response.status == 413


async def test_guessing_codes_ends_for_the_address_alone(city: City) -> None:
    """A right code, given back, does not count; another address is not concerned."""
    shop = await open_shop(city)
    guesser, other = {"x-forwarded-for": "2a0e:b107:1::1"}, {"x-forwarded-for": "2a0e:b107:2::1"}
    most = city.program.runtime.settings.pairing_failures_per_address

    async def attempt(code: str, headers: dict[str, str]) -> tuple[int, str | None]:
        sent = headers | {"authorization": f"Bearer {code}"}
        async with city.http.post(f"{city.url}/oauth/register", headers=sent) as response:
            return response.status, response.headers.get("retry-after")

    first = await city.do(shop.owner, api.PAIR, device=shop.device)
    assert (await attempt(first["code"], guesser))[0] == 201
    answers = [await attempt(f"AAAAA-AAA{n:02d}", guesser) for n in range(most)]
    assert {status for status, _ in answers} == {401}
    second = await city.do(shop.owner, api.PAIR, device=shop.device)
    status, pause = await attempt(second["code"], guesser)
    assert status == 429 and pause is not None and 0 < int(pause) <= 86400
    assert (await attempt("AAAAA-AAAAA", other))[0] == 401
    assert (await attempt(second["code"], other))[0] == 201


async def test_an_old_code_is_none(city: City) -> None:
    shop = await open_shop(city)
    first = await city.do(shop.owner, api.PAIR, device=shop.device)
    second = await city.do(shop.owner, api.PAIR, device=shop.device)
    await refused(city, first["code"])
    await city.execute(
        "UPDATE device SET pairing_expires_at = now() - $2::interval WHERE id = $1",
        ids.decode("Device", shop.device),
        timedelta(seconds=1),
    )
    await refused(city, second["code"])
    third = await city.do(shop.owner, api.PAIR, device=shop.device)
    assert (await city.do(shop.owner, api.DISABLE, device=shop.device))["state"] == "DISABLED"
    await refused(city, third["code"])


async def test_new_hardware_takes_over_and_the_old_is_out(city: City) -> None:
    shop = await open_shop(city)
    waiting = await shop.send()
    async with city.follow(shop.token, api.COMMANDS) as old:
        await old.count(1)
        made = await city.do(shop.owner, api.PAIR, device=shop.device)
        await shop.send()
        await old.count(2)  # until the code is used, nothing changes
        _, credentials = await exchange(city, made["code"])
        token = (await sign_in(city, credentials))[1]["access_token"]
        await old.end()
    assert codes(await city.graphql(shop.token, api.PENDING, {"first": 1})) == ["UNAUTHENTICATED"]
    async with city.follow(token, api.COMMANDS) as new:
        await new.count(1)
    assert new.values[0]["commands"][0]["id"] == waiting["id"] and len(new.values[0]["commands"]) == 2


async def test_a_disabled_device_is_cut_off_at_once(city: City) -> None:
    shop = await open_shop(city)
    made = await city.do(shop.owner, api.PAIR, device=shop.device)
    _, credentials = await exchange(city, made["code"])
    shop.token = (await sign_in(city, credentials))[1]["access_token"]
    command = await shop.send()
    async with city.follow(shop.token, api.COMMANDS) as device:
        await device.count(1)
        disabled = [await city.do(shop.owner, api.DISABLE, device=shop.device) for _ in range(2)]
        assert disabled[0] == disabled[1]
        assert (disabled[0]["state"], disabled[0]["pending"], disabled[0]["online"]) == ("DISABLED", 0, False)
        await device.end()
    assert (await sign_in(city, credentials))[0] == 401
    answer = await city.graphql(shop.token, api.ACK, {"command": command["id"], "outcome": "DONE"})
    assert codes(answer) == ["UNAUTHENTICATED"]
    assert (await shop.send())["deviceState"] == "DISABLED"
    assert [c["state"] for c in await shop.sent()] == ["CANCELLED"]
    await shop.accepted()
    assert len(await shop.sent()) == 1  # nothing is printed by it any more
    # A code brings it back.
    made = await city.do(shop.owner, api.PAIR, device=shop.device)
    assert (await exchange(city, made["code"]))[0] == 201
    assert (await shop.send())["state"] == "QUEUED"


async def test_commands_and_disabling_at_once_leave_nothing_open(city: City) -> None:
    for _ in range(5):
        shop = await open_shop(city)
        await asyncio.gather(*(shop.send() for _ in range(4)), city.do(shop.owner, api.DISABLE, device=shop.device))
        assert {c["state"] for c in await shop.sent()} <= {"CANCELLED"}


async def test_presence_comes_and_goes(city: City) -> None:
    shop = await open_shop(city)
    async with city.follow(shop.owner, api.DEVICES, store=shop.store) as board:
        await board.count(1)
        assert not board.values[0]["devices"][0]["online"]
        async with city.follow(shop.token, api.COMMANDS) as one:
            await one.count(1)
            await board.until(lambda v: v["devices"][0]["online"])
            async with city.follow(shop.token, api.COMMANDS) as two:
                await two.count(1)
        await board.latest(lambda v: not v["devices"][0]["online"])
    assert (await city.do(shop.owner, api.DEVICE, id=shop.device))["lastSeenAt"] is not None


async def test_names_places_and_lists(city: City) -> None:
    shop = await open_shop(city)
    assert (await city.do(shop.owner, api.RENAME, device=shop.device, name=" Bar ")) == {
        "__typename": "Device", "id": shop.device, "name": "Bar",
    }  # fmt: skip
    moved = await city.do(shop.owner, api.ASSIGN, device=shop.device, station="ENTRANCE", can=["GATE", "GATE"])
    assert (moved["station"], moved["capabilities"]) == ("ENTRANCE", ["GATE"])
    await shop.accepted()
    assert await shop.sent() == []  # not a printer of the kitchen any more
    listed = (await city.do(shop.clerk, api.LISTED, id=shop.store))["devices"]
    assert [d["name"] for d in listed] == ["Bar"]
    assert (await city.do(shop.owner, api.RENAME, device=shop.device, name="x" * 81))["code"] == "INVALID_INPUT"
    assert (await city.do(shop.owner, api.ASSIGN, device=shop.device, station="COUNTER", can=[]))["code"] == (
        "INVALID_INPUT"
    )


async def test_who_may_do_what(city: City) -> None:
    """Staff print, managers do the rest, admins of the city all; for others there is no such device."""
    shop, other = await open_shop(city), await open_shop(city)
    admin, stranger = city.tokens["admin"], other.owner
    command = (await shop.send(api.GATE))["id"]
    changes = [
        (api.PAIR, {"device": shop.device}),
        (api.RENAME, {"device": shop.device, "name": "x"}),
        (api.ASSIGN, {"device": shop.device, "station": "KITCHEN", "can": ["GATE"]}),
        (api.DISABLE, {"device": shop.device}),
        (api.REGISTER, {"store": shop.store, "name": "x", "station": "KITCHEN", "can": ["GATE"]}),
        (api.CANCEL, {"command": command}),
    ]
    for document, variables in changes:
        assert (await city.do(stranger, document, **variables))["code"] == "NOT_FOUND", document
        assert (await city.do(shop.clerk, document, **variables))["code"] == "PERMISSION_DENIED", document
    for content in (api.GATE, api.BOARD):
        assert (await shop.send(content, by=shop.clerk))["code"] == "PERMISSION_DENIED"
    assert (await shop.send(by=stranger))["code"] == "NOT_FOUND"
    assert (await shop.send(by=shop.clerk))["state"] == "QUEUED"
    assert (await shop.send(api.GATE, by=admin))["state"] == "QUEUED"
    assert (await city.do(admin, api.DEVICE, id=shop.device))["pending"] == 3
    assert await city.do(stranger, api.DEVICE, id=shop.device) is None
    for token in (stranger, other.token):
        answer = await city.graphql(token, "query ($id: ID!) { node(id: $id) { id } }", {"id": command})
        assert answer["data"]["node"] is None
    for document, variables in (*changes[:3], *changes[5:], changes[3]):
        assert "code" not in await city.do(admin, document, **variables) or document == api.PAIR


async def test_no_other_device_reads_or_answers(city: City) -> None:
    """Invariant 12 for this feed: a device of the same store and one of another hear nothing of it."""
    shop, other = await open_shop(city), await open_shop(city)
    sibling, token = await shop.add("Second printer", "PRINT")
    strangers = (token, other.token)
    async with city.follow(token, api.COMMANDS) as near, city.follow(other.token, api.COMMANDS) as far:
        await near.count(1)
        await far.count(1)
        commands = [(await shop.send(content))["id"] for content in (api.NOTE, api.GATE, api.BOARD)]
        for stranger in strangers:
            for command in commands:
                answer = await city.do(stranger, api.ACK, command=command, outcome="DONE")
                assert answer["code"] == "NOT_FOUND"
        await shop.acknowledge(commands[0])
        # Theirs come later, through the same process: when they are there, ours would have been.
        await shop.send(device=sibling)
        await other.send()
        await near.count(2)
        await far.count(2)
    for follower in (near, far):
        told = str(follower.values)
        assert not any(command in told for command in (*commands, shop.device))
    async with city.follow(shop.token, api.COMMANDS) as own:
        await own.count(1)
    for stranger in strangers:
        # The position is in another feed: it starts afresh with its own.
        async with city.follow(stranger, api.COMMANDS, after=own.values[0]["cursor"]) as follower:
            await follower.count(1)
        assert follower.values[0]["reset"] == {"reason": "CURSOR_INVALID"}
        assert not any(command in str(follower.values) for command in commands)
    assert (await shop.sent())[1]["state"] == "DELIVERED"


@pytest.mark.parametrize("view", ["consumer", "rider", "partner", "merchant", "admin"])
async def test_the_feed_exists_for_devices_only(city: City, view: str) -> None:
    documents = [
        "subscription { deviceCommands { cursor } }",
        "{ pendingCommands(first: 1) { id } }",
        "{ myDevice { id } }",
        f'mutation {{ acknowledgeCommand(command: "{some_id("DeviceCommand")}", outcome: DONE) {{ __typename }} }}',
    ]
    if view not in ("merchant", "admin"):
        documents += ['subscription { storeDevices(store: "x") { cursor } }', '{ device(id: "x") { id } }']
    for document in documents:
        async with city.follow(city.tokens[view], document) as follower:
            ended = await follower.end()
        assert ended[0]["extensions"]["code"] in ("GRAPHQL_VALIDATION_FAILED", "PERSISTED_QUERY_ID_REQUIRED"), document


async def test_a_store_s_devices_are_followed_by_its_people_only(city: City) -> None:
    shop, other = await open_shop(city), await open_shop(city)
    async with city.follow(other.owner, api.DEVICES, store=shop.store) as follower:
        assert (await follower.end())[0]["extensions"]["code"] == "NOT_FOUND"
    async with city.follow(city.tokens["admin"], api.DEVICES, store=shop.store) as follower:
        await follower.count(1)
    assert follower.values[0]["devices"][0]["id"] == shop.device


async def test_a_client_that_is_paired_with_no_device_has_no_feed(city: City) -> None:
    shop: Shop = await open_shop(city)
    await city.execute("UPDATE device SET client_id = NULL WHERE id = $1", ids.decode("Device", shop.device))
    assert await city.do(shop.token, "{ myDevice { id } }") is None
    async with city.follow(shop.token, api.COMMANDS) as follower:
        assert (await follower.end())[0]["extensions"]["code"] == "NOT_FOUND"
