"""What security scanners for GraphQL look for (graphql-cop, InQL, Escape), against the server as it is in production.

Other tests say how each limit works. Here is what a scanner sends, in its own words, and what it must not find.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from core.settings import Settings
from tests.api.city import UNHURRIED, City, running_city
from tests.patience import PATIENCE

JSON = {"content-type": "application/json"}
INTROSPECTION = """query IntrospectionQuery { __schema { queryType { name } types { name kind fields { name
    args { name } } } directives { name } } }"""
SCHEMA_WORDS = ("queryType", "acceptOrder", "Did you mean", "OrderState")


@pytest.fixture(scope="module")
async def city(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    """With no setting but where its engines are."""
    plain = {name: Settings.model_fields[name].default for name in ("sandbox", "introspection", *UNHURRIED)}
    async with running_city(module_database_url, tmp_path_factory.mktemp("production"), **plain) as city:
        settings = city.program.runtime.settings
        assert not (settings.sandbox or settings.introspection or settings.graphiql) and settings.mask_errors
        yield city


async def ask(city: City, body: Any, *, headers: dict[str, str] = JSON, method: str = "POST", **more: Any) -> Any:
    """``(status, answer, text)``; of a document by POST, or of whatever else is sent."""
    content = orjson.dumps({"query": body} if isinstance(body, str) else body) if method == "POST" else None
    async with city.http.request(method, f"{city.url}/graphql", data=content, headers=headers, **more) as response:
        text = await response.text()
        return response.status, orjson.loads(text), text


def code(answer: Any) -> str:
    """The one code there is, and no data beside it."""
    assert "data" not in answer, answer
    (found,) = {error["extensions"]["code"] for error in answer["errors"]}
    return found


@pytest.mark.parametrize("token", [None, "consumer", "merchant", "rider", "admin", "device"])
@pytest.mark.parametrize(
    "query",
    [
        INTROSPECTION,
        '{ __type(name: "Query") { fields { name } } }',
        "{ s: __schema { types { name } } }",
        "query { ...F } fragment F on Query { __schema { types { name } } }",
        "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
        "{ __schema { directives { name args { name } } } }",
    ],
)
async def test_introspection_also_when_it_goes_in_circles(city: City, token: str | None, query: str) -> None:
    headers = JSON | ({"authorization": f"Bearer {city.tokens[token]}"} if token else {})
    _, answer, text = await ask(city, query, headers=headers)
    assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
    assert not any(word in text for word in SCHEMA_WORDS if word not in query)


async def test_introspection_by_get_and_over_a_socket(city: City) -> None:
    _, answer, _ = await ask(city, None, method="GET", headers={}, params={"query": INTROSPECTION})
    assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
    async with city.http.ws_connect(f"{city.url}/graphql", protocols=("graphql-transport-ws",)) as ws:
        await ws.send_json({"type": "connection_init"})
        assert (await ws.receive_json(timeout=PATIENCE))["type"] == "connection_ack"
        await ws.send_json({"id": "1", "type": "subscribe", "payload": {"query": INTROSPECTION}})
        told = await ws.receive_json(timeout=PATIENCE)
    assert (told["type"], told["payload"][0]["extensions"]["code"]) == ("error", "GRAPHQL_VALIDATION_FAILED")


@pytest.mark.parametrize("query", ["{ _service { sdl } }", "{ _entities { __typename } }", "{ __sdl }"])
async def test_the_schema_by_the_door_of_a_federation(city: City, query: str) -> None:
    assert code((await ask(city, query))[1]) == "GRAPHQL_VALIDATION_FAILED"


@pytest.mark.parametrize(
    "query",
    [
        "{ direc }",
        "{ citie { name } }",
        "{ cities { nam } }",
        "{ store(idd: 1) { name } }",
        "mutation { signI(phone: 1) { __typename } }",
        "query ($x: Stor!) { store(id: $x) { name } }",
        "{ cities { ... on Cit { name } } }",
        'mutation { signIn(phone: "1", code: "1", view: CONSUME) { __typename } }',
        "{ cities { name @skp(if: true) } }",
    ],
)
async def test_suggestions(city: City, query: str) -> None:
    _, answer, text = await ask(city, query)
    assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
    assert "Did you mean" not in text and "did you mean" not in text


async def test_suggestions_for_values_of_variables(city: City) -> None:
    query = """mutation ($view: View!) { requestOtp(phone: "1", view: $view) { __typename } }"""
    _, answer, text = await ask(city, {"query": query, "variables": {"view": "CONSUME"}})
    assert code(answer) == "BAD_USER_INPUT" and "id you mean" not in text


MUTATION = 'mutation { requestOtp(phone: "13800138000", view: CONSUMER) { __typename } }'


async def test_a_mutation_by_get(city: City) -> None:
    before = await city.rows()
    for more in ({}, {"apollo-require-preflight": "1"}):
        status, answer, _ = await ask(city, None, method="GET", headers=more, params={"query": MUTATION})
        assert (status, code(answer)) == (405, "BAD_REQUEST")
    assert await city.rows() == before


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", ""])
async def test_a_form_of_another_site(city: City, content_type: str) -> None:
    """What a page can make its visitors' browsers send without asking them or us (CSRF)."""
    before = await city.rows()
    data: Any = {"query": MUTATION}
    if content_type == "multipart/form-data":
        data = aiohttp.FormData(default_to_multipart=True)
        data.add_field("query", MUTATION)
    elif content_type in ("text/plain", ""):
        data = orjson.dumps(data)
    headers = {"origin": "https://evil.example"}
    for sent in (headers, {}):
        typed = {"content-type": content_type} if isinstance(data, bytes) else {}
        async with city.http.post(f"{city.url}/graphql", data=data, headers=sent | typed) as response:
            answer = orjson.loads(await response.read())
            found = (response.status, code(answer))
            assert found == ((403, "ORIGIN_NOT_ALLOWED") if sent else (415, "BAD_REQUEST"))
            assert "access-control-allow-origin" not in response.headers
        if isinstance(data, aiohttp.FormData):
            data = aiohttp.FormData(default_to_multipart=True)
            data.add_field("query", MUTATION)
    assert await city.rows() == before


