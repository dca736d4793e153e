"""Connections to Redis, and what they raise while it is away."""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

AWAY: Final = (RedisError, OSError, RuntimeError)
"""What a command raises while Redis cannot be reached, does not answer or refuses.

uvloop says RuntimeError when a connection has ended and is written to before that was noticed.
"""


def connect(url: str, timeout: float, *, retries: int = 1, text: bool = False, protocol: int = 3) -> Redis:
    """A client with a pool of connections; nothing is connected yet.

    :param timeout: seconds that connecting, and each answer, may take.
    :param retries: one is enough for a pooled connection that Redis has closed in the meantime.
    :param text: answers are text, not bytes.
    :param protocol: version of Redis' own protocol.
    """
    return Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        retry=Retry(NoBackoff(), retries),
        socket_connect_timeout=timeout,
        socket_timeout=timeout,
        decode_responses=text,
        protocol=protocol,
    )
