"""What services need from outside, put together once by the composition root and passed explicitly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from auth.keys import SigningKeys
from clients.payments import PaymentProvider
from clients.sms import SmsSender
from core.clock import Clock
from core.ids import IdGenerator
from core.settings import Settings
from models.database import Database
from subscriptions.feeds import Signal

if TYPE_CHECKING:
    from services.delivery.locations import Locations


class Signals(Protocol):
    """Carries signals to the hubs of all processes. Best effort: the log is the truth."""

    async def publish(self, signals: Sequence[Signal]) -> None: ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """The ports of one running program."""

    settings: Settings
    database: Database
    clock: Clock
    new_id: IdGenerator
    signals: Signals
    sms: SmsSender
    payments: PaymentProvider
    keys: SigningKeys
    locations: Locations
