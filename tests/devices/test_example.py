"""The example device against the real program: every command has its effect once, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from examples.device import Device, Faults, Journal, Refused, pair
from tests.api import documents as doc
from tests.api.city import City, key
from tests.api.follower import PATIENCE
from tests.devices import shop as api
from tests.devices.shop import Shop, open_shop

EXAMPLE = Path(__file__).parents[2] / "examples" / "device.py"


async def paired(city: City, shop: Shop) -> dict[str, str]:
    """Credentials of new hardware for the shop's device."""
    made = await city.do(shop.owner, api.PAIR, device=shop.device)
    return await pair(city.url, made["code"])


@asynccontextmanager
async def working(device: Device, poll: float | None = None) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(device.run() if poll is None else device.poll(poll))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Refused):
            await task


async def until_closed(shop: Shop, number: int) -> list[dict[str, Any]]:
    """Follow the shop's devices, as its dashboard does, until nothing is pending after ``number`` commands."""
    async with shop.city.follow(shop.owner, api.DEVICES, store=shop.store) as board, asyncio.timeout(PATIENCE):
        seen = 0
        while True:
            await board.count(seen + 1)
            seen = len(board.values)
            sent = await shop.sent()
            if len(sent) >= number and all(c["state"] not in ("QUEUED", "DELIVERED") for c in sent):
                return sent


@pytest.mark.parametrize("poll", [None, 0.01])
async def test_every_command_once_over_a_bad_connection(city: City, tmp_path: Path, poll: float | None) -> None:
    shop = await open_shop(city)
    lines: list[str] = []
    faults = Faults(drop=0.4, twice=0.4, dice=random.Random(7))
    device = Device(city.url, await paired(city, shop), Journal(tmp_path / "journal"), lines.append, faults)
    waiting = [(await shop.send())["id"] for _ in range(4)]
    async with working(device, poll):
        later = [(await shop.send(content))["id"] for content in (api.NOTE, api.GATE) * 4]
        sent = await until_closed(shop, 12)
    assert {c["state"] for c in sent} == {"ACKNOWLEDGED"}
    assert device.done == waiting + later
    assert sum("gate north" in line for line in lines) == 4
    assert sum("Test" in line for line in lines) == 8
    if poll is None:
        assert device.connections > 1


async def test_out_of_paper(city: City, tmp_path: Path) -> None:
    shop = await open_shop(city)
    device = Device(city.url, await paired(city, shop), Journal(tmp_path / "journal"), [].append, Faults(paper=2))
    async with working(device):
        for _ in range(4):
            await shop.send()
        sent = await until_closed(shop, 4)
    assert [(c["state"], c["failure"]) for c in sent] == [
        ("ACKNOWLEDGED", None), ("ACKNOWLEDGED", None), ("FAILED", "OUT_OF_PAPER"), ("ACKNOWLEDGED", None),
    ]  # fmt: skip


async def test_one_that_is_cut_off_while_it_works(city: City, tmp_path: Path) -> None:
    shop = await open_shop(city)
    device = Device(city.url, await paired(city, shop), Journal(tmp_path / "journal"), [].append)
    async with working(device) as task:
        await shop.send()
        await until_closed(shop, 1)
        await city.do(shop.owner, api.DISABLE, device=shop.device)
        with pytest.raises(Refused):
            await asyncio.wait_for(asyncio.shield(task), PATIENCE)


async def test_a_board_shows_the_queue_it_was_told_to(city: City, tmp_path: Path) -> None:
    shop = await open_shop(city)
    shown: asyncio.Queue[str] = asyncio.Queue()
    device = Device(city.url, await paired(city, shop), Journal(tmp_path / "journal"), shown.put_nowait)
    async with working(device), asyncio.timeout(PATIENCE):
        await shop.send(api.BOARD)
        while not (await shown.get()).startswith("▌ A  –"):
            pass
        ticket = await city.do(shop.owner, doc.TAKE, store=shop.store, size=2, key=key())
        await city.do(shop.owner, doc.on_ticket("callTicket"), ticket=ticket["id"])
        while ticket["number"] not in await shown.get():
            pass


async def test_killed_between_printing_and_saying_so(city: City, tmp_path: Path) -> None:
    """A device that lost its power says after the restart what it had done, and does not do it again."""
    shop = await open_shop(city)
    credentials = await paired(city, shop)
    environment = {f"HUTONG_DEVICE_{name.upper()}": value for name, value in credentials.items()}
    first = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), city.url, "--home", str(tmp_path), "--late", "60",
        env=environment | {"PYTHONUNBUFFERED": "1"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    command = await shop.send()
    journal = tmp_path / "journal.jsonl"
    assert first.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while not (await first.stdout.readline()).endswith(b"DONE\n"):
            pass
    first.send_signal(signal.SIGKILL)
    await first.wait()
    assert (await shop.sent())[0]["state"] == "DELIVERED"
    with journal.open("a") as file:
        file.write('{"id": "half a li')
    lines: list[str] = []
    device = Device(city.url, credentials, Journal(journal), lines.append)
    async with working(device):
        sent = await until_closed(shop, 1)
    assert (sent[0]["id"], sent[0]["state"]) == (command["id"], "ACKNOWLEDGED")
    assert device.done == [] and not any("Test" in line for line in lines)
    assert json.loads(journal.read_text().splitlines()[0])["outcome"] == "DONE"


async def test_a_code_that_is_none(city: City) -> None:
    with pytest.raises(Refused, match="pairing code"):
        await pair(city.url, "AAAAA-AAAAA")
