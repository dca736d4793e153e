"""Signing in with WeChat: the real client against a provider that has bad days, and what becomes of the accounts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette

from auth.principals import View
from clients import sandbox_wechat
from clients import wechat as client
from clients.sandbox_wechat import SandboxWeChat
from clients.wechat import Fault, HttpWeChat, WeChatError
from core.errors import BusinessError
from models.identity import GrantRole
from services import identity
from services.errors import (
    InvalidInput,
    OtpInvalid,
    OtpRateLimited,
    PermissionDenied,
    WeChatAccountAtRisk,
    WeChatCodeInvalid,
    WeChatTicketInvalid,
    WeChatUnavailable,
)
from services.identity import Caller, Session, WeChatPhoneNeeded
from services.runtime import Runtime
from tests.api.city import Server
from tests.identity.world import World, code_sent, phone, principal, sign_in
from tests.patience import PATIENCE

HERE = Caller()


@dataclass
class Provider:
    """WeChat on a loopback port, and the client that is configured for it."""

    sandbox: SandboxWeChat
    url: str
    client: HttpWeChat


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[Provider]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "TIMEOUT", aiohttp.ClientTimeout(total=PATIENCE))
        async with running_provider() as running:
            yield running


@asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    sandbox = SandboxWeChat(b"key of the sandbox")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    routed = Starlette(routes=sandbox.routes())
    # One of its bad days is slowness, for which nobody waits at the end.
    config = uvicorn.Config(routed, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    await asyncio.wait_for(server.listening.wait(), PATIENCE)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{sandbox_wechat.PREFIX}"
    asking = HttpWeChat(sandbox_wechat.APP_ID, sandbox.secret, url)
    yield Provider(sandbox, url, asking)
    await asking.close()
    server.should_exit = True
    await asyncio.wait_for(serving, PATIENCE)


@pytest.fixture
def wx(runtime: Runtime, provider: Provider) -> Runtime:
    return replace(runtime, wechat=provider.client)


def login(provider: Provider, user: str, fault: str | None = None) -> str:
    return provider.sandbox.code(user=user, fault=fault)


def button(provider: Provider, number: str, fault: str | None = None) -> str:
    return provider.sandbox.code(phone=number, fault=fault)


async def enter(wx: Runtime, provider: Provider, user: str, view: View = View.CONSUMER) -> Session | WeChatPhoneNeeded:
    return await identity.sign_in_with_wechat(wx, login(provider, user), view, None, HERE)


# the client


async def test_the_client_reads_who_and_which_phone(provider: Provider) -> None:
    who = await provider.client.code2session(login(provider, "li"))
    again = await provider.client.code2session(login(provider, "li"))
    alone = await provider.client.code2session(login(provider, "alone-li"))
    assert who == again and who.app_id == sandbox_wechat.APP_ID and who.unionid is not None
    assert alone.openid != who.openid and alone.unionid is None
    assert await provider.client.phone_number(button(provider, "+8613800138000")) == "+8613800138000"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("40029", Fault.CODE_INVALID), ("40163", Fault.CODE_INVALID), ("45011", Fault.LIMITED), ("40226", Fault.RISKY),
        ("-1", Fault.BUSY), ("garbage", Fault.BUSY), ("slow", Fault.BUSY), ("99999", Fault.MISCONFIGURED),
    ],
)  # fmt: skip
async def test_bad_days_have_names(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, fault: str, expected: Fault
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", aiohttp.ClientTimeout(total=0.3 if fault == "slow" else PATIENCE))
    asking = HttpWeChat(sandbox_wechat.APP_ID, provider.sandbox.secret, provider.url)
    try:
        for call in (
            asking.code2session(login(provider, "li", fault)),
            asking.phone_number(button(provider, "+8613800138000", fault)),
        ):
            with pytest.raises(WeChatError) as refused:
                await call
            assert refused.value.fault is expected
            assert provider.sandbox.secret not in str(refused.value)
    finally:
        await asking.close()


async def test_a_code_is_good_once(provider: Provider) -> None:
    code = login(provider, "li")
    results = await asyncio.gather(*(provider.client.code2session(code) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, WeChatError) for result in results) == 4
    for nonsense in ("x", "", code + "x", button(provider, "+8613800138000")):
        with pytest.raises(WeChatError) as refused:
            await provider.client.code2session(nonsense)
        assert refused.value.fault is Fault.CODE_INVALID


async def test_a_wrong_secret_and_a_server_that_is_not_there(provider: Provider) -> None:
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for asking, fault in (
        (HttpWeChat(sandbox_wechat.APP_ID, "wrong", provider.url), Fault.MISCONFIGURED),
        (HttpWeChat("wrong", provider.sandbox.secret, provider.url), Fault.MISCONFIGURED),
        (HttpWeChat(sandbox_wechat.APP_ID, "secret", nowhere), Fault.BUSY),
        (HttpWeChat(sandbox_wechat.APP_ID, "secret", provider.url + "/nothing/here"), Fault.BUSY),
    ):
        for call in (asking.code2session(login(provider, "li")), asking.phone_number("x")):
            with pytest.raises(WeChatError) as refused:
                await call
            assert refused.value.fault is fault
        await asking.close()
    closed.close()


async def test_the_access_token_is_asked_for_once_and_again_when_it_is_over(provider: Provider) -> None:
    asking = HttpWeChat(sandbox_wechat.APP_ID, provider.sandbox.secret, provider.url)
    before = provider.sandbox.renewed
    numbers = [f"+861380013{n:04d}" for n in range(8)]
    told = await asyncio.gather(*(asking.phone_number(button(provider, number)) for number in numbers))
    assert told == numbers and provider.sandbox.renewed == before + 1
    provider.sandbox.forget_token()
    told = await asyncio.gather(*(asking.phone_number(button(provider, number)) for number in numbers))
    assert told == numbers and provider.sandbox.renewed == before + 2
    await asking.close()


# signing in


async def test_a_new_account_is_bound_by_the_phone_button(wx: Runtime, provider: Provider) -> None:
    user, number = phone(), phone()
    needed = await enter(wx, provider, user)
    assert isinstance(needed, WeChatPhoneNeeded)
    session = await identity.bind_wechat(wx, needed.ticket, View.CONSUMER, button(provider, number), None, None, HERE)
    assert session.person.phone == number
    again = await enter(wx, provider, user)
    assert isinstance(again, Session) and again.person.id == session.person.id
    assert (await principal(wx, again)).subject == session.person.id
    assert (await sign_in(wx, number, View.CONSUMER)).person.id == session.person.id, "by phone it is the same person"


async def test_a_new_account_is_bound_by_a_one_time_code(wx: Runtime, provider: Provider) -> None:
    user, number = phone(), phone()
    known = await sign_in(wx, number, View.CONSUMER)
    needed = await enter(wx, provider, user)
    assert isinstance(needed, WeChatPhoneNeeded)
    await wx.database.execute("UPDATE one_time_code SET created_at = created_at - interval '1 hour'")
    await identity.request_otp(wx, number, View.CONSUMER)
    with pytest.raises(OtpInvalid):
        await identity.bind_wechat(wx, needed.ticket, View.CONSUMER, None, number, "000000", HERE)
    code = code_sent(wx, number)
    session = await identity.bind_wechat(wx, needed.ticket, View.CONSUMER, None, number, code, HERE)
    assert session.person.id == known.person.id


async def test_both_at_once(wx: Runtime, provider: Provider) -> None:
    user, number = phone(), phone()
    session = await identity.sign_in_with_wechat(
        wx, login(provider, user), View.CONSUMER, button(provider, number), Caller(device="Mi 14")
    )
    assert isinstance(session, Session) and session.person.phone == number
    # Of a known account nothing is bound again, and the code of the button is not even used.
    unused = button(provider, phone())
    again = await identity.sign_in_with_wechat(wx, login(provider, user), View.CONSUMER, unused, HERE)
    assert isinstance(again, Session) and again.person.id == session.person.id
    assert await provider.client.phone_number(unused)


async def test_first_sign_ins_at_the_same_time_make_one_person(wx: Runtime, provider: Provider) -> None:
    user, number = phone(), phone()
    sessions = await asyncio.gather(
        *(
            identity.sign_in_with_wechat(wx, login(provider, user), View.CONSUMER, button(provider, number), HERE)
            for _ in range(6)
        )
    )
    assert len({session.person.id for session in sessions if isinstance(session, Session)}) == 1
    assert await wx.database.fetchval("SELECT count(*) FROM person WHERE phone = $1", number) == 1


async def test_one_ticket_binds_one_phone(wx: Runtime, provider: Provider) -> None:
    needed = await enter(wx, provider, phone())
    assert isinstance(needed, WeChatPhoneNeeded)
    results = await asyncio.gather(
        *(
            identity.bind_wechat(wx, needed.ticket, View.CONSUMER, button(provider, phone()), None, None, HERE)
            for _ in range(4)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Session) for result in results) == 1
    assert sum(isinstance(result, WeChatTicketInvalid) for result in results) == 3


async def test_the_same_human_in_another_app_is_recognised(wx: Runtime, provider: Provider) -> None:
    user, number = phone(), phone()
    first = await identity.sign_in_with_wechat(wx, login(provider, user), View.CONSUMER, button(provider, number), HERE)
    await wx.database.execute("UPDATE wechat_account SET app_id = 'another', openid = 'another ' || openid")
    again = await enter(wx, provider, user)
    assert isinstance(first, Session) and isinstance(again, Session) and again.person.id == first.person.id
    assert await wx.database.fetchval("SELECT count(*) FROM wechat_account WHERE person_id = $1", first.person.id) == 2


async def test_tickets_are_ours_and_end(wx: Runtime, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = await enter(wx, provider, phone())
    assert isinstance(needed, WeChatPhoneNeeded)
    text, _, tag = needed.ticket.partition(".")
    for bad in ("", ".", text, f"{text}.", f"{text}.x", f"x{text}.{tag}", f"{text}.{tag}x", "é.é", "x" * 5000):
        with pytest.raises(WeChatTicketInvalid):
            await identity.bind_wechat(wx, bad, View.CONSUMER, button(provider, phone()), None, None, HERE)
    monkeypatch.setattr("services.identity.wechat.wall_now", lambda: needed.expires_at)
    with pytest.raises(WeChatTicketInvalid):
        await identity.bind_wechat(wx, needed.ticket, View.CONSUMER, button(provider, phone()), None, None, HERE)


async def test_views_for_workers_need_the_role(world: World, provider: Provider) -> None:
    wx, user, number = replace(world.runtime, wechat=provider.client), phone(), phone()
    with pytest.raises(PermissionDenied):
        await identity.sign_in_with_wechat(wx, login(provider, user), View.MERCHANT, button(provider, number), HERE)
    assert await wx.database.fetchval("SELECT count(*) FROM person WHERE phone = $1", number) == 0
    await identity.grant_store_role(wx, world.admin, await world.store(), number, GrantRole.STORE_CLERK)
    session = await identity.sign_in_with_wechat(
        wx, login(provider, user), View.MERCHANT, button(provider, number), HERE
    )
    assert isinstance(session, Session) and session.view is View.MERCHANT
    with pytest.raises(PermissionDenied):
        await enter(wx, provider, user, View.RIDER)


@pytest.mark.parametrize(
    ("fault", "expected", "again"),
    [
        ("40029", WeChatCodeInvalid, None), ("40226", WeChatAccountAtRisk, None), ("45011", WeChatUnavailable, 60),
        ("-1", WeChatUnavailable, 1), ("garbage", WeChatUnavailable, 1), ("40013", WeChatUnavailable, None),
    ],
)  # fmt: skip
async def test_refusals_are_told(
    wx: Runtime, provider: Provider, fault: str, expected: type[BusinessError], again: int | None
) -> None:
    with pytest.raises(expected) as refused:
        await identity.sign_in_with_wechat(wx, login(provider, "li", fault), View.CONSUMER, None, HERE)
    assert getattr(refused.value, "retry_after_seconds", None) == again
    assert refused.value.code.startswith("WECHAT_")


async def test_without_an_app_it_says_so(runtime: Runtime) -> None:
    with pytest.raises(WeChatUnavailable) as refused:
        await identity.sign_in_with_wechat(runtime, "code", View.CONSUMER, None, HERE)
    assert refused.value.retry_after_seconds is None


async def test_made_up_codes_are_limited_and_good_ones_are_not(wx: Runtime, provider: Provider) -> None:
    few = replace(wx, settings=wx.settings.model_copy(update={"otp_guesses_per_address": 3}))
    here = Caller("9.9.9.9")
    for _ in range(4):
        assert await identity.sign_in_with_wechat(few, login(provider, phone()), View.CONSUMER, None, here)
        with pytest.raises(WeChatUnavailable):
            await identity.sign_in_with_wechat(few, login(provider, "li", "-1"), View.CONSUMER, None, here)
    for _ in range(3):
        with pytest.raises(WeChatCodeInvalid):
            await identity.sign_in_with_wechat(few, "made up", View.CONSUMER, None, here)
    with pytest.raises(OtpRateLimited):
        await identity.sign_in_with_wechat(few, login(provider, phone()), View.CONSUMER, None, here)


@pytest.mark.parametrize("code", ["", "x" * 513, "nul\0"])
async def test_what_is_no_code_is_not_asked(wx: Runtime, provider: Provider, code: str) -> None:
    needed = await enter(wx, provider, phone())
    assert isinstance(needed, WeChatPhoneNeeded)
    with pytest.raises(InvalidInput):
        await identity.sign_in_with_wechat(wx, code, View.CONSUMER, None, HERE)
    with pytest.raises(InvalidInput):
        await identity.bind_wechat(wx, needed.ticket, View.CONSUMER, code, None, None, HERE)
    for given in ((None, None, None), (None, phone(), None), ("code", phone(), "123456")):
        with pytest.raises(InvalidInput):
            await identity.bind_wechat(wx, needed.ticket, View.CONSUMER, *given, HERE)
