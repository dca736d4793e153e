"""Commands through the public API: sent once, carried out once, answered truthfully."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import pytest

from core import ids
from models.devices import CommandAction, CommandState
from services.devices.machine import OPEN, TRANSITIONS, Actor
from services.jobs import all_jobs
from tests.api.city import City, key, some_id
from tests.api.follower import Follower
from tests.devices import shop as api
from tests.devices.shop import open_shop


async def expire(city: City, command: str) -> None:
    """Run the job of the command's end, as if it were that late."""
    await all_jobs()["device_command_expire"](
        city.program.runtime, {"command": str(ids.decode("DeviceCommand", command))}
    )


async def overdue(city: City, command: str) -> None:
    """Its end has passed, and the job has not run yet."""
    await city.execute(
        "UPDATE device_command SET expires_at = created_at WHERE id = $1", ids.decode("DeviceCommand", command)
    )


def test_the_table_closes_every_open_state_and_reopens_none() -> None:
    for state in CommandState:
        targets = {t.to for (s, _), t in TRANSITIONS.items() if s is state}
        if state in OPEN:
            assert {
                CommandState.ACKNOWLEDGED,
                CommandState.FAILED,
                CommandState.EXPIRED,
                CommandState.CANCELLED,
            } <= targets
        else:
            assert targets == {state}
    # What is done to a command while it is handed over (services/devices/reading.py) is in the table too.
    assert TRANSITIONS[CommandState.QUEUED, CommandAction.DELIVER].to is CommandState.DELIVERED
    assert all(Actor.DEVICE not in t.actors for (_, a), t in TRANSITIONS.items() if a is CommandAction.CANCEL)


async def test_a_command_reaches_the_device_and_is_acknowledged_once(city: City) -> None:
    shop = await open_shop(city)
    async with city.follow(shop.token, api.COMMANDS) as device:
        await device.count(1)
        assert device.values[0]["commands"] == [] and device.values[0]["kind"] == "SNAPSHOT"
        sent = await shop.send()
        assert sent["state"] == "QUEUED" and sent["availableActions"] == ["CANCEL"]
        told = await device.until(lambda v: v["type"] == "command.queued")
        (command,) = told["commands"]
        assert command["id"] == sent["id"] and command["state"] == "DELIVERED"
        assert [line["name"] for line in command["payload"]["lines"]] == ["one", "two"]
        assert command["availableActions"] == ["ACKNOWLEDGE", "FAIL"]
        first = await shop.acknowledge(sent["id"])
        assert first["state"] == "ACKNOWLEDGED"
        assert await shop.acknowledge(sent["id"]) == first
        other = await shop.acknowledge(sent["id"], "FAILED", failure="FAULT")
        assert (other["__typename"], other["state"], other["action"]) == (
            "CommandActionNotAllowed", "ACKNOWLEDGED", "FAIL",
        )  # fmt: skip
        await device.until(lambda v: v["type"] == "command.acknowledged")
    assert [v["type"] for v in device.values] == [None, "command.queued", "command.acknowledged"]


async def test_what_is_not_acknowledged_comes_again_until_it_is(city: City) -> None:
    shop = await open_shop(city)
    commands = [(await shop.send())["id"] for _ in range(3)]
    for _ in range(2):
        async with city.follow(shop.token, api.COMMANDS) as device:
            await device.count(1)
        assert [c["id"] for c in device.values[0]["commands"]] == commands
    await shop.acknowledge(commands[1])
    async with city.follow(shop.token, api.COMMANDS) as device:
        await device.count(1)
    assert [c["id"] for c in device.values[0]["commands"]] == [commands[0], commands[2]]
    # With a cursor it is told what followed, and no more.
    async with city.follow(shop.token, api.COMMANDS, after=device.values[0]["cursor"]) as resumed:
        await shop.acknowledge(commands[0])
        await resumed.until(lambda v: v["type"] == "command.acknowledged")
    assert [v["kind"] for v in resumed.values] == ["EVENT"]


