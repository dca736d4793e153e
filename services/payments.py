"""Payments: reserve → call → confirm, and refunds that always arrive.

The provider is called outside transactions; every step is durable and repeatable. Money that arrives for an order
that no longer wants it is refunded by itself, whatever the order of pay, cancel, timeout and callback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from auth.principals import Principal
from clients.payments import ChargeState, Notification, NotificationKind, ProviderError
from core import logs
from core.money import Money
from models.ordering import OrderAction, OrderState
from models.payments import Payment, PaymentState, RefundState
from services import idempotency, inventory, ledger
from services.columns import ALL, Columns, Shape, by_value
from services.errors import InvalidInput, PaymentFailed, RefundExceedsCaptured
from services.merchants.business_day import business_date_sql
from services.merchants.checks import text
from services.ordering import changes
from services.ordering.machine import CLOSED, Actor, require
from services.ordering.records import OrderRecord
from services.runtime import Runtime
from services.unit import Unit, transaction

log = logs.get(__name__)

_NEXT_OF_DAY: Final = f"""
INSERT INTO store_day AS d (store_id, business_date, paid_orders)
SELECT id, {business_date_sql("$2::timestamptz", "timezone")}, 1 FROM store WHERE id = $1
ON CONFLICT (store_id, business_date) DO UPDATE SET paid_orders = d.paid_orders + 1
RETURNING paid_orders
"""
CHANNELS = frozenset({"sandbox"})
MAX_REASON: Final = 200

PAID_STATES = (
    PaymentState.CAPTURED, PaymentState.REFUNDING, PaymentState.PARTIALLY_REFUNDED, PaymentState.REFUNDED
)  # fmt: skip


@dataclass(slots=True)
class PaymentRecord:
    """What is shown of one row of ``payment``."""

    id: UUID
    order_id: UUID
    state: PaymentState
    channel: str
    pay_url: str | None
    currency: str
    amount: int
    refunded: int


_PAYMENTS: Final = Shape(PaymentRecord, "p", always=("id", "order_id"), read={"state": by_value(PaymentState)})


async def of_orders(runtime: Runtime, order_ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, PaymentRecord]:
    """The payment that counts for each order that has one: the first captured, else the latest."""
    chosen = _PAYMENTS.choose(columns.of(PaymentRecord))
    rows = await runtime.database.fetch(
        f"""SELECT DISTINCT ON (p.order_id) {chosen.sql} FROM payment p WHERE p.order_id = ANY($1::uuid[])
            ORDER BY p.order_id, CASE WHEN p.captured_at IS NOT NULL THEN p.id END, p.id DESC""",
        list(order_ids),
    )
    return {payment.order_id: payment for payment in map(chosen.record, rows)}


async def pay(runtime: Runtime, principal: Principal, order_id: UUID, channel: str, key: str) -> Payment:
    """Start paying an order; the payment with the URL where the consumer pays.

    Raises NotFound, InvalidInput (channel), OrderActionNotAllowed, IdempotencyConflict, PaymentFailed (the provider
    refused or is unreachable: try again with the same key).
    """
    if channel not in CHANNELS:
        raise InvalidInput(field="channel", reason=f"must be one of {', '.join(sorted(CHANNELS))}")
    async with transaction(runtime) as unit:
        answer = await idempotency.recall(unit, principal, key, "payOrder", [order_id, channel])
        if answer is None:
            payment_id = await _reserve(unit, principal, order_id, channel)
            await idempotency.remember(unit, principal, key, {"payment": payment_id})
        else:
            payment_id = UUID(answer["payment"])
    payment = await Payment.get(id=payment_id)
    if payment.pay_url is None and payment.state is PaymentState.PENDING:
        await _prepay(runtime, payment)
    return payment


async def _reserve(unit: Unit, principal: Principal, order_id: UUID, channel: str) -> UUID:
    order, actor = await changes.lock_for(unit, principal, order_id)
    require(order, OrderAction.PAY, actor)
    pending = await unit.sql.fetchval(
        "SELECT id FROM payment WHERE order_id = $1 AND state = 'PENDING' AND channel = $2", order_id, channel
    )
    if pending is not None:
        return pending
    payment_id = unit.runtime.new_id()
    await Payment.create(
        id=payment_id,
        order_id=order.id,
        state=PaymentState.PENDING,
        channel=channel,
        out_trade_no=payment_id.hex,
        currency=order.currency,
        amount=order.total,
        created_at=unit.now,
    )
    # In case no notification ever arrives: ask the provider before the order expires.
    unit.enqueue("payment_check", {"payment": payment_id}, at=unit.now + (order.pay_by - unit.now) / 2)
    return payment_id


async def _prepay(runtime: Runtime, payment: Payment) -> None:
    try:
        prepaid = await runtime.payments.prepay(
            payment.out_trade_no, payment.amount, payment.currency, f"Order {payment.order_id}"
        )
    except ProviderError as error:
        raise PaymentFailed(reason=error.reason) from error
    payment.pay_url = prepaid.pay_url
    await runtime.database.execute("UPDATE payment SET pay_url = $2 WHERE id = $1", payment.id, prepaid.pay_url)


async def handle_notification(runtime: Runtime, headers: dict[str, str], body: bytes) -> None:
    """Take a provider's notification. Raises NotificationInvalid; any other error asks the provider to repeat it."""
    notification = runtime.payments.verify(headers, body)
    if notification.kind is NotificationKind.PAID:
        await _captured(runtime, notification)
    else:
        await _refund_succeeded(runtime, notification)


