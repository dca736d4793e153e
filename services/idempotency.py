"""One key, one effect, one answer.

The record is inserted first thing in the transaction of the effect: a concurrent duplicate waits on the unique
index until that transaction ends, then finds the stored answer (or, after a rollback, runs itself). A refused
attempt rolls back and keeps nothing, so the same key may be tried again.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from auth.principals import Principal
from services.errors import IdempotencyConflict, InvalidInput
from services.unit import Unit

MAX_KEY_LENGTH = 80


def fingerprint(operation: str, request: Any) -> str:
    """SHA-256 of the operation's name and its input."""
    body = orjson.dumps([operation, request], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(body).hexdigest()


async def recall(unit: Unit, principal: Principal, key: str, operation: str, request: Any) -> dict[str, Any] | None:
    """The answer already given under ``key``, or None after claiming the key for this transaction.

    Raises IdempotencyConflict when the key belongs to another request, InvalidInput when it is not 1–80 characters.
    """
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise InvalidInput(field="idempotencyKey", reason=f"must be 1 to {MAX_KEY_LENGTH} printable characters")
    print_ = fingerprint(operation, request)
    claimed = await unit.sql.fetchval(
        """INSERT INTO idempotency_record (id, principal, key, operation, fingerprint, answer, created_at)
           VALUES ($1, $2, $3, $4, $5, 'null', $6) ON CONFLICT (principal, key) DO NOTHING RETURNING 1""",
        unit.runtime.new_id(),
        principal.key,
        key,
        operation,
        print_,
        unit.now,
    )
    if claimed:
        return None
    row = await unit.sql.fetchrow(
        "SELECT fingerprint, answer FROM idempotency_record WHERE principal = $1 AND key = $2", principal.key, key
    )
    if row is None or row["fingerprint"] != print_:
        raise IdempotencyConflict(key=key)
    return orjson.loads(row["answer"])


async def remember(unit: Unit, principal: Principal, key: str, answer: dict[str, Any]) -> None:
    """Store the answer under the key that :func:`recall` claimed in this transaction."""
    await unit.sql.execute(
        "UPDATE idempotency_record SET answer = $3 WHERE principal = $1 AND key = $2",
        principal.key,
        key,
        orjson.dumps(answer, default=str).decode(),
    )
