"""A demo city that several processes make at once, or that outlives the keys it was made with."""

from __future__ import annotations

import asyncio

from auth.clients import authenticate
from auth.principals import View
from auth.tokens import hash_secret
from services import seed
from tests.patience import PATIENCE
from tests.support import make_runtime


async def test_processes_that_start_together_make_one_demo_city(database_url: str) -> None:
    async with make_runtime(database_url) as runtime:
        made = await asyncio.gather(*(seed.seed(runtime) for _ in range(4)))
        assert made == [made[0]] * 4
        for table in ("city", "merchant", "store", "rider"):
            assert await runtime.database.fetchval(f"SELECT count(*) FROM {table}") == 1, table
        assert await runtime.database.fetchval("SELECT count(*) FROM item") == 4
        # More askers than the pool has connections.
        assert (
            await asyncio.wait_for(asyncio.gather(*(seed.seed(runtime) for _ in range(20))), PATIENCE) == [made[0]] * 20
        )


async def test_a_demo_machine_keeps_its_secret_when_the_keys_are_new(database_url: str) -> None:
    async with make_runtime(database_url) as runtime:
        made = await seed.seed(runtime)
        old = hash_secret("of older keys")
        await runtime.database.execute("UPDATE client SET secret_hash = $1 WHERE kind = 'DEVICE'", old)
        await runtime.database.execute("UPDATE client_credential SET secret_hash = $1", old)
        assert await seed.seed(runtime) == made
        for view in (View.PARTNER, View.DEVICE):
            client_id = f"demo-{view.lower()}"
            form = {"client_id": client_id, "client_secret": seed.demo_secret(runtime, client_id)}
            assert (await authenticate(runtime.database, None, form, ())).id == made.clients[view]
