"""Schemathesis makes operations out of the contracts and sends them: whatever comes, the server stays composed."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings

from auth.principals import View
from gateway.contracts import SDL_FOLDER
from tests.api.city import City

COMPOSED = frozenset({400, 401, 403, 404, 413, 200})
INTERNAL = ("INTERNAL", "OPERATION_TIMEOUT")
TELLTALE = ("Traceback", "asyncpg", "tortoise", "graphql.error", 'File "')
HANG = 10.0
"""Seconds after which an answer counts as none."""

EXAMPLES = {View.CONSUMER: 40, View.MERCHANT: 30, View.RIDER: 25, View.ADMIN: 30}

schemathesis.graphql.scalar("DateTime", schemathesis.graphql.nodes.String and __import__("hypothesis").strategies.sampled_from(
    ["2026-03-02T04:00:00Z", "2026-02-30T00:00:00Z", "", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-12:00"]
).map(schemathesis.graphql.nodes.String))
schemathesis.graphql.scalar("Int64", __import__("hypothesis").strategies.sampled_from(
    [0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**63]
).map(schemathesis.graphql.nodes.Int))


def campaign(url: str, view: View, token: str, examples: int, fixed: bool) -> list[str]:
    """Send ``examples`` operations of a view's contract, one after the other; the kinds of answers there were."""
    contract = schemathesis.graphql.from_file(io.StringIO((SDL_FOLDER / f"{view.lower()}.graphql").read_text()))
    contract.config.update(base_url=f"{url}/graphql")
    seen: list[str] = []

    @seed(20260302)
    @settings(
        max_examples=examples, derandomize=fixed, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )
    @given(case=contract.as_strategy())
    def one(case: schemathesis.Case) -> None:
        response = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=HANG)
        assert response.status_code in COMPOSED, (response.status_code, case.body, response.text)
        answer: dict[str, Any] = response.json()
        for error in answer.get("errors", ()):
            code = error["extensions"]["code"]
            assert code not in INTERNAL, (case.body, answer)
            seen.append(code)
        assert not any(word in response.text for word in TELLTALE), (case.body, answer)
        if answer.get("data"):
            seen.append("data")

    one()
    return seen


@pytest.mark.parametrize("view", list(EXAMPLES))
async def test_operations_of_a_contract(city: City, view: View) -> None:
    # In a thread: it calls and waits, while the server answers in this loop.
    seen = await asyncio.to_thread(campaign, city.url, view, city.tokens[view.lower()], EXAMPLES[view], True)
    assert "data" in seen, seen  # some of them are executed, or this tests the validation alone


@pytest.mark.fuzz
@pytest.mark.parametrize("view", list(EXAMPLES))
async def test_many_operations_of_a_contract(city: City, view: View) -> None:
    await asyncio.to_thread(campaign, city.url, view, city.tokens[view.lower()], 1500, False)