async def test_acknowledgements_in_any_order_and_number_at_once(city: City) -> None:
    shop = await open_shop(city)
    commands = [(await shop.send())["id"] for _ in range(4)]
    words = [(c, o) for c in commands for o in ("DONE", "FAILED") for _ in range(3)]
    random.Random(1).shuffle(words)
    answers = await asyncio.gather(
        *(shop.acknowledge(c, o, **({"failure": "OUT_OF_PAPER"} if o == "FAILED" else {})) for c, o in words)
    )
    for command in commands:
        mine = [(o, a) for (c, o), a in zip(words, answers, strict=True) if c == command]
        taken = [a for _, a in mine if a["__typename"] == "DeviceCommand"]
        state = taken[0]["state"]
        # The first word counts; it is confirmed each time, and the other one is told what has been written.
        assert len(taken) == 3 and all(a == taken[0] for a in taken)
        assert {a["state"] for _, a in mine} == {state}
        assert {o for o, a in mine if a["__typename"] == "DeviceCommand"} == {
            "DONE" if state == "ACKNOWLEDGED" else "FAILED"
        }
    feed = f"device:{ids.decode('Device', shop.device)}"
    assert await city.fetchval("SELECT top FROM feed_head WHERE feed = $1", feed) == 8


async def test_a_late_acknowledgement_is_told_the_truth_and_kept(city: City) -> None:
    shop = await open_shop(city)
    by_job, by_time, cancelled = [(await shop.send())["id"] for _ in range(3)]
    await expire(city, by_job)
    await overdue(city, by_time)
    assert (await city.do(shop.owner, api.CANCEL, command=cancelled))["state"] == "CANCELLED"
    for command, state in ((by_job, "EXPIRED"), (by_time, "EXPIRED"), (cancelled, "CANCELLED")):
        answers = [await shop.acknowledge(command) for _ in range(2)]
        assert answers[0] == answers[1]
        assert (answers[0]["__typename"], answers[0]["state"]) == ("CommandActionNotAllowed", state)
        assert answers[0]["closedAt"] is not None
    # The merchant sees that it was done nevertheless.
    assert [(c["state"], c["outcome"]) for c in await shop.sent()] == [
        ("EXPIRED", "DONE"), ("EXPIRED", "DONE"), ("CANCELLED", "DONE"),
    ]  # fmt: skip


async def test_a_command_past_its_end_is_not_handed_over_whether_or_not_the_job_ran(city: City) -> None:
    """A gate must not open for somebody who has left."""
    shop = await open_shop(city)
    async with city.follow(shop.token, api.COMMANDS) as device:
        await device.count(1)
    gate = await shop.send(api.GATE, **{"in": 600})
    await overdue(city, gate["id"])
    async with city.follow(shop.token, api.COMMANDS) as fresh:
        await fresh.count(1)
    assert fresh.values[0]["commands"] == []
    assert await city.do(shop.token, api.PENDING, first=10) == []
    # Who resumes is told of it, as what it is now.
    async with city.follow(shop.token, api.COMMANDS, after=device.values[0]["cursor"]) as resumed:
        await resumed.count(1)
    assert [c["state"] for v in resumed.values for c in v["commands"]] == ["EXPIRED"]
    await expire(city, gate["id"])
    assert (await shop.sent())[0]["state"] == "EXPIRED"


async def test_a_command_that_was_taken_back_is_not_told_as_to_be_done(city: City) -> None:
    shop = await open_shop(city)
    async with city.follow(shop.token, api.COMMANDS) as device:
        await device.count(1)
    gate = await shop.send(api.GATE)
    assert (await city.do(shop.owner, api.CANCEL, command=gate["id"]))["state"] == "CANCELLED"
    async with city.follow(shop.token, api.COMMANDS, after=device.values[0]["cursor"]) as resumed:
        await resumed.until(lambda v: v["type"] == "command.cancelled")
    assert [c["state"] for v in resumed.values for c in v["commands"]] == ["CANCELLED", "CANCELLED"]


