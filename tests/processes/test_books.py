"""The loss harness's look at the books finds what it is there for."""

from __future__ import annotations

import asyncpg

from clients.sandbox_payments import TABLES
from core.ids import uuid7
from tests.soak.soak import OPEN_BUSINESS, WRONG_MONEY


async def test_books_in_order_and_out_of_it(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(TABLES)
        assert await connection.fetchval(OPEN_BUSINESS) == 0
        assert {what: await connection.fetchval(sql) for what, sql in WRONG_MONEY.items()} == dict.fromkeys(
            WRONG_MONEY, 0
        )
        await connection.execute(
            "INSERT INTO sandbox.charge VALUES ('x', 't', 100, 'CNY', 'http://nowhere', 'PAID', 0)"
        )
        order = uuid7()
        for number in ("a", "b"):
            await connection.execute(
                """INSERT INTO payment (id, order_id, state, channel, out_trade_no, currency, amount, refund_due,
                       refunded, created_at, captured_at)
                   VALUES ($1, $2, 'CAPTURED', 'sandbox', $3, 'CNY', 100, 0, 0, now(), now())""",
                uuid7(), order, number,
            )  # fmt: skip
        found = {what for what, sql in WRONG_MONEY.items() if await connection.fetchval(sql)}
        assert found == {"orders paid twice and kept", "charges at the provider that nobody knows of"}
    finally:
        await connection.close()
