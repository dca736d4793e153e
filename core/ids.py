"""Identifiers: UUIDv7 inside, opaque prefixed text outside.

Outside, an id is ``<prefix>_<26 characters of Crockford base32>``, for example ``ord_01jd…``. The prefix names
the kind, so an id of another kind is recognised as "no such thing" without asking the database.
UUIDv7: RFC 9562, section 5.7.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TO_BASE_32: Final = bytes.maketrans(_ALPHABET.encode(), b"0123456789abcdefghijklmnopqrstuv")
_LENGTH: Final = 26
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]

type_prefixes: Final[dict[str, str]] = {
    "Person": "per",
    "Partner": "par",
    "PartnerCredential": "pcr",
    "PersistedDocument": "doc",
    "WebhookEndpoint": "whe",
    "WebhookDelivery": "whd",
    "Grant": "gra",
    "Session": "ses",
    "City": "cit",
    "Merchant": "mer",
    "Store": "sto",
    "StoreTag": "tag",
    "Category": "cat",
    "Item": "itm",
    "Sku": "sku",
    "OptionGroup": "opg",
    "Option": "opt",
    "DiningTable": "tbl",
    "Quote": "quo",
    "Order": "ord",
    "OrderLine": "lin",
    "Payment": "pay",
    "Rider": "rid",
    "Delivery": "del",
    "QueueClass": "qcl",
    "QueueTicket": "qtk",
    "Device": "dev",
    "DeviceCommand": "cmd",
    "Picture": "pic",
}
"""GraphQL type name → id prefix. Never reuse or change one: clients keep ids."""

types_by_prefix: Final[dict[str, str]] = {prefix: name for name, prefix in type_prefixes.items()}

IdGenerator = Callable[[], UUID]


def uuid7() -> UUID:
    """A time-ordered random UUID: 48 bits of Unix milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def encode(type_name: str, value: UUID) -> str:
    """The public id of the ``type_name`` whose key is ``value``."""
    n = value.int
    # Lists are full of ids: a look-up for every 10 bits, in halves that are plain machine words, is several times as
    # fast as one for every 5 bits of the long number. A table for 15 bits would be too large for the processor's cache.
    high, low, pairs = n >> 60, n & 0xFFF_FFFF_FFFF_FFFF, _PAIRS
    return (
        f"{type_prefixes[type_name]}_{pairs[high >> 60]}{pairs[high >> 50 & 1023]}{pairs[high >> 40 & 1023]}"
        f"{pairs[high >> 30 & 1023]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}{pairs[high & 1023]}"
        f"{pairs[low >> 50]}{pairs[low >> 40 & 1023]}{pairs[low >> 30 & 1023]}{pairs[low >> 20 & 1023]}"
        f"{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def decode(type_name: str, public_id: str) -> UUID | None:
    """The key inside ``public_id``, or None when it is malformed or an id of another type."""
    parsed = parse(public_id)
    return parsed[1] if parsed is not None and parsed[0] == type_name else None


def parse(public_id: str) -> tuple[str, UUID] | None:
    """``(type name, key)`` of a public id of any known type, or None when it is malformed."""
    prefix, _, body = public_id.partition("_")
    type_name = types_by_prefix.get(prefix)
    if type_name is None or len(body) != _LENGTH:
        return None
    if body.strip(_ALPHABET):  # something that is none of its letters; int() would take some of these
        return None
    n = int(body.encode().translate(_TO_BASE_32), 32)
    return (type_name, UUID(int=n)) if n < 1 << 128 else None
