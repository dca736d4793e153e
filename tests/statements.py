"""Which SQL statements a piece of work sends, whoever else uses the database meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest

_sent: ContextVar[list[str] | None] = ContextVar("sent", default=None)

_SENDING = ("fetch", "fetchrow", "fetchval", "execute", "executemany")


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements of this task, and of tasks it starts, from here on; needs the fixture :func:`watched`."""
    sent: list[str] = []
    token = _sent.set(sent)
    try:
        yield sent
    finally:
        _sent.reset(token)


@pytest.fixture(scope="session")
def watched() -> Iterator[None]:
    """Has connections report what they send."""

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        async def noted(self: Any, query: str, *args: Any, **options: Any) -> Any:
            sent = _sent.get()
            if sent is not None:
                sent.append(" ".join(query.split()))
            return await method(self, query, *args, **options)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        for name in _SENDING:
            patch.setattr(asyncpg.Connection, name, noting(getattr(asyncpg.Connection, name)))
        yield
