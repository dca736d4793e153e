"""Money: integer minor units with a currency, never a float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Money:
    """``amount`` in minor units (fen for CNY) of the ISO 4217 ``currency``."""

    amount: int
    currency: str

    def __str__(self) -> str:
        return f"{self.amount / 100:.2f} {self.currency}"


def allocate(amount: int, weights: Sequence[int]) -> list[int]:
    """Split ``amount`` in proportion to ``weights`` so that the parts sum exactly to it.

    Largest-remainder (Hamilton) method on integers; ties go to the earlier part. ``amount`` ≥ 0, weights ≥ 0
    with a positive sum. Raises ValueError otherwise.
    """
    total = sum(weights)
    if amount < 0 or total <= 0 or min(weights) < 0:
        raise ValueError("allocate needs amount >= 0 and weights >= 0 with a positive sum")
    parts = [amount * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for i in by_remainder[: amount - sum(parts)]:
        parts[i] += 1
    return parts
