"""Phone numbers: one spelling (E.164) for one phone."""

from __future__ import annotations

import phonenumbers


def normalise(phone: str) -> str | None:
    """``phone`` in E.164 (``+8613800138000``), None when it is no valid number.

    Without a country code it is read as a number of mainland China.
    """
    if len(phone) > 40:
        return None
    try:
        number = phonenumbers.parse(phone, "CN")
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def masked(phone: str) -> str:
    """The E.164 ``phone`` with its middle digits hidden: ``+86138****8000``. Empty for what is no phone (any more)."""
    if not phone.startswith("+"):
        return ""
    return f"{phone[:-8]}****{phone[-4:]}"
