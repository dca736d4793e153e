"""The typed Python client: it is what the contracts generate, and it works against the real server."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import orjson
import pytest

from tests.api.city import City
from tests.examples import installed
from tests.examples.installed import PYTHON_TYPED, ROOT, run, same


@pytest.fixture(scope="module")
async def python() -> Path:
    return await asyncio.to_thread(installed.python_typed)


@pytest.mark.parametrize("view", ["consumer", "partner"])
async def test_it_is_what_the_contract_generates(python: Path, tmp_path: Path, view: str) -> None:
    here = tmp_path / "examples" / "python-typed"
    shutil.copytree(PYTHON_TYPED, here, ignore=shutil.ignore_patterns(".venv", "__pycache__", "hutong_*"))
    (tmp_path / "examples" / "python").symlink_to(ROOT / "examples" / "python")
    (tmp_path / "schema").symlink_to(ROOT / "schema")
    await run(python.with_name("ariadne-codegen"), "--config", f"{view}.toml", cwd=here)
    same(here / f"hutong_{view}", PYTHON_TYPED / f"hutong_{view}")


async def test_an_order_is_placed_followed_and_called_off(python: Path, city: City) -> None:
    out = await run(python, "order.py", f"{city.url}/graphql", cwd=PYTHON_TYPED, HUTONG_TOKEN=city.tokens["consumer"])
    store, quote, *updates, refused = out.splitlines()
    assert store.startswith("store ")
    assert quote.startswith("quote ") and quote.endswith(" CNY UTC")
    version = await city.fetchval("SELECT version FROM \"order\" WHERE state = 'CANCELLED'")
    assert updates[0] == "SNAPSHOT None PLACED 1"
    assert updates[-1] == f"EVENT order.cancelled CANCELLED {version}"
    assert refused == "refused ORDER_ACTION_NOT_ALLOWED CANCELLED []"


async def test_partners_call_registered_documents_by_id(python: Path, city: City, tmp_path: Path) -> None:
    asked = {"cwd": PYTHON_TYPED, "HUTONG_TOKEN": city.tokens["partner"]}
    manifest = tmp_path / "manifest.json"
    manifest.write_text(await run(python, "stores.py", "manifest", cwd=PYTHON_TYPED))
    assert [entry["name"] for entry in orjson.loads(manifest.read_text())["operations"]] == ["Cities", "StoresNear"]
    database = city.program.runtime.settings.database_url
    await run(sys.executable, "-m", "cli", "operations", "register", manifest, HUTONG_DATABASE_URL=database)
    await city.program.gateway.follow_registered(city.program.runtime.database)
    cities, *stores, by_text = (await run(python, "stores.py", f"{city.url}/graphql", **asked)).splitlines()
    assert cities == "cities ['beijing']"
    assert stores and all(line.endswith((" open", " closed")) for line in stores)
    assert by_text == "by text: ['PERSISTED_QUERY_ID_REQUIRED']"
