"""Events are decoded as far as an operation looks at them: every field alone says what it says among all."""

from __future__ import annotations

from contextlib import aclosing
from inspect import isawaitable
from typing import Any

import orjson
import pytest
from graphql import GraphQLObjectType

from auth.principals import View
from gateway.admission import OperationRequest
from resolvers.context import Context
from resolvers.feeds import Following
from services.columns import ALL
from subscriptions import feeds
from subscriptions.updates import Update, UpdateKind
from tests.lookahead.conftest import Town
from tests.lookahead.test_fields import selections

C, M, R, A = View.CONSUMER, View.MERCHANT, View.RIDER, View.ADMIN

ONE = "orderUpdates(order: $order) { order { %s } }"
BOARD = "storeBoard(store: $store) { orders { %s } }"
TASKS = "riderTasks { tasks { %s } }"
PLACES: list[tuple[View, str, str]] = [
    *[(view, "Order", ONE) for view in (C, M, R, A)],
    *[(view, "Delivery", ONE % "delivery { %s }") for view in (C, M, R, A)],
    *[(view, "Order", BOARD) for view in (M, A)],
    (M, "Delivery", BOARD % "delivery { %s }"),
    (R, "Delivery", TASKS),
    (R, "Order", TASKS % "order { %s }"),
]


@pytest.mark.parametrize(("view", "type_name", "place"), PLACES)
async def test_a_field_of_an_event_alone_is_what_it_is_among_all(
    town: Town, view: View, type_name: str, place: str
) -> None:
    program = town.city.program
    gateway = program.gateway
    principal = await town.principal(view)
    kind = gateway.contracts[view].schema.get_type(type_name)
    assert isinstance(kind, GraphQLObjectType)
    variables = {name: value for name, value in town.ids.items() if f"${name}" in place}
    head = f"subscription ({', '.join(f'${name}: ID!' for name in variables)})" if variables else "subscription"

    async def ask(selection: str, *, whole: bool) -> list[Any]:
        """What the feed's events say, decoded as far as needed, or as a whole."""
        text = f"{head} {{ {place % selection} }}"
        operation = await gateway.admitted(principal, OperationRequest(query=text, variables=variables))
        context = Context(program.runtime, program.tails, principal)
        source = await gateway.open(operation, context)
        assert isinstance(source, Following)
        async with aclosing(source):
            admission = await source.admit()
        said: list[Any] = []
        for event in await feeds.read(program.runtime.database, admission.feed_name, 0):
            assert source.feed.value is not None
            value = source.feed.value(event, ALL if whole else operation.columns)
            if admission.shows(value):
                update = Update("cursor", UpdateKind.EVENT, event.type, event.at, None, value)
                rendered = gateway.render(operation, context, update)
                answer = orjson.loads((await rendered if isawaitable(rendered) else rendered).body)
                assert "errors" not in answer, (selection, answer["errors"])
                said.append(answer["data"])
        return said

    for name, selection in selections(kind):
        told = await ask(selection, whole=False)
        assert len(told) > 1 and told == await ask(selection, whole=True), name
