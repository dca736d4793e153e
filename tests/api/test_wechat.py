"""A mini-program signs in through the public API of a sandbox installation."""

from __future__ import annotations

from typing import Any

from tests.api.city import City, new_phone

SIGN_IN = """mutation S($code: String!) { signInWithWeChat(code: $code, view: CONSUMER,
  installation: {id: "0123456789abcdef", name: "Mi 14"}) { __typename ... on Session { accessToken }
  ... on WeChatPhoneNeeded { ticket expiresAt } ... on UserError { code } } }"""
BIND = """mutation B($ticket: String!, $phoneCode: String!) { bindWeChat(ticket: $ticket, view: CONSUMER,
  phoneCode: $phoneCode) { __typename ... on Session { accessToken } ... on UserError { code } } }"""
ME = "{ viewer { person { phone } sessions { device current } } }"


async def test_from_the_first_login_to_the_second(city: City) -> None:
    async def wx(path: str, **query: str) -> Any:
        async with city.http.get(f"{city.url}/sandbox/wechat/{path}", params=query) as response:
            return (await response.json(content_type=None))["code"]

    number = new_phone()
    needed = await city.do(None, SIGN_IN, code=await wx("login", user="li"))
    bound = await city.do(None, BIND, ticket=needed["ticket"], phoneCode=await wx("phone", phone=number))
    assert (await city.do(bound["accessToken"], ME))["person"]["phone"] == number
    again = await city.do(None, SIGN_IN, code=await wx("login", user="li"))
    assert {"device": "Mi 14", "current": True} in (await city.do(again["accessToken"], ME))["sessions"]
    refused = await city.do(None, SIGN_IN, code=await wx("login", user="li", fault="40226"))
    assert refused == {"__typename": "WeChatAccountAtRisk", "code": "WECHAT_ACCOUNT_AT_RISK"}