async def test_a_query_by_get_from_another_site(city: City) -> None:
    """Queries by GET are there to be cached; a browser that was sent by another site has to ask first."""
    params = {"query": "{ __typename }"}
    status, answer, _ = await ask(city, None, method="GET", headers={"sec-fetch-site": "cross-site"}, params=params)
    assert (status, code(answer)) == (403, "CSRF_PREVENTED")
    assert (await ask(city, None, method="GET", headers={}, params=params))[1] == {"data": {"__typename": "Query"}}


async def test_aliases(city: City) -> None:
    query = "query cop { " + " ".join(f"alias{n}: __typename" for n in range(101)) + " }"
    status, answer, _ = await ask(city, query)
    assert (status, code(answer)) == (400, "ALIAS_LIMIT_EXCEEDED")
    assert answer["errors"][0]["extensions"] | {"code": ""} == {"code": "", "limit": 50, "value": 101}


async def test_the_same_field_again_and_again(city: City) -> None:
    assert code((await ask(city, "query cop { " + "__typename " * 500 + "}"))[1]) == "ROOT_FIELD_LIMIT_EXCEEDED"
    deep = "{ cities { " + "name " * 2100 + "} }"
    assert code((await ask(city, deep))[1]) == "TOKEN_LIMIT_EXCEEDED"


@pytest.mark.parametrize("directive", ["@aa", "@skip(if: false)", "@include(if: true)"])
async def test_directives(city: City, directive: str) -> None:
    assert code((await ask(city, "query cop { __typename " + directive * 100 + " }"))[1]) == "DIRECTIVE_LIMIT_EXCEEDED"
    _, answer, _ = await ask(city, "query cop { __typename " + directive * 10 + " }")
    assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
    assert len(answer["errors"]) < 10  # the scanner counts an error for each as work done for each


async def test_batches(city: City) -> None:
    status, answer, _ = await ask(city, [{"query": "query cop { __typename }"}] * 10)
    assert (status, code(answer)) == (400, "BATCH_LIMIT_EXCEEDED")
    assert answer["errors"][0]["extensions"] == {"code": "BATCH_LIMIT_EXCEEDED", "limit": 1, "value": 10}


