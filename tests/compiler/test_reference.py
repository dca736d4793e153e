"""What graphql-core 3.3.0 itself gets wrong, so that a comparison with it means something."""

from __future__ import annotations

import asyncio
from typing import Any

from graphql import Executor, build_schema, execute, parse

from gateway.interpreter import SteadyExecutor

SCHEMA = build_schema("type Query { a: Box b: Box } type Box { x: Int y: Int box: Box }")


async def _b(_info: Any) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"box": {"x": 3, "y": 4}}


NAMES = [f"b{number}" for number in range(60)]
"""Of so many one gets the address of what was forgotten."""
TEXT = f"{{ a {{ x }} b {{ {' '.join(f'{name}: box {{ y }}' for name in NAMES)} }} }}"
ROOT = {"a": {"x": 1, "y": 2}, "b": _b}


async def wrong_answers(executor_class: type[Executor[Any]], times: int) -> int:
    """How often a nested object comes with the selections of a root field that was done before."""
    wrong = 0
    for _ in range(times):
        answer: Any = execute(SCHEMA, parse(TEXT), ROOT, executor_class=executor_class)
        wrong += (await answer).data["b"] != {name: {"y": 4} for name in NAMES}
    return wrong


async def test_graphql_core_mixes_up_selections() -> None:
    """When this fails, graphql-core is mended and ``SteadyExecutor`` and its likes can go."""
    assert await wrong_answers(Executor, 100) > 0


async def test_keeping_the_roots_field_details_mends_it() -> None:
    assert await wrong_answers(SteadyExecutor, 100) == 0
