"""What each view may call, as clients meet it over HTTP."""

from __future__ import annotations

import hashlib

import pytest

from gateway.manifests import BUNDLED, read_manifest
from tests.api.city import City, codes

CITIES = next(operation for operation in read_manifest(BUNDLED) if operation.name == "Cities")
FREE = "query Free { cities { slug } }"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def apollo(id: str) -> dict[str, object]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": id}}}


async def test_a_rider_sees_no_mutation_of_the_merchants(city: City) -> None:
    answer = await city.graphql(city.tokens["rider"], 'mutation { acceptOrder(order: "x") { __typename } }')
    assert codes(answer) == ["GRAPHQL_VALIDATION_FAILED"]
    assert answer["errors"][0]["message"].startswith("Cannot query field 'acceptOrder' on type 'Mutation'.")
    assert "data" not in answer


@pytest.mark.parametrize(
    ("view", "typo", "hidden"),
    [
        ("rider", "mutation { acceptOrdr { __typename } }", "acceptOrder"),
        ("rider", "mutation { rejectOrde { __typename } }", "rejectOrder"),
        ("consumer", "{ myTask { id } }", "myTasks"),
        ("consumer", "subscription { storeBord { cursor } }", "storeBoard"),
        ("merchant", "mutation { registerMerchan { __typename } }", "registerMerchant"),
        ("device", "mutation { callNex { __typename } }", "callNext"),
    ],
)
async def test_suggestions_never_tell_of_other_views(city: City, view: str, typo: str, hidden: str) -> None:
    answer = await city.graphql(city.tokens[view], typo)
    assert codes(answer)[0] in ("GRAPHQL_VALIDATION_FAILED", "OPERATION_RESOLUTION_FAILURE")
    assert hidden not in str(answer)


async def test_suggestions_help_within_the_own_view(city: City) -> None:
    """The counterpart of the test above: without it, that one could pass because nothing is ever suggested."""
    answer = await city.graphql(city.tokens["rider"], "{ myTask { id } }")
    assert "myTasks" in answer["errors"][0]["message"]


@pytest.mark.parametrize("view", ["consumer", "merchant", "rider", "device", "partner"])
async def test_introspection_shows_the_own_contract_only(city: City, view: str) -> None:
    if view == "partner":
        answer = await city.graphql(city.tokens[view], "{ __schema { types { name } } }")
        assert codes(answer) == ["PERSISTED_QUERY_ID_REQUIRED"]
        return
    answer = await city.graphql(city.tokens[view], "{ __schema { types { name fields { name } } } }")
    types = {t["name"]: {f["name"] for f in t["fields"] or ()} for t in answer["data"]["__schema"]["types"]}
    assert "CityOverview" not in types
    assert ("acceptOrder" in types.get("Mutation", ())) == (view == "merchant")
    assert ("acceptOffer" in types.get("Mutation", ())) == (view == "rider")
    assert "ledger" not in str(answer).lower()


async def test_a_partner_runs_registered_operations_only(city: City) -> None:
    partner = city.tokens["partner"]
    status, answer = await city.post({"query": FREE}, partner)
    assert (status, codes(answer)) == (400, ["PERSISTED_QUERY_ID_REQUIRED"])
    for unknown in (
        {"documentId": f"sha256:{digest(FREE)}"},
        {"documentId": digest(FREE), "query": FREE},
        apollo(digest(FREE)),
    ):
        _, answer = await city.post(unknown, partner)
        assert codes(answer)[0] in ("PERSISTED_QUERY_NOT_IN_LIST", "CANNOT_SEND_PQ_ID_AND_BODY"), answer
        assert "data" not in answer
    status, answer = await city.post({"documentId": f"sha256:{digest(FREE)}"}, partner)
    assert (status, codes(answer)) == (404, ["PERSISTED_QUERY_NOT_IN_LIST"])


async def test_a_partner_cannot_register_by_sending_hash_and_text(city: City) -> None:
    """Automatic persisted queries of others do not open a door for partners."""
    _, answer = await city.post({"query": FREE, **apollo(digest(FREE))}, city.tokens["consumer"])
    assert answer["data"]["cities"]
    _, answer = await city.post(apollo(digest(FREE)), city.tokens["partner"])
    assert codes(answer) == ["PERSISTED_QUERY_NOT_IN_LIST"]


@pytest.mark.parametrize("view", ["partner", "consumer", "admin", "device"])
async def test_a_registered_operation_by_document_id_and_by_apollos_extension(city: City, view: str) -> None:
    for body in ({"documentId": f"sha256:{CITIES.id}"}, {"documentId": CITIES.id}, apollo(CITIES.id)):
        status, answer = await city.post(body, city.tokens[view])
        assert status == 200
        assert answer["data"]["cities"][0]["id"] == city.id


async def test_apollos_automatic_persisted_queries(city: City) -> None:
    query = "query Apq { cities { slug name } }"
    body = {**apollo(digest(query))}
    _, answer = await city.post(body, city.tokens["consumer"])
    assert codes(answer) == ["PERSISTED_QUERY_NOT_FOUND"]
    assert answer["errors"][0]["message"] == "PersistedQueryNotFound"
    for once_more in (body | {"query": query}, body):
        _, answer = await city.post(once_more, city.tokens["consumer"])
        assert answer["data"]["cities"][0]["slug"] == "beijing"
    _, answer = await city.post(body | {"query": FREE}, city.tokens["consumer"])
    assert codes(answer) == ["PERSISTED_QUERY_HASH_MISMATCH"]


async def test_a_partner_over_websocket_is_held_to_the_list_too(city: City) -> None:
    async with city.follow(city.tokens["partner"], FREE) as follower:
        ended = await follower.end()
    assert ended[0]["extensions"]["code"] == "PERSISTED_QUERY_ID_REQUIRED"
