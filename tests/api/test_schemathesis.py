"""Schemathesis makes operations out of the contracts and sends them: whatever comes, the server stays composed."""

from __future__ import annotations

import asyncio
import io
import zlib
from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from graphql import StringValueNode, Visitor, parse, print_ast, visit
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import sampled_from

from auth.principals import View
from gateway.contracts import SDL_FOLDER
from gateway.refusals import Refused
from tests.api import documents as doc
from tests.api.city import City, key
from tests.files.world import request
from tests.patience import PATIENCE

COMPOSED = frozenset({400, 401, 403, 404, 413, 429, 200})
INTERNAL = ("INTERNAL", "OPERATION_TIMEOUT")
TELLTALE = ("Traceback", "asyncpg", "tortoise", "graphql.error", 'File "')
HANG = PATIENCE
"""Seconds after which an answer counts as none."""

EXAMPLES = {
    View.CONSUMER: 40,
    View.MERCHANT: 30,
    View.RIDER: 25,
    View.ADMIN: 30,
    View.PARTNER: 15,
    View.DEVICE: 20,
}

# Hypothesis takes the randomness that the server uses meanwhile, in the other thread, for the strategies' own.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisWarning")

INSTANTS = [
    "2026-03-02T04:00:00Z",
    "2026-02-30T00:00:00Z",
    "",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-12:00",
]
NUMBERS = [0, 1, -1, 100, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**63]
schemathesis.graphql.scalar("DateTime", sampled_from(INSTANTS).map(schemathesis.graphql.nodes.String))
schemathesis.graphql.scalar("Int64", sampled_from(NUMBERS).map(schemathesis.graphql.nodes.Int))


class RealIds(Visitor):
    """Puts ids of things that exist where the made-up ones would find nothing; by turns, so that some stay."""

    def __init__(self, known: dict[str, str], turn: int) -> None:
        super().__init__()
        self._known = known
        self._turn = turn

    def _put(self, node: Any, *_: Any) -> Any:
        self._turn += 1
        if node.name.value == "id" and self._turn % 4:
            return self._with(node, sorted(self._known.values())[self._turn % len(self._known)])
        if node.name.value in self._known and self._turn % 4:
            return self._with(node, self._known[node.name.value])
        return None

    @staticmethod
    def _with(node: Any, value: str) -> Any:
        return type(node)(name=node.name, value=StringValueNode(value=value))

    enter_argument = enter_object_field = _put


def campaign(city: City, view: View, known: dict[str, str], examples: int, fixed: bool) -> list[str]:
    """Send ``examples`` operations of a view's contract, one after the other; the kinds of answers there were."""
    gateway = city.program.gateway
    contract = schemathesis.graphql.from_file(io.StringIO((SDL_FOLDER / f"{view.lower()}.graphql").read_text()))
    headers = {"Authorization": f"Bearer {city.tokens[view.lower()]}"}
    client = httpx.Client(base_url=city.url, headers=headers, timeout=HANG)
    seen: list[str] = []

    @settings(
        max_examples=examples,
        derandomize=fixed,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=contract.as_strategy())
    def one(case: schemathesis.Case) -> None:
        if "signOut" in case.body:
            return  # the others after it would be sent by nobody
        text = print_ast(visit(parse(case.body), RealIds(known, zlib.crc32(case.body.encode()))))
        body = {"query": text}
        if view is View.PARTNER:  # who may call registered documents only
            with suppress(Refused):
                body = {"documentId": gateway.operations.add(view, gateway.contracts[view], text).document.id}
        response = client.post("/graphql", json=body)
        assert response.status_code in COMPOSED, (response.status_code, text, response.text)
        answer: dict[str, Any] = response.json()
        for error in answer.get("errors", ()):
            code = error["extensions"]["code"]
            assert code not in INTERNAL, (text, answer)
            seen.append(code)
        assert not any(word in response.text for word in TELLTALE), (text, answer)
        if answer.get("data"):
            seen.append("data")

    with client:
        one()
    return seen


@pytest.fixture(scope="module")
async def known(city: City) -> dict[str, str]:
    """Ids of things that exist, by the names of the arguments that take them."""
    item = city.menu[0]["items"][0]
    owner, store, sku = await city.shop()
    order = await city.paid(city.tokens["consumer"], store, sku)
    accepted = await city.do(owner, doc.ACCEPT, order=order)
    await city.do(city.tokens["merchant"], doc.QUEUE_OPEN, store=city.store, open=True)
    ticket = await city.do(city.tokens["consumer"], doc.TAKE, store=city.store, size=2, key=key())
    upload = await request(city, city.tokens["merchant"], city.store, 100)
    return {
        "upload": upload["id"], "picture": upload["id"],
        "store": city.store, "city": city.id, "sku": item["skus"][0]["id"], "item": item["id"], "order": order,
        "category": city.menu[0]["id"], "ticket": ticket["id"], "delivery": accepted["delivery"]["id"],
    }  # fmt: skip


@pytest.mark.parametrize("view", list(EXAMPLES))
async def test_operations_of_a_contract(city: City, known: dict[str, str], view: View) -> None:
    # In a thread: it calls and waits, while the server answers in this loop.
    seen = await asyncio.to_thread(campaign, city, view, known, EXAMPLES[view], True)
    assert "data" in seen, seen  # some of them are executed, or this tests the validation alone


@pytest.mark.fuzz
@pytest.mark.parametrize("view", list(EXAMPLES))
async def test_many_operations_of_a_contract(city: City, known: dict[str, str], view: View) -> None:
    await asyncio.to_thread(campaign, city, view, known, 1500, False)