async def _captured(runtime: Runtime, notification: Notification) -> None:
    """Record that the consumer paid: once per payment, however often it is told."""
    async with transaction(runtime) as unit:
        found = await unit.sql.fetchrow(
            "SELECT id, order_id FROM payment WHERE out_trade_no = $1", notification.out_trade_no
        )
        if found is None:
            log.warning("payment.unknown", out_trade_no=notification.out_trade_no)
            return
        order = await changes.lock(unit, found["order_id"])
        payment = await Payment.select_for_update().get(id=found["id"])
        amount: int = payment.amount
        if payment.state in PAID_STATES:
            return
        if (notification.amount, notification.currency) != (amount, payment.currency):
            log.error(
                "payment.amount_mismatch",
                out_trade_no=payment.out_trade_no,
                expected=amount,
                told=notification.amount,
            )
            raise InvalidInput(field="amount", reason="differs from the payment's")
        payment.state = PaymentState.CAPTURED
        payment.captured_at = unit.now
        payment.provider_trade_no = notification.provider_trade_no
        await payment.save(update_fields=["state", "captured_at", "provider_trade_no"])
        await ledger.post(
            unit,
            "capture",
            f"capture:{payment.id}",
            order.id,
            payment.currency,
            [(f"channel:{payment.channel}", amount), ("escrow", -amount)],
        )
        if order.state is OrderState.PLACED:
            await _mark_paid(unit, order)
        else:
            reason = "late payment" if order.state in CLOSED else "paid twice"
            await start_refund(unit, order, payment.id, amount, reason)


async def _mark_paid(unit: Unit, order: OrderRecord) -> None:
    accept_by = unit.now + unit.runtime.settings.accept_ttl
    await changes.apply(unit, order, OrderAction.PAY, Actor.SYSTEM, paid_at=unit.now, accept_by=accept_by)
    await inventory.commit_sold(unit, await quantities(unit, order.id))
    order.pickup_number = await unit.sql.fetchval(_NEXT_OF_DAY, order.store_id, unit.now)
    unit.enqueue("order_accept_deadline", {"order": order.id}, at=accept_by)
    await changes.save(unit, order, "order.paid", Actor.SYSTEM)


async def quantities(unit: Unit, order_id: UUID) -> dict[UUID, int]:
    """Units of each SKU in the order."""
    rows = await unit.sql.fetch(
        "SELECT sku_id, sum(quantity)::int AS quantity FROM order_line WHERE order_id = $1 GROUP BY sku_id", order_id
    )
    return {row["sku_id"]: row["quantity"] for row in rows}


