"""N+1 never: the statements of an operation do not grow with what it lists."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from auth import changes
from auth.authenticate import Authenticator
from auth.principals import View
from auth.tokens import Unauthenticated
from gateway.refusals import Refused
from tests.lookahead.conftest import Town
from tests.lookahead.many import multiply
from tests.statements import counted

C, M, R, A = View.CONSUMER, View.MERCHANT, View.RIDER, View.ADMIN

ORDER = """id number state total { amount currency } note placedAt availableActions
    store { name isOpen city { name } merchant { name } tags { name } tables { code } }
    consumer { name phone } address { phone } table { code }
    lines { itemName total { amount } sku { name price { amount } } }
    delivery { state fee { amount } rider { name phone } riderLocation { recordedAt } order { number } }
    events(first: 5) { nodes { type } }"""
MENU = """logo { url } photos { url width } menu { id name items { name picture { url height }
    store { name } category { name } isSoldOut skus { name stock price { amount } }
    optionGroups { name options { name priceDelta { amount } } } } }"""

WIDE: list[tuple[View, str]] = [
    (C, "{ myOrders(first: 100) { nodes { ORDER payment { state amount { amount } } } } }"),
    (
        C,
        """{ stores(near: {latitude: 39.912, longitude: 116.414}, first: 100) { nodes { name MENU riderSupply
            queue { classes { waiting next { number store { name } availableActions } } } tables { code } tags { name }
            merchant { stores(first: 5) { nodes { name } } } } } }""",
    ),
    (C, "{ myQueueTickets { number position store { name } availableActions } }"),
    (C, "{ cities { name } storeTags { name } }"),
    (
        M,
        """{ myStores { name terminalsOnline staff { role person { name } store { name } city { name } }
            orders(first: 10) { nodes { ORDER payment { state } offers: delivery { offer { rider { name } } } } }
            devices { name store { name } commands(first: 5) { nodes { id device { name } order { number } } } }
            sharings(first: 5) { nodes { by partner { name } } }
            merchant { stores(first: 5) { nodes { name tags { name } } } } } }""",
    ),
    (
        R,
        """{ myTasks { state offer { rider { name } } track(first: 5) { nodes { recordedAt } } order { ORDER } }
            openDeliveries(first: 100) { state order { ORDER } } rider { currentTask { order { number } } } }""",
    ),
    (
        A,
        """query ($city: ID!) { city(id: $city) {
            stores(first: 100) { nodes { name orders(first: 3) { nodes { number } } staff { role }
                sharings(first: 5) { nodes { state partner { clientId } } } } }
            orders(first: 100) { nodes { ORDER payment { state } } } partners(first: 5) { nodes { name } }
            riders(first: 100) { nodes { name connected currentTask { order { number store { name } } } } }
            ridersNear(location: {latitude: 39.911, longitude: 116.413}, first: 100) { distanceMetres rider { name
                currentTask { order { number } } } } } }""",
    ),
    (
        A,
        """query ($city: ID!) { city(id: $city) { partners(first: 100) { nodes { name
            stores(first: 100) { nodes { name } } webhookEndpoints { url secrets { createdAt }
                deliveries(first: 5) { nodes { cursor attempts { status } } } } } } } }""",
    ),
    (
        A,
        """query ($city: ID!) { city(id: $city) { auditEntries(first: 100) { nodes {
            at action target actor { name } facts { name value } } } } }""",
    ),
    (
        A,
        """{ cities { name overview { ordersToday } stores(first: 2) { nodes { name } }
            orders(first: 2) { nodes { number } } riders(first: 2) { nodes { name } } } }""",
    ),
]
"""What shows every list with every field that is loaded by key."""


TIMING = 2
"""Statements more or less that mean nothing: fields of different depth may share a loader, and whether they ask in the
same turn is chance. One statement per row would be 49 more."""


def _variables(town: Town, view: View, query: str) -> dict[str, Any] | None:
    """Values for the operation's required variables; None for what is no question about this town."""
    document = parse(query)
    operation = next(part for part in document.definitions if isinstance(part, OperationDefinitionNode))
    values: dict[str, Any] = {
        "near": {"latitude": 39.912, "longitude": 116.414},
        "first": 100,
        **town.ids,
    }
    if view is View.DEVICE:
        values["store"] = town.city.store
    values["id"] = values["order"] if "order(id" in query else values["store"]
    names = [variable.variable.name.value for variable in operation.variable_definitions or ()]
    return None if operation.operation.value == "mutation" else {n: values[n] for n in names if n in values}


async def test_no_operation_sends_more_statements_for_more_rows(town: Town) -> None:
    registered = [(each.view, each.document.text, True) for each in town.city.program.gateway.operations.all()]
    asked: list[tuple[View, str, dict[str, Any], bool, int]] = []
    failed: list[str] = []
    for view, query, known in registered + [
        (v, q.replace("ORDER", ORDER).replace("MENU", MENU), False) for v, q in WIDE
    ]:
        variables = _variables(town, view, query)
        if variables is None or view not in town.tokens:
            continue
        try:
            await town.run(view, query, variables, registered=known)  # the first may read what later ones remember
            answer, sent = await town.run(view, query, variables, registered=known)
        except Refused as refused:
            answer, sent = {"errors": str(refused)}, []
        if "errors" in answer:
            failed.append(f"{view} {query}: {answer['errors']}")
        asked.append((view, query, variables, known, len(sent)))
    assert not failed, "\n\n".join(failed)
    assert len(asked) > 40

    async with town.city.program.runtime.database.transaction() as sql:
        await multiply(sql, 49)
    changes.announce(None)  # the copied grants count from now on, not from when the old ones are forgotten

    grown: list[str] = []
    for view, query, variables, known, before in asked:
        answer, sent = await town.run(view, query, variables, registered=known)
        assert "errors" not in answer, (query, answer)
        if len(sent) > before + TIMING:
            grown.append(f"{view}: {before} statements became {len(sent)}\n{query}\n" + "\n".join(sent[:40]))
    assert not grown, "\n\n".join(grown)


async def test_many_callers_are_looked_up_at_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers of all views, one who has left, and tokens that are none."""
    monkeypatch.setattr("auth.authenticate.REMEMBERED_FOR", 3600.0)
    program = town.city.program
    changes.announce(None)
    one_by_one = Authenticator(program.runtime.database, program.runtime.keys)
    expected = {token: await one_by_one.principal(token) for token in town.tokens.values()}
    gone = await town.city.consumer()
    session = (await one_by_one.principal(gone)).session_id
    await town.city.execute("UPDATE refresh_session SET ended_at = now() WHERE id = $1", session)
    assert len({principal.view for principal in expected.values()}) == len(View)

    together = Authenticator(program.runtime.database, program.runtime.keys)
    with counted() as sent:
        await together.prepare([*expected, gone, "no.token.at-all", ""])
        assert len(sent) == 2, sent
        assert {token: await together.principal(token) for token in expected} == expected
        assert len(sent) == 2, "answered from memory"
    with pytest.raises(Unauthenticated, match="REVOKED"):
        await together.principal(gone)
