"""Shared habits of resolvers: ids in, refusals out, pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar
from uuid import UUID

from core import ids
from core.errors import BusinessError
from resolvers.context import Context
from services.errors import InvalidInput, NotFound, PermissionDenied

P = ParamSpec("P")
T = TypeVar("T")

MAX_PAGE = 100


class Refusal:
    """A business error on its way out: its facts as attributes, its message in the caller's language.

    Not an exception, because graphql-core treats any exception it is handed as a failed field.
    """

    __slots__ = ("error", "message")

    def __init__(self, error: BusinessError, locale: str) -> None:
        self.error = error
        self.message = error.message(locale)

    @property
    def code(self) -> str:
        return self.error.code

    def __getattr__(self, name: str) -> Any:
        return getattr(self.error, name)


def action(
    resolve: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T | Refusal]]:
    """Decorate the resolver of a mutation (first argument: the Context): business errors become its result."""

    @wraps(resolve)
    async def told(*args: P.args, **kwargs: P.kwargs) -> T | Refusal:
        try:
            return await resolve(*args, **kwargs)
        except BusinessError as error:
            context = args[0]
            assert isinstance(context, Context)
            return Refusal(error, context.locale)

    return told


def key(type_name: str, public_id: str) -> UUID:
    """The key inside a public id. Raises NotFound when it is malformed or of another type."""
    value = ids.decode(type_name, public_id)
    if value is None:
        raise NotFound(resource=type_name)
    return value


async def or_none(found: Awaitable[T]) -> T | None:
    """``found``, or None where a query's service says NotFound or PermissionDenied: other people's things are null."""
    try:
        return await found
    except (NotFound, PermissionDenied):
        return None


@dataclass(frozen=True, slots=True)
class Edge(Generic[T]):
    cursor: str
    node: T


@dataclass(frozen=True, slots=True)
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a Relay connection; cursors are made only where they are asked for."""

    nodes: list[T]
    has_next_page: bool
    has_previous_page: bool
    cursor: Callable[[T], str]

    @property
    def edges(self) -> list[Edge[T]]:
        return [Edge(self.cursor(node), node) for node in self.nodes]

    @property
    def page_info(self) -> PageInfo:
        return PageInfo(
            has_next_page=self.has_next_page,
            has_previous_page=self.has_previous_page,
            start_cursor=self.cursor(self.nodes[0]) if self.nodes else None,
            end_cursor=self.cursor(self.nodes[-1]) if self.nodes else None,
        )


def page_size(first: int) -> int:
    """``first`` when it is 1–100. Raises InvalidInput."""
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInput(field="first", reason=f"must be 1 to {MAX_PAGE}")
    return first


def make_page(rows: list[T], first: int, cursor: Callable[[T], str], *, after: str | None) -> Page[T]:
    """A page from up to ``first + 1`` rows fetched after ``after`` in keyset order."""
    return Page(rows[:first], len(rows) > first, after is not None, cursor)
