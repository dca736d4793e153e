"""How long an operation may take, at the price of one timer.

``asyncio.timeout`` does the same for eight times as much, which is felt where every request has one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class TimedOut(Exception):
    """It took too long and was cancelled."""


class _Alarm:
    """Cancels a task, and remembers that it was this which did."""

    __slots__ = ("_cancelled", "_task", "rang")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._cancelled = task.cancelling()
        self.rang = False

    def __call__(self) -> None:
        self.rang = True
        self._task.cancel()

    def alone(self) -> bool:
        """Whether nobody else wants the task cancelled, too. Call once, when it rang."""
        return self._task.uncancel() <= self._cancelled


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What ``work`` gives. Raises TimedOut when that takes longer; the work is cancelled then.

    A cancellation from outside stays one, also in the same moment.
    """
    task = asyncio.current_task()
    assert task is not None
    alarm = _Alarm(task)
    timer = asyncio.get_running_loop().call_later(seconds, alarm)
    try:
        result = await work
    except asyncio.CancelledError:
        if alarm.rang and alarm.alone():
            raise TimedOut from None
        raise
    except BaseException:
        if alarm.rang:
            alarm.alone()
        raise
    finally:
        timer.cancel()
    if alarm.rang:
        alarm.alone()
    return result
