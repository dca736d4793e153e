"""Through the public API, with the program's own jobs: an admin sets a webhook up, a partner works with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from auth.principals import View
from gateway.manifests import BUNDLED
from tests.api import documents as doc
from tests.api.city import City, codes, key, new_phone, running_city, some_id
from tests.patience import PATIENCE
from tests.webhooks.receiver import receiving, silence, status

DOCUMENTS = {operation["name"]: operation["id"] for operation in orjson.loads(BUNDLED.read_bytes())["operations"]}
PENDING = """SELECT count(*) FROM webhook_delivery d JOIN webhook_endpoint e ON e.id = d.endpoint_id
    WHERE d.state = 'PENDING' AND e.state = 'ENABLED'"""
ERROR = "... on UserError { __typename code message }"
CREATE_PARTNER = f"""mutation ($city: ID!) {{ createPartner(city: $city, name: "Example") {{
    ... on PartnerSecret {{ secret partner {{ id clientId }} }} {ERROR} }} }}"""
SHARE = f"""mutation ($partner: ID!, $store: ID!) {{ shareStore(partner: $partner, store: $store) {{
    ... on Partner {{ stores(first: 10) {{ nodes {{ id }} }} }} {ERROR} }} }}"""
UNSHARE = SHARE.replace("shareStore", "unshareStore")
CREATE = f"""mutation ($partner: ID!, $url: String!, $types: [String!]) {{
    createWebhookEndpoint(partner: $partner, url: $url, eventTypes: $types) {{
        ... on WebhookEndpointSecret {{ secret endpoint {{ id url eventTypes state }} }} {ERROR} }} }}"""
ROTATE = f"""mutation ($endpoint: ID!) {{ rotateWebhookSecret(endpoint: $endpoint) {{
    ... on WebhookEndpointSecret {{ secret endpoint {{ secrets {{ endsAt }} }} }} {ERROR} }} }}"""
UPDATE = f"""mutation ($endpoint: ID!, $url: String!) {{ updateWebhookEndpoint(endpoint: $endpoint, url: $url,
    eventTypes: ["order.ready"], description: "Kitchen") {{
        ... on WebhookEndpoint {{ eventTypes description }} {ERROR} }} }}"""
DISABLE = f"""mutation ($endpoint: ID!) {{ disableWebhookEndpoint(endpoint: $endpoint, reason: "noise") {{
    ... on WebhookEndpoint {{ state disabledReason }} {ERROR} }} }}"""
ENABLE = f"""mutation ($endpoint: ID!) {{ enableWebhookEndpoint(endpoint: $endpoint) {{
    ... on WebhookEndpoint {{ state disabledReason }} {ERROR} }} }}"""
FAILING = """query ($city: ID!) { city(id: $city) { partners(first: 100) { nodes { id webhookEndpoints {
    id state disabledReason failures } } } } }"""


@pytest.fixture(scope="module")
async def city(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    interval = timedelta(milliseconds=50)
    folder: Path = tmp_path_factory.mktemp("city")
    async with running_city(module_database_url, folder, webhook_interval=interval) as city:
        yield city


async def partner_of(city: City) -> tuple[str, str]:
    """``(id, access token)`` of a new partner."""
    made = await city.do(city.tokens["admin"], CREATE_PARTNER, city=city.id)
    form = {
        "grant_type": "client_credentials", "client_id": made["partner"]["clientId"], "client_secret": made["secret"],
    }  # fmt: skip
    async with city.http.post(f"{city.url}/oauth/token", data=form) as response:
        return made["partner"]["id"], (await response.json())["access_token"]


async def call(city: City, token: str, name: str, **variables: Any) -> Any:
    """The value of the only root field of a registered operation."""
    _, answer = await city.post({"documentId": f"sha256:{DOCUMENTS[name]}", "variables": variables}, token)
    assert "errors" not in answer, answer
    (value,) = answer["data"].values()
    return value


async def test_from_an_order_to_the_partners_server(city: City) -> None:
    admin = city.tokens["admin"]
    partner, token = await partner_of(city)
    owner, store, sku = await city.shop()
    async with receiving() as receiver:
        shared = await city.do(admin, SHARE, partner=partner, store=store)
        assert shared == {"stores": {"nodes": [{"id": store}]}}
        made = await city.do(admin, CREATE, partner=partner, url=receiver.url)
        endpoint = made["endpoint"]["id"]
        assert made["endpoint"] == {"id": endpoint, "url": receiver.url, "eventTypes": None, "state": "ENABLED"}

        consumer = await city.consumer()
        order = await city.paid(consumer, store, sku, "PICKUP")
        for document in (doc.ACCEPT, doc.READY, doc.HAND_OVER):
            await city.do(owner, document, order=order)
        await receiver.until(lambda: len(receiver.received) == 4)
        assert receiver.types == ["order.paid", "order.accepted", "order.ready", "order.handed_over"]
        for each in receiver.received:
            assert each.verified(made["secret"])["data"]["order"]["id"] == order

        me = (await call(city, token, "PartnerWebhooks"))["partner"]
        assert me["id"] == partner and [each["id"] for each in me["stores"]["nodes"]] == [store]
        assert [each["id"] for each in me["webhookEndpoints"]] == [endpoint]
        assert "secret" not in me["webhookEndpoints"][0]

        async def listed(**variables: Any) -> Any:
            found = await call(city, token, "WebhookDeliveries", endpoint=endpoint, first=10, **variables)
            return found["deliveries"]

        # The answer is written down a moment after it was given.
        async with asyncio.timeout(PATIENCE):
            while len((done := await listed(state="DELIVERED"))["nodes"]) < 4:
                pass
        assert [each["id"] for each in done["nodes"]] == [each.id for each in reversed(receiver.received)]
        assert [each["attempts"][0]["status"] for each in done["nodes"]] == [204] * 4
        assert (await listed(state="FAILED"))["nodes"] == []
        one = await call(city, token, "WebhookDelivery", delivery=receiver.received[0].id)
        assert one["body"] == receiver.received[0].body.decode()

        second = await city.do(admin, ROTATE, endpoint=endpoint)
        ping = await call(city, token, "SendWebhookPing", endpoint=endpoint)
        assert ping["__typename"] == "WebhookDelivery"
        await receiver.until(lambda: "ping" in receiver.types)
        for secret in (made["secret"], second["secret"]):
            assert receiver.received[-1].verified(secret)["data"] == {"endpoint": endpoint}

        before = len(receiver.received)
        cursor = receiver.received[1].content["cursor"]
        replayed = await call(city, token, "ReplayWebhooks", endpoint=endpoint, after=cursor)
        assert replayed == {"__typename": "WebhookReplay", "scheduled": 3}
        await receiver.until(lambda: len(receiver.received) == before + 3)
        resent = await call(city, token, "ResendWebhook", delivery=receiver.received[0].id)
        assert resent["id"] == receiver.received[0].id
        await receiver.until(lambda: len(receiver.received) == before + 4)
        assert receiver.received[-1].id == receiver.received[0].id

        async with city.http.get(f"{city.url}/metrics") as response:
            metrics = await response.text()
        assert 'hutong_webhook_attempts_total{outcome="delivered"}' in metrics
        assert "hutong_webhook_lag_seconds_bucket" in metrics


async def test_an_admin_sees_what_fails_and_changes_it(city: City) -> None:
    admin = city.tokens["admin"]
    partner, token = await partner_of(city)
    async with receiving(status(410)) as receiver:
        made = await city.do(admin, CREATE, partner=partner, url=receiver.url, types=["order.paid"])
        endpoint = made["endpoint"]["id"]
        await call(city, token, "SendWebhookPing", endpoint=endpoint)
        await receiver.until(lambda: len(receiver.received) == 1)

        async def state() -> Any:
            partners = (await city.do(admin, FAILING, city=city.id))["partners"]["nodes"]
            return next(each["webhookEndpoints"][0] for each in partners if each["id"] == partner)

        async with asyncio.timeout(PATIENCE):
            while (await state())["state"] == "ENABLED":
                pass
        assert await state() == {"id": endpoint, "state": "DISABLED", "disabledReason": "GONE", "failures": 1}
        refused = await call(city, token, "SendWebhookPing", endpoint=endpoint)
        assert refused["__typename"] == "WebhookEndpointDisabled"
        assert (refused["endpoint"], refused["reason"]) == (endpoint, "GONE")
        assert await city.do(admin, ENABLE, endpoint=endpoint) == {"state": "ENABLED", "disabledReason": None}
        changed = await city.do(admin, UPDATE, endpoint=endpoint, url=receiver.url)
        assert changed == {"eventTypes": ["order.ready"], "description": "Kitchen"}
        assert await city.do(admin, DISABLE, endpoint=endpoint) == {"state": "DISABLED", "disabledReason": "REQUESTED"}


async def test_bad_input_is_refused_and_writes_nothing(city: City) -> None:
    admin = city.tokens["admin"]
    partner, token = await partner_of(city)
    async with asyncio.timeout(PATIENCE):
        while await city.fetchval(PENDING):  # what other tests sent is still being written down
            pass
    rows = await city.rows()
    for url in ("http://example.com/", "https://10.0.0.1/", "https://metadata.google.internal/", "nonsense"):
        assert (await city.do(admin, CREATE, partner=partner, url=url))["code"] == "INVALID_INPUT"
    wrong = await city.do(admin, CREATE, partner=partner, url="https://example.com", types=["order.eaten"])
    assert wrong["code"] == "INVALID_INPUT"
    for nothing in (some_id("Partner"), "nonsense", city.id):
        assert (await city.do(admin, CREATE, partner=nothing, url="https://example.com"))["code"] == "NOT_FOUND"
        assert (await city.do(admin, SHARE, partner=nothing, store=city.store))["code"] == "NOT_FOUND"
    for endpoint in (some_id("WebhookEndpoint"), "nonsense"):
        for document in (ROTATE, ENABLE, DISABLE):
            assert (await city.do(admin, document, endpoint=endpoint))["code"] == "NOT_FOUND"
        assert (await call(city, token, "SendWebhookPing", endpoint=endpoint))["code"] == "NOT_FOUND"
        assert await call(city, token, "WebhookDeliveries", endpoint=endpoint, first=1) is None
    assert {name: count for name, count in (await city.rows()).items() if rows[name] != count} == {}


async def test_one_partner_sees_nothing_of_another(city: City) -> None:
    admin = city.tokens["admin"]
    partner, token = await partner_of(city)
    _, stranger = await partner_of(city)
    async with receiving() as receiver:
        made = await city.do(admin, CREATE, partner=partner, url=receiver.url)
        endpoint = made["endpoint"]["id"]
        ping = await call(city, token, "SendWebhookPing", endpoint=endpoint)
        assert await call(city, stranger, "WebhookDeliveries", endpoint=endpoint, first=1) is None
        assert await call(city, stranger, "WebhookDelivery", delivery=ping["id"]) is None
        for name, variables in (
            ("SendWebhookPing", {"endpoint": endpoint}),
            ("ResendWebhook", {"delivery": ping["id"]}),
            ("ReplayWebhooks", {"endpoint": endpoint, "starting": "2020-01-01T00:00:00Z"}),
        ):
            assert (await call(city, stranger, name, **variables))["code"] == "NOT_FOUND"
        assert (await call(city, stranger, "PartnerWebhooks"))["partner"]["webhookEndpoints"] == []


async def test_other_views_know_nothing_of_webhooks(city: City) -> None:
    for view in ("consumer", "merchant", "rider", "device"):
        answer = await city.graphql(city.tokens[view], DISABLE, {"endpoint": some_id("WebhookEndpoint")})
        assert codes(answer)[0] == "GRAPHQL_VALIDATION_FAILED"
    contract = city.program.gateway.contracts
    for view, known in contract.items():
        fields = known.schema.mutation_type.fields if known.schema.mutation_type else {}
        may = {name for name in fields if "ebhook" in name or "hareStore" in name}
        if view == "PARTNER":
            assert may == {"sendWebhookPing", "resendWebhook", "replayWebhooks"}
        elif view == "MERCHANT":
            assert may == {"shareStore", "unshareStore"}
        else:
            assert bool(may) == (view == "ADMIN")


async def test_what_is_not_shared_any_more(city: City) -> None:
    admin = city.tokens["admin"]
    partner, _ = await partner_of(city)
    _, store, sku = await city.shop()
    async with receiving() as receiver:
        await city.do(admin, SHARE, partner=partner, store=store)
        await city.do(admin, CREATE, partner=partner, url=receiver.url)
        before = await city.paid(await city.consumer(), store, sku)
        await receiver.until(lambda: receiver.types == ["order.paid"])
        assert await city.do(admin, UNSHARE, partner=partner, store=store) == {"stores": {"nodes": []}}
        await city.paid(await city.consumer(), store, sku)
        again = await city.do(admin, SHARE, partner=partner, store=store)
        assert again["stores"]["nodes"] == [{"id": store}]
        after = await city.paid(await city.consumer(), store, sku)
        await receiver.until(lambda: len(receiver.received) == 2)
        assert [each.content["data"]["order"]["id"] for each in receiver.received] == [before, after]


async def test_a_shops_owner_sees_with_whom_the_shop_is_shared_and_ends_it(city: City) -> None:
    admin = city.tokens["admin"]
    partner, token = await partner_of(city)
    owner, store, sku = await city.shop()
    phone = new_phone()
    await city.do(owner, doc.GRANT_CLERK, store=store, phone=phone)
    clerk, (stranger, _, _) = await city._person(View.MERCHANT, phone), await city.shop()

    async def sharings(token: str) -> Any:
        found = await call(city, token, "StoreSharings", store=store)
        return None if found["sharings"] is None else found["sharings"]["nodes"]

    assert await sharings(owner) == []
    await city.do(admin, SHARE, partner=partner, store=store)
    (shared,) = await sharings(owner)
    assert (shared["partner"], shared["state"], shared["by"]) == ({"id": partner, "name": "Example"}, "SHARED", "ADMIN")
    assert await sharings(clerk) is None and await sharings(stranger) is None and await sharings(admin) == [shared]
    async with receiving() as receiver:
        await city.do(admin, CREATE, partner=partner, url=receiver.url)
        order = await city.paid(await city.consumer(), store, sku)
        await receiver.until(lambda: receiver.types == ["order.paid"])
        sent = receiver.received[0].id
        variables = {"partner": partner, "store": store}
        assert (await call(city, clerk, "UnshareStore", **variables))["code"] == "PERMISSION_DENIED"
        assert (await call(city, stranger, "UnshareStore", **variables))["code"] == "NOT_FOUND"
        ended = await asyncio.gather(*[call(city, owner, "UnshareStore", **variables) for _ in range(4)])
        assert ended == [{"__typename": "Partner", "id": partner, "name": "Example"}] * 4
        assert await call(city, token, "WebhookDelivery", delivery=sent) is None
        assert (await call(city, token, "PartnerWebhooks"))["partner"]["stores"]["nodes"] == []
        refused = await city.do(admin, SHARE, partner=partner, store=store)
        assert (refused["__typename"], refused["code"]) == ("SharingRefused", "SHARING_REFUSED")
        (now,) = await sharings(owner)
        assert (now["state"], now["by"]) == ("REFUSED", "OWNER")
        await city.do(owner, doc.ACCEPT, order=order)
        assert (await call(city, owner, "ShareStore", **variables))["id"] == partner
        await city.do(owner, doc.READY, order=order)
        await receiver.until(lambda: len(receiver.received) == 2)
        assert receiver.types == ["order.paid", "order.ready"]


async def test_many_servers_that_do_not_answer_keep_neither_other_partners_nor_refunds_waiting(city: City) -> None:
    admin = city.tokens["admin"]
    owner, store, sku = await city.shop()
    (stuck, _), (lively, _) = await partner_of(city), await partner_of(city)
    async with receiving(silence) as silent, receiving() as receiver:
        for partner in (stuck, lively):
            await city.do(admin, SHARE, partner=partner, store=store)
        for _ in range(10):  # as many as there are ordinary jobs at a time
            await city.do(admin, CREATE, partner=stuck, url=silent.url)
        await city.paid(await city.consumer(), store, sku)
        await silent.until(lambda: silent.open == 10)
        await city.do(admin, CREATE, partner=lively, url=receiver.url)
        order = await city.paid(await city.consumer(), store, sku)
        await city.do(owner, doc.REJECT, order=order, key=key())
        await receiver.until(lambda: "order.refunded" in receiver.types)
        assert silent.open >= 10
        for each in (stuck, lively):
            await city.do(admin, UNSHARE, partner=each, store=store)