async def test_one_key_sends_one_command(city: City) -> None:
    shop = await open_shop(city)
    once = key()
    answers = await asyncio.gather(*(shop.send(key=once) for _ in range(8)))
    assert len({a["id"] for a in answers}) == 1 and len(await shop.sent()) == 1
    other = await shop.send({"printNote": {"title": "Else", "lines": ["x"]}}, key=once)
    assert other["code"] == "IDEMPOTENCY_CONFLICT"


async def test_a_device_that_polls(city: City) -> None:
    shop = await open_shop(city)
    commands = [(await shop.send())["id"] for _ in range(3)]
    assert [c["id"] for c in await city.do(shop.token, api.PENDING, first=2)] == commands[:2]
    assert [c["state"] for c in await shop.sent()] == ["DELIVERED", "DELIVERED", "QUEUED"]
    await shop.acknowledge(commands[0])
    assert [c["id"] for c in await city.do(shop.token, api.PENDING, first=100)] == commands[1:]
    assert (await city.do(shop.owner, api.DEVICE, id=shop.device))["online"]
    answer = await city.graphql(shop.token, api.PENDING, {"first": 101})
    assert answer["errors"][0]["extensions"]["code"] == "PAGE_SIZE_LIMIT_EXCEEDED"


async def test_out_of_paper_shows_and_is_printed_again(city: City) -> None:
    shop = await open_shop(city)
    async with city.follow(shop.clerk, api.DEVICES, store=shop.store) as board:
        await board.count(1)
        sent = await shop.send(by=shop.clerk)
        await board.until(lambda v: v["devices"][0]["pending"] == 1)
        pending = await city.do(shop.clerk, api.RESEND, command=sent["id"], key=key())
        assert (pending["code"], pending["action"]) == ("COMMAND_ACTION_NOT_ALLOWED", "RESEND")
        failed = await shop.acknowledge(sent["id"], "FAILED", failure="OUT_OF_PAPER", detail="tray 1")
        assert (failed["state"], failed["failure"], failed["detail"]) == ("FAILED", "OUT_OF_PAPER", "tray 1")
        shown = await board.until(lambda v: v["devices"][0]["problem"] == "OUT_OF_PAPER")
        assert shown["devices"][0]["pending"] == 0
        once = key()
        again = [await city.do(shop.clerk, api.RESEND, command=sent["id"], key=once) for _ in range(2)]
        assert again[0]["id"] == again[1]["id"] != sent["id"]
        assert again[0]["payload"] == sent["payload"]
        await shop.acknowledge(again[0]["id"])
        await board.until(lambda v: v["devices"][0]["problem"] is None)


async def test_a_board_is_told_the_last_thing_only(city: City) -> None:
    shop = await open_shop(city)
    first = await shop.send(api.BOARD)
    assert first["payload"] == {"__typename": "ShowBoard", "board": "QUEUE", "store": {"id": shop.store}}
    note = await shop.send()
    last = await shop.send({"showBoard": {"board": "BLANK"}})
    assert [c["id"] for c in await city.do(shop.token, api.PENDING, first=10)] == [note["id"], last["id"]]
    assert (await shop.sent())[0]["state"] == "CANCELLED"


