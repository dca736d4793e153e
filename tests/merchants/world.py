"""A city with one merchant, for the tests of merchants and catalogue."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

import orjson
from graphql import graphql

from auth.principals import ANONYMOUS, Held, Principal, PrincipalKind, View
from core.geo import Point
from core.ids import uuid7
from core.textsearch import index
from models.identity import GrantRole
from models.ordering import FulfilmentMode
from resolvers.context import Context
from schema.build import full_schema
from services import merchants
from services.merchants import Discovery, MerchantRecord, NewStore, OpeningHours, StoreRecord
from services.merchants.hours import to_json
from services.runtime import Runtime
from tests.support import NOON

CENTER = Point(30.25, 120.16)
ALWAYS = [OpeningHours(day, "00:00", "24:00") for day in range(1, 8)]

TABLES = ("person", "merchant", "store", "grant", "dining_table", "queue_class", "category", "item", "sku",
          "option_group", "option")  # fmt: skip


def new_store(**changes: Any) -> NewStore:
    """Valid input of createStore, with ``changes``."""
    standard = NewStore(
        name="Noodle 面馆",
        address="文三路 1 号",
        phone="13800138000",
        location=CENTER,
        hours=ALWAYS,
        delivery_radius_m=3000,
        delivery_area=None,
        minimum_order=2000,
        delivery_fee=300,
        prep_minutes=15,
        services=[FulfilmentMode.DELIVERY],
    )
    return replace(standard, **changes)


@dataclass
class World:
    runtime: Runtime
    city_id: UUID
    admin: Principal
    owner: Principal
    merchant: MerchantRecord

    async def store(self, *, tags: Sequence[UUID] = (), **changes: Any) -> StoreRecord:
        return await merchants.create_store(self.runtime, self.owner, self.merchant.id, tags, new_store(**changes))

    async def tag(self, slug: str, name: str) -> UUID:
        tag_id = uuid7()
        await self.runtime.database.execute("INSERT INTO store_tag VALUES ($1, $2, $3)", tag_id, slug, name)
        return tag_id

    def staff(self, store_id: UUID, role: GrantRole = GrantRole.STORE_OWNER) -> Principal:
        return Principal(
            PrincipalKind.MERCHANT, View.MERCHANT, self.owner.subject, grants=(Held(role, store_id, None),)
        )

    async def counts(self) -> dict[str, int]:
        """Rows of every table that these contexts write."""
        return {t: await self.runtime.database.fetchval(f'SELECT count(*) FROM "{t}"') for t in TABLES}

    async def ask(self, query: str, principal: Principal = ANONYMOUS, **variables: Any) -> dict[str, Any]:
        """Execute on the full schema, without the gateway."""
        context = Context(self.runtime, cast(Any, None), principal)
        answer = await graphql(full_schema(), query, context_value=context, variable_values=variables)
        assert not answer.errors, answer.errors
        assert answer.data is not None
        return answer.data

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[list[str]]:
        """Collects the SQL that runs outside transactions in the block."""
        seen: list[str] = []
        database = self.runtime.database
        names = ("fetch", "fetchrow", "fetchval")
        originals = {name: getattr(database, name) for name in names}

        def counting(original: Any) -> Any:
            async def run(sql: str, *args: object) -> Any:
                seen.append(sql)
                return await original(sql, *args)

            return run

        for name in names:
            setattr(database, name, counting(originals[name]))
        try:
            yield seen
        finally:
            for name in names:
                delattr(database, name)

    async def walk(self, wanted: Discovery, size: int) -> list[tuple[UUID, float]]:
        """All pages, one after the other."""
        found: list[tuple[UUID, float]] = []
        after: str | None = None
        while True:
            page = await merchants.stores_near(self.runtime, wanted, size, after)
            found += [(nearby.store.id, nearby.store.distance_m or 0.0) for nearby in page]
            if len(page) < size:
                return found
            after = page[-1].cursor

    async def many_stores(self, names: Sequence[str], points: Sequence[Point], **columns: Any) -> list[UUID]:
        """Stores straight into the table, for tests that need thousands."""
        template = {
            "merchant_id": self.merchant.id, "city_id": self.city_id, "address": "a", "phone": "+8613800138000",
            "timezone": "Asia/Shanghai", "currency": "CNY", "status": "OPEN",
            "hours": orjson.dumps(to_json(ALWAYS)).decode(),
            "services": "[]", "tag_ids": "[]", "delivery_radius_m": 3000, "delivery_area": None, "minimum_order": 0,
            "delivery_fee": 0, "prep_minutes": 10, "queue_open": True, "created_at": NOON, **columns,
        }  # fmt: skip
        ids = [uuid7() for _ in names]
        random.Random(1).shuffle(ids)
        rows = []
        for store_id, name, point in zip(ids, names, points, strict=True):
            entry = index([name])
            own = {
                "id": store_id, "name": name, "latitude": point.latitude, "longitude": point.longitude,
                "search_text": entry.text, "search_grams": entry.grams,
            }  # fmt: skip
            rows.append(list({**template, **own}.values()))
        columns_sql = ", ".join([*template, "id", "name", "latitude", "longitude", "search_text", "search_grams"])
        places = ", ".join(f"${n}" for n in range(1, len(template) + 7))
        async with self.runtime.database.transaction() as connection:
            await connection.executemany(f"INSERT INTO store ({columns_sql}) VALUES ({places})", rows)
        return ids


async def make_world(runtime: Runtime) -> World:
    city_id = uuid7()
    await runtime.database.execute(
        "INSERT INTO city VALUES ($1, $2, '杭州', 30.25, 120.16, 'Asia/Shanghai', 'CNY')", city_id, city_id.hex
    )
    admin = Principal(PrincipalKind.ADMIN, View.ADMIN, uuid7(), grants=(Held(GrantRole.CITY_ADMIN, None, city_id),))
    phone = f"138{random.randrange(10**8):08d}"
    merchant = await merchants.register_merchant(runtime, admin, city_id, "Wang's", phone)
    owner = Principal(PrincipalKind.MERCHANT, View.MERCHANT, merchant.owner_id)
    return World(runtime, city_id, admin, owner, merchant)
