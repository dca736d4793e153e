"""People get what is kept about them, and leave so that nothing tells who they were, while the books stay."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from tortoise import fields
from tortoise.models import Model

from auth.authenticate import Authenticator
from auth.principals import Principal, View
from auth.tokens import Unauthenticated
from core.clock import ManualClock
from models import database
from services import identity
from services.errors import AccountInUse, ExportRateLimited, OtpInvalid, PermissionDenied
from services.identity import Caller
from services.identity.account import carry_out, erase
from services.identity.personal import COLUMNS, EXPORT, OF_NOBODY
from services.runtime import Runtime
from services.unit import transaction
from tests.identity.world import World, code_sent, phone, principal, sign_in

HERE = Caller()
SECRETS = ("Zhang San", "Garden Road 12", "39.987654", "116.123456", "ring twice", "o-open-id", "Zhang's phone")


async def insert(runtime: Runtime, table: str, **row: Any) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await runtime.database.execute(f'INSERT INTO "{table}" ({names}) VALUES ({places})', *row.values())


async def life(world: World, person_id: UUID, number: str, state: str = "COMPLETED") -> dict[str, UUID]:
    """Somebody who has ordered, paid, waited for a table and ridden."""
    runtime, store, now = world.runtime, await world.store(), world.runtime.clock.now()
    ids = {name: runtime.new_id() for name in ("quote", "order", "delivery", "payment", "rider", "device", "command")}
    await insert(
        runtime, "quote", id=ids["quote"], consumer_id=person_id, store_id=store, mode="DELIVERY", lines="[]",
        currency="CNY", subtotal=2500, delivery_fee=500, total=3000, created_at=now, expires_at=now,
    )  # fmt: skip
    order: dict[str, Any] = {
        "id": ids["order"], "number": "1", "state": state, "mode": "DELIVERY", "version": 1, "city_id": world.city_id,
        "store_id": store, "consumer_id": person_id, "quote_id": ids["quote"], "contact": "Zhang San",
        "contact_phone": number, "address": "Garden Road 12", "latitude": 39.987654, "longitude": 116.123456,
        "note": "ring twice", "currency": "CNY", "subtotal": 2500, "delivery_fee": 500, "total": 3000, "refunded": 0,
        "placed_at": now, "pay_by": now, "paid_at": now, "close_reason": "for Zhang San",
    }  # fmt: skip
    await insert(runtime, "order", **order)
    delivery: dict[str, Any] = {
        "id": ids["delivery"], "order_id": ids["order"], "city_id": world.city_id, "store_id": store,
        "state": "DELIVERED", "rider_id": ids["rider"], "declined_by": "[]", "pickup_latitude": 39.9,
        "pickup_longitude": 116.4, "dropoff_latitude": 39.987654, "dropoff_longitude": 116.123456, "distance_m": 100,
        "currency": "CNY", "fee": 500, "created_at": now,
    }  # fmt: skip
    await insert(runtime, "delivery", **delivery)
    await insert(
        runtime, "rider", id=ids["rider"], person_id=person_id, city_id=world.city_id, name="Zhang San", phone=number,
        online=True, latitude=39.987654, longitude=116.123456, located_at=now, created_at=now,
    )  # fmt: skip
    await insert(
        runtime, "track_point", delivery_id=ids["delivery"], rider_id=ids["rider"], slot=now, recorded_at=now,
        latitude=39.987654, longitude=116.123456,
    )  # fmt: skip
    await insert(
        runtime, "payment", id=ids["payment"], order_id=ids["order"], state="CAPTURED", channel="sandbox",
        out_trade_no=ids["payment"].hex, currency="CNY", amount=3000, refund_due=0, refunded=0, created_at=now,
    )  # fmt: skip
    await insert(
        runtime, "device", id=ids["device"], store_id=store, name="Printer", station="KITCHEN", capabilities="[]",
        created_at=now,
    )  # fmt: skip
    await insert(
        runtime, "device_command", id=ids["command"], device_id=ids["device"], store_id=store, capability="PRINT",
        payload='{"note": "ring twice", "title": "Shop"}', order_id=ids["order"], state="QUEUED", created_at=now,
        expires_at=now,
    )  # fmt: skip
    await insert(
        runtime, "wechat_account", id=runtime.new_id(), app_id="wx", openid=f"o-open-id {number}", person_id=person_id,
        created_at=now,
    )  # fmt: skip
    answer = orjson.dumps(order, default=str).decode()
    await insert(
        runtime, "idempotency_record", id=runtime.new_id(), principal=f"CONSUMER:{person_id}", key="key",
        operation="placeOrder", fingerprint="f", answer=answer, created_at=now,
    )  # fmt: skip
    payload = orjson.dumps({"order": {**order, "delivery": delivery}, "actor": "CONSUMER"}, default=str).decode()
    await insert(
        runtime, "feed_event", feed=f"order:{ids['order']}", offset=1, type="order.placed", at=now, payload=payload
    )
    return ids


async def everything(runtime: Runtime) -> dict[str, str]:
    """The text of all rows of every table."""
    names = await runtime.database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        row[0]: await runtime.database.fetchval(f"SELECT coalesce(json_agg(t), '[]')::text FROM \"{row[0]}\" t")
        for row in names
    }


async def person(world: World) -> tuple[Principal, str, identity.Session]:
    number, caller = phone(), Caller(device="Zhang's phone")
    await identity.request_otp(world.runtime, number, View.CONSUMER)
    code = code_sent(world.runtime, number)
    session = await identity.sign_in(world.runtime, number, code, View.CONSUMER, "Zhang San", caller)
    return await principal(world.runtime, session), number, session


async def confirm(runtime: Runtime, who: Principal, number: str) -> str:
    await runtime.database.execute("UPDATE one_time_code SET created_at = created_at - interval '1 hour'")
    await identity.request_deletion_code(runtime, who, HERE)
    return code_sent(runtime, number)


async def leave(runtime: Runtime, who: Principal, number: str) -> None:
    """To the end."""
    code = await confirm(runtime, who, number)
    due = await identity.delete(runtime, who, code, HERE)
    clock = runtime.clock
    assert isinstance(clock, ManualClock)
    clock.advance(due.due_at - clock.now())
    await carry_out(runtime, {"person": str(who.subject)})


async def test_nothing_tells_who_it_was_and_the_books_stay(world: World) -> None:
    runtime, (who, number, _) = world.runtime, await person(world)
    assert who.subject is not None
    ids = await life(world, who.subject, number)
    before = await everything(runtime)
    for secret in (*SECRETS, number):
        assert any(secret in text for text in before.values()), f"{secret} was to be somewhere"
    await leave(runtime, who, number)
    after = await everything(runtime)
    for secret in (*SECRETS, number):
        found = [table for table, text in after.items() if secret in text]
        assert not found, (secret, found)
    order = await runtime.database.fetchrow('SELECT * FROM "order" WHERE id = $1', ids["order"])
    assert order is not None and (order["total"], order["consumer_id"]) == (3000, who.subject)
    assert await runtime.database.fetchval("SELECT amount FROM payment WHERE id = $1", ids["payment"]) == 3000
    event = orjson.loads(await runtime.database.fetchval(
        "SELECT payload::text FROM feed_event WHERE feed = $1", f"order:{ids['order']}"
    ))  # fmt: skip
    assert event["order"]["total"] == 3000 and event["order"]["delivery"]["dropoff_latitude"] == 39.9


async def test_the_phone_comes_back_as_somebody_new(world: World) -> None:
    runtime, (who, number, session) = world.runtime, await person(world)
    await leave(runtime, who, number)
    with pytest.raises(Unauthenticated):
        await Authenticator(runtime.database, runtime.keys).principal(session.access_token)
    again = await sign_in(runtime, number, View.CONSUMER)
    assert again.person.id != who.subject and again.person.name is None


async def test_a_code_confirms_and_all_sessions_end(world: World) -> None:
    runtime, (who, number, session) = world.runtime, await person(world)
    code = await confirm(runtime, who, number)
    with pytest.raises(OtpInvalid):
        await identity.sign_in(runtime, number, code, View.CONSUMER)
    with pytest.raises(OtpInvalid):
        await identity.delete(runtime, who, "000000" if code != "000000" else "000001", HERE)
    due = await identity.delete(runtime, who, code, HERE)
    assert due.due_at == runtime.clock.now() + timedelta(days=7)
    with pytest.raises(Unauthenticated):
        await Authenticator(runtime.database, runtime.keys).principal(session.access_token)
    with pytest.raises(PermissionDenied):
        await identity.delete(runtime, replace(who, session_id=None), code, HERE)


async def test_signing_in_before_the_time_calls_it_off(world: World) -> None:
    runtime, (who, number, _) = world.runtime, await person(world)
    await identity.delete(runtime, who, await confirm(runtime, who, number), HERE)
    await carry_out(runtime, {"person": str(who.subject)})  # too early
    again = await sign_in(runtime, number, View.CONSUMER)
    assert again.person.id == who.subject
    clock = runtime.clock
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(days=8))
    await carry_out(runtime, {"person": str(who.subject)})
    assert (await sign_in(runtime, number, View.CONSUMER)).person.name == "Zhang San"


async def test_a_sign_in_at_the_last_moment_is_either_the_old_person_or_a_new_one(world: World) -> None:
    runtime = world.runtime
    for _ in range(4):
        who, number, _ = await person(world)
        await identity.delete(runtime, who, await confirm(runtime, who, number), HERE)
        await runtime.database.execute(
            "UPDATE person SET deletion_due_at = $2 WHERE id = $1", who.subject, runtime.clock.now()
        )
        job = carry_out(runtime, {"person": str(who.subject)})
        _, session = await asyncio.gather(job, sign_in(runtime, number, View.CONSUMER), return_exceptions=True)
        deleted = await runtime.database.fetchval("SELECT deleted_at FROM person WHERE id = $1", who.subject)
        if isinstance(session, OtpInvalid):
            assert deleted is not None, "only with the person a code that was just sent is erased"
            continue
        assert not isinstance(session, BaseException), session
        assert (session.person.id == who.subject) == (deleted is None)
        assert (await principal(runtime, session)).subject == session.person.id


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ("UPDATE \"order\" SET state = 'DELIVERED' WHERE id = $1", "orders"),
        ("UPDATE payment SET refund_due = 100 WHERE order_id = $1", "payments"),
        ("UPDATE payment SET state = 'PENDING' WHERE order_id = $1", "payments"),
        ("UPDATE delivery SET state = 'PICKED_UP' WHERE order_id = $1", "deliveries"),
    ],
)
async def test_what_is_under_way_ends_first(world: World, change: str, fact: str) -> None:
    runtime, (who, number, _) = world.runtime, await person(world)
    assert who.subject is not None
    ids = await life(world, who.subject, number)
    await runtime.database.execute(change, ids["order"])
    code = await confirm(runtime, who, number)
    with pytest.raises(AccountInUse) as refused:
        await identity.delete(runtime, who, code, HERE)
    assert getattr(refused.value, fact) == 1
    # One that got something to do during the grace is left alone.
    await runtime.database.execute(
        "UPDATE person SET deletion_due_at = $2 WHERE id = $1", who.subject, runtime.clock.now()
    )
    await carry_out(runtime, {"person": str(who.subject)})
    assert await runtime.database.fetchval("SELECT phone FROM person WHERE id = $1", who.subject) == number


async def test_owners_and_last_admins_hand_over_first(world: World) -> None:
    runtime = world.runtime
    owner = await principal(runtime, await sign_in(runtime, world.owner_phone, View.MERCHANT))
    with pytest.raises(AccountInUse) as refused:
        await identity.delete(runtime, owner, "000000", HERE)
    assert refused.value.merchants == 1
    with pytest.raises(AccountInUse) as refused:
        await identity.delete(runtime, world.admin, "000000", HERE)
    assert refused.value.cities == 1


async def test_people_get_what_is_kept_about_them_and_nobody_elses(world: World) -> None:
    runtime, (who, number, session) = world.runtime, await person(world)
    other, other_number, _ = await person(world)
    assert who.subject is not None and other.subject is not None
    ids, others = await life(world, who.subject, number), await life(world, other.subject, other_number)
    document = (await identity.export(runtime, who)).document
    found = orjson.loads(document)
    assert set(found) == set(EXPORT)
    assert found["person"][0]["phone"] == number
    assert found["orders"][0]["address"] == "Garden Road 12"
    assert found["my_tracks"][0]["latitude"] == 39.987654
    for section in ("sessions", "wechat_accounts", "payments", "quotes", "rider", "deliveries_to_me"):
        assert len(found[section]) == 1, section
    assert str(ids["order"]) in document
    for foreign in (other_number, str(other.subject), *map(str, others.values())):
        assert foreign not in document
    assert session.refresh_token.split(".")[1] not in document and "hash" not in document
    for _ in range(4):
        await identity.export(runtime, who)
    with pytest.raises(ExportRateLimited):
        await identity.export(runtime, who)


def test_every_column_about_people_has_been_thought_of() -> None:
    models = {
        model._meta.db_table: model
        for name in database.MODULES
        for _, model in inspect.getmembers(__import__(name, fromlist=["x"]), inspect.isclass)
        if issubclass(model, Model) and model is not Model
    }
    assert not COLUMNS.keys() & OF_NOBODY
    assert COLUMNS.keys() | OF_NOBODY == models.keys()
    for table, handled in COLUMNS.items():
        telling = {
            name
            for name, field in models[table]._meta.fields_map.items()
            if isinstance(field, fields.CharField | fields.TextField | fields.JSONField | fields.FloatField)
            and getattr(field, "enum_type", None) is None
        }
        assert telling <= handled.keys(), (table, telling - handled.keys())
        columns = {field.source_field or name for name, field in models[table]._meta.fields_map.items()}
        assert handled.keys() <= columns, (table, handled.keys() - columns)


async def test_erasing_twice_changes_nothing(world: World) -> None:
    runtime, (who, number, _) = world.runtime, await person(world)
    assert who.subject is not None
    await leave(runtime, who, number)
    before = await everything(runtime)
    async with transaction(runtime) as unit:
        await erase(unit, who.subject)
    after = await everything(runtime)
    assert {t for t in after if after[t] != before[t]} <= {"person"}
