"""What services need from outside, put together once by the composition root and passed explicitly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from auth.keys import SigningKeys
from auth.principals import View
from clients.files import FileStore
from clients.payments import PaymentProvider
from clients.sms import SmsSender
from clients.webhooks import WebhookSender
from clients.wechat import NoWeChat, WeChat
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


class Presence(Protocol):
    """Knows what is connected to all processes, as of some seconds ago."""

    def start(self, census: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        """Count what is connected to this process by ``census``, from now on."""
        ...

    async def counts(self, names: Sequence[str]) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class CheckedDocument:
    """A document that is valid for a view; ``id`` is the SHA-256 of ``body``."""

    id: str
    name: str
    body: str
    alias: str | None
    cost: int


class DocumentChecker(Protocol):
    """Knows the contracts, which services do not."""

    def check(self, view: View, manifest: str) -> list[CheckedDocument]:
        """The documents of a manifest. Raises ManifestRejected."""
        ...


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
    documents: DocumentChecker
    presence: Presence
    files: FileStore
    webhooks: WebhookSender
    wechat: WeChat = field(default_factory=NoWeChat, kw_only=True)
