"""Counts of what is connected, summed over the processes of an installation.

Nobody adds and subtracts, which a killed process would leave wrong: every process counts anew every few seconds and
keeps its counts in Redis, in a hash of its own that expires when it is not renewed. So a count is at most that old,
and a process that is gone counts for :data:`KEPT` at most. Without Redis, or while it is away, a process knows its own
counts only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

from clients.redis import AWAY, connect
from core import logs

log = logs.get(__name__)

EVERY: Final = 3.0
"""Seconds between two counts of a process."""
KEPT: Final = 10.0
"""Seconds for which the counts of a process hold."""
_PROCESSES: Final = "hutong:presence"
_TIMEOUT: Final = 0.5

Census = Callable[[], Awaitable[Mapping[str, int]]]
"""Counts what is connected to this process, by name; what is not connected is not named."""


class Presence:
    """The counts of all processes. Never raises because of Redis.

    :param url: Redis that connects the processes; None when there is only this one.
    """

    def __init__(self, url: str | None = None) -> None:
        self._redis: Any = None
        if url is not None:
            self._redis = connect(url, _TIMEOUT)
        self._process = os.urandom(8).hex()
        self._own: Mapping[str, int] = {}
        self._told: Mapping[str, int] | None = None
        """What Redis has of this process; None when that is not known."""
        self._task: asyncio.Task[None] | None = None

    def start(self, census: Census) -> None:
        """Count from now on."""
        self._task = asyncio.create_task(self._run(census))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._redis is not None:
            await self._try(self._redis.delete(self._key(self._process)))
            await self._redis.aclose()

    async def counts(self, names: Sequence[str]) -> list[int]:
        """How many are connected under each name, to any process."""
        others = await self._try(self._read_others(names)) if self._redis is not None else None
        rows = cast(list[list[bytes | None]], others or [])
        return [self._own.get(name, 0) + sum(int(row[i] or 0) for row in rows) for i, name in enumerate(names)]

    async def refresh(self, census: Census) -> None:
        """Count now, and tell the others."""
        self._own = await census()
        if self._redis is not None:
            told = await self._try(self._tell(self._own))
            self._told = self._own if told else None

    async def _run(self, census: Census) -> None:
        while True:
            try:
                await self.refresh(census)
            except Exception:
                log.exception("presence.not_counted")
            await asyncio.sleep(EVERY)

    async def _read_others(self, names: Sequence[str]) -> list[list[bytes | None]]:
        known: set[bytes] = await self._redis.smembers(_PROCESSES)
        others = [process for name in known if (process := name.decode()) != self._process]
        if not others or not names:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for process in others:
            pipeline.hmget(self._key(process), names)
        return await pipeline.execute()

    async def _tell(self, counts: Mapping[str, int]) -> bool:
        """Bring Redis up to date; whether it has all of it now."""
        key, before = self._key(self._process), self._told
        pipeline = self._redis.pipeline(transaction=True)
        if before is None:
            pipeline.delete(key)
        changed = {name: n for name, n in counts.items() if before is None or before.get(name) != n}
        gone = [name for name in before or () if name not in counts]
        # A hash without fields does not exist, and would not be known to have expired.
        pipeline.hset(key, mapping={"": 0, **changed})
        if gone:
            pipeline.hdel(key, *gone)
        pipeline.pexpire(key, int(KEPT * 1000))
        pipeline.hlen(key)
        pipeline.sadd(_PROCESSES, self._process)
        *_, fields, _ = await pipeline.execute()
        await self._forget_the_dead()
        return fields == len(counts) + 1

    async def _forget_the_dead(self) -> None:
        known: set[bytes] = await self._redis.smembers(_PROCESSES)
        for name in known:
            if not await self._redis.exists(self._key(name.decode())):
                await self._redis.srem(_PROCESSES, name)

    @staticmethod
    def _key(process: str) -> str:
        return f"{_PROCESSES}:{process}"

    async def _try(self, work: Awaitable[Any]) -> Any:
        """The result of ``work``, None while Redis is away."""
        try:
            return await work
        except AWAY as error:
            log.warning("presence.unavailable", error=repr(error))
            return None
