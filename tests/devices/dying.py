"""``python -m tests.devices.dying URL ORDER STORE MOMENT``: accepts an order and is killed before or after the commit.

Run by a test as a process of its own: only a real SIGKILL leaves nothing that could still tidy up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any
from uuid import UUID

from auth.principals import Held, Principal, PrincipalKind, View
from core.clock import SystemClock
from core.ids import uuid7
from models.identity import GrantRole
from services.ordering import actions
from services.unit import Unit
from tests.support import make_runtime


async def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str, order: str, store: str, moment: str) -> None:
    clerk = Principal(
        PrincipalKind.MERCHANT, View.MERCHANT, uuid7(), grants=(Held(GrantRole.STORE_CLERK, UUID(store), None),)
    )
    if moment == "before":
        finish = Unit._finish

        async def finish_and_die(unit: Unit) -> None:
            await finish(unit)
            await die()

        Unit._finish = finish_and_die  # type: ignore[method-assign]
    async with make_runtime(url, clock=SystemClock()) as runtime:
        runtime.signals.publish = die  # type: ignore[method-assign]
        await actions.accept(runtime, clerk, UUID(order), 10)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
