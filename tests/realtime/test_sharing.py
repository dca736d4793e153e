"""What the schema declares shared is the same for everybody of a view who may see the thing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from inspect import isawaitable
from typing import Any

import pytest
from graphql import GraphQLNonNull, GraphQLObjectType, get_named_type

from auth.principals import Held, Principal, PrincipalKind, View
from core.ids import uuid7
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.execution import Gateway, OperationRequest
from gateway.visibility import visibility_of
from models.devices import DeviceCapability, DeviceStation
from models.identity import GrantRole
from models.ordering import FulfilmentMode
from resolvers.context import Context
from schema.build import DEFINITION, full_schema, is_shared
from services import devices, insight
from services.feeds import TasksChange
from services.ordering import reading
from services.queueing.reading import board_snapshot
from subscriptions.tail import FeedTails
from subscriptions.updates import Update, UpdateKind
from tests.ordering.conftest import city  # noqa: F401
from tests.ordering.world import City
from tests.support import NOON

CONTRACTS = build_contracts(full_schema())
DEPTH = 5


def selection(kind: Any, view: View, depth: int = DEPTH) -> str:
    """All fields that are declared shared in ``view``, as deep as ``depth``; empty when there is none."""
    parts: list[str] = []
    for name, field in kind.fields.items():
        if not is_shared(kind, name, view):
            continue
        if any(isinstance(arg.type, GraphQLNonNull) and arg.default_value is None for arg in field.args.values()):
            continue
        arguments = "(first: 3)" if "first" in field.args else ""
        inner = get_named_type(field.type)
        if isinstance(inner, GraphQLObjectType):
            below = selection(inner, view, depth - 1) if depth else ""
            if below:
                parts.append(f"{name}{arguments} {below}")
        elif not hasattr(inner, "fields") and not hasattr(inner, "types"):
            parts.append(name + arguments)
    return "{ " + " ".join(parts) + " }" if parts else ""


def subscriptions(view: View) -> Iterator[tuple[str, str]]:
    """``(name, document)`` of each subscription of a view, with everything that is shared in it."""
    root = CONTRACTS[view].schema.subscription_type
    for name, field in root.fields.items() if root is not None else ():
        wanted = selection(get_named_type(field.type), view)
        if not wanted:
            continue  # of a type that declares nothing, and so is executed for each caller
        variables = [f"${arg}: {definition.type}" for arg, definition in field.args.items()]
        passed = [f"{arg}: ${arg}" for arg in field.args]
        arguments = (f"({', '.join(variables)})", f"({', '.join(passed)})") if variables else ("", "")
        yield name, f"subscription S{arguments[0]} {{ {name}{arguments[1]} {wanted} }}"


ALL = [(view, name, document) for view in View for name, document in subscriptions(view)]


@pytest.mark.parametrize(("view", "name", "document"), ALL, ids=[f"{view}-{name}" for view, name, _ in ALL])
def test_such_a_document_is_shared(view: View, name: str, document: str) -> None:
    gateway = Gateway(CONTRACTS, Settings())
    loaded = gateway.documents.load(CONTRACTS[view], document)
    assert visibility_of(CONTRACTS[view], loaded, loaded.operation(None)).shared


def test_a_field_that_knows_its_caller_is_shared_only_by_its_own_declaration() -> None:
    for kind in full_schema().type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for name, field in kind.fields.items():
                declared = field.extensions.get(DEFINITION)
                resolver = getattr(declared, "base_resolver", None)
                for view in View:
                    if is_shared(kind, name, view) and resolver is not None and "shared" not in declared.metadata:
                        parameters = set(resolver.signature.parameters)
                        assert parameters <= {"self", "root"}, f"{kind.name}.{name}"


def staff(city: City, subject: Any, role: GrantRole) -> Principal:  # noqa: F811
    grant = Held(role, city.store_id, None)
    return Principal(PrincipalKind.MERCHANT, View.MERCHANT, subject, uuid7(), grants=(grant,))


@asynccontextmanager
async def tails_of(city: City) -> AsyncIterator[FeedTails]:  # noqa: F811
    tails = FeedTails(city.runtime.database, city.runtime.clock)
    await tails.start()
    try:
        yield tails
    finally:
        await tails.close()


async def test_it_is_the_same_for_everybody(city: City) -> None:  # noqa: F811
    """Rendered for each of several callers of a view, a document of shared fields gives the same bytes.

    Among the callers are those to whom something is shown that others do not see: the one who ordered, in a view of
    the staff too.
    """
    placed = await city.accepted(mode=FulfilmentMode.DELIVERY)
    rider = await city.rider()
    order = (await reading.snapshot(city.runtime, placed.id))[1]
    board = (await board_snapshot(city.runtime, city.clerk, city.store_id))[1]
    values: dict[str, Any] = {"orderUpdates": order, "storeBoard": [order], "queueBoardUpdates": board}
    values["cityUpdates"] = await insight.overview(city.runtime, city.admin, city.id)
    await devices.register(
        city.runtime, staff(city, uuid7(), GrantRole.STORE_OWNER), city.store_id, "Printer", DeviceStation.KITCHEN,
        [DeviceCapability.PRINT],
    )  # fmt: skip
    values["storeDevices"] = (await devices.of_stores(city.runtime, [city.store_id]))[city.store_id]
    if order.delivery is not None:
        values["riderTasks"] = TasksChange([order.delivery], [])
    callers = {
        View.CONSUMER: [city.consumer, await city.other_consumer()],
        View.MERCHANT: [
            city.clerk,
            staff(city, uuid7(), GrantRole.STORE_MANAGER),
            staff(city, city.consumer.subject, GrantRole.STORE_CLERK),
        ],
        View.RIDER: [rider, await city.rider()],
        View.ADMIN: [city.admin, replace(city.admin, subject=uuid7()), replace(city.admin, subject=order.consumer_id)],
        View.DEVICE: [
            Principal(
                PrincipalKind.DEVICE, View.DEVICE, uuid7(), grants=staff(city, None, GrantRole.STORE_CLERK).grants
            )
            for _ in range(2)
        ],
    }
    gateway = Gateway(CONTRACTS, Settings(max_nodes=1_000_000))
    compared = 0
    async with tails_of(city) as tails:
        for view, name, document in ALL:
            if name not in values:
                continue
            update = Update("cursor", UpdateKind.EVENT, "type", NOON, None, values[name])
            bodies: list[bytes] = []
            for caller in callers[view]:
                variables = {name: "x" for name in ("order", "store", "city") if f"${name}" in document}
                request = OperationRequest(query=document, variables=variables)
                operation = gateway.admit(caller, request)
                answer: Any = gateway.render(operation, Context(city.runtime, tails, caller), update)
                answer = await answer if isawaitable(answer) else answer
                assert answer.has_data and not answer.codes, answer.body
                bodies.append(answer.body)
            assert len(set(bodies)) == 1, (view, name)
            compared += 1
    assert compared >= 9
