"""The audit log of a city: one service call each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeVar
from uuid import UUID

import orjson

from core import ids
from resolvers.base import Page, make_page, page_size
from resolvers.context import Context, Info, batched, by_arguments
from resolvers.identity import load_people
from services import audit
from services.audit import Entry, Filter, Position
from services.errors import InvalidInput, NotFound

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fact:
    """A circumstance of an entry, as text."""

    name: str
    value: str


async def _entries(
    context: Context, keys: list[UUID], window: tuple[Filter, int, Position | None]
) -> dict[UUID, list[Entry]]:
    return await audit.of_cities(context.runtime, keys, *window)


_load_entries = by_arguments(_entries)


async def city_entries(
    root: Any,
    info: Info,
    first: int,
    after: str | None,
    target: str | None,
    actor: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Page[Entry]:
    """What was done in a city, the newest first, for its admins. Raises NotFound, InvalidInput."""
    size, before = page_size(first), None if after is None else _position(after)
    if not info.context.principal.administers(root.id):
        raise NotFound(resource="City")
    chosen = Filter(
        None if target is None else _known("target", ids.parse(target)),
        None if actor is None else _known("actor", ids.decode("Person", actor)),
        None if action is None else action.replace("\0", ""),
        since,
        until,
    )
    rows = await info.context.loader(_load_entries).load((root.id, (chosen, size + 1, before)))
    return make_page(rows, size, _cursor, after=after)


def _known(field: str, value: T | None) -> T:
    if value is None:
        raise InvalidInput(field=field, reason="is not an id")
    return value


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def _cursor(entry: Entry) -> str:
    micros = (entry.at - _EPOCH) // _MICROSECOND
    return f"{micros}_{entry.id.hex}"


def _position(cursor: str) -> Position:
    micros, _, key = cursor.partition("_")
    try:
        if not (micros.isascii() and micros.isdigit()):
            raise ValueError
        return _EPOCH + int(micros) * _MICROSECOND, UUID(hex=key)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field="after", reason="is not a cursor of this list") from error


actor_of = batched(load_people, attrgetter("actor_id"))


def target_of(root: Entry) -> str | None:
    return None if root.target is None else ids.encode(*root.target)


_KEYS: Final = {
    "store": "Store",
    "city": "City",
    "endpoint": "WebhookEndpoint",
    "credential": "PartnerCredential",
    "document": "PersistedDocument",
}
"""Facts that are keys, with what they are keys of."""


def facts_of(root: Entry) -> list[Fact]:
    return [Fact(name, _told(name, value)) for name, value in root.facts.items() if value is not None]


def _told(name: str, value: Any) -> str:
    if name in _KEYS:
        return ids.encode(_KEYS[name], UUID(value))
    return value if isinstance(value, str) else orjson.dumps(value).decode()
