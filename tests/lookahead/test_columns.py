"""What is read of a record: what was asked for and what must always be there, and nothing is guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from auth.principals import View
from gateway.contracts import Contract
from schema.base import python_types
from schema.build import full_schema
from schema.selection import columns_of, needs_of
from services import catalog, payments
from services.columns import ALL, Columns, Shape
from services.delivery import reading as riders
from services.files import records as pictures
from services.identity.people import _PEOPLE
from services.merchants import records as stores
from services.ordering import reading, records
from services.ordering.records import DeliveryRecord, OrderRecord, deliveries, orders
from services.payments import PaymentRecord
from services.queueing import reading as queueing

SHAPES: list[Shape[Any]] = [
    records._ORDERS,
    records._DELIVERIES,
    riders._RIDERS,
    reading._LINES,
    payments._PAYMENTS,
    _PEOPLE,
    stores.STORES,
    stores._CITIES,
    stores._MERCHANTS,
    stores._TAGS,
    stores._TABLES,
    catalog._SKUS,
    catalog._OPTIONS,
    catalog._CATEGORIES,
    pictures.PICTURES,
    queueing._BOARD_TICKETS,
]


@dataclass(slots=True)
class Row:
    id: int
    name: str | None
    size: int
    parts: tuple[str, ...] = ()

    @property
    def loud(self) -> str:
        return (self.name or "").upper()


SHAPE = Shape(
    Row,
    "r",
    sql={"size": "r.length"},
    read={"name": str.strip},
    derived={"loud": ("name",)},
    blank={"parts": ()},
)


def test_only_what_is_wanted_is_selected_and_set() -> None:
    chosen = SHAPE.choose(frozenset({"size"}))
    assert chosen.sql == "r.id, r.length"
    row = chosen.record((1, 5))
    assert (row.id, row.size, row.parts) == (1, 5, ())
    with pytest.raises(AttributeError):
        row.name  # noqa: B018


def test_properties_bring_what_is_behind_them_and_nulls_are_not_converted() -> None:
    chosen = SHAPE.choose(frozenset({"loud"}))
    assert chosen.names == ("id", "name")
    assert chosen.record((1, " a ")).loud == "A"
    assert chosen.record((1, None)).name is None


def test_without_a_choice_or_with_an_unknown_name_everything_is_read() -> None:
    for wanted in (None, frozenset({"id", "colour"})):
        chosen = SHAPE.choose(wanted)
        assert chosen.names == ("id", "name", "size")
        assert chosen.record((1, "a", 2)) == Row(1, "a", 2)


def test_choices_are_kept_and_bounded() -> None:
    assert SHAPE.choose(frozenset({"size"})) is SHAPE.choose(frozenset({"size"}))
    for number in range(1000):
        SHAPE.choose(frozenset({f"unknown{number}"}))
    assert len(SHAPE._known) <= 256


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.record.__name__)
def test_it_is_known_what_every_field_of_a_type_needs(shape: Shape[Any]) -> None:
    """Otherwise whoever selects the field has everything read."""
    kind: Any = full_schema().type_map[python_types[shape.record]]
    for name, field in kind.fields.items():
        for need in needs_of(field):
            assert need is not None, f"{kind.name}.{name} does not say what it needs"
            assert shape.explains(need), f"{kind.name}.{name} needs {need}"


def chosen(view: View, query: str) -> Columns:
    document = parse(query)
    operation = next(part for part in document.definitions if isinstance(part, OperationDefinitionNode))
    fragments = {part.name.value: part for part in document.definitions if part is not operation}  # type: ignore[attr-defined]
    return columns_of(Contract(full_schema(), view).schema, operation, fragments)  # type: ignore[arg-type]


def test_a_selection_is_found_through_fragments_aliases_interfaces_and_directives() -> None:
    columns = chosen(
        View.CONSUMER,
        """query ($id: ID!, $no: Boolean = false) {
             mine: myOrders(first: 1) { edges { node { ...Short } } }
             node(id: $id) { id ... on Order { sum: total { amount } payment @include(if: $no) { state } } }
           }
           fragment Short on Order { number ... { ...Dates } }
           fragment Dates on Order { placedAt delivery { eta } }""",
    )
    assert columns.of(OrderRecord) == {"id", "number", "total", "currency", "placed_at", "delivery"}
    assert columns.of(DeliveryRecord) == {"id", "eta"}
    assert columns.of(PaymentRecord) == {"id", "state"}


def test_orders_are_joined_with_deliveries_only_where_one_is_looked_at() -> None:
    few = Columns({OrderRecord: frozenset({"number"})})
    assert orders(few).sql == 'SELECT o.id, o.number FROM "order" o'
    both = Columns({OrderRecord: frozenset({"delivery"}), DeliveryRecord: frozenset({"eta"})})
    assert "JOIN delivery d" in orders(both).sql and "d.eta" in orders(both).sql and "d.fee" not in orders(both).sql
    assert "JOIN" not in deliveries(Columns({DeliveryRecord: frozenset({"eta"})})).sql
    assert "JOIN delivery" in orders(ALL).sql and "o.note" in orders(ALL).sql
    assert orders(few, "paid_at").sql == 'SELECT o.id, o.number, o.paid_at FROM "order" o'


def test_the_place_of_a_rider_and_the_line_of_a_ticket_are_asked_for_only_where_they_are_shown() -> None:
    name = chosen(View.CONSUMER, "query ($id: ID!) { order(id: $id) { delivery { rider { id name } } } }")
    assert riders._RIDERS.choose(name.of(riders.RiderRecord)).names == ("id", "city_id", "name")
    place = chosen(View.RIDER, "{ rider { location { latitude } } }")
    assert set(riders._RIDERS.choose(place.of(riders.RiderRecord)).names) >= {"latitude", "longitude", "located_at"}
    ticket = "query ($id: ID!) { queueTicket(id: $id) { number state availableActions %s } }"
    assert not queueing._in_line(chosen(View.CONSUMER, ticket % ""))
    assert queueing._in_line(chosen(View.CONSUMER, ticket % "position"))
    assert queueing._in_line(chosen(View.CONSUMER, ticket % "estimatedWaitMinutes"))
    assert queueing._in_line(ALL)


def test_riders_near_a_place_are_located_and_of_them_nothing_else_is_read_that_is_not_shown() -> None:
    near = """query ($city: ID!) { city(id: $city) { ridersNear(location: {latitude: 39.9, longitude: 116.4},
        first: 5) { distanceMetres %s } } }"""
    always = {"id", "city_id", "latitude", "longitude", "located_at"}
    assert set(riders.placed(chosen(View.ADMIN, near % "")).names) == always
    assert set(riders.placed(chosen(View.ADMIN, near % "rider { id name }")).names) == always | {"name"}
    assert riders.placed(ALL).names == riders._RIDERS.columns


def test_of_boards_the_lists_and_the_pace_are_read_only_where_they_are_shown() -> None:
    def reading(selection: str) -> queueing._Boards:
        return queueing._Boards.of(
            chosen(View.CONSUMER, f"query ($id: ID!) {{ store(id: $id) {{ queue {selection} }} }}")
        )

    def parts(selection: str) -> set[str]:
        read = reading(selection)
        return {name for name in ("classes", "pace", "calling", "next") if getattr(read, name)}

    assert parts("{ open store { name } }") == set()
    assert parts("{ classes { code minParty } }") == {"classes"}
    assert parts("{ classes { waiting } }") == parts("{ classes { estimatedWaitMinutes } }") == {"classes", "pace"}
    assert parts("{ classes { next { number position } } }") == {"classes", "next"}
    assert parts("{ classes { next { estimatedWaitMinutes } } }") == {"classes", "next", "pace"}
    assert parts("{ classes { calling { number } } }") == {"classes", "calling"}
    whole = queueing._Boards.of(ALL)
    assert whole == queueing._Boards(True, True, True, True, queueing._BOARD_TICKETS.choose())
    short = reading("{ classes { next { number store { name } } } }").tickets
    assert set(short.names) == {"id", "state", "number", "store_id"}
