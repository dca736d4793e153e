"""A person's copy of what is known about them, and the end of their account (PIPL, articles 45 and 47).

Deleting makes the person nobody: what tells who it was is removed wherever it is, while orders, payments and the ledger
keep their amounts, which the law wants kept. ``services/identity/personal.py`` lists every place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from auth.principals import Principal
from core.clock import wall_now
from services import access, audit
from services.errors import AccountInUse, ExportRateLimited, PermissionDenied
from services.identity.codes import Caller, OtpSent, send_code, use_code
from services.identity.personal import ERASE, EXPORT
from services.limits import limit, take
from services.runtime import Runtime
from services.unit import Unit, transaction

PURPOSE: Final = "DELETE"
EXPORTS_PER_DAY: Final = 5
ASK_AGAIN: Final = timedelta(days=1)
"""Between two attempts to delete an account that got something to do after all."""

_IN_USE: Final = """
SELECT
    (SELECT count(*) FROM "order" WHERE consumer_id = $1
        AND state NOT IN ('COMPLETED', 'REJECTED', 'CANCELLED', 'EXPIRED')) AS orders,
    (SELECT count(*) FROM delivery d JOIN rider r ON r.id = d.rider_id WHERE r.person_id = $1
        AND d.state NOT IN ('SEARCHING', 'DELIVERED', 'CANCELLED')) AS deliveries,
    (SELECT count(*) FROM payment p JOIN "order" o ON o.id = p.order_id WHERE o.consumer_id = $1
        AND (p.state IN ('PENDING', 'REFUNDING') OR p.refund_due <> p.refunded)) AS payments,
    (SELECT count(*) FROM merchant WHERE owner_id = $1) AS merchants,
    (SELECT count(*) FROM "grant" g WHERE g.person_id = $1 AND g.role = 'CITY_ADMIN' AND g.revoked_at IS NULL
        AND NOT EXISTS (SELECT FROM "grant" h WHERE h.city_id = g.city_id AND h.role = 'CITY_ADMIN'
                        AND h.revoked_at IS NULL AND h.person_id <> $1)) AS cities
"""


@dataclass(frozen=True, slots=True)
class AccountExport:
    """``document`` is JSON: a list of rows for each kind of data."""

    document: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AccountDeletion:
    """The account ends at ``due_at`` (domain time), unless its person signs in before."""

    due_at: datetime


def _person(principal: Principal) -> UUID:
    if principal.subject is None or principal.session_id is None:
        raise PermissionDenied(reason="sign in first")
    return principal.subject


async def export(runtime: Runtime, principal: Principal) -> AccountExport:
    """Everything that is kept about the caller. Raises PermissionDenied, ExportRateLimited."""
    person_id = _person(principal)
    async with transaction(runtime) as unit:
        exhausted = await take(unit.sql, [limit(runtime, "export", "PERSON", str(person_id), EXPORTS_PER_DAY)])
        if exhausted is not None:
            pause = exhausted[1] - wall_now()
            raise ExportRateLimited(retry_after_seconds=max(1, round(pause.total_seconds())))
        found = {
            section: orjson.Fragment(
                await unit.sql.fetchval(f"SELECT coalesce(json_agg(t), '[]')::text FROM ({sql}) t", person_id)
            )
            for section, sql in EXPORT.items()
        }
        await audit.note(unit, principal, "export_account", person_id, {})
    return AccountExport(orjson.dumps(found).decode(), wall_now())


async def request_deletion_code(runtime: Runtime, principal: Principal, caller: Caller) -> OtpSent:
    """Send the code that :func:`delete` wants to the caller's phone. Raises PermissionDenied, OtpRateLimited."""
    phone = await runtime.database.fetchval("SELECT phone FROM person WHERE id = $1", _person(principal))
    return await send_code(runtime, phone, PURPOSE, caller)


async def delete(runtime: Runtime, principal: Principal, code: str, caller: Caller) -> AccountDeletion:
    """End all sign-ins of the caller and, after ``account_deletion_grace``, the account. Signing in again before calls
    it off.

    Raises PermissionDenied, AccountInUse, OtpInvalid, OtpRateLimited.
    """
    person_id = _person(principal)
    await _require_unused(await runtime.database.fetchrow(_IN_USE, person_id))
    phone = await runtime.database.fetchval("SELECT phone FROM person WHERE id = $1", person_id)
    await use_code(runtime, phone, PURPOSE, code, caller)
    async with transaction(runtime) as unit:
        due_at = unit.now + runtime.settings.account_deletion_grace
        await unit.sql.execute("UPDATE person SET deletion_due_at = $2 WHERE id = $1", person_id, due_at)
        await _require_unused(await unit.sql.fetchrow(_IN_USE, person_id))
        await unit.sql.execute(
            """UPDATE refresh_session SET ended_at = $2, end_reason = 'ACCOUNT_DELETED'
               WHERE person_id = $1 AND ended_at IS NULL""",
            person_id,
            wall_now(),
        )
        unit.enqueue("account_delete", {"person": str(person_id)}, due_at)
        await audit.note(unit, principal, "delete_account", person_id, {"due_at": due_at})
    await access.changed(runtime, person_id)
    return AccountDeletion(due_at)


async def _require_unused(row: Any) -> None:
    if any(row.values()):
        raise AccountInUse(**dict(row))


async def carry_out(runtime: Runtime, payload: dict[str, Any]) -> None:
    """Job: make a person nobody whose time has come. One who has something to do after all is asked again later."""
    person_id = UUID(payload["person"])
    async with transaction(runtime) as unit:
        due_at = await unit.sql.fetchval(
            "SELECT deletion_due_at FROM person WHERE id = $1 AND deleted_at IS NULL FOR UPDATE", person_id
        )
        if due_at is None or due_at > unit.now:
            return  # called off, or asked for again: then there is another job
        row = await unit.sql.fetchrow(_IN_USE, person_id)
        assert row is not None
        if any(row.values()):
            unit.enqueue("account_delete", payload, unit.now + ASK_AGAIN)
            return
        await erase(unit, person_id)
    await access.changed(runtime, person_id)


async def erase(unit: Unit, person_id: UUID) -> None:
    """Remove who somebody was from every table, with the transaction."""
    for sql in ERASE:
        await unit.sql.execute(sql, person_id)
    await unit.sql.execute(
        "UPDATE person SET deleted_at = $2, deletion_due_at = NULL WHERE id = $1", person_id, unit.now
    )


JOBS: Final[dict[str, Callable[[Runtime, dict[str, Any]], Awaitable[None]]]] = {"account_delete": carry_out}
