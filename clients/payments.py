"""Payment providers, behind a narrow port.

A provider takes an order to pay, tells the result later by a signed notification over HTTP, possibly more than
once, late, or out of order, and can be asked at any time. Amounts are integer minor units.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ChargeState(StrEnum):
    PENDING = "PENDING"
    PAID = "PAID"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class Prepaid:
    """The provider is ready to take the money; the consumer pays at ``pay_url``."""

    pay_url: str


@dataclass(frozen=True, slots=True)
class ChargeStatus:
    """What the provider says of one ``out_trade_no``."""

    out_trade_no: str
    state: ChargeState
    amount: int
    currency: str
    provider_trade_no: str | None


class NotificationKind(StrEnum):
    PAID = "PAID"
    REFUNDED = "REFUNDED"


@dataclass(frozen=True, slots=True)
class Notification:
    """A verified notification. ``out_refund_no`` is set for refunds; ``amount`` is the charge's or the refund's."""

    kind: NotificationKind
    out_trade_no: str
    out_refund_no: str | None
    amount: int
    currency: str
    provider_trade_no: str


class ProviderError(Exception):
    """The provider refused or could not be reached; ``retryable`` tells which."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


class NotificationInvalid(Exception):
    """Signature, freshness or shape of a notification is wrong: answer it with an error and do nothing."""


class PaymentProvider(Protocol):
    """Every call may be repeated with the same numbers and then has the same result."""

    async def prepay(self, out_trade_no: str, amount: int, currency: str, description: str) -> Prepaid:
        """Raises ProviderError."""
        ...

    async def query(self, out_trade_no: str) -> ChargeStatus | None:
        """None when the provider does not know the number. Raises ProviderError."""
        ...

    async def close(self, out_trade_no: str) -> ChargeStatus:
        """Take no more money for it; the state tells whether it was paid before. Raises ProviderError."""
        ...

    async def refund(self, out_trade_no: str, out_refund_no: str, amount: int, reason: str) -> None:
        """Accept a refund; its success is notified later. Raises ProviderError."""
        ...

    def verify(self, headers: dict[str, str], body: bytes) -> Notification:
        """Check and read a notification (``headers`` lower-case). Raises NotificationInvalid."""
        ...
