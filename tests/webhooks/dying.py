"""``python -m tests.webhooks.dying URL ENDPOINT NOW``: sends and is killed before it can write down the answer.

Run by a test as a process of its own: only a real SIGKILL leaves nothing that could still tidy up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import datetime
from typing import Any

from core.clock import ManualClock
from services import webhooks
from services.webhooks import sending
from tests.support import make_runtime


async def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str, endpoint: str, now: str) -> None:
    sending._record = die
    async with make_runtime(url, clock=ManualClock(datetime.fromisoformat(now))) as runtime:
        await webhooks.JOBS["webhook_send"](runtime, {"endpoint": endpoint})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
