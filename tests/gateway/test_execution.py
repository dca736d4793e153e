"""Execution: answers, errors in one form, subscriptions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from graphql import Executor

from auth.principals import ANONYMOUS
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.execution import Gateway, Interrupted, OperationRequest
from gateway.refusals import Refused
from resolvers.context import Context
from tests.gateway import tiny
from tests.gateway.tiny import tiny_schema

CONTRACTS = build_contracts(tiny_schema())


def make_context(locale: str = "en") -> Context:
    return Context(None, None, ANONYMOUS, locale)  # type: ignore[arg-type]


async def ask(query: str, locale: str = "en", settings: Settings | None = None, **variables: Any) -> dict[str, Any]:
    door = Gateway(CONTRACTS, settings or Settings())
    operation = door.admit(ANONYMOUS, OperationRequest(query=query, variables=variables))
    return await door.execute(operation, make_context(locale))


async def test_attributes_resolvers_and_scalars() -> None:
    answer = await ask('{ thing(name: "tea") { __typename id name at shout } echo(value: "9007199254740993") }')
    assert answer == {
        "data": {
            "thing": {
                "__typename": "Thing",
                "id": "sto_01h4000000e008000000000001",
                "name": "tea",
                "at": "2026-03-02T12:00:00+08:00",
                "shout": "TEAen",
            },
            "echo": 9007199254740993,
        }
    }


async def test_utc_is_shown_as_z_and_offsets_are_kept() -> None:
    query = "query T($at: DateTime!) { thing(at: $at) { at } }"
    for at, shown in [
        ("2026-03-02T04:00:00Z", "2026-03-02T04:00:00Z"),
        ("2026-03-02t04:00:00.25+00:00", "2026-03-02T04:00:00.250000Z"),
        ("2026-03-02T04:00:00-05:30", "2026-03-02T04:00:00-05:30"),
    ]:
        assert (await ask(query, at=at))["data"]["thing"]["at"] == shown


async def test_loaders_batch_within_one_operation() -> None:
    tiny.BATCHES.clear()
    answer = await ask("{ things(first: 3) { edges { cursor node { owner } } pageInfo { hasNextPage endCursor } } }")
    assert [e["node"]["owner"] for e in answer["data"]["things"]["edges"]] == [f"owner of t{i}" for i in range(3)]
    assert answer["data"]["things"]["pageInfo"] == {"hasNextPage": True, "endCursor": "t2"}
    assert tiny.BATCHES == [["t0", "t1", "t2"]]


async def test_a_refused_action_answers_with_its_error_type_in_the_callers_language() -> None:
    query = """mutation { rename(id: "x", name: "closed") {
        __typename ... on UserError { code message } ... on StoreClosed { store opensAt } } }"""
    answer = await ask(query, "zh-CN")
    assert answer["data"]["rename"] == {
        "__typename": "StoreClosed",
        "code": "STORE_CLOSED",
        "message": "门店当前不接单。",
        "store": "sto_01h4000000e008000000000001",
        "opensAt": None,
    }
    answer = await ask('mutation { rename(id: "x", name: "new") { __typename ... on Thing { name } } }')
    assert answer == {"data": {"rename": {"__typename": "Thing", "name": "new"}}}


async def test_a_business_error_of_a_query_carries_code_and_facts() -> None:
    answer = await ask('{ t: thing(name: "gone") { id } ok: echo(value: 1) }')
    assert answer["data"] == {"t": None, "ok": 1}
    (error,) = answer["errors"]
    assert error["message"] == "tea is not available."
    assert error["path"] == ["t"]
    assert error["extensions"] == {
        "code": "ITEM_UNAVAILABLE",
        "item": "itm_01h4000000e008000000000001",
        "name": "tea",
    }


async def test_an_ended_sign_in_is_told() -> None:
    (error,) = (await ask('{ thing(name: "who") { id } }'))["errors"]
    assert error["extensions"] == {"code": "UNAUTHENTICATED", "reason": "EXPIRED"}


async def test_internal_errors_are_masked_logged_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    (error,) = (await ask('{ thing(name: "boom") { id } }'))["errors"]
    assert "hunter2" not in str(error)
    assert error["extensions"]["code"] == "INTERNAL"
    logged = capsys.readouterr()
    assert error["extensions"]["errorId"] in logged.out + logged.err
    assert "hunter2" in logged.out + logged.err
    shown = (await ask('{ thing(name: "boom") { id } }', settings=Settings(mask_errors=False)))["errors"][0]
    assert shown["message"] == "RuntimeError: password=hunter2"


async def test_a_null_for_a_required_argument_is_the_callers_mistake() -> None:
    answer = await ask("query T($n: Int = 1) { things(first: $n) { nodes { id } } }", n=None)
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_an_operation_that_takes_too_long_is_cancelled() -> None:
    settings = Settings(operation_timeout=timedelta(milliseconds=50))
    answer = await ask('{ thing(name: "slow") { id } }', settings=settings)
    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "OPERATION_TIMEOUT"


async def test_operations_that_ask_the_same_have_the_same_key() -> None:
    door = Gateway(CONTRACTS, Settings())
    query = "query E($value: Int64!) { echo(value: $value) }"

    def key(**variables: Any) -> bytes:
        return door.admit(ANONYMOUS, OperationRequest(query=query, variables=variables)).key

    assert key(value=1) == key(value=1)
    assert key(value=1) != key(value=2)


# subscriptions


def subscription(end: str, up_to: int = 2, compiler: bool = True) -> tuple[Gateway, Any]:
    door = Gateway(CONTRACTS, Settings(compiler=compiler))
    query = "subscription T($end: String!, $to: Int!) { ticks(upTo: $to, end: $end) { number } }"
    return door, door.admit(ANONYMOUS, OperationRequest(query=query, variables={"end": end, "to": up_to}))


async def test_each_event_is_an_answer() -> None:
    door, operation = subscription("stop")
    assert [a async for a in door.subscribe(operation, make_context())] == [
        {"data": {"ticks": {"number": 0}}},
        {"data": {"ticks": {"number": 1}}},
    ]


@pytest.mark.parametrize(
    ("end", "code", "answers"), [("denied", "PERMISSION_DENIED", 0), ("revoked", "PERMISSION_DENIED", 2)]
)
async def test_a_source_that_says_no_ends_with_a_refusal(end: str, code: str, answers: int) -> None:
    door, operation = subscription(end)
    seen = []
    with pytest.raises(Refused) as caught:
        async for answer in door.subscribe(operation, make_context()):
            seen.append(answer)  # noqa: PERF401 - a comprehension would lose them when it raises
    assert caught.value.code == code
    assert len(seen) == answers


async def test_a_source_that_fails_interrupts_so_that_the_client_comes_back() -> None:
    door, operation = subscription("broken")
    with pytest.raises(Interrupted) as caught:
        async for _ in door.subscribe(operation, make_context()):
            pass
    assert caught.value.error_id


async def test_closing_the_answers_closes_the_source() -> None:
    tiny.CLOSED.clear()
    door, operation = subscription("wait")
    answers = door.subscribe(operation, make_context())
    await anext(answers)
    await answers.aclose()  # type: ignore[attr-defined]
    assert tiny.CLOSED == ["wait"]


async def test_cancelling_the_reader_closes_the_source() -> None:
    tiny.CLOSED.clear()
    door, operation = subscription("wait", 1)
    started = asyncio.Event()

    async def read() -> None:
        async for _ in door.subscribe(operation, make_context()):
            started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tiny.CLOSED == ["wait"]


async def test_every_event_has_an_executor_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later graphql-core grows one executor's memory with every event; ours live for one event."""
    made: list[Executor[Any]] = []
    door, operation = subscription("stop", 5, compiler=False)
    make = door._executor
    monkeypatch.setattr(door, "_executor", lambda *a: made.append(make(*a)) or made[-1])
    assert len([a async for a in door.subscribe(operation, make_context())]) == 5
    assert len({id(executor) for executor in made}) == 6  # one for the source
    assert all(len(executor._relevant_sub_fields) <= 1 for executor in made)
