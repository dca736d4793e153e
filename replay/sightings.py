"""What somebody must get to see because of what somebody else did.

The world knows from the answer to a mutation whose subscription owes a delivery (an offer to a rider, a paid order
to a store). It passes nothing on: it only waits, with a deadline, until that subscription has delivered, and counts
what never came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable


class Sightings:
    """Deliveries that were seen or are awaited, by key."""

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()
        self._awaited: dict[Hashable, tuple[asyncio.Future[None], float]] = {}

    def saw(self, key: Hashable) -> float | None:
        """A subscription delivered ``key``; the simulated minute of its cause when somebody already awaits it."""
        self._seen.add(key)
        awaited = self._awaited.pop(key, None)
        if awaited is None:
            return None
        if not awaited[0].done():
            awaited[0].set_result(None)
        return awaited[1]

    async def expect(self, key: Hashable, at: float, within: float) -> bool:
        """Wait until ``key``, caused at simulated minute ``at``, has been seen; False when it was not in time."""
        if key in self._seen:
            return True
        entry = self._awaited.get(key)
        if entry is None:
            entry = self._awaited[key] = (asyncio.get_running_loop().create_future(), at)
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(entry[0])
        except TimeoutError:
            self._awaited.pop(key, None)
            return False
        return True
