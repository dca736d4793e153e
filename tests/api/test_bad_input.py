"""What callers should not send is refused with a code or a typed error, and nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from auth.principals import View
from auth.tokens import issue
from core import ids
from core.clock import wall_now
from tests.api import documents as doc
from tests.api.city import HOME, City, codes, key, place_input, some_id
from tests.api.follower import PATIENCE

VIEWER = "{ viewer { kind } }"
MALFORMED = [
    "",
    "x",
    "ord_",
    "ord_zzz",
    "ord_" + "u" * 26,
    "ord_" + "0" * 27,
    "1",
    "' OR 1=1 --",
    "\x00",
    "订单",
    "ord_" + "z" * 26,
]


@asynccontextmanager
async def nothing_written(city: City) -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):
        while await city.fetchval("SELECT count(*) FROM refund WHERE state = 'PENDING'"):
            pass  # what the provider has still to confirm would be written now
    before = await city.rows()
    yield
    after = await city.rows()
    assert after == before, {name: (before[name], after[name]) for name in after if after[name] != before[name]}


@pytest.fixture(scope="module")
async def shop(city: City) -> tuple[str, str, str]:
    return await city.shop()


# tokens


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "ﬀ", "x" * 5000])
async def test_a_token_that_is_none(city: City, token: str) -> None:
    status, answer = await city.post({"query": VIEWER}, token)
    assert (status, codes(answer)) == (401, ["UNAUTHENTICATED"])


async def test_an_expired_token(city: City) -> None:
    person = await city.fetchval("SELECT id FROM person LIMIT 1")
    token = await city.open_session(person, View.CONSUMER, timedelta(seconds=-1))
    status, answer = await city.post({"query": VIEWER}, token)
    assert (status, codes(answer)) == (401, ["UNAUTHENTICATED"])
    assert answer["errors"][0]["extensions"]["reason"] == "EXPIRED"


async def test_a_token_for_somebody_elses_audience(city: City) -> None:
    """Ours but for another product, signed by a stranger, with the audience changed, or of an ended session."""
    from jose import jwt

    from auth.keys import SigningKeys

    good = city.tokens["consumer"]
    claims = jwt.get_unverified_claims(good)
    keys = city.program.runtime.keys

    def signed(by: SigningKeys, **changed: Any) -> str:
        return jwt.encode(claims | changed, by.signing.private, algorithm="ES256", headers={"kid": keys.signing.kid})

    assert (await city.post({"query": VIEWER}, signed(keys)))[0] == 200
    foreign = [
        signed(keys, aud="another-product"),
        signed(keys, aud=["consumer", "admin"]),
        signed(keys, iss="somebody"),
        signed(keys, aud="admin"),
        signed(keys, sub=str(ids.uuid7())),
        signed(keys, sid=str(ids.uuid7())),
        signed(SigningKeys.generate()),
        issue(keys, View.CONSUMER, ids.uuid7(), None, timedelta(hours=1))[0],
        good[:-4] + "AAAA",
    ]
    for token in foreign:
        status, answer = await city.post({"query": VIEWER}, token)
        assert (status, codes(answer)) == (401, ["UNAUTHENTICATED"]), token


# ids


@pytest.mark.parametrize("bad", MALFORMED)
async def test_malformed_ids(city: City, bad: str) -> None:
    token = city.tokens["consumer"]
    async with nothing_written(city):
        for field in ("order", "store", "queueTicket", "node", "city"):
            answer = await city.graphql(token, f"query ($id: ID!) {{ {field}(id: $id) {{ id }} }}", {"id": bad})
            assert answer["data"] == {field: None}, answer
            assert codes(answer) == []
        for document, name in (
            (doc.CANCEL, "order"),
            (doc.PAY, "order"),
            (doc.CONFIRM, "order"),
            (doc.CANCEL_TICKET, "ticket"),
        ):
            extra = {"key": key()} if "$key" in document else {}
            assert (await city.do(token, document, **{name: bad}, **extra))["code"] == "NOT_FOUND"
        lines = [{"sku": bad, "quantity": 1}]
        quote = await city.do(token, doc.CREATE_QUOTE, input={"store": city.store, "mode": "PICKUP", "lines": lines})
        assert quote["code"] == "NOT_FOUND"
        assert (await city.do(token, doc.PLACE, key=key(), input=place_input(bad)))["code"] == "NOT_FOUND"
        assert (await city.do(token, doc.TAKE, store=bad, size=2, key=key()))["code"] == "NOT_FOUND"


async def test_ids_of_other_types_and_of_other_people(city: City, shop: tuple[str, str, str]) -> None:
    owner, store, sku = shop
    mine, other = await city.consumer(), await city.consumer()
    theirs = await city.place(other, store, sku)
    quote = (await city.quote(other, store, sku))["id"]
    async with nothing_written(city):
        for bad in (theirs, store, sku, city.id, some_id("Order"), theirs.replace("ord_", "quo_")):
            assert (await city.do(mine, doc.CANCEL, order=bad, key=key()))["code"] == "NOT_FOUND"
            assert (await city.do(mine, doc.PAY, order=bad, key=key()))["code"] == "NOT_FOUND"
            assert (await city.do(city.tokens["merchant"], doc.ACCEPT, order=bad))["code"] == "NOT_FOUND"
            answer = await city.graphql(mine, "query ($id: ID!) { order(id: $id) { id } }", {"id": bad})
            assert answer == {"data": {"order": None}}
        assert (await city.do(owner, doc.ACCEPT, order=theirs))["code"] == "NOT_FOUND"  # not paid: not theirs yet
        for bad in (quote, some_id("Quote"), theirs, theirs.replace("ord_", "quo_")):
            assert (await city.do(mine, doc.PLACE, key=key(), input=place_input(bad)))["code"] == "NOT_FOUND"
        for token in (city.tokens["merchant"], owner):
            for bad in (city.store if token is owner else store, theirs, some_id("Store")):
                assert (await city.do(token, doc.QUEUE_OPEN, store=bad, open=True))["code"] == "NOT_FOUND"


async def test_nobody_is_told_to_sign_in_first(city: City, shop: tuple[str, str, str]) -> None:
    _, store, sku = shop
    theirs = (await city.quote(await city.consumer(), store, sku))["id"]
    lines = [{"sku": sku, "quantity": 1}]
    async with nothing_written(city):
        for document, given in (
            (doc.CREATE_QUOTE, {"input": {"store": store, "mode": "PICKUP", "lines": lines}}),
            (doc.PLACE, {"key": key(), "input": place_input(theirs)}),
            (doc.TAKE, {"store": store, "size": 2, "key": key()}),
        ):
            assert (await city.do(None, document, **given))["code"] == "PERMISSION_DENIED"
        answer = await city.graphql(None, "{ myOrders(first: 1) { nodes { id } } }")
        assert codes(answer) == ["PERMISSION_DENIED"]


# the shop


async def quote_code(
    city: City, token: str, store: str, lines: list[Any], mode: str = "DELIVERY", at: Any = HOME
) -> str:
    given = {"store": store, "mode": mode, "lines": lines, "location": at}
    answer = await city.graphql(token, doc.CREATE_QUOTE, {"input": given})
    return (
        answer["errors"][0]["extensions"]["code"] if "errors" in answer else answer["data"]["createQuote"].get("code")
    )


async def test_quantities(city: City, shop: tuple[str, str, str]) -> None:
    _, store, sku = shop
    token = await city.consumer()
    async with nothing_written(city):
        for quantity in (0, -1, -(2**31), 2**31 - 1, 1_000_000):
            assert await quote_code(city, token, store, [{"sku": sku, "quantity": quantity}]) == "INVALID_INPUT", (
                quantity
            )
        for quantity in (2**31, 10**30, 1.5, "1", None, True, [2], {}):
            assert await quote_code(city, token, store, [{"sku": sku, "quantity": quantity}]) == "BAD_USER_INPUT", (
                quantity
            )
        assert await quote_code(city, token, store, []) == "INVALID_INPUT"
        many = [{"sku": sku, "quantity": 1}] * 1000
        assert await quote_code(city, token, store, many) == "INPUT_LIST_LIMIT_EXCEEDED"


async def test_places(city: City, shop: tuple[str, str, str]) -> None:
    _, store, sku = shop
    token, lines = await city.consumer(), [{"sku": sku, "quantity": 2}]
    async with nothing_written(city):
        far = {"latitude": 31.23, "longitude": 121.47}
        assert await quote_code(city, token, store, lines, at=far) == "OUT_OF_DELIVERY_AREA"
        assert await quote_code(city, token, store, lines, at=None) == "INVALID_INPUT"
        for latitude, longitude in ((91, 0), (0, 181), (-90.0001, 0), (1e308, 1e308)):
            at = {"latitude": latitude, "longitude": longitude}
            assert await quote_code(city, token, store, lines, at=at) == "INVALID_INPUT"
    quote = await city.quote(token, store, sku)
    given = place_input(quote["id"])
    async with nothing_written(city):
        for change, code in (
            ({"location": far}, "OUT_OF_DELIVERY_AREA"),
            ({"location": {"latitude": 91, "longitude": 0}}, "INVALID_INPUT"),
            ({"phone": "x"}, "INVALID_INPUT"),
            ({"text": ""}, "INVALID_INPUT"),
            ({"contact": "x" * 10_000}, "INVALID_INPUT"),
        ):
            changed = given | {"address": given["address"] | change}
            assert (await city.do(token, doc.PLACE, key=key(), input=changed))["code"] == code, change
        without = {"quote": quote["id"]}
        assert (await city.do(token, doc.PLACE, key=key(), input=without))["code"] == "INVALID_INPUT"
        for bad in ("", "x" * 10_000):
            assert (await city.do(token, doc.PLACE, key=bad, input=given))["code"] == "INVALID_INPUT"


@pytest.mark.parametrize("hidden", ["\x00", "\x1b@", "\u202e"], ids=["nul", "of a printer", "other direction"])
async def test_texts_with_characters_that_cannot_be_seen(city: City, shop: tuple[str, str, str], hidden: str) -> None:
    """No database keeps the first, a kitchen printer obeys the second, and the third shows people another text."""
    owner, store, sku = shop
    token = await city.consumer()
    given = place_input((await city.quote(token, store, sku))["id"])
    bad = f"a{hidden}b"
    unpaid, paid = await city.place(token, store, sku), await city.paid(token, store, sku, "PICKUP")
    async with nothing_written(city):
        for changed in ({"note": bad}, *({"address": given["address"] | {name: bad}} for name in ("contact", "text"))):
            placed = await city.do(token, doc.PLACE, key=key(), input=given | changed)
            assert placed["code"] == "INVALID_INPUT", changed
        assert (await city.do(token, doc.CANCEL, key=key(), order=unpaid, reason=bad))["code"] == "INVALID_INPUT"
        for reason in (bad, "", "x" * 201):
            for document in (doc.REJECT, doc.REFUND):
                refused = await city.do(owner, document, key=key(), order=paid, reason=reason)
                assert refused["code"] == "INVALID_INPUT", reason
    lines = given | {"note": "No coriander\r\nRing twice", "address": given["address"] | {"text": "Hutong 5\tGate 2"}}
    order = (await city.do(token, doc.PLACE, key=key(), input=lines))["id"]
    kept = "query ($id: ID!) { order(id: $id) { note address { text } } }"
    assert await city.do(token, kept, id=order) == {
        "note": "No coriander\nRing twice",
        "address": {"text": "Hutong 5 Gate 2"},
    }


async def test_a_closed_store_and_what_is_sold_out(city: City) -> None:
    owner, store, sku = await city.shop()
    token, lines = await city.consumer(), [{"sku": sku, "quantity": 2}]
    quote = await city.quote(token, store, sku)
    status = """mutation ($s: ID!, $to: StoreStatus!) { setStoreStatus(store: $s, status: $to) { ... on Store { status }
        ... on UserError { code } } }"""
    stock = """mutation ($s: ID!, $n: Int, $key: String!) {
        setStock(sku: $s, stock: $n, idempotencyKey: $key) { ... on Sku { stock }
        ... on UserError { code } } }"""
    for to in ("CLOSED", "PAUSED"):
        await city.do(owner, status, s=store, to=to)
        async with nothing_written(city):
            assert await quote_code(city, token, store, lines) == "STORE_CLOSED"
            placed = await city.do(token, doc.PLACE, key=key(), input=place_input(quote["id"]))
            assert placed["code"] == "STORE_CLOSED"
    await city.do(owner, status, s=store, to="OPEN")
    await city.do(owner, stock, s=sku, n=1, key=key())
    async with nothing_written(city):
        assert await quote_code(city, token, store, lines) == "INSUFFICIENT_STOCK"
        assert (await city.do(token, doc.PLACE, key=key(), input=place_input(quote["id"])))[
            "code"
        ] == "INSUFFICIENT_STOCK"
        assert (await city.do(owner, stock, s=sku, n=-1, key=key()))["code"] == "INVALID_INPUT"
    await city.do(owner, stock, s=sku, n=None, key=key())
    assert await quote_code(city, token, store, lines) is None


async def test_a_quote_that_expired_or_is_used_up(city: City, shop: tuple[str, str, str]) -> None:
    _, store, sku = shop
    token = await city.consumer()
    expired, used = (await city.quote(token, store, sku))["id"], (await city.quote(token, store, sku))["id"]
    await city.execute("UPDATE quote SET expires_at = $2 WHERE id = $1", ids.decode("Quote", expired), wall_now())
    await city.do(token, doc.PLACE, key=key(), input=place_input(used))
    async with nothing_written(city):
        assert (await city.do(token, doc.PLACE, key=key(), input=place_input(expired)))["code"] == "QUOTE_EXPIRED"
        assert (await city.do(token, doc.PLACE, key=key(), input=place_input(used)))["code"] == "QUOTE_ALREADY_USED"


async def test_refunds_beyond_reason(city: City, shop: tuple[str, str, str]) -> None:
    owner, store, sku = shop
    order = await city.paid(await city.consumer(), store, sku, "PICKUP")
    await city.do(owner, doc.ACCEPT, order=order)
    await city.do(owner, doc.REFUND, order=order, key=key())
    async with nothing_written(city):
        for amount, code in ((0, "INVALID_INPUT"), (-1, "INVALID_INPUT"), (5000, "REFUND_EXCEEDS_CAPTURED")):
            assert (await city.do(owner, doc.REFUND, order=order, key=key(), amount=amount))["code"] == code, amount
        for amount in (2**63, -(2**63) - 1, "1e3", 1.5, None):
            answer = await city.graphql(owner, doc.REFUND, {"order": order, "key": key(), "amount": amount})
            assert codes(answer) == ["BAD_USER_INPUT"], amount
    await city.do(owner, doc.REFUND, order=order, key=key())  # the counterpart: what is left can be refunded


async def test_the_largest_refund_there_is(city: City, shop: tuple[str, str, str]) -> None:
    """The sum with what was refunded before fits no column."""
    owner, store, sku = shop
    order = await city.paid(await city.consumer(), store, sku, "PICKUP")
    await city.do(owner, doc.ACCEPT, order=order)
    await city.do(owner, doc.REFUND, order=order, key=key())
    async with nothing_written(city):
        answer = await city.graphql(owner, doc.REFUND, {"order": order, "key": key(), "amount": 2**63 - 1})
        assert codes(answer) == [], answer
        assert answer["data"]["refundOrder"]["code"] in ("INVALID_INPUT", "REFUND_EXCEEDS_CAPTURED")


# inputs of which one is given

CONTENT = """mutation ($content: CommandContentInput!) {
    sendDeviceCommand(device: "x", idempotencyKey: "k", content: %s) { __typename } }"""


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "{printNote: null}",
        "{openGate: null, showBoard: null}",
        '{printNote: {lines: ["a"]}, showBoard: {board: QUEUE}}',
    ],
)
async def test_exactly_one_of_the_fields_of_a_one_of_input(city: City, content: str) -> None:
    literal = CONTENT.replace("($content: CommandContentInput!)", "") % content
    answer = await city.graphql(city.tokens["merchant"], literal)
    assert set(codes(answer)) == {"GRAPHQL_VALIDATION_FAILED"} and "data" not in answer


@pytest.mark.parametrize("content", [{}, {"printNote": None}, {"openGate": None, "showBoard": {"board": "QUEUE"}}])
async def test_exactly_one_of_the_fields_of_a_one_of_variable(city: City, content: dict[str, Any]) -> None:
    answer = await city.graphql(city.tokens["merchant"], CONTENT % "$content", {"content": content})
    assert set(codes(answer)) == {"BAD_USER_INPUT"} and "data" not in answer
