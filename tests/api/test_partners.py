"""An admin registers a partner and changes its credentials through the public API."""

from __future__ import annotations

from core import ids
from tests.api.city import City, codes, some_id

CREATE = """mutation C($city: ID!, $name: String!) { createPartner(city: $city, name: $name) {
  ... on PartnerSecret { secret partner { id clientId } credential { id kind } } ... on UserError { code } } }"""
ROTATE = """mutation R($partner: ID!) { rotatePartnerSecret(partner: $partner) {
  __typename ... on PartnerSecret { secret credential { id } } ... on CredentialLimitReached { kind maximum } } }"""
REVOKE = """mutation R($credential: ID!) { revokePartnerCredential(credential: $credential, reason: "rotation") {
  __typename ... on PartnerCredential { revokedAt } ... on UserError { code } } }"""
LIST = """query L($id: ID!) { node(id: $id) { ... on Partner { credentials { id kind kid revokedAt lastUsedAt } } } }"""
CITIES = """query Cities { cities { id slug name } }"""


async def token(city: City, client_id: str, secret: str) -> int:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    async with city.http.post(f"{city.url}/oauth/token", data=form) as response:
        return response.status


async def test_a_partner_from_its_creation_to_its_second_secret(city: City) -> None:
    admin = city.tokens["admin"]
    made = await city.do(admin, CREATE, city=city.id, name="Example")
    partner, client_id = made["partner"]["id"], made["partner"]["clientId"]
    assert await token(city, client_id, made["secret"]) == 200
    second = await city.do(admin, ROTATE, partner=partner)
    assert await token(city, client_id, second["secret"]) == 200
    assert await city.do(admin, ROTATE, partner=partner) == {
        "__typename": "CredentialLimitReached", "kind": "SECRET", "maximum": 2,
    }  # fmt: skip
    first = made["credential"]["id"]
    assert (await city.do(admin, REVOKE, credential=first))["revokedAt"] is not None
    assert await token(city, client_id, made["secret"]) == 401
    listed = (await city.do(admin, LIST, id=partner))["credentials"]
    assert [credential["id"] for credential in listed] == [second["credential"]["id"], first]
    assert listed[0]["lastUsedAt"] is not None and listed[1]["revokedAt"] is not None
    assert made["secret"] not in str(listed) and second["secret"] not in str(listed)
    actions = await city.fetchval(
        "SELECT array_agg(action ORDER BY at) FROM audit_entry WHERE target_id = $1", ids.decode("Partner", partner)
    )
    assert actions == ["create_partner", "rotate_partner_secret", "revoke_partner_credential"]


async def test_nobody_else_can(city: City) -> None:
    for view in ("consumer", "merchant", "rider", "device"):
        answer = await city.graphql(city.tokens[view], CREATE, {"city": city.id, "name": "Mine"})
        assert codes(answer)[0] == "GRAPHQL_VALIDATION_FAILED"
    admin = city.tokens["admin"]
    assert (await city.do(admin, CREATE, city=some_id("City"), name="Mine"))["code"] == "NOT_FOUND"
    for nothing in (some_id("PartnerCredential"), some_id("Partner"), "nonsense"):
        assert (await city.do(admin, REVOKE, credential=nothing))["code"] == "NOT_FOUND"


async def test_the_public_keys_are_published(city: City) -> None:
    async with city.http.get(f"{city.url}/.well-known/jwks.json") as response:
        assert response.status == 200
        assert (await response.json(content_type=None))["keys"][0]["alg"] == "ES256"
