"""Pages of many lists at once: one statement, whatever the number of lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from models.database import Record
from services.runtime import Runtime

K = TypeVar("K")


def statement(kind: str, page: str, order: str) -> str:
    """What :func:`of_each` sends."""
    return f"""SELECT page.*, k.place FROM unnest($1::{kind}[]) WITH ORDINALITY AS k (key, place)
        CROSS JOIN LATERAL ({page}) AS page ORDER BY k.place, {order}"""


async def of_each(
    runtime: Runtime, keys: Sequence[K], kind: str, page: str, order: str, *args: object
) -> dict[K, list[Record]]:
    """The rows of ``page`` for each of the ``keys``, which are of the SQL type ``kind``.

    ``page`` is a SELECT about ``k.key``, with ``args`` from ``$2`` on; ``order`` sorts by columns of ``page``.
    The last column of each row is the place of its key, from 1 on: short numbers are read and told apart faster.
    """
    rows = await runtime.database.fetch(statement(kind, page, order), list(keys), *args)
    found: dict[int, list[Record]] = {place: [] for place in range(1, len(keys) + 1)}
    for row in rows:
        found[row[-1]].append(row)
    return dict(zip(keys, found.values(), strict=True))
