"""Every field of every type, selected alone wherever objects of the type are read: its columns are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLObjectType, get_named_type, is_composite_type, is_required_argument, parse

from auth.principals import View
from tests.api import documents as doc
from tests.api.city import key
from tests.lookahead.conftest import Town

C, M, R, A = View.CONSUMER, View.MERCHANT, View.RIDER, View.ADMIN

NEAR = "stores(near: {latitude: 39.912, longitude: 116.414}, first: 5)"
MINE = "myOrders(first: 50) { nodes { %s } }"
SHOP = "store(id: $store) { %s }"
STAFF = "myStores { %s }"
CITY = "city(id: $city) { %s }"
CLASSES = "query ($store: ID!) { store(id: $store) { queue { classes { id maxParty } } } }"
NEARBY = "ridersNear(location: {latitude: 39.911, longitude: 116.413}, first: 50)"
ITEMS = "menu { items { %s } }"

PLACES: list[tuple[View, str, str]] = [
    (C, "Order", MINE),
    (C, "Order", "order(id: $order) { %s }"),
    (C, "OrderLine", MINE % "lines { %s }"),
    (C, "Payment", MINE % "payment { %s }"),
    (C, "Delivery", MINE % "delivery { %s }"),
    (C, "Rider", MINE % "delivery { rider { %s } }"),
    (C, "Store", MINE % "store { %s }"),
    (C, "Person", MINE % "consumer { %s }"),
    (C, "Store", f"{NEAR} {{ nodes {{ %s }} }}"),
    (C, "Store", SHOP),
    (C, "StoreTag", f"{NEAR} {{ nodes {{ tags {{ %s }} }} }}"),
    (C, "StoreTag", "storeTags { %s }"),
    (C, "DiningTable", SHOP % "tables { %s }"),
    (C, "Merchant", SHOP % "merchant { %s }"),
    (C, "City", SHOP % "city { %s }"),
    (C, "City", "cities { %s }"),
    (C, "Category", SHOP % "menu { %s }"),
    (C, "Item", SHOP % ITEMS),
    (C, "Picture", SHOP % (ITEMS % "picture { %s }")),
    (C, "Picture", SHOP % "logo { %s }"),
    (C, "Picture", SHOP % "photos { %s }"),
    (C, "Sku", SHOP % (ITEMS % "skus { %s }")),
    (C, "Sku", MINE % "lines { sku { %s } }"),
    (C, "OptionGroup", "store(id: $demo) { %s }" % (ITEMS % "optionGroups { %s }")),
    (C, "Option", "store(id: $demo) { %s }" % (ITEMS % "optionGroups { options { %s } }")),
    (C, "QueueTicket", "myQueueTickets { %s }"),
    (C, "QueueBoard", SHOP % "queue { %s }"),
    (C, "QueueClass", SHOP % "queue { classes { %s } }"),
    (C, "QueueTicket", SHOP % "queue { classes { next { %s } } }"),
    (M, "QueueTicket", STAFF % "queue { classes { calling { %s } } }"),
    (M, "Order", STAFF % "orders(first: 50) { nodes { %s } }"),
    (M, "Order", "order(id: $order) { %s }"),
    (M, "Delivery", STAFF % "orders(first: 50) { nodes { delivery { %s } } }"),
    (M, "DeliveryOffer", STAFF % "orders(first: 50) { nodes { delivery { offer { %s } } } }"),
    (M, "Payment", STAFF % "orders(first: 50) { nodes { payment { %s } } }"),
    (M, "Person", STAFF % "orders(first: 50) { nodes { consumer { %s } } }"),
    (M, "Store", STAFF),
    (M, "Store", STAFF % "merchant { stores(first: 5) { nodes { %s } } }"),
    (M, "Grant", STAFF % "staff { %s }"),
    (M, "Person", STAFF % "staff { person { %s } }"),
    (M, "StoreSharing", STAFF % "sharings(first: 5) { nodes { %s } }"),
    (M, "Partner", STAFF % "sharings(first: 5) { nodes { partner { %s } } }"),
    (R, "Delivery", "myTasks { %s }"),
    (R, "Order", "myTasks { order { %s } }"),
    (R, "Order", "order(id: $order) { %s }"),
    (R, "Store", "myTasks { order { store { %s } } }"),
    (R, "Delivery", "openDeliveries(first: 5) { %s }"),
    (R, "Rider", "rider { %s }"),
    (R, "Delivery", "rider { currentTask { %s } }"),
    (R, "Order", "rider { currentTask { order { %s } } }"),
    (A, "City", CITY),
    (A, "Store", CITY % "stores(first: 50) { nodes { %s } }"),
    (A, "Order", CITY % "orders(first: 50) { nodes { %s } }"),
    (A, "Delivery", CITY % "orders(first: 50) { nodes { delivery { %s } } }"),
    (A, "Rider", CITY % "riders(first: 50) { nodes { %s } }"),
    (A, "Delivery", CITY % "riders(first: 50) { nodes { currentTask { %s } } }"),
    (A, "NearbyRider", CITY % f"{NEARBY} {{ %s }}"),
    (A, "Rider", CITY % f"{NEARBY} {{ rider {{ %s }} }}"),
    (A, "AuditEntry", CITY % "auditEntries(first: 50) { nodes { %s } }"),
    (A, "Person", CITY % "auditEntries(first: 50) { nodes { actor { %s } } }"),
]
"""Where objects of a type are read, by view: ``%s`` is their selection."""

REFUSED = {"openDeliveries(first: 5) { %s }": {"track"}}
"""Fields that are not for the one who asks there."""

ARGUMENTS = {"first": "5", "location": "{latitude: 39.91, longitude: 116.41}"}


def selections(kind: GraphQLObjectType) -> Iterator[tuple[str, str]]:
    """Every field by name, selected; of an object as little as there is."""
    for name, declared in kind.fields.items():
        required = [
            f"{argument}: {ARGUMENTS[argument]}"
            for argument, kind_of in declared.args.items()
            if is_required_argument(kind_of)
        ]
        arguments = f"({', '.join(required)})" if required else ""
        inner = " { __typename }" if is_composite_type(get_named_type(declared.type)) else ""
        yield name, f"{name}{arguments}{inner}"


def objects(value: Any, path: list[str]) -> list[dict[str, Any]]:
    """The objects at the end of the path, through lists and past nulls."""
    if value is None:
        return []
    if isinstance(value, list):
        return [found for each in value for found in objects(each, path)]
    return objects(value[path[0]], path[1:]) if path else [value]


def path_of(place: str) -> list[str]:
    """The fields on the way to ``%s``."""
    node: Any = parse("{ %s }" % (place % "__typename")).definitions[0]
    way: list[str] = []
    while (name := (node := node.selection_set.selections[0]).name.value) != "__typename":
        way.append(name)
    return way


@pytest.fixture(scope="module")
async def lively(town: Town) -> Town:
    """Orders and deliveries in more states: unpaid, at the door, over, looking for a rider. A party that is called."""
    city, ids = town.city, town.ids
    consumer, owner = town.tokens[View.CONSUMER], town.tokens[View.MERCHANT]
    await city.place(consumer, ids["store"], ids["sku"])
    await city.paid(consumer, ids["store"], ids["sku"], "PICKUP")
    waiting = await city.paid(consumer, ids["store"], ids["sku"])
    await city.do(owner, doc.ACCEPT, order=waiting)
    await city.rider()
    offered = await city.paid(consumer, ids["store"], ids["sku"])
    await city.do(owner, doc.ACCEPT, order=offered)
    done = await city.paid(consumer, ids["store"], ids["sku"], "PICKUP")
    for document in (doc.ACCEPT, doc.READY, doc.HAND_OVER):
        await city.do(owner, document, order=done)
    await city.do(consumer, doc.CONFIRM, order=done, key=key())
    searching = await city.paid(consumer, ids["store"], ids["sku"])
    await city.do(owner, doc.ACCEPT, order=searching)
    await city.do(await city.consumer(), doc.TAKE, store=ids["store"], size=4, key=key())
    classes = (await city.do(owner, CLASSES, store=ids["store"]))["queue"]["classes"]
    (four,) = [each["id"] for each in classes if each["maxParty"] == 4]
    await city.do(owner, doc.CALL_NEXT, store=ids["store"], **{"class": four}, key=key())
    return town


@pytest.mark.parametrize(("view", "type_name", "place"), PLACES)
async def test_a_field_alone_is_what_it_is_among_all(lively: Town, view: View, type_name: str, place: str) -> None:
    contract = lively.city.program.gateway.contracts[view]
    kind = contract.schema.get_type(type_name)
    assert isinstance(kind, GraphQLObjectType)
    variables = lively.ids | {"demo": lively.city.store}
    named = {name: value for name, value in variables.items() if f"${name}" in place}
    head = f"query ({', '.join(f'${name}: ID!' for name in named)})" if named else "query"

    async def ask(selection: str) -> list[dict[str, Any]]:
        answer, _ = await lively.run(view, f"{head} {{ {place % selection} }}", named)
        assert "errors" not in answer, (selection, answer["errors"])
        return objects(answer["data"], path_of(place))

    fields = {name: selected for name, selected in selections(kind) if name not in REFUSED.get(place, ())}
    whole = await ask(" ".join(fields.values()))
    assert whole, "no object of the type is read here"
    for name, selection in fields.items():
        assert [each[name] for each in await ask(selection)] == [each[name] for each in whole], name
