"""The explorer for development: local, per view, and honest when it is not installed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from starlette.applications import Starlette

from core.settings import Settings
from gateway.edge import edge
from gateway.graphiql import ASSETS, HOME, VIEWS, GraphiQL


@asynccontextmanager
async def served(home: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=GraphiQL(home).routes(), middleware=edge(Settings()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.example") as client:
        yield client


@pytest.fixture
def install(tmp_path: Path) -> Callable[[], Path]:
    """Puts something in place of what npm installs."""

    def make() -> Path:
        for path in ASSETS.values():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            own = HOME / path
            (tmp_path / path).write_bytes(b"//" if "node_modules" in path else own.read_bytes())
        return tmp_path

    return make


async def test_a_page_for_every_view_names_nothing_outside(install: Callable[[], Path]) -> None:
    async with served(install()) as client:
        for view in VIEWS:
            page = await client.get(f"/graphiql/{view}")
            assert page.status_code == 200 and f'data-view="{view}"' in page.text
            policy = page.headers["content-security-policy"]
            assert "default-src 'self'" in policy and "unsafe-eval" not in policy and "http" not in policy
            assert "frame-ancestors 'none'" in policy and "script-src" not in policy
            assert not re.search(r"https?:|//", page.text) and "<script>" not in page.text
            for url in re.findall(r'(?:src|href)="([^"]+)"', page.text):
                assert url.startswith("/"), url
                if "/assets/" in url:
                    assert (await client.get(url)).status_code == 200, url
        assert (await client.get("/graphiql")).headers["location"] == "/graphiql/consumer"
        for name in ASSETS:
            kind = (await client.get(f"/graphiql/assets/{name}")).headers["content-type"]
            assert ("javascript" if name.endswith(".js") else "text/css") in kind


def test_our_own_part_of_it_names_nothing_outside() -> None:
    for name in ("page.js", "page.css"):
        assert not re.search(r"https?://", (HOME / name).read_text())


@pytest.mark.parametrize(
    "path",
    ["partner", "CONSUMER", "nobody", "assets/package.json", "assets/..%2fpackage.json", "assets/page.js.map"],
)
async def test_nothing_else_is_there(install: Callable[[], Path], path: str) -> None:
    async with served(install()) as client:
        assert (await client.get(f"/graphiql/{path}")).status_code == 404


async def test_where_it_is_not_installed_the_page_says_how(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        page = await client.get("/graphiql/merchant")
        assert page.status_code == 503 and "make graphiql" in page.text
        assert not re.search(r"https?:|//", page.text)
        assert (await client.get("/graphiql/assets/graphiql.js")).status_code == 404


def test_the_lock_has_what_the_page_needs_and_names_no_registry() -> None:
    lock = orjson.loads((HOME / "package-lock.json").read_bytes())
    needed = {path.split("/")[1] for path in ASSETS.values() if path.startswith("node_modules")}
    assert {f"node_modules/{name}" for name in needed} <= lock["packages"].keys()
    for name, package in lock["packages"].items():
        assert "resolved" not in package and (not name or "integrity" in package), name