async def unwind(unit: Unit, order: OrderRecord, reason: str) -> None:
    """Give everything back for an order that is being closed: open payments are closed, captured ones refunded."""
    rows = await unit.sql.fetch(
        "SELECT id, state, amount - refund_due AS left FROM payment WHERE order_id = $1 ORDER BY id FOR UPDATE",
        order.id,
    )
    for row in rows:
        if row["state"] == PaymentState.PENDING:
            await unit.sql.execute("UPDATE payment SET state = 'CLOSED' WHERE id = $1", row["id"])
            unit.enqueue("payment_close", {"payment": row["id"]})
        elif row["state"] in PAID_STATES and row["left"] > 0:
            await start_refund(unit, order, row["id"], row["left"], reason)


async def start_refund(unit: Unit, order: OrderRecord, payment_id: UUID, amount: int, reason: str) -> None:
    """Promise ``amount`` back, within this transaction; a job carries it out.

    Raises RefundExceedsCaptured when more than the captured rest is asked for.
    """
    touched = await unit.sql.execute(
        """UPDATE payment SET refund_due = refund_due + $2, state = 'REFUNDING'
           WHERE id = $1 AND state IN ('CAPTURED', 'REFUNDING', 'PARTIALLY_REFUNDED') AND $2 <= amount - refund_due""",
        payment_id,
        amount,
    )
    if touched != 1:
        row = await unit.sql.fetchrow(
            "SELECT amount - refund_due AS left, currency FROM payment WHERE id = $1", payment_id
        )
        raise RefundExceedsCaptured(refundable=Money(row["left"] if row else 0, row["currency"] if row else ""))
    refund_id = unit.runtime.new_id()
    await unit.sql.execute(
        """INSERT INTO refund (id, payment_id, out_refund_no, state, amount, reason, payer, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)""",
        refund_id,
        payment_id,
        refund_id.hex,
        RefundState.PENDING,
        amount,
        reason,
        _merchant(order) if order.state is OrderState.COMPLETED else "escrow",
        unit.now,
    )
    unit.enqueue("refund_execute", {"refund": refund_id})


async def refund_part(
    runtime: Runtime, principal: Principal, order_id: UUID, amount: int, reason: str, key: str
) -> UUID:
    """Refund ``amount`` of a paid order by its store's management or an admin; the order's id.

    Raises NotFound, InvalidInput, OrderActionNotAllowed, RefundExceedsCaptured, IdempotencyConflict.
    """
    if amount <= 0:
        raise InvalidInput(field="amount", reason="must be positive")
    reason = text("reason", reason, MAX_REASON)
    async with transaction(runtime) as unit:
        if await idempotency.recall(unit, principal, key, "refundOrder", [order_id, amount, reason]) is not None:
            return order_id
        order, actor = await changes.lock_for(unit, principal, order_id)
        require(order, OrderAction.REFUND, actor)
        payment_id = await unit.sql.fetchval(
            """SELECT id FROM payment WHERE order_id = $1 AND captured_at IS NOT NULL
               ORDER BY (amount - refund_due) DESC LIMIT 1""",
            order_id,
        )
        await start_refund(unit, order, payment_id, amount, reason)
        await changes.save(unit, order, "order.refund_started", actor)
        await idempotency.remember(unit, principal, key, {"order": order_id})
    return order_id


