"""Pages of many lists at once: one statement, whatever the number of lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from models.database import Record
from services.runtime import Runtime

K = TypeVar("K")


def statement(kind: str, page: str, order: str) -> str:
    """What :func:`of_each` sends."""
    return f"""SELECT page.*, k.key FROM unnest($1::{kind}[]) AS k (key) CROSS JOIN LATERAL ({page}) AS page
        ORDER BY k.key, {order}"""


async def of_each(
    runtime: Runtime, keys: Sequence[K], kind: str, page: str, order: str, *args: object
) -> dict[K, list[Record]]:
    """The rows of ``page`` for each of the ``keys``, which are of the SQL type ``kind``.

    ``page`` is a SELECT about ``k.key``, with ``args`` from ``$2`` on; ``order`` sorts by columns of ``page``.
    The last column of each row is the key.
    """
    rows = await runtime.database.fetch(statement(kind, page, order), list(keys), *args)
    found: dict[K, list[Record]] = {key: [] for key in keys}
    for row in rows:
        found[row[-1]].append(row)
    return found
