"""``/graphql`` over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from auth.authenticate import Authenticator
from auth.keys import SigningKeys
from auth.principals import Principal, View
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.documents import document_id
from gateway.execution import Gateway
from gateway.http import GraphQLEndpoint, negotiate
from gateway.operations import Operations
from gateway.refusals import Refused
from models.database import Database
from resolvers.context import Context
from tests.gateway.tiny import tiny_schema

CONTRACTS = build_contracts(tiny_schema())
MODERN = "application/graphql-response+json"
TEA = {"query": "{ thing { name } }"}


def make_context(principal: Principal, locale: str, request_id: str, address: str) -> Context:
    return Context(None, None, principal, locale, request_id, address)  # type: ignore[arg-type]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(allowed_origins=["https://shop.example"], cost_restore_rate={"ANONYMOUS": 1})
    operations = Operations()
    operations.add(View.CONSUMER, CONTRACTS[View.CONSUMER], TEA["query"])
    endpoint = GraphQLEndpoint(
        Gateway(CONTRACTS, settings, operations),
        Authenticator(Database(""), SigningKeys.generate()),
        make_context,
        settings,
    )
    methods = ["GET", "POST", "OPTIONS", "PUT"]
    app = Starlette(routes=[Route("/graphql", endpoint.handle, methods=methods)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
        yield client


async def post(client: httpx.AsyncClient, content: Any, accept: str = MODERN, **headers: str) -> httpx.Response:
    headers = {"accept": accept, "content-type": "application/json"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return await client.post("/graphql", content=body, headers=headers)


def code(response: httpx.Response) -> str:
    return response.json()["errors"][0]["extensions"]["code"]


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (MODERN, MODERN),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        (f"application/json;q=0.5, {MODERN}", MODERN),
        (f"{MODERN};q=0.5, application/json", "application/json"),
        ("application/graphql-response+json; charset=utf-8, text/html", MODERN),
    ],
)
async def test_the_answer_has_the_media_type_that_was_asked_for(
    client: httpx.AsyncClient, accept: str, answered: str
) -> None:
    response = await post(client, TEA, accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{answered}; charset=utf-8"
    assert response.json() == {"data": {"thing": {"name": "tea"}}}


def test_without_accept_older_clients_are_assumed() -> None:
    assert negotiate([]) == "application/json"
    with pytest.raises(Refused) as caught:
        negotiate(["text/html", "application/json;q=0"])
    assert caught.value.http_status == 406


@pytest.mark.parametrize(
    ("content", "modern", "older"),
    [
        ({"query": "{ thing {"}, 400, 200),
        ({"query": "{ nothing }"}, 400, 200),
        ({"query": "query E($v: Int64!) { echo(value: $v) }"}, 400, 200),
        ({"query": "query A { thing { id } }", "operationName": "B"}, 400, 200),
        (b"{", 400, 400),
        (b'"text"', 400, 400),
        ([TEA, TEA], 400, 400),
        ({}, 400, 400),
        ({"query": 1}, 400, 400),
        ({"query": "{ thing { id } }", "variables": []}, 400, 400),
        ({"query": "{ thing { id } }", "variables": "{}"}, 400, 400),
        ({"query": "{ thing { id } }", "extensions": 1}, 400, 400),
        ({"documentId": "0" * 64}, 404, 404),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}}, 200, 200),
        ({"query": "subscription { ticks(upTo: 1) { number } }"}, 405, 405),
        ({"query": '{ thing(name: "boom") { id } }'}, 200, 200),
    ],
)
async def test_statuses(client: httpx.AsyncClient, content: Any, modern: int, older: int) -> None:
    assert (await post(client, content)).status_code == modern
    assert (await post(client, content, "application/json")).status_code == older


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
        "",
    ],
)
async def test_content_types_that_a_foreign_page_can_send_are_refused(
    client: httpx.AsyncClient, content_type: str
) -> None:
    response = await post(client, TEA, content_type=content_type)
    assert response.status_code == 415


@pytest.mark.parametrize("levels", [600, 5000], ids=["read", "not read"])
async def test_json_that_is_nested_too_deeply_is_said_to_be_so(client: httpx.AsyncClient, levels: int) -> None:
    deep = '{"a":' * levels + "1" + "}" * levels
    body = '{"query": "query ($value: Int64!) { echo(value: $value) }", "variables": {"value": ' + deep + "}}"
    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400 and code(response) == "INPUT_DEPTH_LIMIT_EXCEEDED"


async def test_a_body_that_is_too_long_is_refused(client: httpx.AsyncClient) -> None:
    response = await post(client, {"query": "{ thing { name } }" + " " * 1_000_000})
    assert response.status_code == 413
    facts = response.json()["errors"][0]["extensions"]
    assert facts["code"] == "BODY_LIMIT_EXCEEDED" and facts["limit"] == 1_000_000 < facts["value"]

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 100_000

    response = await client.post("/graphql", content=pieces(), headers={"content-type": "application/json"})
    assert response.status_code == 413


async def test_batches_are_refused_with_their_size(client: httpx.AsyncClient) -> None:
    response = await post(client, [TEA] * 3)
    facts = response.json()["errors"][0]["extensions"]
    assert (response.status_code, facts) == (400, {"code": "BATCH_LIMIT_EXCEEDED", "limit": 1, "value": 3})


async def test_a_header_asks_for_the_cost_and_browsers_may_send_it(client: httpx.AsyncClient) -> None:
    response = await post(client, TEA, x_graphql_cost="1")
    cost = response.json()["extensions"]["cost"]
    assert cost["requested"] == cost["actual"] == 2
    assert cost["throttle"]["available"] <= cost["throttle"]["max"] - 2
    assert "extensions" not in (await post(client, TEA)).json()
    preflight = await client.options("/graphql", headers={"origin": "https://shop.example"})
    assert "x-graphql-cost" in preflight.headers["access-control-allow-headers"]
    assert "retry-after" in preflight.headers["access-control-expose-headers"]


@pytest.mark.parametrize("accept", [MODERN, "application/json"])
async def test_who_asked_for_too_much_is_told_when_to_come_back(client: httpx.AsyncClient, accept: str) -> None:
    expensive = {"query": "{ " + " ".join(f"a{i}: things(first: 100) {{ nodes {{ id }} }}" for i in range(20)) + " }"}
    for _ in range(300):
        response = await post(client, expensive, accept)
        if response.status_code != 200:
            break
    facts = response.json()["errors"][0]["extensions"]
    assert (response.status_code, facts["code"]) == (429, "THROTTLED")
    assert facts["cost"] == 1 + 20 * 101 > facts["available"] and facts["max"] == 40_000
    assert response.headers["retry-after"] == str(facts["retryAfter"])
    assert response.headers["cache-control"] == "no-store"


async def test_queries_may_be_sent_by_get_and_nothing_else(client: httpx.AsyncClient) -> None:
    headers = {"accept": MODERN}
    query = "query E($v: Int64!) { echo(value: $v) }"
    response = await client.get("/graphql", params={"query": query, "variables": '{"v": 5}'}, headers=headers)
    assert response.json() == {"data": {"echo": 5}}
    id = document_id(TEA["query"])
    response = await client.get("/graphql", params={"documentId": f"sha256:{id}"}, headers=headers)
    assert response.json() == {"data": {"thing": {"name": "tea"}}}
    mutation = 'mutation { rename(id: "x", name: "y") { __typename } }'
    response = await client.get("/graphql", params={"query": mutation}, headers=headers)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    response = await client.get("/graphql", params={"query": query, "variables": "{"}, headers=headers)
    assert response.status_code == 400
    response = await client.put("/graphql", headers=headers)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize("authorization", ["Bearer nonsense", "Basic eDp5", "Bearer", ""])
async def test_a_bad_token_is_never_taken_for_nobody(client: httpx.AsyncClient, authorization: str) -> None:
    response = await post(client, TEA, authorization=authorization)
    assert response.status_code == 401
    assert code(response) == "UNAUTHENTICATED"
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert (await post(client, TEA, "application/json", authorization=authorization)).status_code == 401


@pytest.mark.parametrize(
    ("language", "locale"), [("zh", "zh-CN"), ("zh-Hans-CN,en;q=0.5", "zh-CN"), ("en, zh;q=0.9", "en"), ("de", "en")]
)
async def test_the_language_follows_the_caller(client: httpx.AsyncClient, language: str, locale: str) -> None:
    response = await post(client, {"query": "{ thing { shout } }"}, accept_language=language)
    assert response.json()["data"]["thing"]["shout"] == f"TEA{locale}"


async def test_refusals_that_people_meet_follow_the_caller_too(client: httpx.AsyncClient) -> None:
    for language, said in (("zh-CN", "请重新登录。"), ("en", "The access token is not valid.")):
        response = await post(client, TEA, authorization="Bearer nonsense", accept_language=language)
        (error,) = response.json()["errors"]
        assert (error["message"], error["extensions"]["code"]) == (said, "UNAUTHENTICATED")
    response = await post(client, {"query": "{ nothing }"}, accept_language="zh-CN")
    assert response.json()["errors"][0]["message"].startswith("Cannot query field")


async def test_request_ids(client: httpx.AsyncClient) -> None:
    assert (await post(client, TEA, x_request_id="abc-1")).headers["x-request-id"] == "abc-1"
    made = (await post(client, TEA, x_request_id="a b\tc")).headers["x-request-id"]
    assert len(made) == 32
    assert (await post(client, b"{")).headers["x-request-id"]


@pytest.mark.parametrize("origin", ["https://shop.example", "http://api.example"])
async def test_known_origins_may_call_from_a_browser(client: httpx.AsyncClient, origin: str) -> None:
    response = await post(client, TEA, origin=origin)
    assert response.json()["data"]
    assert response.headers["access-control-allow-origin"] == origin
    assert "Origin" in response.headers["vary"]
    response = await client.options("/graphql", headers={"origin": origin, "access-control-request-method": "POST"})
    assert response.status_code == 204
    assert "authorization" in response.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://shop.example.evil.example", "http://api.example:81"]
)
async def test_other_origins_may_not(client: httpx.AsyncClient, origin: str) -> None:
    response = await post(client, TEA, origin=origin)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers
    response = await client.options("/graphql", headers={"origin": origin})
    assert response.status_code == 403
