"""Text messages, behind a narrow port."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from core import logs
from models.database import Database

log = logs.get(__name__)

TABLE: Final = """
CREATE SCHEMA IF NOT EXISTS sandbox;
CREATE TABLE IF NOT EXISTS sandbox.sms (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, phone text NOT NULL, text text NOT NULL);
CREATE INDEX IF NOT EXISTS sms_phone ON sandbox.sms (phone, id);
"""
KEPT: Final = 10_000
"""So many messages are kept that many people can sign in at once and each read their own code."""
SHOWN: Final = 100


class SmsSender(Protocol):
    async def send(self, phone: str, text: str) -> None:
        """Send ``text`` to the E.164 ``phone``. Raises SmsError when the provider refuses."""
        ...


class SmsError(Exception):
    """The provider did not take the message."""


class SandboxSms:
    """Prints messages instead of sending them and keeps the last ones for whoever plays the phones.

    ``outbox`` holds those of this process. With a ``database`` they are kept there, in the schema ``sandbox``, so
    that every process finds those of all.
    """

    def __init__(self, database: Database | None = None) -> None:
        self.outbox: deque[tuple[str, str]] = deque(maxlen=KEPT)
        self._database = database

    async def start(self) -> None:
        """Make the table; the database must be open."""
        assert self._database is not None
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('sandbox sms'))")
            await connection.raw.execute(TABLE)

    async def send(self, phone: str, text: str) -> None:
        self.outbox.append((phone, text))
        if self._database is not None:
            await self._database.execute(
                """WITH kept AS (INSERT INTO sandbox.sms (phone, text) VALUES ($1, $2) RETURNING id)
                   DELETE FROM sandbox.sms WHERE id <= (SELECT id FROM kept) - $3""",
                phone,
                text,
                KEPT,
            )
        log.info("sms.sandbox", phone=phone, text=text)

    async def messages(self, phone: str | None = None) -> list[tuple[str, str]]:
        """``(phone, text)`` of the last hundred messages, oldest first; with ``phone`` (E.164) of the newest to it."""
        limit = SHOWN if phone is None else 1
        if self._database is None:
            return [sent for sent in self.outbox if phone in (None, sent[0])][-limit:]
        rows = await self._database.fetch(
            "SELECT phone, text FROM sandbox.sms WHERE $1::text IS NULL OR phone = $1 ORDER BY id DESC LIMIT $2",
            phone,
            limit,
        )
        return [(row["phone"], row["text"]) for row in reversed(rows)]
