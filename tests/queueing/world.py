"""A store with a queue, its staff, and consumers who want a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

import orjson

from auth.principals import Held, Principal, PrincipalKind, View
from core.ids import uuid7
from models.identity import GrantRole
from services import queueing
from services.queueing import Ticket
from services.runtime import Runtime

ALWAYS = [{"weekday": day, "opens": "00:00", "closes": "24:00"} for day in range(1, 8)]
NOON_TO_TEN = [{"weekday": day, "opens": "11:00", "closes": "22:00"} for day in range(1, 8)]


@dataclass
class Shop:
    """A store as the tests know it; ``classes`` by code."""

    id: UUID
    city_id: UUID
    classes: dict[str, UUID] = field(default_factory=dict)

    @property
    def clerk(self) -> Principal:
        return staff_of(self.id)

    @property
    def device(self) -> Principal:
        held = Held(GrantRole.STORE_CLERK, self.id, None)
        return Principal(PrincipalKind.DEVICE, View.DEVICE, uuid7(), grants=(held,))


def staff_of(store_id: UUID) -> Principal:
    held = Held(GrantRole.STORE_CLERK, store_id, None)
    return Principal(PrincipalKind.MERCHANT, View.MERCHANT, uuid7(), grants=(held,))


def consumer() -> Principal:
    return Principal(PrincipalKind.CONSUMER, View.CONSUMER, uuid7())


def admin_of(city_id: UUID) -> Principal:
    return Principal(PrincipalKind.ADMIN, View.ADMIN, uuid7(), grants=(Held(GrantRole.CITY_ADMIN, None, city_id),))


async def open_city(runtime: Runtime, timezone: str = "Asia/Shanghai") -> UUID:
    city_id = uuid7()
    await runtime.database.execute(
        """INSERT INTO city (id, slug, name, latitude, longitude, timezone, currency)
           VALUES ($1, $2, 'Testcheng', 31.2, 121.4, $3, 'CNY')""",
        city_id,
        str(city_id),
        timezone,
    )
    return city_id


async def open_shop(
    runtime: Runtime,
    *,
    city_id: UUID | None = None,
    timezone: str = "Asia/Shanghai",
    hours: list[dict[str, object]] = ALWAYS,
    services: str = '["DINE_IN"]',
    status: str = "OPEN",
    classes: tuple[tuple[str, int, int, int, int], ...] = (("A", 1, 2, 4, 30), ("B", 3, 4, 2, 45), ("C", 5, 8, 1, 60)),
) -> Shop:
    """A store whose classes are ``(code, min_party, max_party, table_count, turn_minutes)``."""
    shop = Shop(uuid7(), city_id or await open_city(runtime, timezone))
    merchant_id, now = uuid7(), runtime.clock.now()
    await runtime.database.execute(
        "INSERT INTO merchant (id, city_id, name, owner_id, created_at) VALUES ($1, $2, 'M', $3, $4)",
        merchant_id,
        shop.city_id,
        uuid7(),
        now,
    )
    await runtime.database.execute(
        """INSERT INTO store (id, merchant_id, city_id, name, address, phone, latitude, longitude, timezone, currency,
               status, hours, services, tag_ids, delivery_radius_m, minimum_order, delivery_fee, prep_minutes,
               queue_open, search_text, search_grams, created_at)
           VALUES ($1, $2, $3, 'S', 'street', '+862100000000', 31.2, 121.4, $4, 'CNY', $5, $6, $7, '[]', 3000, 0, 0, 10,
               true, 's', '{}', $8)""",
        shop.id,
        merchant_id,
        shop.city_id,
        timezone,
        status,
        orjson.dumps(hours).decode(),
        services,
        now,
    )
    for code, smallest, largest, tables, turn in classes:
        shop.classes[code] = uuid7()
        await runtime.database.execute(
            """INSERT INTO queue_class (id, store_id, code, min_party, max_party, table_count, turn_minutes)
               VALUES ($1, $2, $3, $4, $5, $6, $7)""",
            shop.classes[code],
            shop.id,
            code,
            smallest,
            largest,
            tables,
            turn,
        )
    return shop


async def take(runtime: Runtime, principal: Principal, shop: Shop, party: int = 2, key: str | None = None) -> Ticket:
    return await queueing.take_number(runtime, principal, shop.id, party, None, key or str(uuid7()))