async def test_depth_circles_and_size(city: City) -> None:
    around = "{ store(id: 1) " + "{ merchant { stores(first: 1) { nodes " * 8 + "{ id }" + "} } }" * 8 + " }"
    assert code((await ask(city, around))[1]) == "DEPTH_LIMIT_EXCEEDED"
    wide = "{ store(id: 1) { merchant { stores(first: 100) { nodes { merchant { stores(first: 100) { nodes { merchant {"
    wide += " stores(first: 100) { nodes { id } } } } } } } } } } }"
    assert code((await ask(city, wide))[1]) == "NODE_LIMIT_EXCEEDED"
    circle = "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }"
    assert code((await ask(city, circle))[1]) == "GRAPHQL_VALIDATION_FAILED"
    assert code((await ask(city, "#" * 1_000_001))[1]) == "BODY_LIMIT_EXCEEDED"


async def test_tracing_and_other_extensions(city: City) -> None:
    for headers in (JSON, JSON | {"x-apollo-tracing": "1", "apollo-query-plan-experimental": "1"}):
        asked = {"query": "query cop { __typename }", "extensions": {"tracing": True, "debug": True, "ftv1": True}}
        status, answer, _ = await ask(city, asked, headers=headers)
        assert (status, answer) == (200, {"data": {"__typename": "Query"}})


@pytest.mark.parametrize(
    "path",
    ["/graphiql", "/graphiql/consumer", "/graphiql/assets/page.js", "/playground", "/console", "/altair", "/voyager",
     "/graphql/playground", "/explorer", "/sandbox/tokens", "/sandbox/sms", "/docs", "/schema.graphql", "/.git/config"],
)  # fmt: skip
async def test_explorers_and_what_else_lies_open(city: City, path: str) -> None:
    async with city.http.get(f"{city.url}{path}", headers={"accept": "text/html"}, allow_redirects=False) as response:
        text = await response.text()
        assert response.status in (404, 406), (path, response.status)
        assert "graphiql" not in text.lower() and "playground" not in text.lower()


async def test_the_endpoint_shows_a_browser_no_page(city: City) -> None:
    async with city.http.get(f"{city.url}/graphql", headers={"accept": "text/html"}) as response:
        assert response.status == 406 and "html" not in response.headers["content-type"]


@pytest.mark.parametrize(
    "body",
    [
        b"query cop { abc }",
        b"{",
        b"null",
        b'"x"',
        b'{"query": {"a": 1}}',
        b'{"query": "qwerty cop { abc }"}',
        b'{"query": "query cop { abc(x: \\"\\\\ud800\\") }"}',
        b'{"query": "{ __typename }", "variables": "x"}',
        b'{"query": "{ __typename }", "operationName": ["x"]}',
        b'{"query": "query ($a: Int!) { __typename }", "variables": {"a": 1e400}}',
        b'{"query": "{ node(id: \\"\' OR 1=1 --\\") { id } }"}',
        b'{"query": "{ node(id: \\"\\\\u0000\\") { id } }"}',
        b"\xff\xfe",
        b"",
    ],
)
async def test_bad_requests_show_nothing_of_the_inside(city: City, body: bytes) -> None:
    async with city.http.post(f"{city.url}/graphql", data=body, headers=JSON) as response:
        text = await response.text()
        answer = orjson.loads(text)
        assert response.status < 500
        assert not any(
            word in text for word in ("Traceback", "stacktrace", "exception", 'File "', "asyncpg", "site-pack")
        )
        assert not any(word in response.headers for word in ("x-powered-by", "server-timing"))
    for error in answer.get("errors", ()):
        assert error["extensions"]["code"] not in ("INTERNAL", "")
        assert error.keys() <= {"message", "locations", "path", "extensions"}


async def test_a_failure_inside_is_masked(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(type(city.program.runtime.database), "fetch", broken)
    _, answer, text = await ask(city, "{ cities { name } }")
    (error,) = answer["errors"]
    assert error["extensions"].keys() == {"code", "errorId"} and error["extensions"]["code"] == "INTERNAL"
    assert "swordfish" not in text and "RuntimeError" not in text


async def test_pages_of_any_origin_are_not_let_in(city: City) -> None:
    for origin in ("https://evil.example", "null"):
        status, answer, _ = await ask(city, "{ __typename }", headers=JSON | {"origin": origin})
        assert (status, code(answer)) == (403, "ORIGIN_NOT_ALLOWED")
