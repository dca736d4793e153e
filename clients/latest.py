"""The newest value of things that change often, kept where all processes see it: a hash in Redis.

Nothing durable goes here. Redis may be away, slow, or come back empty: then nothing is kept and nothing is found,
and nobody gets an error.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Protocol, cast

from clients.redis import AWAY, connect
from core import logs

log = logs.get(__name__)

_TIMEOUT: Final = 0.5
"""Seconds that an answer of Redis may take: positions are worth no longer wait."""
_LEFT_ALONE: Final = 1.0
"""Seconds for which Redis is not asked again after it failed."""

# A value begins with its version, of fixed width, so that versions compare as text.
_KEEP: Final = """
for i = 2, #ARGV, 2 do
    local old = redis.call('HGET', KEYS[1], ARGV[i])
    if not old or string.sub(old, 1, 20) < string.sub(ARGV[i + 1], 1, 20) then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""


class LatestValues(Protocol):
    """Remembers for each name the value with the highest version. Never raises."""

    async def keep(self, values: Mapping[str, tuple[int, bytes]]) -> None:
        """Take ``(version, value)`` of each name unless a higher version is known."""
        ...

    async def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The values that are known."""
        ...

    async def close(self) -> None: ...


class RedisLatest:
    """:class:`LatestValues` in the hash ``key``, which is forgotten when nothing was kept for ``lifetime``."""

    def __init__(self, url: str, key: str, lifetime: timedelta) -> None:
        self._redis = connect(url, _TIMEOUT)
        self._key = key
        self._lifetime = int(lifetime.total_seconds())
        self._script: Any = self._redis.register_script(_KEEP)
        self._asked_again_at = 0.0

    async def keep(self, values: Mapping[str, tuple[int, bytes]]) -> None:
        arguments: list[Any] = [self._lifetime]
        for name, (version, value) in values.items():
            arguments += (name, b"%020d%b" % (version, value))
        await self._ask(self._script, keys=[self._key], args=arguments)

    async def read(self, names: Sequence[str]) -> dict[str, bytes]:
        if not names:
            return {}
        found = cast(Iterable[bytes | None] | None, await self._ask(self._redis.hmget, self._key, list(names)))
        return {name: value[20:] for name, value in zip(names, found or (), strict=False) if value is not None}

    async def close(self) -> None:
        with suppress(*AWAY):
            await self._redis.aclose()

    async def _ask(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        """The answer, None while Redis is away."""
        if time.monotonic() < self._asked_again_at:
            return None
        try:
            return await command(*args, **kwargs)
        except AWAY as error:
            log.warning("latest.unavailable", error=repr(error))
            self._asked_again_at = time.monotonic() + _LEFT_ALONE
            return None