async def _refund_succeeded(runtime: Runtime, notification: Notification) -> None:
    async with transaction(runtime) as unit:
        found = await unit.sql.fetchrow(
            """SELECT r.id, p.order_id FROM refund r JOIN payment p ON p.id = r.payment_id
               WHERE r.out_refund_no = $1 AND p.out_trade_no = $2""",
            notification.out_refund_no,
            notification.out_trade_no,
        )
        if found is None:
            log.warning("refund.unknown", out_refund_no=notification.out_refund_no)
            return
        order = await changes.lock(unit, found["order_id"])
        refund = await unit.sql.fetchrow(
            """UPDATE refund SET state = 'SUCCEEDED', succeeded_at = $2 WHERE id = $1 AND state = 'PENDING'
               RETURNING payment_id, amount, payer""",
            found["id"],
            unit.now,
        )
        if refund is None:
            return
        payment = await unit.sql.fetchrow(
            """UPDATE payment SET refunded = refunded + $2, state = CASE
                   WHEN refunded + $2 = amount THEN 'REFUNDED'
                   WHEN refunded + $2 = refund_due THEN 'PARTIALLY_REFUNDED' ELSE 'REFUNDING' END
               WHERE id = $1 RETURNING channel, currency""",
            refund["payment_id"],
            refund["amount"],
        )
        assert payment is not None
        await ledger.post(
            unit,
            "refund",
            f"refund:{found['id']}",
            order.id,
            payment["currency"],
            [(refund["payer"], refund["amount"]), (f"channel:{payment['channel']}", -refund["amount"])],
        )
        # A second payment of the same order is given back without touching what the order itself was refunded.
        given_back = await unit.sql.fetchval(
            """SELECT (sum(refunded) - greatest(sum(amount) - $2, 0))::bigint
               FROM payment WHERE order_id = $1 AND captured_at IS NOT NULL""",
            order.id,
            order.total,
        )
        order.refunded = max(order.refunded, given_back)
        await changes.save(unit, order, "order.refunded", Actor.SYSTEM)


def _merchant(order: OrderRecord) -> str:
    return f"merchant:{order.store_id}"


async def settle(unit: Unit, order: OrderRecord) -> None:
    """Pay the completed order out of escrow, in the transaction that completes it."""
    due = await unit.sql.fetchval(
        """SELECT (sum(refund_due) - greatest(sum(amount) - $2, 0))::bigint
           FROM payment WHERE order_id = $1 AND captured_at IS NOT NULL""",
        order.id,
        order.total,
    )
    merchant = _merchant(order)
    rider = order.delivery.rider_id if order.delivery is not None else None
    await ledger.post(
        unit,
        "settlement",
        f"settlement:{order.id}",
        order.id,
        order.currency,
        ledger.settlement(
            order.subtotal,
            order.delivery_fee,
            max(due, 0),
            unit.runtime.settings.commission_permille,
            merchant,
            merchant if rider is None else f"rider:{rider}",
        ),
    )


# jobs


async def _execute_refund(runtime: Runtime, payload: dict[str, Any]) -> None:
    row = await runtime.database.fetchrow(
        """SELECT r.out_refund_no, r.amount, r.reason, r.state, p.out_trade_no
           FROM refund r JOIN payment p ON p.id = r.payment_id WHERE r.id = $1""",
        UUID(payload["refund"]),
    )
    if row is not None and row["state"] == RefundState.PENDING:
        await runtime.payments.refund(row["out_trade_no"], row["out_refund_no"], row["amount"], row["reason"])


async def _close(runtime: Runtime, payload: dict[str, Any]) -> None:
    """Tell the provider to take no more money; what it took before is captured, and so refunded."""
    payment = await Payment.get(id=UUID(payload["payment"]))
    if await runtime.payments.query(payment.out_trade_no) is None:
        return
    status = await runtime.payments.close(payment.out_trade_no)
    if status.state is ChargeState.PAID:
        await _capture_from_status(runtime, payment)


async def _check(runtime: Runtime, payload: dict[str, Any]) -> None:
    """Ask the provider about a payment whose notification has not come."""
    payment = await Payment.get(id=UUID(payload["payment"]))
    if payment.state in (PaymentState.PENDING, PaymentState.CLOSED):
        await _capture_from_status(runtime, payment)


async def _capture_from_status(runtime: Runtime, payment: Payment) -> None:
    status = await runtime.payments.query(payment.out_trade_no)
    if status is not None and status.state is ChargeState.PAID:
        await _captured(
            runtime,
            Notification(
                NotificationKind.PAID,
                payment.out_trade_no,
                None,
                status.amount,
                status.currency,
                status.provider_trade_no or "",
            ),
        )


JOBS = {"refund_execute": _execute_refund, "payment_close": _close, "payment_check": _check}
