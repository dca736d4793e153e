"""What tests build the program's parts with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from auth.keys import SigningKeys
from clients.files import FileStore
from clients.local_files import LocalFiles
from clients.presence import Presence
from clients.sms import SandboxSms
from clients.webhooks import HttpWebhooks
from core.clock import Clock, ManualClock
from core.ids import uuid7
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.registrar import Registrar
from models.database import Database
from schema.build import full_schema
from services.delivery.locations import Locations
from services.runtime import Runtime
from subscriptions.feeds import Signal

TEST_KEYS = SigningKeys.generate()

NOON = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
"""Monday 2026-03-02, 12:00 in Beijing."""


@dataclass
class RecordedSignals:
    """A signal port that only remembers."""

    published: list[Signal] = field(default_factory=list)

    async def publish(self, signals: Sequence[Signal]) -> None:
        self.published.extend(signals)


@asynccontextmanager
async def make_runtime(
    database_url: str,
    *,
    clock: Clock | None = None,
    payments: Any = None,
    files: FileStore | None = None,
    **settings: Any,
) -> AsyncIterator[Runtime]:
    """Services on a real database, with a clock that stands still at NOON unless another is given."""
    database = Database(database_url)
    await database.open()
    chosen, clock, signals = (
        Settings(database_url=database_url, sandbox=True, **settings),
        clock or ManualClock(NOON),
        RecordedSignals(),
    )
    webhooks = HttpWebhooks(chosen.webhook_timeout.total_seconds(), allow_loopback=True)
    try:
        yield Runtime(
            settings=chosen,
            database=database,
            clock=clock,
            new_id=uuid7,
            signals=signals,
            sms=SandboxSms(),
            payments=cast(Any, payments),
            keys=TEST_KEYS,
            documents=Registrar(lambda: build_contracts(full_schema())),
            locations=Locations(chosen, database, clock, signals),
            presence=Presence(),
            files=files or LocalFiles(Path("/nonexistent"), b"", ""),
            webhooks=webhooks,
        )
    finally:
        await webhooks.close()
        await database.close()
