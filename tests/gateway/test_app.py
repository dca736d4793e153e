"""The whole program as one ASGI application."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from graphql import GraphQLInterfaceType, GraphQLObjectType, GraphQLUnionType

from app import create_app
from auth.principals import View
from cli import CONFIGURATION, configuration_page, continued_clock
from core.ids import type_prefixes
from core.settings import Settings
from gateway.contracts import build_contracts, sdl_drift
from gateway.documents import Documents
from gateway.manifests import BUNDLED, SOURCES, make_manifest, read_manifest
from gateway.operations import Operations
from resolvers.nodes import NODES
from schema.base import python_types
from schema.build import full_schema
from tests.patience import PATIENCE

MODERN = {"accept": "application/graphql-response+json"}


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(database_url=database_url, data_dir=tmp_path, sandbox=True))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            client.app = app  # type: ignore[attr-defined]
            yield client


async def ask(client: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    response = await client.post("/graphql", json={"query": query, "variables": variables}, headers=MODERN)
    assert response.status_code == 200, response.text
    return response.json()


async def test_it_serves_and_says_how_it_is(client: httpx.AsyncClient) -> None:
    answer = await ask(client, '{ viewer { kind view } clock { now speed } cities { id } node(id: "ord_x") { id } }')
    assert answer["data"]["viewer"] == {"kind": "ANONYMOUS", "view": "CONSUMER"}
    assert answer["data"]["clock"]["speed"] == 1
    assert answer["data"]["node"] is None
    assert (await client.get("/healthz")).text == "ok"
    await asyncio.wait_for(client.app.state.program.jobs.connected.wait(), PATIENCE)  # type: ignore[attr-defined]
    ready = await client.get("/readyz")
    assert ready.json() == {"serving": True, "database": True, "jobs": True}
    metrics = (await client.get("/metrics")).text
    assert 'hutong_operation_seconds_count{type="query",view="CONSUMER"}' in metrics


async def test_the_short_way_to_graphql_answers_as_the_long_one(client: httpx.AsyncClient) -> None:
    asked = {"query": "{ clock { speed } cities { id slug name } }"}
    headers = {**MODERN, "x-request-id": "one-and-the-same", "origin": "http://127.0.0.1:8000"}
    short = await client.post("/graphql", json=asked, headers=headers)
    other = await client.put("/graphql", headers=headers)  # a way through all layers
    assert short.status_code == 200 and short.headers["x-request-id"] == "one-and-the-same"
    expected = {name: value for name, value in other.headers.items() if not name.startswith("content-")}
    for name in ("x-content-type-options", "referrer-policy", "vary", "cache-control", "access-control-allow-origin"):
        assert name in expected
    assert {name: short.headers.get(name) for name in expected} == expected
    assert short.headers["content-security-policy"] == other.headers["content-security-policy"]
    many = " ".join(f"a{n}: clock {{ speed now }}" for n in range(20))
    long = await client.post("/graphql", json={"query": f"{{ {many} }}"}, headers={"accept-encoding": "gzip"})
    assert long.headers["content-encoding"] == "gzip" and len(long.json()["data"]) == 20
    assert long.headers["x-content-type-options"] == "nosniff"


async def test_a_draining_program_is_not_ready_but_alive(client: httpx.AsyncClient) -> None:
    await client.app.state.program.drain()  # type: ignore[attr-defined]
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200


async def test_terminals_are_served(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")


async def test_a_notification_that_is_not_the_providers_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/webhooks/payments/sandbox", content=b"{}")
    assert response.status_code == 400


async def test_bundled_operations_are_what_their_sources_say() -> None:
    assert BUNDLED.read_bytes() == make_manifest(list(SOURCES.glob("*.graphql")))


@pytest.fixture(scope="module")
def contracts() -> Any:
    return build_contracts(full_schema())


def test_every_bundled_operation_is_valid_and_partners_have_theirs(contracts: Any) -> None:
    known, documents = Operations(), Documents(introspection=False)
    views = {o.name: known.offer(o, contracts, documents) for o in read_manifest(BUNDLED)}
    assert all(views.values()), views
    for name in ("NearbyStores", "StoreMenu", "Store", "StoreTags", "Cities"):
        assert View.PARTNER in views[name], name


def test_bundled_operations_that_show_a_shop_show_its_pictures() -> None:
    texts = {operation.name: operation.body for operation in read_manifest(BUNDLED)}
    for name, shown in (("NearbyStores", "logo"), ("Store", "logo"), ("Store", "photos"), ("StoreMenu", "picture")):
        assert f"{shown} {{ url width height }}" in texts[name], (name, shown)


def test_the_contracts_are_what_the_files_say(contracts: Any) -> None:
    assert sdl_drift(contracts) == ""


def test_every_node_type_can_be_looked_up_and_has_a_prefix() -> None:
    kinds = full_schema().type_map.values()
    nodes = {k.name for k in kinds if isinstance(k, GraphQLObjectType) and "Node" in [i.name for i in k.interfaces]}
    assert nodes <= set(type_prefixes)
    # These are reached through what they are parts of; their ids are for clients' caches.
    assert nodes == set(NODES)
    assert set(NODES) <= nodes


def test_every_member_of_a_union_or_interface_can_be_recognised() -> None:
    """A type that no Python class is shown as could never be told apart."""
    shown = set(python_types.values())
    schema = full_schema()
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            for member in schema.get_possible_types(kind):
                if "UserError" not in [i.name for i in member.interfaces]:
                    assert member.name in shown, f"{member.name} in {kind.name}"


def test_the_configuration_page_is_what_the_settings_say() -> None:
    assert CONFIGURATION.read_text() == configuration_page()
    assert all(f"`HUTONG_{name.upper()}`" in configuration_page() for name in Settings.model_fields)


def test_the_clock_of_a_data_folder_never_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    first = continued_clock(path, 1000)
    was = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(was | {"real_origin": was["real_origin"] - 60}))
    second = continued_clock(path, 1)
    assert (second["clock_origin"] - first["clock_origin"]).total_seconds() >= 60_000


def test_a_busy_port_is_explained() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "cli", "run", "--no-demo", "--port", port],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert "Cannot listen on" in done.stderr
    assert "Traceback" not in done.stderr
