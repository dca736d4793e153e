"""Codes and guesses are limited per phone, address and installation, durably and at the same time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from auth.principals import View
from clients.unconfigured import NoSms
from services import identity, retention
from services.errors import InvalidInput, OtpInvalid, OtpLimit, OtpRateLimited
from services.identity import Caller
from services.limits import network
from services.runtime import Runtime
from tests.identity.world import World, code_sent, phone, sign_in, wrong

T = TypeVar("T")
_addresses = itertools.count(1)


def address() -> str:
    """Of the internet, and of no other test."""
    n = next(_addresses)
    return f"8.8.{n // 256}.{n % 256}"


def with_limits(runtime: Runtime, **most: int) -> Runtime:
    return replace(runtime, settings=runtime.settings.model_copy(update=most))


async def limited(asked: Awaitable[Any]) -> OtpRateLimited:
    with pytest.raises(OtpRateLimited) as refused:
        await asked
    return refused.value


async def no_pause(runtime: Runtime, number: str) -> None:
    await runtime.database.execute(
        "UPDATE one_time_code SET created_at = created_at - interval '1 hour' WHERE phone = $1", number
    )


async def a_day_later(runtime: Runtime) -> None:
    await runtime.database.execute("UPDATE rate_limit SET ends_at = ends_at - interval '1 day'")


async def test_codes_of_a_phone_in_a_day(runtime: Runtime) -> None:
    few, number = with_limits(runtime, otp_codes_per_phone=3), phone()
    for view in (View.CONSUMER, View.RIDER, View.CONSUMER):
        await identity.request_otp(few, number, view, Caller(address()))
        await no_pause(runtime, number)
    refused = await limited(identity.request_otp(few, number, View.CONSUMER, Caller(address())))
    assert refused.limit is OtpLimit.PHONE
    assert 86_000 <= refused.retry_after_seconds <= 86_400
    assert await identity.request_otp(few, phone(), View.CONSUMER)
    await a_day_later(runtime)
    assert await identity.request_otp(few, number, View.CONSUMER)


async def test_codes_asked_for_from_an_address(runtime: Runtime) -> None:
    few, here = with_limits(runtime, otp_codes_per_address=4), address()
    results = await asyncio.gather(
        *(identity.request_otp(few, phone(), View.CONSUMER, Caller(here)) for _ in range(12)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, OtpRateLimited)]
    assert len(refused) == 8
    assert {one.limit for one in refused} == {OtpLimit.ADDRESS}
    assert await identity.request_otp(few, phone(), View.CONSUMER, Caller(address()))


async def test_codes_asked_for_by_an_installation_wherever_it_is(runtime: Runtime) -> None:
    few, app = with_limits(runtime, otp_codes_per_device=2), "installation " + phone()
    for _ in range(2):
        await identity.request_otp(few, phone(), View.CONSUMER, Caller(address(), app))
    refused = await limited(identity.request_otp(few, phone(), View.CONSUMER, Caller(address(), app)))
    assert refused.limit is OtpLimit.DEVICE
    assert await identity.request_otp(few, phone(), View.CONSUMER, Caller(address(), app + "x"))


async def test_what_was_refused_or_not_sent_does_not_count(runtime: Runtime) -> None:
    few, number, here = with_limits(runtime, otp_codes_per_phone=2, otp_codes_per_address=2), phone(), address()
    for _ in range(3):
        with pytest.raises(InvalidInput):
            await identity.request_otp(replace(few, sms=NoSms()), number, View.CONSUMER, Caller(here))
    await identity.request_otp(few, number, View.CONSUMER, Caller(here))
    for _ in range(3):
        assert (await limited(identity.request_otp(few, number, View.CONSUMER, Caller(here)))).limit is OtpLimit.PAUSE
    await no_pause(runtime, number)
    assert await identity.request_otp(few, number, View.CONSUMER, Caller(here))


async def guess(runtime: Runtime, number: str, caller: Caller) -> None:
    with pytest.raises(OtpInvalid):
        await identity.sign_in(runtime, number, wrong(code_sent(runtime, number)), View.CONSUMER, caller=caller)


async def test_guesses_of_a_phone_over_all_its_codes(runtime: Runtime) -> None:
    few, number = with_limits(runtime, otp_guesses_per_phone=7), phone()
    for guesses in (5, 2):
        await identity.request_otp(few, number, View.CONSUMER)
        for _ in range(guesses):
            await guess(few, number, Caller(address()))
        await no_pause(runtime, number)
    code = code_sent(runtime, number)
    refused = await limited(identity.sign_in(few, number, code, View.CONSUMER))
    assert refused.limit is OtpLimit.PHONE
    # The attempt that was refused is not one of the code's.
    await a_day_later(runtime)
    assert await identity.sign_in(few, number, code, View.CONSUMER)


@pytest.mark.parametrize("scope", [OtpLimit.ADDRESS, OtpLimit.DEVICE])
async def test_one_guesser_of_many_phones(runtime: Runtime, scope: OtpLimit) -> None:
    few = with_limits(runtime, otp_guesses_per_address=3, otp_guesses_per_device=3)
    here = Caller(address()) if scope is OtpLimit.ADDRESS else Caller("", "installation " + phone())
    numbers = [phone() for _ in range(4)]
    for number in numbers:
        await identity.request_otp(few, number, View.CONSUMER)
    for number in numbers[:3]:
        await guess(few, number, here)
    code = code_sent(runtime, numbers[3])
    assert (await limited(identity.sign_in(few, numbers[3], code, View.CONSUMER, caller=here))).limit is scope
    # Who is elsewhere is not concerned, and the right code was not one of the wrong ones.
    assert await identity.sign_in(few, numbers[3], code, View.CONSUMER)


async def test_guesses_without_a_code_count_for_the_guesser_and_not_for_the_phone(runtime: Runtime) -> None:
    few, number, here = with_limits(runtime, otp_guesses_per_phone=1, otp_guesses_per_address=4), phone(), address()
    for _ in range(4):
        with pytest.raises(OtpInvalid):
            await identity.sign_in(few, number, "000000", View.CONSUMER, caller=Caller(here))
    refused = await limited(identity.sign_in(few, number, "000000", View.CONSUMER, caller=Caller(here)))
    assert refused.limit is OtpLimit.ADDRESS
    await identity.request_otp(few, number, View.CONSUMER)
    assert await identity.sign_in(few, number, code_sent(runtime, number), View.CONSUMER)


async def test_right_codes_are_not_counted(runtime: Runtime) -> None:
    few = with_limits(runtime, otp_guesses_per_phone=1, otp_guesses_per_address=1, otp_guesses_per_device=1)
    number, caller = phone(), Caller(address(), "installation " + phone())
    for _ in range(3):
        await no_pause(runtime, number)
        await identity.request_otp(few, number, View.CONSUMER, caller)
        assert await identity.sign_in(few, number, code_sent(runtime, number), View.CONSUMER, caller=caller)


async def test_nothing_tells_whether_a_phone_is_known(world: World) -> None:
    """Answers and limits are the same for a stranger, a consumer and a rider."""
    runtime = with_limits(world.runtime, otp_codes_per_phone=1)
    consumer, rider = phone(), phone()
    await sign_in(world.runtime, consumer, View.CONSUMER)
    await world.rider_session(rider)
    await world.runtime.database.execute("DELETE FROM rate_limit")
    answers: list[Any] = []
    for number in (phone(), consumer, rider):
        await no_pause(runtime, number)
        sent = await identity.request_otp(runtime, number, View.RIDER)
        with pytest.raises(OtpInvalid) as invalid:
            await identity.sign_in(runtime, number, wrong(code_sent(runtime, number)), View.RIDER)
        await no_pause(runtime, number)
        refused = await limited(identity.request_otp(runtime, number, View.RIDER))
        answers.append((sent.resend_after_seconds, invalid.value.attempts_left, refused.limit))
    assert answers == [(60, 4, OtpLimit.PHONE)] * 3


async def test_the_table_of_limits_names_nobody(runtime: Runtime) -> None:
    number, here, app = phone(), address(), "installation " + phone()
    await identity.request_otp(runtime, number, View.CONSUMER, Caller(here, app))
    rows = await runtime.database.fetch("SELECT id FROM rate_limit")
    assert len(rows) >= 3
    for row in rows:
        assert not any(secret in row["id"] for secret in (number, number[3:], here, app))


async def test_what_is_over_is_forgotten(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    await retention.forget(runtime)
    assert await runtime.database.fetchval("SELECT count(*) FROM one_time_code WHERE phone = $1", number) == 1
    await a_day_later(runtime)
    await runtime.database.execute(
        "UPDATE one_time_code SET expires_at = expires_at - interval '2 days' WHERE phone = $1", number
    )
    await retention.forget(runtime)
    assert await runtime.database.fetchval("SELECT count(*) FROM rate_limit") == 0
    assert await runtime.database.fetchval("SELECT count(*) FROM one_time_code WHERE phone = $1", number) == 0


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ("8.8.4.4", "8.8.4.4"), ("::ffff:8.8.4.4", "8.8.4.4"), ("2400:3200:1:2:3:4:5:6", "2400:3200:1:2::/64"),
        ("127.0.0.1", None), ("10.1.2.3", None), ("::1", None), ("fe80::1", None), ("", None), ("testclient", None),
    ],
)  # fmt: skip
def test_what_counts_as_an_address(given: str, counted: str | None) -> None:
    assert network(given) == counted


@pytest.mark.parametrize(("id", "name"), [("short", None), ("x" * 129, None), ("a\0" * 10, None), ("x" * 20, "")])
def test_nonsense_about_an_installation_is_refused(id: str, name: str | None) -> None:
    with pytest.raises(InvalidInput) as refused:
        Caller.checked("", id, name)
    assert refused.value.field.startswith("installation.")
