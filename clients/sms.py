"""Text messages, behind a narrow port."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Protocol

from core import logs

log = logs.get(__name__)


class SmsSender(Protocol):
    async def send(self, phone: str, text: str) -> None:
        """Send ``text`` to the E.164 ``phone``. Raises SmsError when the provider refuses."""
        ...


class SmsError(Exception):
    """The provider did not take the message."""


class SandboxSms:
    """Prints messages instead of sending them and keeps some for whoever plays the phones.

    ``outbox`` holds the last hundred; :meth:`last` finds the newest one of each of the last ``phones`` phones, so
    that many people can sign in at once and each read their own code.
    """

    def __init__(self, *, phones: int = 10_000) -> None:
        self.outbox: deque[tuple[str, str]] = deque(maxlen=100)
        self._phones = phones
        self._last: OrderedDict[str, str] = OrderedDict()

    async def send(self, phone: str, text: str) -> None:
        self.outbox.append((phone, text))
        self._last[phone] = text
        self._last.move_to_end(phone)
        if len(self._last) > self._phones:
            self._last.popitem(last=False)
        log.info("sms.sandbox", phone=phone, text=text)

    def last(self, phone: str) -> str | None:
        """The newest message to the E.164 ``phone``."""
        return self._last.get(phone)
