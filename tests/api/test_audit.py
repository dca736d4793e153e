"""Admins read what people with power over others did in their city."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from auth.principals import View
from core import ids
from core.geo import Point
from models.database import Connection
from models.identity import GrantRole
from services import audit, identity, operator
from services.audit import Filter
from services.identity.roles import grant_role
from services.pages import statement
from services.unit import transaction
from tests.api.city import City, codes, new_phone, running_city, some_id

ENTRIES = """query ($city: ID!, $first: Int!, $after: String, $target: ID, $actor: ID, $action: String,
        $since: DateTime, $until: DateTime) { city(id: $city) { auditEntries(first: $first, after: $after,
        target: $target, actor: $actor, action: $action, since: $since, until: $until) {
    nodes { at view action target actor { id name } facts { name value } }
    edges { cursor } pageInfo { hasNextPage endCursor } } } }"""
ERROR = "... on UserError { code }"
CREATE_PARTNER = f"""mutation ($city: ID!, $name: String!) {{ createPartner(city: $city, name: $name) {{
    ... on PartnerSecret {{ secret partner {{ id }} credential {{ id }} }} {ERROR} }} }}"""
ROTATE = f"""mutation ($partner: ID!) {{ rotatePartnerSecret(partner: $partner) {{
    ... on PartnerSecret {{ secret }} {ERROR} }} }}"""
SHARE = f"""mutation ($partner: ID!, $store: ID!) {{ shareStore(partner: $partner, store: $store) {{
    ... on Partner {{ id }} {ERROR} }} }}"""
UNSHARE = SHARE.replace("shareStore", "unshareStore")
REVOKE = f"""mutation ($input: RevokeSessionsInput!) {{ revokeSessions(input: $input) {{
    ... on SessionsRevoked {{ count }} {ERROR} }} }}"""


@pytest.fixture(scope="module")
async def city(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    async with running_city(module_database_url, tmp_path_factory.mktemp("city")) as city:
        yield city


async def read(it: City, token: str | None = None, **asked: Any) -> Any:
    variables = {"city": it.id, "first": 100} | asked
    return (await it.do(token or it.tokens["admin"], ENTRIES, **variables))["auditEntries"]


async def entries(city: City, **asked: Any) -> list[Any]:
    return (await read(city, **asked))["nodes"]


async def partner(city: City) -> Any:
    return await city.do(city.tokens["admin"], CREATE_PARTNER, city=city.id, name="Example")


async def another_city(city: City) -> tuple[str, str]:
    """``(id, its admin's token)``"""
    runtime, slug = city.program.runtime, f"city-{new_phone()[-6:]}"
    row = await runtime.database.fetchrow("SELECT latitude, longitude FROM city LIMIT 1")
    assert row is not None
    made = await operator.create_city(runtime, slug, "Elsewhere", Point(*row), "Asia/Shanghai", "CNY")
    phone = new_phone()
    await operator.appoint_admin(runtime, made, phone, "Somebody")
    async with transaction(runtime) as unit:
        person = await identity.ensure_person(unit, phone, None)
    return ids.encode("City", made), await city.open_session(person, View.ADMIN)


def facts(entry: Any) -> dict[str, str]:
    return {fact["name"]: fact["value"] for fact in entry["facts"]}


async def test_who_did_what_to_whom(city: City) -> None:
    admin = city.tokens["admin"]
    made = await partner(city)
    one = made["partner"]["id"]
    owner, store, _ = await city.shop()
    await city.do(admin, SHARE, partner=one, store=store)
    await city.do(owner, UNSHARE, partner=one, store=store)
    me = (await city.do(admin, "{ viewer { person { id name } } }"))["person"]
    her = (await city.do(owner, "{ viewer { person { id name } } }"))["person"]
    ended, shared, created = await entries(city, target=one)
    assert [each["action"] for each in (created, shared, ended)] == ["create_partner", "share_store", "unshare_store"]
    assert [each["view"] for each in (created, shared, ended)] == ["ADMIN", "ADMIN", "MERCHANT"]
    assert [each["actor"] for each in (created, shared, ended)] == [me, me, her]
    assert facts(shared) == facts(ended) == {"store": store}
    assert facts(created)["name"] == "Example"
    assert {each["target"] for each in (created, shared, ended)} == {one}
    assert await entries(city, target=one, actor=her["id"]) == [ended]
    assert await entries(city, target=one, action="share_store") == [shared]
    assert await entries(city, actor=her["id"], action="share_store") == []
    assert await entries(city, target=store) == []
    assert await entries(city, action="share\0_store", target=one) == [shared]
    assert await entries(city, target=one, since=shared["at"]) == [ended, shared]
    assert await entries(city, target=one, until=shared["at"]) == [created]
    assert await entries(city, target=one, since=shared["at"], until=ended["at"]) == [shared]


async def test_people_devices_and_the_operator(city: City) -> None:
    admin, runtime = city.tokens["admin"], city.program.runtime
    owner, _, _ = await city.shop()
    her = (await city.do(owner, "{ viewer { person { id } } }"))["person"]["id"]
    assert (await city.do(admin, REVOKE, input={"person": her, "reason": "lost phone"}))["count"] == 1
    (entry,) = await entries(city, target=her)
    assert (entry["action"], facts(entry)) == ("revoke_sessions", {"count": "1", "reason": "lost phone"})

    row = await runtime.database.fetchrow(
        "SELECT d.id, c.client_id FROM device d JOIN client c ON c.id = d.client_id WHERE d.store_id = $1",
        ids.decode("Store", city.store),
    )
    assert row is not None
    await city.do(admin, REVOKE, input={"client": row["client_id"], "reason": "stolen"})
    (entry,) = await entries(city, target=ids.encode("Device", row["id"]))
    assert entry["target"] == ids.encode("Device", row["id"]) and facts(entry)["client"] == row["client_id"]

    elsewhere, theirs = await another_city(city)
    appointed, created = (await read(city, theirs, city=elsewhere))["nodes"]
    assert (created["action"], created["target"], created["view"], created["actor"]) == (
        "create_city", elsewhere, None, None,
    )  # fmt: skip
    assert (appointed["action"], facts(appointed)) == ("appoint_admin", {"city": elsewhere})


async def test_what_people_do_with_their_own_account_is_for_no_admin(city: City) -> None:
    consumer = await city.consumer()
    await city.do(consumer, "mutation { exportMyData { __typename } }")
    me = (await city.do(consumer, "{ viewer { person { id } } }"))["person"]["id"]
    assert await city.fetchval("SELECT count(*) FROM audit_entry WHERE actor_id = $1", ids.decode("Person", me)) == 1
    assert await entries(city, target=me) == await entries(city, actor=me) == []


async def test_admins_of_other_cities_and_other_views_read_nothing(city: City) -> None:
    elsewhere, theirs = await another_city(city)
    one = (await partner(city))["partner"]["id"]
    answer = await city.graphql(theirs, ENTRIES, {"city": city.id, "first": 5})
    assert codes(answer) == ["NOT_FOUND"] and not (answer["data"] or {}).get("city")
    assert (await read(city, theirs, city=elsewhere, target=one))["nodes"] == []
    for view, contract in city.program.gateway.contracts.items():
        assert ("AuditEntry" in contract.schema.type_map) == (view is View.ADMIN)


async def test_what_was_done_to_somebody_known_in_two_cities_is_read_in_both(city: City) -> None:
    owner, _, _ = await city.shop()
    her = (await city.do(owner, "{ viewer { person { id } } }"))["person"]["id"]
    elsewhere, _ = await another_city(city)
    runtime, place = city.program.runtime, ids.decode("City", elsewhere)
    assert place is not None
    phone = new_phone()
    for where in (place, ids.decode("City", city.id)):
        assert where is not None
        both = await operator.appoint_admin(runtime, where, phone, "Both")
    async with transaction(runtime) as unit:
        person = ids.decode("Person", her)
        assert person is not None
        await grant_role(unit, person, GrantRole.RIDER, None, place)
    token = await city.open_session(both, View.ADMIN)
    await city.do(token, REVOKE, input={"person": her, "reason": "lost phone"})
    for where in (city.id, elsewhere):
        (entry,) = (await read(city, token, city=where, target=her))["nodes"]
        assert entry["actor"]["name"] == "Both"


async def test_pages_have_everything_once_whatever_is_written_meanwhile(city: City) -> None:
    one = (await partner(city))["partner"]["id"]
    await city.execute(
        """INSERT INTO audit_entry (id, at, view, actor_id, action, target_id, facts, city_id)
           SELECT gen_random_uuid(), now() - n / 3 * interval '1 second', 'ADMIN', $1, 'noise', $1, '{}', $2
           FROM generate_series(1, 10) n""",
        ids.decode("Partner", one),
        ids.decode("City", city.id),
    )
    whole = await read(city, target=one)
    found, after = list[str](), None
    while True:
        page = await read(city, target=one, first=3, after=after)
        found += [edge["cursor"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
        await city.do(city.tokens["admin"], ROTATE, partner=one)  # newer than all pages that are still to come
    assert found == [edge["cursor"] for edge in whole["edges"]] and len(set(found)) == 11


@pytest.mark.parametrize(
    "wrong",
    [
        {"after": "nonsense"}, {"after": "1_zz"}, {"after": f"{10**30}_{ids.uuid7().hex}"}, {"after": "-5_"},
        {"target": "nonsense"}, {"actor": "nonsense"}, {"actor": some_id("Store")}, {"first": 0}, {"first": 101},
    ],
)  # fmt: skip
async def test_wrong_arguments(city: City, wrong: dict[str, Any]) -> None:
    answer = await city.graphql(city.tokens["admin"], ENTRIES, {"city": city.id, "first": 5} | wrong)
    assert codes(answer)[0] in ("INVALID_INPUT", "PAGE_SIZE_LIMIT_EXCEEDED"), answer


async def test_far_away_instants_are_no_faults(city: City) -> None:
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):
        answer = await city.graphql(city.tokens["admin"], ENTRIES, {"city": city.id, "first": 5, "since": at})
        assert "INTERNAL_SERVER_ERROR" not in codes(answer), answer


async def test_no_secret_is_ever_in_it(city: City) -> None:
    made = await partner(city)
    rotated = await city.do(city.tokens["admin"], ROTATE, partner=made["partner"]["id"])
    text = orjson.dumps(await read(city)).decode()
    assert made["secret"] not in text and rotated["secret"] not in text


async def test_roles_that_are_given_and_taken_are_told_of_once(city: City) -> None:
    owner, store, _ = await city.shop()
    phone = new_phone()
    give = """mutation ($input: GrantStoreRoleInput!) { grantStoreRole(input: $input) {
      __typename ... on Grant { id person { id } } ... on UserError { code } } }"""
    asked = {"store": store, "phone": phone, "role": "STORE_CLERK"}
    first, second = [await city.do(owner, give, input=asked) for _ in range(2)]
    assert first == second and first["__typename"] == "Grant"
    for _ in range(2):
        await city.do(owner, "mutation ($grant: ID!) { revokeGrant(grant: $grant) { __typename } }", grant=first["id"])
    taken, given = await entries(city, target=first["person"]["id"])
    assert [each["action"] for each in (given, taken)] == ["grant_role", "revoke_grant"]
    assert facts(given) == facts(taken) == {"role": "STORE_CLERK", "store": store}


PLANS: list[tuple[Filter, str]] = [
    (Filter(), "city_id, at, id"),
    (Filter(since=datetime(2026, 1, 2, tzinfo=UTC), until=datetime(2026, 1, 3, tzinfo=UTC)), "city_id, at, id"),
    (Filter(target=("Partner", ids.uuid7())), "target_id, at, id"),
    (Filter(target=("Device", ids.uuid7())), "target_id, at, id"),
    (Filter(actor_id=ids.uuid7()), "actor_id, at, id"),
    (Filter(action="rare"), "city_id, action, at, id"),
]


@pytest.fixture(scope="module")
async def many(city: City) -> AsyncIterator[Connection]:
    async with city.program.runtime.database.transaction() as sql:
        await sql.execute(
            """INSERT INTO audit_entry (id, at, view, actor_id, action, target_id, facts, city_id)
               SELECT gen_random_uuid(), timestamptz '2026-01-01' + n * interval '1 second', 'ADMIN', gen_random_uuid(),
                      'action' || n % 50, gen_random_uuid(), '{}', $1 FROM generate_series(1, 20000) n""",
            ids.uuid7(),
        )
        await sql.execute("ANALYZE audit_entry")
        yield sql


@pytest.mark.parametrize(("chosen", "columns"), PLANS)
@pytest.mark.parametrize("continued", [False, True])
async def test_each_filter_has_an_index(many: Connection, chosen: Filter, columns: str, continued: bool) -> None:
    before = (datetime(2026, 1, 2, tzinfo=UTC), ids.uuid7()) if continued else None
    page, args = audit.page_of(chosen, 21, before)
    city_id = await many.fetchval("SELECT city_id FROM audit_entry WHERE action = 'action1' LIMIT 1")
    rows = await many.fetch(f"EXPLAIN {statement('uuid', page, 'page.at DESC, page.id DESC')}", [city_id], *args)
    plan = "\n".join(row[0] for row in rows)
    names = await many.fetch("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'audit_entry'")
    (index,) = (row["indexname"] for row in names if row["indexdef"].endswith(f"({columns})"))
    assert f"{index} on audit_entry" in plan and "Seq Scan on audit_entry" not in plan, plan
