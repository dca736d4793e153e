"""Sends webhooks to addresses that partners chose: to public ones only, never for long, and never further.

Whoever may say where a server sends requests could otherwise make it talk to what only it can reach. So each connection
is judged by the address that it is really made to, after the name was resolved: a name that means something else the
next time, or a redirect, leads nowhere.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from models.webhooks import WebhookFault

EXCERPT: Final = 500
"""Bytes of an answer that are kept."""
EXCERPT_TIME: Final = 2.0
"""Seconds that the body of an answer is waited for, once its status is known."""
CONNECT_TIME: Final = 5.0
NAMES_AT_ONCE: Final = 16
"""Threads that resolve names: their own, so that names which take long keep nothing else waiting."""

_ASSIGNMENTS: Final = IPv4Network("192.0.0.0/24")  # RFC 6890; Python takes parts of it for public
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052; an IPv4 address in the last four bytes
_COMPATIBLE: Final = IPv6Network("::/96")  # RFC 4291, section 2.5.5.1; likewise


class AddressForbidden(OSError):
    """The address is not one that webhooks may go to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request. ``fault`` is None when it was taken; ``status`` when there was no answer.

    ``retry_after``: seconds for which the receiver asks to be left alone (RFC 9110, section 10.2.3).
    """

    status: int | None
    fault: WebhookFault | None
    excerpt: bytes
    duration_ms: int
    retry_after: int | None = None


class WebhookSender(Protocol):
    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST ``body`` once. Raises nothing that the receiver can cause."""
        ...


def is_public(address: str) -> bool:
    """Whether the IP ``address`` can be reached from everywhere, whatever form it is written in."""
    return _is_public(ip_address(address.partition("%")[0]))


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and (ip in _NAT64 or ip in _COMPATIBLE):
            inner = IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return _is_public(inner)
        if ip.is_site_local:
            return False
    elif ip in _ASSIGNMENTS:
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def is_loopback(address: str) -> bool:
    """Whether the IP ``address`` is this machine's own."""
    ip = ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (mapped or ip).is_loopback


class HttpWebhooks:
    """Sends over HTTP. ``allow_loopback``: also to this machine, in development. ``close`` at the end."""

    def __init__(self, timeout: float, *, allow_loopback: bool = False) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, CONNECT_TIME))
        self._excerpt_time = min(EXCERPT_TIME, timeout)
        self._allow_loopback = allow_loopback
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        began = time.monotonic()

        def answer(
            status: int | None, fault: WebhookFault | None, excerpt: bytes = b"", retry_after: int | None = None
        ) -> Answer:
            return Answer(status, fault, excerpt, round((time.monotonic() - began) * 1000), retry_after)

        try:
            async with self._opened().post(
                url, data=body, headers=headers, allow_redirects=False, timeout=self._timeout
            ) as response:
                # The status is the answer; what becomes of the body does not change it.
                status, later = response.status, _retry_after(response)
                return answer(status, _fault(status), await self._beginning(response), later)
        except aiohttp.ClientConnectorError as error:
            forbidden = isinstance(getattr(error, "os_error", None), AddressForbidden)
            return answer(None, WebhookFault.ADDRESS if forbidden else WebhookFault.UNREACHABLE)
        except TimeoutError:
            return answer(None, WebhookFault.TIMEOUT)
        except aiohttp.InvalidURL:
            return answer(None, WebhookFault.ADDRESS)
        except (aiohttp.ClientError, OSError, ValueError):
            return answer(None, WebhookFault.BROKEN)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit of connections: who sends has one, and time in a queue would count as the receiver's.
            connector = aiohttp.TCPConnector(limit=0, resolver=_Names(), socket_factory=self._socket)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session

    def _socket(self, info: Any) -> socket.socket:
        """The socket of a connection that is about to be made. Raises AddressForbidden."""
        family, kind, protocol, _, address = info
        if not is_public(address[0]) and not (self._allow_loopback and is_loopback(address[0])):
            raise AddressForbidden(errno.EACCES, "webhooks go to public addresses only")
        return socket.socket(family, kind, protocol)

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """The first bytes of the body, as far as they come at once."""
        found = b""
        deadline = time.monotonic() + self._excerpt_time
        try:
            while len(found) < EXCERPT and (left := deadline - time.monotonic()) > 0:
                part = await asyncio.wait_for(response.content.read(EXCERPT - len(found)), left)
                if not part:
                    return found
                found += part
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            pass
        response.close()  # not to be used again: there is more to come
        return found


def _retry_after(response: aiohttp.ClientResponse) -> int | None:
    """In seconds; a date, the other form, is not looked at."""
    asked = response.headers.get("retry-after", "")
    busy = response.status in (429, 503)
    return int(asked) if busy and asked.isascii() and asked.isdigit() and len(asked) < 7 else None


class _Names(AbstractResolver):
    """Resolves names in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(NAMES_AT_ONCE, thread_name_prefix="webhook names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        asked = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, asked)
        return [
            # The scope of a link-local address is left out: those are not public anyway.
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _fault(status: int) -> WebhookFault | None:
    if 200 <= status < 300:
        return None
    return WebhookFault.REDIRECT if 300 <= status < 400 else WebhookFault.STATUS
