"""The TypeScript client: its documents are what the contract generates, it compiles strictly, and it works."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from tests import node
from tests.api.city import City
from tests.examples import installed
from tests.examples.installed import ROOT, TYPESCRIPT, run, same

GENERATED = Path("src", "generated")


@pytest.fixture(scope="module")
async def modules() -> Path:
    return await asyncio.to_thread(installed.typescript)


async def test_the_documents_are_what_the_contract_generates(modules: Path, tmp_path: Path) -> None:
    here = tmp_path / "examples" / "typescript"
    shutil.copytree(TYPESCRIPT, here, ignore=shutil.ignore_patterns("node_modules", "dist", "generated"))
    (here / "node_modules").symlink_to(modules)
    (tmp_path / "schema").symlink_to(ROOT / "schema")
    await run(*node.node_command(), "generate.mjs", cwd=here)
    same(here / GENERATED, TYPESCRIPT / GENERATED)


async def test_an_order_is_placed_followed_and_called_off(modules: Path, city: City) -> None:
    await run(*node.node_command(), modules / "typescript" / "bin" / "tsc", cwd=TYPESCRIPT)
    documents = TYPESCRIPT / GENERATED / "persisted-documents.json"
    database = city.program.runtime.settings.database_url
    await run(
        sys.executable, "-m", "cli", "operations", "register", documents, "--view", "consumer",
        HUTONG_DATABASE_URL=database,
    )  # fmt: skip
    await city.program.gateway.follow_registered(city.program.runtime.database)
    order = (*node.node_command(), "dist/order.js", f"{city.url}/graphql")
    out = await run(*order, cwd=TYPESCRIPT, HUTONG_TOKEN=city.tokens["consumer"])
    store, quote, *updates, refused, failed = out.splitlines()
    assert store.startswith("store ") and quote.endswith(" CNY")
    assert updates[0] == "SNAPSHOT null PLACED 1"
    assert updates[-1].startswith("EVENT order.cancelled CANCELLED ")
    assert refused == "refused ORDER_ACTION_NOT_ALLOWED CANCELLED []"
    assert failed == "failed PAGE_SIZE_LIMIT_EXCEEDED"
