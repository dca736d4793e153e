"""Somebody exports their data and leaves, through the public API."""

from __future__ import annotations

import orjson
from yarl import URL

from auth.principals import View
from services import identity
from services.unit import transaction
from tests.api.city import City, new_phone

EXPORT = "mutation { exportMyData { ... on AccountExport { document } ... on UserError { code } } }"
CODE = "mutation { requestDeletionCode { ... on OtpSent { phone } ... on UserError { code } } }"
DELETE = """mutation D($code: String!) { deleteMyAccount(code: $code) { __typename
  ... on AccountDeletion { dueAt } ... on AccountInUse { orders merchants } ... on UserError { code } } }"""


async def test_exporting_and_leaving(city: City) -> None:
    number = new_phone()
    async with transaction(city.program.runtime) as unit:
        person_id = await identity.ensure_person(unit, number, "Somebody")
    token = await city.open_session(person_id, View.CONSUMER)
    document = orjson.loads((await city.do(token, EXPORT))["document"])
    assert document["person"][0]["phone"] == number
    assert (await city.do(token, CODE))["phone"] == number
    async with city.http.get(f"{city.url}/sandbox/sms", params={"phone": number}) as response:
        [message] = await response.json()
    code = message["text"].split()[1]
    assert (await city.do(token, DELETE, code=code))["dueAt"]
    assert (await city.post({"query": "{ viewer { kind } }"}, token))[0] == 401


async def test_the_sandboxs_telephone_reads_any_spelling_and_refuses_what_is_no_number(city: City) -> None:
    number, stranger = new_phone(), new_phone()
    await city.program.runtime.sms.send(number, "Hello 123456")

    async def read(phone: str) -> tuple[int, str]:
        async with city.http.get(URL(f"{city.url}/sandbox/sms?phone={phone}", encoded=True)) as response:
            return response.status, await response.text()

    for spelling in (number, number.replace("+", "%2B"), number[1:], f"{number[:6]}%20{number[6:]}"):
        status, body = await read(spelling)
        assert status == 200 and [message["text"] for message in orjson.loads(body)] == ["Hello 123456"], spelling
    assert await read(stranger) == (200, "[]")
    for wrong in ("", "%00", "%FF", "12", "%E2%80%AE" * 50, "9" * 5000):
        assert await read(wrong) == (400, "phone is not a phone number"), wrong


async def test_who_has_an_open_order_stays(city: City) -> None:
    token, (_, store, sku) = await city.consumer(), await city.shop()
    await city.place(token, store, sku, "PICKUP")
    refused = await city.do(token, DELETE, code="000000")
    assert (refused["__typename"], refused["orders"], refused["code"]) == ("AccountInUse", 1, "ACCOUNT_IN_USE")
    assert (await city.do(None, EXPORT))["code"] == "PERMISSION_DENIED"
