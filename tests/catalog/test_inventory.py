"""Stock: held + sold never exceeds total, and nothing gets lost."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.ids import uuid7
from models.identity import GrantRole
from services import catalog, inventory
from services.catalog import NewItem, NewSku
from services.errors import IdempotencyConflict, InsufficientStock, InvalidInput, NotFound
from services.unit import transaction
from tests.merchants.world import World, make_world
from tests.support import make_runtime


@dataclass
class Shop:
    world: World
    store_id: UUID
    category_id: UUID

    async def skus(self, *stocks: int | None) -> list[UUID]:
        """New SKUs with these stocks; None: not counted."""
        new = NewItem("面", "", [NewSku(f"v{n}", 100, stock) for n, stock in enumerate(stocks)])
        staff = self.world.staff(self.store_id)
        return [sku.id for sku in (await catalog.create_item(self.world.runtime, staff, self.category_id, new)).skus]

    async def state(self, sku_id: UUID) -> tuple[int | None, int, int]:
        """total, held, sold"""
        row = await self.world.runtime.database.fetchrow("SELECT total, held, sold FROM sku WHERE id = $1", sku_id)
        assert row is not None
        return tuple(row)

    async def do(self, action: Any, quantities: dict[UUID, int]) -> None:
        async with transaction(self.world.runtime) as unit:
            await action(unit, quantities)

    async def set_stock(self, sku_id: UUID, stock: int | None) -> Any:
        return await catalog.set_stock(self.world.runtime, self.world.staff(self.store_id), sku_id, stock, str(uuid7()))


@pytest.fixture(scope="module")
async def shop(module_database_url: str) -> Any:
    async with make_runtime(module_database_url) as runtime:
        world = await make_world(runtime)
        store = await world.store()
        category = await catalog.create_category(runtime, world.staff(store.id), store.id, "c")
        yield Shop(world, store.id, category.id)


async def test_fifty_buyers_of_twenty_units(shop: Shop) -> None:
    [sku] = await shop.skus(20)

    async def buy() -> bool:
        try:
            await shop.do(inventory.hold, {sku: 1})
        except InsufficientStock as refusal:
            assert (refusal.available, refusal.requested) == (0, 1)
            return False
        return True

    bought = await asyncio.gather(*(buy() for _ in range(50)))
    assert sum(bought) == 20
    assert await shop.state(sku) == (20, 20, 0)


async def test_fifty_buyers_pay_and_cancel_several_things_in_any_order(shop: Shop) -> None:
    skus = await shop.skus(20, 15, None, 30)
    rng = random.Random(3)
    sold = dict.fromkeys(skus, 0)

    async def buy() -> None:
        chosen = rng.sample(skus, rng.randint(1, 4))
        wanted = {sku: rng.randint(1, 3) for sku in chosen}
        ending = rng.choice(["pay", "expire", "refund"])
        try:
            await shop.do(inventory.hold, wanted)
        except InsufficientStock:
            return
        if ending == "expire":
            await shop.do(inventory.release, wanted)
            return
        await shop.do(inventory.commit_sold, dict(reversed(wanted.items())))
        if ending == "refund":
            await shop.do(inventory.restock, wanted)
            return
        for sku, quantity in wanted.items():
            sold[sku] += quantity

    await asyncio.gather(*(buy() for _ in range(50)))
    for sku, total in zip(skus, (20, 15, None, 30), strict=True):
        assert await shop.state(sku) == (total, 0, sold[sku])
        assert total is None or sold[sku] <= total


async def test_all_or_nothing(shop: Shop) -> None:
    plenty, few = await shop.skus(10, 2)
    with pytest.raises(InsufficientStock) as caught:
        await shop.do(inventory.hold, {plenty: 5, few: 3})
    assert (caught.value.sku, caught.value.available, caught.value.requested) == (few, 2, 3)
    assert caught.value.name == "面 v1"
    async with transaction(shop.world.runtime) as unit:  # a caller that goes on keeps nothing of the attempt either
        with pytest.raises(InsufficientStock):
            await inventory.hold(unit, {plenty: 5, few: 3})
    assert await shop.state(plenty) == (10, 0, 0)
    with pytest.raises(NotFound):
        await shop.do(inventory.hold, {plenty: 1, uuid7(): 1})
    assert await shop.state(plenty) == (10, 0, 0)
    await shop.do(inventory.hold, {})


async def test_moving_what_is_not_there_is_an_error_of_ours(shop: Shop) -> None:
    [sku, other] = await shop.skus(5, 5)
    await shop.do(inventory.hold, {sku: 2, other: 5})
    for action, quantities in (
        (inventory.release, {sku: 3}),
        (inventory.commit_sold, {sku: 3, other: 1}),
        (inventory.restock, {sku: 1}),
        (inventory.release, {uuid7(): 1}),
    ):
        with pytest.raises(RuntimeError):
            await shop.do(action, quantities)
    for quantity in (0, -1):
        with pytest.raises(ValueError, match="positive"):
            await shop.do(inventory.hold, {sku: quantity})
    assert await shop.state(sku) == (5, 2, 0)
    assert await shop.state(other) == (5, 5, 0)


async def test_counting_may_begin_and_end_while_orders_are_open(shop: Shop) -> None:
    [sku] = await shop.skus(None)
    await shop.do(inventory.hold, {sku: 7})
    assert (await shop.set_stock(sku, 3)).stock == 3
    assert await shop.state(sku) == (10, 7, 0)
    await shop.do(inventory.commit_sold, {sku: 7})
    with pytest.raises(InsufficientStock):
        await shop.do(inventory.hold, {sku: 4})
    await shop.do(inventory.hold, {sku: 3})
    assert (await shop.set_stock(sku, None)).stock is None
    await shop.do(inventory.hold, {sku: 50})
    await shop.do(inventory.release, {sku: 53})
    assert (await shop.set_stock(sku, 0)).stock == 0
    await shop.do(inventory.restock, {sku: 7})
    assert await shop.state(sku) == (7, 0, 0)


async def test_setting_stock_races_with_buyers_and_never_oversells(shop: Shop) -> None:
    [sku] = await shop.skus(5)
    held = 0

    async def buy() -> None:
        nonlocal held
        try:
            await shop.do(inventory.hold, {sku: 1})
        except InsufficientStock:
            return
        held += 1

    await asyncio.gather(*(buy() if n % 4 else shop.set_stock(sku, 3) for n in range(48)))
    total, now_held, sold = await shop.state(sku)
    assert (now_held, sold) == (held, 0)
    assert total is not None
    assert held <= total <= held + 3


async def test_the_table_itself_refuses_overselling(shop: Shop) -> None:
    [sku] = await shop.skus(1)
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.world.runtime.database.execute("UPDATE sku SET held = 2 WHERE id = $1", sku)


async def test_stock_is_set_by_staff_of_the_store(shop: Shop) -> None:
    [sku] = await shop.skus(1)
    runtime, world = shop.world.runtime, shop.world
    clerk = world.staff(shop.store_id, GrantRole.STORE_CLERK)
    assert (await catalog.set_stock(runtime, clerk, sku, 9, "nine")).stock == 9
    for principal in (world.staff(uuid7()), world.owner, world.admin):
        with pytest.raises(NotFound):
            await catalog.set_stock(runtime, principal, sku, 1, "one")
    with pytest.raises(NotFound):
        await catalog.set_stock(runtime, clerk, uuid7(), 1, "one")
    for stock in (-1, 10**9 + 1):
        with pytest.raises(InvalidInput):
            await catalog.set_stock(runtime, clerk, sku, stock, "bad")
    assert await shop.state(sku) == (9, 0, 0)


async def test_a_count_that_is_told_again_sells_nothing_twice(shop: Shop) -> None:
    """The answer to the first request was lost; what was bought since is not for sale again."""
    [sku, other] = await shop.skus(1, 1)
    clerk = shop.world.staff(shop.store_id, GrantRole.STORE_CLERK)

    async def count(sku_id: UUID, stock: int | None, key: str = "counted") -> Any:
        return await catalog.set_stock(shop.world.runtime, clerk, sku_id, stock, key)

    answers = await asyncio.gather(*(count(sku, 5) for _ in range(6)))
    assert all(answer == answers[0] for answer in answers) and answers[0].stock == 5
    await shop.do(inventory.hold, {sku: 2})
    assert await count(sku, 5) == answers[0]
    assert await shop.state(sku) == (5, 2, 0)
    for changed in ((sku, 4), (sku, None), (other, 5)):
        with pytest.raises(IdempotencyConflict):
            await count(*changed)
    assert (await count(sku, 5, "counted again")).stock == 5
    assert await shop.state(sku) == (7, 2, 0)


STEPS = st.lists(
    st.tuples(st.sampled_from(["hold", "release", "commit_sold", "restock", "set", "uncount"]), st.integers(1, 6)),
    max_size=12,
)


async def test_any_sequence_agrees_with_arithmetic(shop: Shop) -> None:
    sequences: list[tuple[int, list[tuple[str, int]]]] = []

    @settings(max_examples=60, database=None)
    @given(st.integers(0, 10), STEPS)
    def collect(total: int, steps: list[tuple[str, int]]) -> None:
        sequences.append((total, steps))

    collect()
    for start, steps in sequences:
        [sku] = await shop.skus(start)
        total: int | None = start
        held = sold = 0
        for step, n in steps:
            if step == "set":
                await shop.set_stock(sku, n)
                total = held + sold + n
            elif step == "uncount":
                await shop.set_stock(sku, None)
                total = None
            elif step == "hold":
                if total is not None and held + sold + n > total:
                    with pytest.raises(InsufficientStock) as caught:
                        await shop.do(inventory.hold, {sku: n})
                    assert caught.value.available == total - held - sold
                else:
                    await shop.do(inventory.hold, {sku: n})
                    held += n
            else:
                source = sold if step == "restock" else held
                action = getattr(inventory, step)
                if n > source:
                    with pytest.raises(RuntimeError):
                        await shop.do(action, {sku: n})
                    continue
                await shop.do(action, {sku: n})
                held -= n if step != "restock" else 0
                sold += {"commit_sold": n, "restock": -n}.get(step, 0)
            assert await shop.state(sku) == (total, held, sold)
