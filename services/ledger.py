"""The money ledger: what happened to each fen, in balanced transactions.

The platform holds nobody's funds: the ledger mirrors what the payment channel did and what it will split.
Accounts: ``channel:<name>`` money at the provider (debit), ``escrow`` captured but not yet earned,
``merchant:<id>``, ``rider:<id>``, ``platform`` earned (credits are negative). Amounts in minor units.
"""

from __future__ import annotations

from uuid import UUID

from services.unit import Unit

Entries = list[tuple[str, int]]


async def post(unit: Unit, kind: str, reference: str, order_id: UUID | None, currency: str, entries: Entries) -> bool:
    """Post one balanced transaction; False when ``reference`` was posted before (nothing happens then).

    Raises ValueError when the entries do not sum to zero; the database refuses it as well.
    """
    entries = [(account, amount) for account, amount in entries if amount]
    if sum(amount for _, amount in entries) != 0:
        raise ValueError(f"ledger transaction {reference} does not sum to zero")
    transaction_id = await unit.sql.fetchval(
        """INSERT INTO ledger_transaction (id, kind, reference, order_id, at) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (reference) DO NOTHING RETURNING id""",
        unit.runtime.new_id(),
        kind,
        reference,
        order_id,
        unit.now,
    )
    if transaction_id is None:
        return False
    await unit.sql.execute(
        """INSERT INTO ledger_entry (id, transaction_id, account, currency, amount)
           SELECT id, $2, account, $3, amount
           FROM unnest($1::uuid[], $4::text[], $5::bigint[]) AS e(id, account, amount)""",
        [unit.runtime.new_id() for _ in entries],
        transaction_id,
        currency,
        [account for account, _ in entries],
        [amount for _, amount in entries],
    )
    return True


def settlement(
    goods: int, delivery_fee: int, refunded: int, commission_permille: int, merchant: str, courier: str
) -> Entries:
    """Entries that pay out a completed order from escrow.

    Refunds made before come off the goods first, then off the delivery fee. The platform takes its commission of
    the remaining goods, rounded down; ``courier`` earns the remaining delivery fee.
    """
    goods_left = max(goods - refunded, 0)
    fee_left = goods + delivery_fee - refunded - goods_left
    commission = goods_left * commission_permille // 1000
    return [
        ("escrow", goods_left + fee_left),
        (merchant, commission - goods_left),
        ("platform", -commission),
        (courier, -fee_left),
    ]
