"""An operation that takes too long is stopped: its statements too, and its connections serve the next one.

And one that is over leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

import app
from auth.principals import ANONYMOUS
from core.settings import Settings
from gateway.admission import OperationRequest
from gateway.compiler.run import Run
from gateway.contracts import build_contracts
from gateway.execution import Answer, Gateway
from resolvers.context import Context
from resolvers.loading import Loader
from schema.build import full_schema
from services import seed
from tests.patience import PATIENCE

WAITING = """SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND state = 'active'"""
NESTED = """{ stores(near: {latitude: 39.911, longitude: 116.413}, radiusMetres: 9000, first: 5) {
    nodes { id merchant { id name } menu { id items { id skus { id } } } }
} }"""


async def until(connection: Any, count: int) -> None:
    """Until as many statements wait for a lock."""
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval(WAITING) != count:  # noqa: ASYNC110 it is another process that is waited for
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("compiler", [True, False])
@pytest.mark.parametrize(
    ("table", "query"),
    [("city", "{ cities { id } }"), ("merchant", NESTED), ("sku", NESTED)],
)
async def test_its_statements_are_cancelled(
    database_url: str, tmp_path: Path, table: str, query: str, compiler: bool
) -> None:
    settings = Settings(
        database_url=database_url, data_dir=tmp_path, operation_timeout=timedelta(seconds=1), compiler=compiler,
        cost_available={"ANONYMOUS": 1_000_000},
    )  # fmt: skip
    async with app.open_runtime(settings, tails=True) as (runtime, tails):
        assert tails is not None
        await seed.seed(runtime)
        contracts = build_contracts(full_schema())
        hasty = Gateway(contracts, settings)
        patient = Gateway(contracts, settings.model_copy(update={"operation_timeout": timedelta(seconds=PATIENCE)}))

        async def ask(gateway: Gateway) -> Answer:
            operation = gateway.admit(ANONYMOUS, OperationRequest(query=query))
            return await gateway.respond(operation, Context(runtime, tails, ANONYMOUS))

        first = await ask(patient)
        assert first.codes == () and b"[]" not in first.body
        other = await asyncpg.connect(database_url)
        async with other.transaction():
            await other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            watcher = await asyncpg.connect(database_url)
            stuck = [asyncio.create_task(ask(hasty)) for _ in range(3)]
            answers = await asyncio.gather(*stuck)
            for answer in answers:
                assert answer.codes == ("OPERATION_TIMEOUT",)
                error = orjson.loads(answer.body)["errors"][0]
                assert error["extensions"]["limit"] == 1 and error["extensions"]["value"] >= 1
            # The lock is still held: who waits no more was cancelled.
            await until(watcher, 0)
            await watcher.close()
        await other.close()

        served = await asyncio.gather(*(ask(patient) for _ in range(2 * settings.database_pool_size)))
        assert all(answer.codes == () and answer.has_data for answer in served)


async def test_nothing_is_left_to_the_garbage_collector(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=database_url, data_dir=tmp_path)
    async with app.open_runtime(settings, tails=True) as (runtime, tails):
        assert tails is not None
        await seed.seed(runtime)
        gateway = Gateway(build_contracts(full_schema()), settings)

        async def ask() -> None:
            operation = gateway.admit(ANONYMOUS, OperationRequest(query=NESTED))
            assert (await gateway.respond(operation, Context(runtime, tails, ANONYMOUS))).codes == ()

        def alive() -> set[int]:
            return {id(each) for each in gc.get_objects() if isinstance(each, Context | Run | Loader)}

        for _ in range(3):  # compiled at the second use
            await ask()
        gc.collect()
        gc.disable()
        try:
            before = alive()  # other tests may have kept some
            await ask()
            await asyncio.sleep(0)
            assert alive() <= before
        finally:
            gc.enable()
