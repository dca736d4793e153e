"""Whatever the receiver answers and whoever dies when: in the end it has had every event, each under one id."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

import orjson
import pytest

from models.ordering import OrderState
from models.webhooks import WebhookDeliveryState, WebhookEndpointState
from services import webhooks
from services.errors import OrderActionNotAllowed
from services.ordering import actions
from services.webhooks import sending
from subscriptions.feeds import STORE_ORDERS, read
from tests.webhooks.conftest import World
from tests.webhooks.receiver import Day, Received, raw, status

GOOD: list[Day] = [status(204), status(200, b"thanks"), raw(b"HTTP/1.1 202 Yes\r\ncontent-length: 9\r\n\r\nsee")]
BAD: list[Day] = [
    status(500), status(302, b"", "location: /"), status(404),
    status(503, b"", "retry-after: 7"), raw(b""), raw(b"HTTP/1.1 200 OK\r\ncontent-le"), raw(b"nonsense\r\n\r\n"),
]  # fmt: skip


class Died(Exception):
    """Stands for the end of a process, after which nothing is done any more."""


@pytest.mark.parametrize("seed", range(4))
async def test_every_event_arrives(world: World, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance, city = random.Random(seed), world.city
    record, end = sending._record, sending._end
    dying = False

    async def maybe_record(*args: Any) -> None:
        nonlocal dying
        dying = dying or chance.random() < 0.1
        if dying:
            raise Died
        await record(*args)

    async def maybe_end(turn: sending.Turn) -> None:
        if not dying:
            await end(turn)

    taken: list[Received] = []

    async def some_day(receiver: object, writer: asyncio.StreamWriter) -> None:
        good = chance.random() < goodness
        if good:
            taken.append(world.receiver.received[-1])
        await chance.choice(GOOD if good else BAD)(world.receiver, writer)

    monkeypatch.setattr(sending, "_record", maybe_record)
    monkeypatch.setattr(sending, "_end", maybe_end)
    world.receiver.day, goodness = some_day, 0.4
    orders: list[Any] = []
    for _ in range(40):
        match chance.randrange(6):
            case 0 | 1:
                orders.append(await city.accepted())
            case 2 if orders:
                order = chance.choice(orders)
                try:
                    await actions.mark_ready(world.runtime, city.clerk, order.id)
                except OrderActionNotAllowed as error:
                    assert error.state is OrderState.READY
            case 3:
                await webhooks.relay(world.runtime)
            case 4:
                city.later(seconds=chance.choice((1, 10, 400, 4000)))
            case _:
                dying = False
                try:
                    await world.send()
                except* Died:
                    pass
        if (await world.now()).state is WebhookEndpointState.DISABLED:
            await webhooks.enable(world.runtime, None, world.endpoint.id)

    monkeypatch.setattr(sending, "_record", record)
    monkeypatch.setattr(sending, "_end", end)
    goodness = 1.0
    for _ in range(20):
        city.later(hours=26)
        await world.send()
    assert {d.state for d in await world.deliveries()} <= {WebhookDeliveryState.DELIVERED}

    bodies: dict[str, set[bytes]] = defaultdict(set)
    for each in taken:
        each.verified(world.secret)
        bodies[each.id].add(each.body)
    assert {len(of_one) for of_one in bodies.values()} <= {1}
    told = sorted(
        (content["data"]["order"]["id"], content["data"]["order"]["version"], content["type"])
        for (body,) in bodies.values()
        for content in [orjson.loads(body)]
    )
    logged = await read(world.runtime.database, STORE_ORDERS.of(city.store_id), 0)
    assert len(told) == len(logged) == len({each[:2] for each in told})
    assert sorted(each[2] for each in told) == sorted(event.type for event in logged)
