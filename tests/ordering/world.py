"""A city with a store, people, riders, and a payment provider that does what a test tells it to."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson

from auth.principals import Held, Principal, PrincipalKind, View
from clients.payments import ChargeState, ChargeStatus, Notification, NotificationKind, Prepaid, ProviderError
from core.clock import ManualClock
from core.geo import Point
from core.ids import uuid7
from models.identity import GrantRole
from models.ordering import FulfilmentMode
from services import payments
from services.jobs import all_jobs
from services.ordering import actions, placing
from services.ordering.placing import Address
from services.ordering.records import OrderRecord
from services.pricing import RequestedLine
from services.runtime import Runtime

ALWAYS = [{"weekday": day, "opens": "00:00", "closes": "24:00"} for day in range(1, 8)]
_numbers = itertools.count(1)
STORE_AT = Point(39.91, 116.41)
HOME = Point(39.915, 116.42)


@dataclass
class FakeProvider:
    """A provider whose notifications the test delivers by hand, as often and as late as it likes."""

    charges: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    down: bool = False

    async def prepay(self, out_trade_no: str, amount: int, currency: str, description: str) -> Prepaid:
        if self.down:
            raise ProviderError("unreachable", retryable=True)
        self.charges.setdefault(out_trade_no, {"amount": amount, "currency": currency, "state": ChargeState.PENDING})
        return Prepaid(f"http://provider.invalid/{out_trade_no}")

    async def query(self, out_trade_no: str) -> ChargeStatus | None:
        charge = self.charges.get(out_trade_no)
        if charge is None:
            return None
        return ChargeStatus(out_trade_no, charge["state"], charge["amount"], charge["currency"], f"t{out_trade_no}")

    async def close(self, out_trade_no: str) -> ChargeStatus:
        charge = self.charges[out_trade_no]
        if charge["state"] is ChargeState.PENDING:
            charge["state"] = ChargeState.CLOSED
        status = await self.query(out_trade_no)
        assert status is not None
        return status

    async def refund(self, out_trade_no: str, out_refund_no: str, amount: int, reason: str) -> None:
        if self.down:
            raise ProviderError("unreachable", retryable=True)
        assert self.charges[out_trade_no]["state"] is ChargeState.PAID
        self.refunds.setdefault(out_refund_no, {"out_trade_no": out_trade_no, "amount": amount})
        given = sum(r["amount"] for r in self.refunds.values() if r["out_trade_no"] == out_trade_no)
        assert given <= self.charges[out_trade_no]["amount"]

    def verify(self, headers: dict[str, str], body: bytes) -> Notification:
        data = json.loads(body)
        return Notification(
            NotificationKind(data["kind"]), data["no"], data.get("refund"), data["amount"], "CNY", "t" + data["no"]
        )

    def consumer_pays(self, out_trade_no: str) -> bool:
        """The wallet's side: False when the charge was closed before."""
        charge = self.charges[out_trade_no]
        if charge["state"] is ChargeState.CLOSED:
            return False
        charge["state"] = ChargeState.PAID
        return True


@dataclass
class City:
    """Everything a test of orders needs; keys of the rows that stand in the database."""

    runtime: Runtime
    provider: FakeProvider
    clock: ManualClock
    id: UUID
    store_id: UUID
    skus: list[UUID]
    consumer: Principal
    clerk: Principal
    admin: Principal

    async def rider(self, at: Point = STORE_AT, *, online: bool = True) -> Principal:
        person, rider = uuid7(), uuid7()
        await self.runtime.database.execute(
            "INSERT INTO person (id, phone, name, created_at) VALUES ($1, $2, 'Rider', now())",
            person,
            f"+86139{next(_numbers):08d}",
        )
        await self.runtime.database.execute(
            """INSERT INTO rider (id, person_id, city_id, name, phone, online, latitude, longitude, located_at,
                                  created_at)
               VALUES ($1, $2, $3, 'Rider', '+8613900000000', $4, $5, $6, $7, $7)""",
            rider,
            person,
            self.id,
            online,
            at.latitude,
            at.longitude,
            self.clock.now(),
        )
        held = (Held(GrantRole.RIDER, None, self.id),)
        return Principal(PrincipalKind.RIDER, View.RIDER, person, rider_id=rider, grants=held)

    async def other_consumer(self) -> Principal:
        return await _consumer(self.runtime)

    async def place(
        self,
        mode: FulfilmentMode = FulfilmentMode.DELIVERY,
        quantity: int = 1,
        consumer: Principal | None = None,
        key: str | None = None,
    ) -> OrderRecord:
        who = consumer or self.consumer
        delivery = mode is FulfilmentMode.DELIVERY
        quote = await placing.quote(
            self.runtime,
            who,
            self.store_id,
            mode,
            [RequestedLine(self.skus[0], quantity, ())],
            HOME if delivery else None,
        )
        table = await self.runtime.database.fetchval("SELECT id FROM dining_table WHERE store_id = $1", self.store_id)
        address = Address("Li", "13800138000", "Home 1", HOME) if delivery else None
        return await placing.place(
            self.runtime,
            who,
            quote.id,
            address,
            table if mode is FulfilmentMode.DINE_IN else None,
            "",
            key or str(uuid7()),
        )

    async def pay(self, order: OrderRecord, consumer: Principal | None = None) -> str:
        """Pay and have it notified; the out_trade_no."""
        who = consumer or self.consumer
        payment = await payments.pay(self.runtime, who, order.id, "sandbox", str(uuid7()))
        assert self.provider.consumer_pays(payment.out_trade_no)
        await self.notify_paid(payment.out_trade_no)
        return payment.out_trade_no

    async def notify_paid(self, out_trade_no: str) -> None:
        amount = self.provider.charges[out_trade_no]["amount"]
        body = orjson.dumps({"kind": "PAID", "no": out_trade_no, "amount": amount})
        await payments.handle_notification(self.runtime, {}, body)

    async def notify_refunds(self) -> None:
        for number, refund in list(self.provider.refunds.items()):
            body = orjson.dumps(
                {"kind": "REFUNDED", "no": refund["out_trade_no"], "refund": number, "amount": refund["amount"]}
            )
            await payments.handle_notification(self.runtime, {}, body)

    async def run_jobs(self, *names: str) -> int:
        """Run the enqueued jobs of these names once each, due or not, as the runner would; how many ran."""
        rows = await self.runtime.database.fetch(
            "DELETE FROM pgqueuer WHERE entrypoint = ANY($1::text[]) RETURNING entrypoint, payload", list(names)
        )
        for row in rows:
            await all_jobs()[row["entrypoint"]](self.runtime, orjson.loads(row["payload"]))
        return len(rows)

    async def accepted(self, **place: Any) -> OrderRecord:
        order = await self.place(**place)
        await self.pay(order)
        return await actions.accept(self.runtime, self.clerk, order.id, 10)

    async def stock(self) -> tuple[int, int, int | None]:
        """held, sold, total of the first SKU."""
        row = await self.runtime.database.fetchrow("SELECT held, sold, total FROM sku WHERE id = $1", self.skus[0])
        assert row is not None
        return row["held"], row["sold"], row["total"]

    async def escrow(self) -> dict[str, int]:
        """Ledger balance by account."""
        rows = await self.runtime.database.fetch(
            "SELECT account, sum(amount)::bigint AS balance FROM ledger_entry GROUP BY account"
        )
        return {row["account"]: row["balance"] for row in rows}

    def later(self, **by: float) -> None:
        self.clock.advance(timedelta(**by))


