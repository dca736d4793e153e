"""What a night drops of a shop's records, and what it leaves."""

from __future__ import annotations

import pytest

from services import retention
from tests.api.city import City, key
from tests.devices.shop import open_shop

HERE = 'SELECT count(*) FROM "{}"'
ENDS = {
    "idempotency_record": ["created_at"],
    "quote": ["created_at", "expires_at"],
    "device_command": ["closed_at"],
    "refresh_session": ["ended_at"],
}


async def counts(city: City) -> dict[str, int]:
    return {rule.table: await city.fetchval(HERE.format(rule.table)) for rule in retention.RULES}


@pytest.fixture
async def busy(city: City) -> City:
    """Something of everything, closed and open: two quotes of which one was ordered, two commands, two sign-ins."""
    shop = await open_shop(city)
    consumer = await city.consumer()
    await city.paid(consumer, shop.store, shop.sku, "PICKUP")
    await city.quote(consumer, shop.store, shop.sku, "PICKUP")
    done = await shop.send()
    await shop.acknowledge(done["id"])
    await shop.send()
    await city.execute("UPDATE refresh_session SET ended_at = now() WHERE ended_at IS NULL AND view = 'CONSUMER'")
    return city


async def test_young_records_stay(busy: City) -> None:
    before = await counts(busy)
    assert all(before[table] >= 2 for table in ENDS), before
    dropped = await retention.forget(busy.program.runtime)
    assert not any(dropped[table] for table in ENDS), dropped
    after = await counts(busy)
    assert {t: after[t] for t in ENDS} == {t: before[t] for t in ENDS}


async def test_old_records_go_and_what_is_in_use_stays(busy: City) -> None:
    before = await counts(busy)
    for table, columns in ENDS.items():
        for column in columns:
            await busy.execute(f"UPDATE \"{table}\" SET {column} = {column} - interval '400 days'")
    dropped = await retention.forget(busy.program.runtime, batch=1, pause=0)
    after = await counts(busy)
    ended = await busy.fetchval("SELECT count(*) FROM refresh_session WHERE ended_at IS NOT NULL")
    assert {t: before[t] - after[t] for t in ENDS} == {t: dropped[t] for t in ENDS}
    assert after["idempotency_record"] == 0
    assert after["quote"] == await busy.fetchval('SELECT count(DISTINCT quote_id) FROM "order"') > 0
    pending = await busy.fetchval("SELECT count(*) FROM device_command WHERE closed_at IS NULL")
    assert after["device_command"] == pending > 0 < dropped["device_command"]
    assert ended == 0 < after["refresh_session"] and dropped["refresh_session"] > 0


async def test_a_forgotten_key_may_be_used_again(city: City) -> None:
    shop = await open_shop(city)
    used = key()
    first = await shop.send(key=used)
    assert (await shop.send(key=used))["id"] == first["id"]
    await city.execute("UPDATE idempotency_record SET created_at = created_at - interval '25 hours'")
    await retention.forget(city.program.runtime)
    assert (await shop.send(key=used))["id"] != first["id"]
