"""A city with an admin and a store, and people with phones that no other test uses."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from auth.authenticate import Authenticator
from auth.principals import Principal, View
from clients.sms import SandboxSms
from core.clock import wall_now
from services import identity, seed
from services.identity import Session
from services.runtime import Runtime
from services.unit import transaction

_numbers = itertools.count(1)


def phone() -> str:
    return f"+86139{next(_numbers):08d}"


def code_sent(runtime: Runtime, to: str) -> str:
    text = next(text for number, text in reversed(cast(SandboxSms, runtime.sms).outbox) if number == to)
    found = re.search(r"\d{6}", text)
    assert found is not None
    return found.group()


def wrong(code: str, by: int = 1) -> str:
    return f"{(int(code) + by) % 1_000_000:06d}"


async def sign_in(runtime: Runtime, number: str, view: View, name: str | None = None) -> Session:
    """By text message, as a person does; the pause between two codes is skipped."""
    await runtime.database.execute(
        "UPDATE one_time_code SET created_at = created_at - interval '1 hour' WHERE phone = $1", number
    )
    await identity.request_otp(runtime, number, view)
    return await identity.sign_in(runtime, number, code_sent(runtime, number), view, name)


async def principal(runtime: Runtime, session: Session) -> Principal:
    return await Authenticator(runtime.database, runtime.keys).principal(session.access_token)


@dataclass
class World:
    runtime: Runtime
    city_id: UUID
    admin: Principal
    merchant_id: UUID
    owner_phone: str

    async def store(self) -> UUID:
        """A bare store of the merchant, without staff."""
        row: dict[str, Any] = {
            "id": uuid4(), "merchant_id": self.merchant_id, "city_id": self.city_id, "name": "Shop",
            "address": "Street", "phone": "+861065123456", "latitude": 39.9, "longitude": 116.4,
            "timezone": "Asia/Shanghai", "currency": "CNY", "status": "OPEN", "hours": "[]", "services": "[]",
            "tag_ids": "[]", "delivery_radius_m": 3000, "minimum_order": 0, "delivery_fee": 0, "prep_minutes": 10,
            "queue_open": True, "search_text": "", "search_grams": [], "created_at": self.runtime.clock.now(),
        }  # fmt: skip
        places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        await self.runtime.database.execute(f"INSERT INTO store ({', '.join(row)}) VALUES ({places})", *row.values())
        return row["id"]

    async def rider_session(self, number: str) -> Session:
        await identity.register_rider(self.runtime, self.admin, self.city_id, number, "Rider")
        return await sign_in(self.runtime, number, View.RIDER)


async def build(runtime: Runtime) -> World:
    """A new city with its admin and a merchant without stores."""
    admin_phone, owner_phone = phone(), phone()
    async with transaction(runtime) as unit:
        city_id: UUID = await unit.sql.fetchval(
            """INSERT INTO city (id, slug, name, latitude, longitude, timezone, currency)
               VALUES ($1, $2, 'City', 39.9, 116.4, 'Asia/Shanghai', 'CNY') RETURNING id""",
            runtime.new_id(),
            admin_phone,
        )
        await seed.ensure_admin(unit, city_id, admin_phone, "Admin")
        owner_id = await identity.ensure_person(unit, owner_phone, "Owner")
        merchant_id = runtime.new_id()
        await unit.sql.execute(
            "INSERT INTO merchant (id, city_id, name, owner_id, created_at) VALUES ($1, $2, 'Merchant', $3, $4)",
            merchant_id,
            city_id,
            owner_id,
            unit.now,
        )
    admin = await principal(runtime, await sign_in(runtime, admin_phone, View.ADMIN))
    return World(runtime, city_id, admin, merchant_id, owner_phone)


def ago(**by: float) -> datetime:
    return wall_now() - timedelta(**by)
