"""A demo city to look at: one of each kind of caller, and a noodle shop. Repeating it changes nothing.

For development and tests; a production installation starts with :func:`ensure_city` and :func:`ensure_admin` alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from auth.principals import Held, Principal, PrincipalKind, View
from auth.tokens import hash_secret, issue
from core.geo import Point
from core.ids import encode
from models.devices import DeviceCapability, DeviceStation
from models.identity import GrantRole
from models.merchants import StoreTag
from models.ordering import FulfilmentMode
from services import catalog, identity, merchants, partners
from services.catalog import NewItem, NewOption, NewOptionGroup, NewSku
from services.merchants import NewStore, NewTable, OpeningHours
from services.runtime import Runtime
from services.unit import Unit, transaction

DEMO_SPEED: Final = 60.0
"""Domain seconds per real second of the demo city: a day in 24 minutes."""

LUNCH: Final = timedelta(hours=3, minutes=25)
"""Time of day, in UTC, shortly before lunch in the demo city."""

TOKEN_LIFE: Final = timedelta(hours=24)

CITY: Final = ("beijing", "北京", Point(39.9042, 116.4074), "Asia/Shanghai", "CNY")

TAGS: Final = (
    ("noodles", "面馆 Noodles"),
    ("rice", "盖饭 Rice bowls"),
    ("hotpot", "火锅 Hotpot"),
    ("bbq", "烧烤 Barbecue"),
    ("dumplings", "饺子 Dumplings"),
    ("breakfast", "早餐 Breakfast"),
    ("tea", "奶茶 Milk tea"),
    ("coffee", "咖啡 Coffee"),
    ("grocery", "超市便利 Groceries"),
    ("pharmacy", "药店 Pharmacy"),
)

# Fictional: all zeros, which no carrier hands out.
ADMIN_PHONE: Final = "+8613800000001"
OWNER_PHONE: Final = "+8613800000002"
RIDER_PHONE: Final = "+8613800000003"
CONSUMER_PHONE: Final = "+8613800000004"

KITCHEN_TERMINAL: Final = "后厨屏 Kitchen screen"
"""The device that the browser terminal is."""
KITCHEN_PRINTER: Final = "后厨打印机 Kitchen printer"
PRINTER_CLIENT: Final = "demo-printer"
"""The client id of the printer that runs beside the demo city."""


@dataclass(frozen=True, slots=True)
class SeedResult:
    """Keys of what the demo city consists of."""

    city_id: UUID
    store_id: UUID
    people: dict[View, UUID]
    clients: dict[View, UUID]


async def seed(runtime: Runtime) -> SeedResult:
    """Make the demo city, or find it."""
    async with transaction(runtime) as unit:
        await unit.sql.execute("SELECT pg_advisory_xact_lock(hashtext('demo city'))")
        city_id = await ensure_city(unit)
        admin_id = await ensure_admin(unit, city_id, ADMIN_PHONE, "Demo admin 城市管理员")
        consumer_id = await identity.ensure_person(unit, CONSUMER_PHONE, "小李 Li")
    admin = Principal(PrincipalKind.ADMIN, View.ADMIN, admin_id, grants=(Held(GrantRole.CITY_ADMIN, None, city_id),))
    await identity.register_rider(runtime, admin, city_id, RIDER_PHONE, "王师傅 Wang")
    store_id, owner_id = await _noodle_shop(runtime, admin, city_id)
    async with transaction(runtime) as unit:
        rider_id = await identity.ensure_person(unit, RIDER_PHONE, None)
        clients = {
            View.PARTNER: await _client(unit, View.PARTNER, "Demo partner", None, city_id),
            View.DEVICE: await _client(unit, View.DEVICE, KITCHEN_TERMINAL, store_id, city_id),
        }
        able = [DeviceCapability.PRINT, DeviceCapability.BOARD]
        await _device(unit, store_id, KITCHEN_TERMINAL, able, clients[View.DEVICE])
        printer = await _client(unit, View.DEVICE, KITCHEN_PRINTER, store_id, city_id, PRINTER_CLIENT)
        await _device(unit, store_id, KITCHEN_PRINTER, [DeviceCapability.PRINT], printer)
    people = {View.CONSUMER: consumer_id, View.MERCHANT: owner_id, View.RIDER: rider_id, View.ADMIN: admin_id}
    return SeedResult(city_id, store_id, people, clients)


async def ensure_city(unit: Unit) -> UUID:
    """The demo city with the discovery tags."""
    slug, name, center, timezone, currency = CITY
    for tag_slug, tag_name in TAGS:
        await unit.sql.execute(
            "INSERT INTO store_tag (id, slug, name) VALUES ($1, $2, $3) ON CONFLICT (slug) DO NOTHING",
            unit.runtime.new_id(),
            tag_slug,
            tag_name,
        )
    return await unit.sql.fetchval(
        """INSERT INTO city (id, slug, name, latitude, longitude, timezone, currency)
           VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (slug) DO UPDATE SET slug = excluded.slug RETURNING id""",
        unit.runtime.new_id(),
        slug,
        name,
        center.latitude,
        center.longitude,
        timezone,
        currency,
    )


async def ensure_admin(unit: Unit, city_id: UUID, phone: str, name: str) -> UUID:
    """The person with that E.164 phone, who administers the city."""
    person_id = await identity.ensure_person(unit, phone, name)
    await unit.sql.execute(
        """INSERT INTO "grant" (id, person_id, role, city_id, created_at) VALUES ($1, $2, 'CITY_ADMIN', $3, $4)
           ON CONFLICT DO NOTHING""",
        unit.runtime.new_id(),
        person_id,
        city_id,
        unit.now,
    )
    return person_id


async def _noodle_shop(runtime: Runtime, admin: Principal, city_id: UUID) -> tuple[UUID, UUID]:
    """``(store, owner)`` of the demo shop, opened when there is none."""
    if (found := await _find_shop(runtime, city_id)) is not None:
        return found
    # Opening it takes several transactions: the lock is a connection's own, and not the pool's, which they need.
    connection = await asyncpg.connect(runtime.database.url)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext('demo shop'))")
        return await _find_shop(runtime, city_id) or await _open_shop(runtime, admin, city_id)
    finally:
        await connection.close()


async def _find_shop(runtime: Runtime, city_id: UUID) -> tuple[UUID, UUID] | None:
    found = await runtime.database.fetchrow(
        """SELECT s.id, m.owner_id FROM store s JOIN merchant m ON m.id = s.merchant_id
           JOIN person p ON p.id = m.owner_id WHERE p.phone = $1 AND s.city_id = $2 ORDER BY s.id LIMIT 1""",
        OWNER_PHONE,
        city_id,
    )
    return None if found is None else (found["id"], found["owner_id"])


async def _open_shop(runtime: Runtime, admin: Principal, city_id: UUID) -> tuple[UUID, UUID]:
    merchant = await merchants.register_merchant(runtime, admin, city_id, "老北京面馆 Old Beijing Noodles", OWNER_PHONE)
    tag = await StoreTag.get(slug="noodles")
    store = await merchants.create_store(
        runtime,
        admin,
        merchant.id,
        [tag.id],
        NewStore(
            name="老北京面馆 Old Beijing Noodles",
            address="东城区和平街 1 号",
            phone="+861065123456",
            location=Point(39.9110, 116.4130),
            hours=[OpeningHours(weekday=day, opens="00:00", closes="24:00") for day in range(1, 8)],
            delivery_radius_m=15_000,
            delivery_area=None,
            minimum_order=2000,
            delivery_fee=500,
            prep_minutes=15,
            services=list(FulfilmentMode),
            tables=[NewTable(f"A{n}", 2) for n in range(1, 7)] + [NewTable(f"B{n}", 4) for n in range(1, 5)],
        ),
    )
    owner = Principal(
        PrincipalKind.MERCHANT,
        View.MERCHANT,
        merchant.owner_id,
        grants=(Held(GrantRole.STORE_OWNER, store.id, None),),
    )
    noodles = await catalog.create_category(runtime, owner, store.id, "面 Noodles")
    spice = NewOptionGroup("辣度 Spice", 1, 1, [NewOption("不辣 None"), NewOption("微辣 Mild"), NewOption("特辣 Hot")])
    extras = NewOptionGroup("加料 Extras", 0, 2, [NewOption("加蛋 Egg", 200), NewOption("加肉 Beef", 800)])
    for name, price in (
        ("炸酱面 Zhajiang noodles", 2200),
        ("牛肉面 Beef noodles", 2800),
        ("担担面 Dandan noodles", 1900),
    ):
        skus = [NewSku("小份 Small", price), NewSku("大份 Large", price + 600)]
        await catalog.create_item(runtime, owner, noodles.id, NewItem(name, "", skus, [spice, extras]))
    drinks = await catalog.create_category(runtime, owner, store.id, "饮料 Drinks")
    await catalog.create_item(
        runtime, owner, drinks.id, NewItem("酸梅汤 Plum juice", "", [NewSku("杯 Cup", 600, stock=500)])
    )
    return store.id, merchant.owner_id


async def _client(
    unit: Unit, view: View, name: str, store_id: UUID | None, city_id: UUID, client_id: str | None = None
) -> UUID:
    client_id = client_id or f"demo-{view.lower()}"
    secret = demo_secret(unit.runtime, client_id)
    id = await unit.sql.fetchval(
        """INSERT INTO client (id, kind, name, client_id, secret_hash, store_id, city_id, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
           ON CONFLICT (client_id) DO UPDATE SET name = excluded.name, secret_hash = excluded.secret_hash
           RETURNING id""",
        unit.runtime.new_id(),
        view,
        name,
        client_id,
        hash_secret(secret) if view is View.DEVICE else None,
        store_id,
        city_id,
        unit.now,
    )
    if view is View.PARTNER:
        await partners.add_secret(unit, id, "Demo secret", secret)
    return id


async def _device(unit: Unit, store_id: UUID, name: str, able: list[DeviceCapability], client_id: UUID) -> None:
    """The device in the shop's kitchen that has the client's credentials, paired already."""
    await unit.sql.execute(
        """INSERT INTO device (id, store_id, name, station, capabilities, client_id, created_at, paired_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (client_id) DO NOTHING""",
        unit.runtime.new_id(),
        store_id,
        name,
        DeviceStation.KITCHEN,
        orjson.dumps(able).decode(),
        client_id,
        unit.now,
    )


def demo_secret(runtime: Runtime, client_id: str) -> str:
    """The secret of a demo client: different on every installation, the same at every start."""
    return hashlib.sha256(runtime.keys.derive(f"demo client {client_id}")).hexdigest()


async def demo_tokens(runtime: Runtime) -> dict[str, str]:
    """Access tokens for a day by view in lower case, and the public ids of the demo ``city`` and ``store``."""
    made = await seed(runtime)
    tokens: dict[str, str] = {}
    for view, person_id in made.people.items():
        async with transaction(runtime) as unit:
            session = await identity.open_session(unit, person_id, view, TOKEN_LIFE)
        tokens[view.lower()] = session.access_token
    for view, client_id in made.clients.items():
        generation = await runtime.database.fetchval("SELECT generation FROM client WHERE id = $1", client_id)
        tokens[view.lower()], _ = issue(runtime.keys, view, client_id, None, TOKEN_LIFE, generation)
    tokens["city"] = encode("City", made.city_id)
    tokens["store"] = encode("Store", made.store_id)
    return tokens
