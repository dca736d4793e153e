"""Waiting for many things at once, and not for ever: when one is cancelled, nothing of the others is left."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

from gateway.compiler.leaves import PLAIN, is_awaitable


async def settle(values: list[Any]) -> None:
    """Replace each awaitable by what comes out of it."""
    pending = [k for k, value in enumerate(values) if value.__class__ not in PLAIN and is_awaitable(value)]
    if not pending:
        return
    try:
        results = await together([_caught(values[k]) for k in pending])
    except BaseException:
        abandon(values)
        raise
    for k, result in zip(pending, results, strict=True):
        values[k] = result


async def _caught(value: Awaitable[Any]) -> Any:
    try:
        return await value
    except Exception as error:
        return error


async def together(work: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results of all, run at the same time; when one is cancelled or breaks, none goes on."""
    if not work:
        return []
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def abandon(begun: Any) -> None:
    """Close coroutines that nobody has awaited, of a list or alone: nobody will."""
    for value in begun if begun.__class__ is list else (begun,):
        if inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
            value.close()
