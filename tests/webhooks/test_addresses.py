"""Where webhooks may go: nowhere that only this server can reach."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from clients.webhooks import HttpWebhooks, is_public
from models.webhooks import WebhookFault
from services.errors import InvalidInput
from services.webhooks.endpoints import checked_url
from tests.patience import PATIENCE
from tests.webhooks.receiver import Receiver, receiving

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1",
    "2001:0:7f00:1::",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "114.114.114.114", "172.32.0.1", "2606:4700::1111", "2400:3200::1", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address(address: str) -> None:
    assert is_public(address)


REFUSED = [
    "http://example.com/hook", "ftp://example.com/", "example.com/hook", "https://", "https:///hook", "//example.com",
    "https://user@example.com/", "https://user:secret@example.com/", "https://example.com/#part",
    "https://exa mple.com/", "https://example.com\\@127.0.0.1/", "https://[::1/", "https://example.com:99999/",
    "https://shop.localhost/", "https://localhost./", "https://intranet/", "https://metadata.google.internal/",
    "https://printer.local/", "https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://0177.0.0.1/",
    "https://127.0.0.1.1/", "https://例子.测试/", "https://example.com/\x00", "https://example.com/\nhost:x",
    "javascript:alert(1)", "", "https://" + "a" * 500 + ".com/",
]  # fmt: skip
TAKEN = [
    "https://example.com",
    "https://hooks.example.com:8443/a/b?c=d",
    " https://example.com/hook ",
    "https://xn--fsq.cn/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_is_refused_when_it_is_given(url: str) -> None:
    for development in (False, True):
        with pytest.raises(InvalidInput) as refused:
            checked_url(url, development=development)
        assert refused.value.field == "url"


@pytest.mark.parametrize("address", [address for address in PRIVATE if "%" not in address])
def test_a_private_address_is_refused_in_every_form(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidInput):
        checked_url(f"https://{host}/", development=False)


@pytest.mark.parametrize("url", TAKEN)
def test_an_address_that_is_taken(url: str) -> None:
    assert checked_url(url, development=False) == url.strip()


def test_loopback_is_for_development_only() -> None:
    for url in (
        "https://localhost/",
        "http://127.0.0.1:9000/x",
        "http://localhost/x",
        "http://[::1]:1/",
        "https://127.0.0.1/",
    ):
        assert checked_url(url, development=True) == url
        with pytest.raises(InvalidInput):
            checked_url(url, development=False)
    with pytest.raises(InvalidInput):
        checked_url("http://192.168.0.1/", development=True)


@given(st.text(max_size=60) | st.from_regex(r"https?://[^/]{0,30}(:\d{0,6})?/.{0,10}", fullmatch=True))
def test_no_text_breaks_the_check(url: str) -> None:
    try:
        taken = checked_url(url, development=False)
    except InvalidInput:
        return
    assert taken.startswith("https://")


class Names(AbstractResolver):
    """Says of every name that it stands for these addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in self.addresses
        ]  # fmt: skip

    async def close(self) -> None: ...


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def named(sender: HttpWebhooks, *addresses: str) -> None:
    """Let all names stand for ``addresses`` in what ``sender`` resolves."""
    connector: Any = sender._opened().connector
    assert isinstance(connector, aiohttp.TCPConnector)
    connector._resolver = Names(*addresses)


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("::1",), ("::ffff:127.0.0.1",), ("10.0.0.1", "127.0.0.1")])
async def test_a_name_that_stands_for_a_private_address_leads_nowhere(
    receiver: Receiver, addresses: tuple[str, ...]
) -> None:
    sender = HttpWebhooks(PATIENCE)
    try:
        named(sender, *addresses)
        answer = await sender.send(f"http://example.com:{receiver.port}/", {}, b"{}")
    finally:
        await sender.close()
    assert (answer.fault, answer.status) == (WebhookFault.ADDRESS, None)
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "localhost"])
async def test_an_address_as_text_leads_nowhere_either(receiver: Receiver, host: str) -> None:
    """As if it had got past the check: what was stored before, for example."""
    sender = HttpWebhooks(PATIENCE)
    try:
        answer = await sender.send(f"http://{host}:{receiver.port}/", {}, b"{}")
    finally:
        await sender.close()
    assert (answer.fault, answer.status) == (WebhookFault.ADDRESS, None)
    assert receiver.connections == 0


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async with receiving() as inner:
        sender = HttpWebhooks(PATIENCE, allow_loopback=True)

        async def redirect(_: Receiver, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 307 X\r\ncontent-length: 0\r\nlocation: %b\r\n\r\n" % inner.url.encode())

        receiver.day = redirect
        try:
            answer = await sender.send(receiver.url, {}, b"{}")
        finally:
            await sender.close()
        assert (answer.fault, answer.status) == (WebhookFault.REDIRECT, 307)
        assert inner.connections == 0


async def test_no_proxy_of_the_environment_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, receiver.url)
    sender = HttpWebhooks(PATIENCE)
    try:
        named(sender, "127.0.0.1")
        await sender.send("http://example.com/", {}, b"{}")
    finally:
        await sender.close()
    assert receiver.connections == 0
