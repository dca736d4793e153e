"""The measured end of a bench: a program that does named works as often as it is told and says what they cost.

One JSON object a line. ``{"run": NAME, "times": N}`` is answered by the seconds and CPU seconds they took,
``{"answer": NAME}`` by the response itself, so that the bench can see that all programs say the same.
Standard library only: the peers use it in environments of their own.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

Work = Callable[[int], Awaitable[bytes]]
"""Does something a number of times; the bytes of its first response."""


def repeated(once: Callable[[], Awaitable[bytes]]) -> Work:
    """The work that is ``once`` each time."""

    async def run(times: int) -> bytes:
        first = await once()
        for _ in range(times - 1):
            await once()
        return first

    return run


async def serve(works: dict[str, Work]) -> None:
    """Do what standard input says until it ends."""
    gc.collect()
    gc.freeze()
    _say({"works": list(works)})
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        if "answer" in asked:
            _say({"answer": json.loads(await works[asked["answer"]](1))})
            continue
        work, times = works[asked["run"]], asked["times"]
        began, cpu = time.perf_counter(), time.process_time()
        await work(times)
        _say({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu})


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)
