"""An admin registers what a partner may call, through the public API; the partner calls it."""

from __future__ import annotations

import asyncio

import orjson

from core import ids
from gateway.documents import document_id
from tests.api.city import City, codes, key

REGISTER = """mutation R($partner: ID!, $manifest: String!, $key: String!) {
  registerDocuments(partner: $partner, manifest: $manifest, idempotencyKey: $key) {
    __typename ... on DocumentRegistration { added known } ... on ManifestRejected { document reason }
    ... on UserError { code message } } }"""
PARTNERS = """query P($city: ID!) { node(id: $city) { ... on City { partners(first: 10) { nodes {
  id clientId documents(first: 10) { nodes { id documentId name uses retiredAt } } } } } } }"""
RETIRE = "mutation R($document: ID!) { retireDocument(document: $document) { ... on PersistedDocument { retiredAt } } }"


async def partner_of(city: City) -> str:
    partner = await city.fetchval("SELECT id FROM client WHERE kind = 'PARTNER' AND city_id IS NOT NULL LIMIT 1")
    return ids.encode("Partner", partner)


async def test_a_partners_document_from_registration_to_retirement(city: City) -> None:
    admin, partner, token = city.tokens["admin"], await partner_of(city), city.tokens["partner"]
    text = f"query Mine{key()} {{ cities {{ slug }} }}"
    manifest = orjson.dumps({"mine": text}).decode()
    at_once = [city.do(admin, REGISTER, partner=partner, manifest=manifest, key="one key") for _ in range(4)]
    answers = await asyncio.gather(*at_once)
    assert all(answer == {"__typename": "DocumentRegistration", "added": 1, "known": 0} for answer in answers)
    again = await city.do(admin, REGISTER, partner=partner, manifest=manifest, key=key())
    assert (again["added"], again["known"]) == (0, 1)

    await city.program.gateway.follow_registered(city.program.runtime.database)
    for request in ({"documentId": f"sha256:{document_id(text)}"}, {"documentId": "mine"}):
        status, answer = await city.post(request, token)
        assert status == 200 and answer["data"]["cities"], answer
    status, answer = await city.post({"documentId": "mine"}, city.tokens["consumer"])
    assert status == 404 and codes(answer) == ["PERSISTED_QUERY_NOT_IN_LIST"]

    listed = (await city.do(admin, PARTNERS, city=city.id))["partners"]["nodes"]
    (document,) = [d for p in listed for d in p["documents"]["nodes"] if d["documentId"].endswith(document_id(text))]
    retired = await city.do(admin, RETIRE, document=document["id"])
    assert retired["retiredAt"] is not None
    await city.program.gateway.follow_registered(city.program.runtime.database)
    status, answer = await city.post({"documentId": "mine"}, token)
    assert status == 404 and codes(answer) == ["PERSISTED_QUERY_NOT_IN_LIST"]


async def test_a_manifest_is_registered_as_a_whole_or_not_at_all(city: City) -> None:
    admin, partner = city.tokens["admin"], await partner_of(city)
    before = await city.fetchval("SELECT count(*) FROM persisted_document")
    good, bad = "query Good { cities { name } }", "query Bad { viewerSecrets }"
    manifest = orjson.dumps({"good": good, "bad": bad}).decode()
    answer = await city.do(admin, REGISTER, partner=partner, manifest=manifest, key=key())
    assert answer["__typename"] == "ManifestRejected" and answer["document"] == "Bad"
    assert "viewerSecrets" in answer["reason"]
    broken = await city.do(admin, REGISTER, partner=partner, manifest="{", key=key())
    assert broken["__typename"] == "ManifestRejected"
    assert await city.fetchval("SELECT count(*) FROM persisted_document") == before


async def test_only_admins_of_the_partners_city_register(city: City) -> None:
    partner = await partner_of(city)
    for view in ("merchant", "consumer", "rider"):
        answer = await city.graphql(city.tokens[view], REGISTER, {"partner": partner, "manifest": "{}", "key": key()})
        assert codes(answer)[0] == "GRAPHQL_VALIDATION_FAILED"
    stranger = ids.encode("Partner", city.program.runtime.new_id())
    answer = await city.do(city.tokens["admin"], REGISTER, partner=stranger, manifest="{}", key=key())
    assert answer["__typename"] == "NotFound"