async def test_what_cannot_be_sent_says_why(city: City) -> None:
    shop = await open_shop(city, "PRINT")
    lacking = await shop.send(api.GATE)
    assert (lacking["code"], lacking["capability"]) == ("CAPABILITY_MISSING", "GATE")
    made = await city.do(shop.owner, api.REGISTER, store=shop.store, name="New", station="COUNTER", can=["PRINT"])
    unpaired = await shop.send(device=made["device"]["id"])
    assert (unpaired["code"], unpaired["deviceState"]) == ("DEVICE_NOT_ACTIVE", "UNPAIRED")
    order = await city.place(await city.consumer(), shop.store, shop.sku, "PICKUP")
    for content, code in (
        ({"printOrder": {"order": order}}, "NOT_FOUND"),  # nobody has paid it
        ({"printOrder": {"order": some_id("Order")}}, "NOT_FOUND"),
        ({"printOrder": {"order": await shop.accepted(), "ticket": "NOTE"}}, "INVALID_INPUT"),
        ({"printOrder": {"order": order, "ticket": "CANCELLATION"}}, "INVALID_INPUT"),
        ({"printNote": {"title": " ", "lines": ["x"]}}, "INVALID_INPUT"),
        ({"printNote": {"title": "x", "lines": []}}, "INVALID_INPUT"),
        ({"printNote": {"title": "x", "lines": ["x"] * 101}}, "INVALID_INPUT"),
        ({"printNote": {"title": "x", "lines": ["\x07"]}}, "INVALID_INPUT"),
    ):
        assert (await shop.send(content))["code"] == code, content
    for more in ({"in": 0}, {"in": 10**7}, {"in": -1}, {"key": ""}):
        assert (await shop.send(**more))["code"] == "INVALID_INPUT", more
    answer = await city.graphql(
        shop.owner, api.SEND, {"device": shop.device, "key": key(), "content": {**api.NOTE, **api.GATE}}
    )
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    sent = await shop.send()
    for outcome, failure in (("DONE", "FAULT"), ("FAILED", None)):
        assert (await shop.acknowledge(sent["id"], outcome, failure=failure))["code"] == "INVALID_INPUT"


async def test_a_stuck_device_is_not_sent_ever_more(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.devices.commands.MAX_PENDING", 2)
    shop = await open_shop(city)
    await shop.send()
    await shop.send()
    full = await shop.send()
    assert (full["code"], full["pending"]) == ("DEVICE_BACKLOGGED", 2)
    # An order is accepted nevertheless, and its ticket waits for the printer.
    await shop.accepted()
    assert len(await shop.sent()) == 3


async def test_applied_to_its_snapshot_the_events_make_a_fresh_snapshot(city: City) -> None:
    """Invariant 11 for this feed, with followers that join after every step and with every cursor resumed from."""
    shop = await open_shop(city)
    followers: list[Follower] = []

    def applied(updates: list[dict[str, Any]]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for update in updates:
            held = {} if update["kind"] == "SNAPSHOT" else held
            held |= {c["id"]: c for c in update["commands"]}
        return {id: c for id, c in held.items() if c["state"] in ("QUEUED", "DELIVERED")}

    async with AsyncExitStack() as stack:

        async def attach() -> None:
            follower = await stack.enter_async_context(city.follow(shop.token, api.COMMANDS))
            await follower.count(1)
            followers.append(follower)

        await attach()
        commands = []
        for content in (api.NOTE, api.GATE, api.BOARD, api.NOTE, api.NOTE, api.BOARD, api.NOTE):
            commands.append((await shop.send(content))["id"])
            await attach()
        await shop.acknowledge(commands[0])
        await attach()
        await shop.acknowledge(commands[3], "FAILED", failure="FAULT")
        await attach()
        await expire(city, commands[1])
        await attach()
        await city.do(shop.owner, api.CANCEL, command=commands[4])
        await attach()
        order = await shop.accepted()
        await attach()
        async with city.follow(shop.token, api.COMMANDS) as fresh:
            await fresh.count(1)
        want, top = applied(fresh.values), fresh.values[0]["cursor"]
        assert len(want) == 3, order
        for follower in followers:
            await follower.until(lambda v: v["cursor"] == top)
            assert applied(follower.values) == want
        whole = followers[0].values
        cursors = [v["cursor"] for v in whole]
        assert len(set(cursors)) == len(cursors)
        for position, cursor in enumerate(cursors[:-1]):
            async with city.follow(shop.token, api.COMMANDS, after=cursor) as resumed:
                await resumed.until(lambda v: v["cursor"] == top)
            assert [(v["cursor"], v["type"]) for v in resumed.values] == [
                (v["cursor"], v["type"]) for v in whole[position + 1 :]
            ]
            assert applied([*whole[: position + 1], *resumed.values]) == want
