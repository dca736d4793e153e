"""Public ids: written and read back, and nothing else read."""

from __future__ import annotations

from uuid import UUID

from hypothesis import example, given
from hypothesis import strategies as st

from core import ids

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
KEYS = st.integers(0, 2**128 - 1)


def spelled(prefix: str, n: int) -> str:
    """Crockford base32, five bits at a time."""
    return f"{prefix}_" + "".join(ALPHABET[n >> shift & 31] for shift in range(125, -1, -5))


@given(KEYS)
@example(0)
@example(2**128 - 1)
def test_an_id_is_crockford_base32_and_comes_back(n: int) -> None:
    written = ids.encode("Order", UUID(int=n))
    assert written == spelled("ord", n)
    assert ids.decode("Order", written) == UUID(int=n)
    assert ids.decode("Store", written) is None


@given(st.text(st.characters(codec="utf-8"), min_size=26, max_size=26))
@example("z" * 26)
@example("_".join("0" * 13) + "0")
@example(" " + "0" * 25)
@example("+" + "0" * 25)
@example("0" * 25 + "l")
@example("0" * 25 + "A")
@example("0" * 25 + "\u0661")
def test_nothing_else_is_an_id(body: str) -> None:
    is_id = set(body) <= set(ALPHABET) and body[0] in "01234567"
    assert (ids.parse(f"ord_{body}") is not None) == is_id


@given(KEYS, st.integers(0, 25))
def test_letters_may_not_be_missing_or_too_many(n: int, cut: int) -> None:
    written = spelled("ord", n)
    assert ids.parse(written[: 4 + cut]) is None
    assert ids.parse(written + "0") is None
