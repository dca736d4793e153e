"""The API suite runs with the compiler and without it; this says that it does."""

from __future__ import annotations

import pytest

from gateway import metrics
from tests.api.city import City


async def test_operations_are_executed_as_the_option_says(city: City, pytestconfig: pytest.Config) -> None:
    compiled = pytestconfig.getoption("--compiler") == "on"
    counter = metrics.EXECUTIONS.labels(*(("compiled", "") if compiled else ("graphql-core", "compiler off")))
    before = counter._value.get()
    text = f'query Shops {{ city(id: "{city.id}") {{ id __typename }} }}'
    for _ in range(3):
        await city.graphql(city.tokens["consumer"], text)
    # The first use of a text that is not registered is never compiled.
    assert counter._value.get() - before == (2 if compiled else 3)
