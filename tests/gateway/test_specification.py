"""GraphQL over HTTP against a real server: the public audits, the draft's statuses, caches, compression, browsers."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.documents import document_id
from tests import node
from tests.gateway.live import MANY, TEA, live
from tests.patience import PATIENCE

AUDITS = Path(__file__).with_name("audits.mjs")
JSON = "application/json"
MODERN = "application/graphql-response+json"


@pytest.fixture
async def audited() -> AsyncIterator[httpx.AsyncClient]:
    async with live() as url, httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
async def draft() -> AsyncIterator[httpx.AsyncClient]:
    async with live(http_profile="draft") as url, httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        yield client


async def test_all_audits_of_graphql_http_pass() -> None:
    await asyncio.to_thread(node.install)
    async with live(introspection=True) as url:  # what the audits ask with variables is __type
        process = await asyncio.create_subprocess_exec(
            *node.node_command(), str(AUDITS), f"{url}/graphql", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    results: list[dict[str, Any]] = orjson.loads(out)
    failed = [(r["id"], r["name"], r["reason"]) for r in results if r["status"] != "ok"]
    assert not failed
    assert len(results) == 61


BAD = [
    pytest.param(b"{", 400, 400, 400, id="not JSON"),
    pytest.param(b'{"qeury":"{ thing { name } }"}', 400, 400, 422, id="no query"),
    pytest.param(b'{"query":"{ thing { name } }","variables":[7]}', 400, 400, 422, id="variables are a list"),
    pytest.param(b'{"query":"{"}', 200, 400, 400, id="not a document"),
    pytest.param(b'{"query":"{ nothing }"}', 200, 400, 422, id="not valid"),
    pytest.param(b'{"query":"query A { __typename } query B { __typename }"}', 200, 400, 422, id="which operation"),
    pytest.param(
        b'{"query":"query Q($v: Int64!) { echo(value: $v) }","variables":{"v":"x"}}', 200, 400, 422, id="bad variable"
    ),
    pytest.param(
        orjson.dumps({"query": "{ " + "thing { __typename } " * 25 + "}"}), 400, 400, 422, id="too many root fields"
    ),
]


@pytest.mark.parametrize(("body", "legacy", "modern", "drafted"), BAD)
async def test_statuses_of_requests_that_are_not_executed(
    audited: httpx.AsyncClient, draft: httpx.AsyncClient, body: bytes, legacy: int, modern: int, drafted: int
) -> None:
    for client, accept, status in (
        (audited, JSON, legacy),
        (audited, MODERN, modern),
        (draft, JSON, drafted),
        (draft, MODERN, drafted),
    ):
        response = await client.post("/graphql", content=body, headers={"content-type": JSON, "accept": accept})
        assert response.status_code == status, (accept, response.text)
        assert "data" not in response.json()
        shown = MODERN if client is draft else accept
        assert response.headers["content-type"].startswith(shown)
        assert response.headers["cache-control"] == "no-store"


async def test_partial_success_is_294_in_the_draft_and_only_with_its_media_type(
    audited: httpx.AsyncClient, draft: httpx.AsyncClient
) -> None:
    body = {"query": '{ ok: thing { name } bad: thing(name: "gone") { name } }'}
    for client, accept, status in ((draft, MODERN, 294), (draft, JSON, 200), (audited, MODERN, 200)):
        response = await client.post("/graphql", json=body, headers={"accept": accept})
        assert response.status_code == status
        assert response.json()["data"] == {"ok": {"name": "tea"}, "bad": None}


@pytest.mark.parametrize("profile", ["audited", "draft"])
async def test_methods_and_media_types_that_are_not_taken(profile: str) -> None:
    async with live(http_profile=profile) as url, httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        put = await client.put("/graphql", json={"query": TEA})
        assert put.status_code == 405 and put.headers["allow"] == "GET, POST"
        rename = 'mutation { rename(id: "x", name: "y") { __typename } }'
        mutation = await client.get("/graphql", params={"query": rename})
        assert mutation.status_code == 405 and mutation.headers["allow"] == "POST"
        text = await client.post("/graphql", content=TEA, headers={"content-type": "text/plain"})
        assert text.status_code == 415
        image = await client.post("/graphql", json={"query": TEA}, headers={"accept": "image/png"})
        assert image.status_code == 406


# GET


async def test_a_query_by_get_is_asked_again_at_little_cost(audited: httpx.AsyncClient) -> None:
    first = await audited.get("/graphql", params={"query": TEA})
    assert first.status_code == 200 and first.headers["cache-control"] == "private, no-cache"
    again = await audited.get("/graphql", params={"query": TEA}, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == first.headers["etag"]
    changed = await audited.get("/graphql", params={"query": TEA}, headers={"if-none-match": '"other"'})
    assert changed.status_code == 200
    assert {"Authorization", "Accept", "Accept-Language"} <= set(first.headers["vary"].split(", "))


async def test_only_registered_queries_of_nobody_may_be_kept_by_others() -> None:
    async with live(public_max_age=30) as url, httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        kept = await client.get(f"/graphql/sha256:{document_id(TEA)}")
        assert kept.json() == {"data": {"thing": {"name": "tea"}}}
        assert kept.headers["cache-control"] == "public, max-age=30"
        assert (await client.get(f"/graphql/{document_id(TEA)}")).headers["cache-control"] == "public, max-age=30"
        made_up = await client.get("/graphql", params={"query": TEA})
        assert made_up.headers["cache-control"] == "private, no-cache"
        unknown = await client.get(f"/graphql/sha256:{'0' * 64}")
        assert unknown.status_code == 404 and unknown.headers["cache-control"] == "no-store"
        failed = await client.get("/graphql", params={"query": '{ thing(name: "gone") { name } }'})
        assert failed.headers["cache-control"] == "no-store" and "etag" not in failed.headers
        posted = await client.post("/graphql", json={"query": TEA})
        assert posted.headers["cache-control"] == "no-store"


# compression, proxies, browsers


async def test_long_answers_are_compressed_for_those_who_take_it(audited: httpx.AsyncClient) -> None:
    async with audited.stream(
        "POST", "/graphql", json={"query": MANY}, headers={"accept-encoding": "gzip"}
    ) as response:
        assert response.headers["content-encoding"] == "gzip" and "Accept-Encoding" in response.headers["vary"]
        raw = b"".join([part async for part in response.aiter_raw()])
    assert len(orjson.loads(gzip.decompress(raw))["data"]["things"]["nodes"]) == 100
    plain = await audited.post("/graphql", json={"query": MANY}, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    short = await audited.post("/graphql", json={"query": TEA}, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in short.headers


async def test_a_page_of_another_site_cannot_send_a_query_by_get_without_asking(audited: httpx.AsyncClient) -> None:
    async def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await audited.get("/graphql", params={"query": TEA}, headers=named)).status_code

    assert await status() == 200
    assert await status(sec_fetch_site="same-origin") == 200
    assert await status(sec_fetch_site="cross-site") == 403
    assert await status(sec_fetch_site="same-site") == 403
    assert await status(sec_fetch_site="cross-site", apollo_require_preflight="true") == 200
    assert await status(sec_fetch_site="cross-site", x_apollo_operation_name="Tea") == 200
    assert await status(sec_fetch_site="cross-site", content_type="application/json; charset=utf-8") == 200
    assert await status(sec_fetch_site="cross-site", content_type="Text/Plain; charset=utf-8") == 403
    assert await status(origin="https://evil.example") == 403


async def test_every_response_tells_browsers_to_be_careful() -> None:
    async with (
        live(trusted_proxies=["127.0.0.1"]) as trusting,
        live() as plain,
        httpx.AsyncClient(headers={"x-forwarded-proto": "https"}, timeout=PATIENCE) as client,
    ):
        behind = await client.post(f"{trusting}/graphql", json={"query": TEA})
        assert behind.headers["strict-transport-security"].startswith("max-age=31536000")
        assert behind.headers["x-content-type-options"] == "nosniff"
        alone = await client.post(f"{plain}/graphql", json={"query": TEA})
        assert "strict-transport-security" not in alone.headers, "nobody may claim to be a proxy"
        assert "frame-ancestors 'self'" in alone.headers["content-security-policy"]


async def test_request_ids_come_back(audited: httpx.AsyncClient) -> None:
    given = await audited.post("/graphql", json={"query": TEA}, headers={"x-request-id": "order-7.a_b"})
    assert given.headers["x-request-id"] == "order-7.a_b"
    harmful = await audited.post("/graphql", json={"query": TEA}, headers={"x-request-id": "a b<script>"})
    assert harmful.headers["x-request-id"] not in ("", "a b<script>")
