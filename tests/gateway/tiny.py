"""A small schema with the shapes that matter: views, a union result, an interface, input, a subscription."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from graphql import GraphQLSchema

from auth.tokens import Reason, Unauthenticated
from core.geo import Point
from core.money import Money as MoneyValue
from resolvers.base import action, make_page
from resolvers.context import ID, Context, Info
from schema import enums as _enums  # noqa: F401
from schema.base import (
    ALL,
    A,
    C,
    Connection,
    GeoPointInput,
    Int64,
    M,
    Money,
    Node,
    exposes,
    mutation,
    node_id,
    only,
    query,
    result,
    subscription,
)
from schema.build import assemble
from services import errors

KEY = UUID("01890000-0000-7000-8000-000000000001")


@dataclass(frozen=True, slots=True)
class ThingRow:
    id: UUID
    name: str
    at: datetime
    secret: str = "s3cret"


@dataclass(frozen=True, slots=True)
class LedgerRow:
    id: UUID
    balance: MoneyValue


@dataclass(frozen=True, slots=True)
class Tick:
    number: int


@exposes(ThingRow)
@strawberry.type
class Thing(Node):
    id: strawberry.ID = node_id("Store")
    name: str
    at: datetime
    secret: str = strawberry.field(metadata=only(A, M))

    @strawberry.field
    def shout(self: Any, info: Info) -> str:
        return self.name.upper() + info.context.locale

    @strawberry.field
    async def ledger(self: Any) -> Ledger | None:
        return LedgerRow(KEY, MoneyValue(5, "CNY"))  # type: ignore[return-value]

    @strawberry.field
    async def owner(self: Any, info: Info) -> str:
        return await info.context.loader(load_owner).load(self.name)


BATCHES: list[list[str]] = []


async def load_owner(context: Context, keys: list[str]) -> list[str]:
    BATCHES.append(keys)
    return [f"owner of {key}" for key in keys]


@exposes(LedgerRow, views={A})
@strawberry.type
class Ledger(Node):
    id: strawberry.ID = node_id("Merchant")
    balance: Money


@exposes(Tick)
@strawberry.type
class TickUpdate:
    number: int


NOON = datetime.fromisoformat("2026-03-02T12:00:00+08:00")


@action
async def do_rename(context: Context, id: str, name: str) -> ThingRow:
    if name == "closed":
        raise errors.StoreClosed(store=KEY, opens_at=None)
    if name == "boom":
        raise RuntimeError("password=hunter2")
    return ThingRow(KEY, name, NOON)


class TinyQuery:
    @query(Thing | None, *ALL)
    async def thing(self, info: Info, name: str = "tea", at: datetime | None = None) -> object:
        """A thing."""
        if name == "gone":
            raise errors.ItemUnavailable(item=KEY, name="tea")
        if name == "who":
            raise Unauthenticated(Reason.EXPIRED)
        if name == "boom":
            raise RuntimeError("password=hunter2")
        if name == "slow":
            await asyncio.Event().wait()
        return ThingRow(KEY, name, at or NOON)

    @query(Node | None, *ALL)
    async def node(self, id: ID) -> object:
        return LedgerRow(KEY, MoneyValue(7, "CNY")) if id == "ledger" else ThingRow(KEY, "n", NOON)

    @query(Connection[Thing], C, M, A)
    async def things(self, first: int, after: str | None = None) -> object:
        rows = [ThingRow(KEY, f"t{i}", NOON) for i in range(first + 1)]
        return make_page(rows, first, lambda row: row.name, after=after)

    @query(Ledger, A)
    async def ledger(self) -> object:
        return LedgerRow(KEY, MoneyValue(2**40, "CNY"))

    @query(Connection[Ledger], A)
    async def ledgers(self, first: int) -> object:
        return make_page([LedgerRow(KEY, MoneyValue(1, "CNY"))], first, lambda row: "x", after=None)

    @query(Int64, C, M)
    async def echo(self, value: Int64) -> int:
        return value

    @query(str, C)
    async def place(self, at: GeoPointInput) -> str:
        point: Point = at.to_point()
        return f"{point.latitude},{point.longitude},{point.crs}"


class TinyMutation:
    @mutation(result("RenameResult", Thing, errors.StoreClosed), C, M)
    async def rename(self, info: Info, id: ID, name: str) -> object:
        """Rename a thing."""
        return await do_rename(info.context, id, name)


CLOSED: list[str] = []


class TinySubscription:
    @subscription(TickUpdate, C, M)
    async def ticks(self, info: Info, up_to: int, end: str = "stop") -> AsyncIterator[Any]:
        """Numbers."""
        if end == "denied":
            raise errors.PermissionDenied(reason="NOT_YOURS")
        try:
            for number in range(up_to):
                yield Tick(number)
            if end == "revoked":
                raise errors.PermissionDenied(reason="GRANT_REVOKED")
            if end == "broken":
                raise RuntimeError("broken")
            if end == "wait":
                await asyncio.Event().wait()
        finally:
            CLOSED.append(end)


def tiny_schema() -> GraphQLSchema:
    return assemble([TinyQuery], [TinyMutation], [TinySubscription])
