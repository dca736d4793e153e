"""What stands in for an outside service that the installation has not configured: it refuses, and says so."""

from __future__ import annotations

from clients.payments import ChargeStatus, Notification, NotificationInvalid, Prepaid, ProviderError
from clients.sms import SmsError

_REASON = "no payment provider is configured"


class NoPayments:
    """Takes no payment. Orders can be placed and then expire unpaid."""

    async def prepay(self, out_trade_no: str, amount: int, currency: str, description: str) -> Prepaid:
        raise ProviderError(_REASON, retryable=False)

    async def query(self, out_trade_no: str) -> ChargeStatus | None:
        """Nothing was ever charged."""
        return None

    async def close(self, out_trade_no: str) -> ChargeStatus:
        raise ProviderError(_REASON, retryable=False)

    async def refund(self, out_trade_no: str, out_refund_no: str, amount: int, reason: str) -> None:
        raise ProviderError(_REASON, retryable=False)

    def verify(self, headers: dict[str, str], body: bytes) -> Notification:
        raise NotificationInvalid(_REASON)


class NoSms:
    """Sends nothing, so nobody can sign in by phone."""

    async def send(self, phone: str, text: str) -> None:
        raise SmsError("no SMS provider is configured")