async def _consumer(runtime: Runtime) -> Principal:
    person = uuid7()
    await runtime.database.execute(
        "INSERT INTO person (id, phone, name, created_at) VALUES ($1, $2, 'Li', now())",
        person,
        f"+86138{next(_numbers):08d}",
    )
    return Principal(PrincipalKind.CONSUMER, View.CONSUMER, person)


async def build(runtime: Runtime, provider: FakeProvider, *, stock: int | None = 20) -> City:
    """A city with one store that is always open and sells two SKUs at 25.00 and 8.00."""
    db, now = runtime.database, runtime.clock.now()
    city, merchant, store, category, item = (uuid7() for _ in range(5))
    consumer = await _consumer(runtime)
    await db.execute(
        "INSERT INTO city VALUES ($1, $2, 'Testcheng', 39.9042, 116.4074, 'Asia/Shanghai', 'CNY')", city, str(city)
    )
    await db.execute("INSERT INTO merchant VALUES ($1, $2, 'Merchant', $3, $4)", merchant, city, consumer.subject, now)
    await db.execute(
        """INSERT INTO store (id, merchant_id, city_id, name, address, phone, latitude, longitude, timezone, currency,
               status, hours, services, tag_ids, delivery_radius_m, minimum_order, delivery_fee, prep_minutes,
               queue_open, search_text, search_grams, created_at)
           VALUES ($1, $2, $3, 'Noodles', 'Street 1', '+861000000', $4, $5, 'Asia/Shanghai', 'CNY', 'OPEN', $6,
               '["DELIVERY", "PICKUP", "DINE_IN"]', '[]', 5000, 1000, 500, 15, true, '', '{}', $7)""",
        store,
        merchant,
        city,
        STORE_AT.latitude,
        STORE_AT.longitude,
        orjson.dumps(ALWAYS).decode(),
        now,
    )
    await db.execute("INSERT INTO dining_table (id, store_id, code, seats) VALUES ($1, $2, 'T1', 4)", uuid7(), store)
    await db.execute("INSERT INTO category (id, store_id, name, position) VALUES ($1, $2, 'Mains', 0)", category, store)
    await db.execute(
        """INSERT INTO item (id, store_id, category_id, name, description, position, available)
           VALUES ($1, $2, $3, 'Beef noodles', '', 0, true)""",
        item,
        store,
        category,
    )
    skus = [uuid7(), uuid7()]
    for position, (sku, price, total) in enumerate(zip(skus, (2500, 800), (stock, None), strict=True)):
        await db.execute(
            """INSERT INTO sku (id, item_id, name, price, position, total, held, sold)
               VALUES ($1, $2, $3, $4, $5, $6, 0, 0)""",
            sku,
            item,
            f"Size {position}",
            price,
            position,
            total,
        )
    clerk = Principal(
        PrincipalKind.MERCHANT, View.MERCHANT, uuid7(), grants=(Held(GrantRole.STORE_CLERK, store, None),)
    )
    admin = Principal(PrincipalKind.ADMIN, View.ADMIN, uuid7(), grants=(Held(GrantRole.CITY_ADMIN, None, city),))
    clock = runtime.clock
    assert isinstance(clock, ManualClock)
    return City(runtime, provider, clock, city, store, skus, consumer, clerk, admin)
