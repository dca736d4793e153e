"""The time limit of an operation: what asyncio's own timeout does, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.timing import TimedOut, within


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_what_is_in_time_is_given() -> None:
    async def three() -> int:
        await asyncio.sleep(0)
        return 3

    assert await within(60, three()) == 3


async def test_what_takes_too_long_is_cancelled() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await forever()
        finally:
            ended = True

    with pytest.raises(TimedOut):
        await within(0.001, work())
    assert ended
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    await asyncio.sleep(0)  # and nothing is left that would be cancelled now


async def test_a_cancellation_from_outside_stays_one() -> None:
    waiting = asyncio.create_task(within(60, forever()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_cancellation_in_the_moment_of_the_alarm_stays_one() -> None:
    async def work() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            task.cancel()  # somebody else, before the first one has arrived
            raise

    task = asyncio.create_task(within(0.001, work()))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_its_own_error_is_what_the_work_raises() -> None:
    async def stubborn() -> int:
        try:
            await forever()
        except asyncio.CancelledError:
            raise ValueError("closing failed") from None
        return 0

    with pytest.raises(ValueError, match="closing failed"):
        await within(0.001, stubborn())
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_work_that_does_not_mind_is_not_timed_out() -> None:
    async def stubborn() -> int:
        with suppress(asyncio.CancelledError):
            await forever()
        return 5

    assert await within(0.001, stubborn()) == 5
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
