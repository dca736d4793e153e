"""Signing in by text message: pause, attempts, expiry, views, and what happens at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from auth.principals import View
from clients.sms import SandboxSms
from clients.unconfigured import NoSms
from core.clock import ManualClock, wall_now
from core.errors import BusinessError
from models.identity import GrantRole
from services import identity
from services.errors import InvalidInput, OtpInvalid, OtpRateLimited, PermissionDenied
from services.runtime import Runtime
from tests.identity.world import World, ago, code_sent, phone, principal, sign_in, wrong


async def test_a_code_makes_a_consumer_and_a_session(runtime: Runtime) -> None:
    number = phone()
    sent = await identity.request_otp(runtime, number, View.CONSUMER)
    assert sent.phone == number
    assert sent.resend_after_seconds == 60
    session = await identity.sign_in(runtime, number, code_sent(runtime, number), View.CONSUMER, " Li ")
    assert session.person.name == "Li"
    assert session.person.phone == number
    assert (await principal(runtime, session)).subject == session.person.id
    again = await sign_in(runtime, number, View.CONSUMER, "Somebody else")
    assert (again.person.id, again.person.name) == (session.person.id, "Li")


@pytest.mark.parametrize("spelling", ["139 0000 {:04d}", "+86 139-0000-{:04d}", "0086 1390000{:04d}"])
async def test_one_phone_however_it_is_spelt(runtime: Runtime, spelling: str) -> None:
    number = phone()
    spelt = spelling.format(int(number[-4:]))
    sent = await identity.request_otp(runtime, spelt, View.CONSUMER)
    assert sent.phone == number
    assert await identity.sign_in(runtime, spelt, code_sent(runtime, number), View.CONSUMER)


@pytest.mark.parametrize(
    "nonsense", ["", "12345", "+86 100", "phone", "1" * 60, "+8613900000001;ext=5", "139\x000000001"]
)
async def test_what_is_no_phone_is_refused(runtime: Runtime, nonsense: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await identity.request_otp(runtime, nonsense, View.CONSUMER)
    assert refused.value.field == "phone"


@pytest.mark.parametrize("view", [View.PARTNER, View.DEVICE])
async def test_machines_do_not_sign_in_by_phone(runtime: Runtime, view: View) -> None:
    with pytest.raises(InvalidInput):
        await identity.request_otp(runtime, phone(), view)
    with pytest.raises(InvalidInput):
        await identity.sign_in(runtime, phone(), "123456", view)


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\0b"])
async def test_a_bad_name_is_refused_before_the_code_is_used(runtime: Runtime, name: str) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    with pytest.raises(InvalidInput):
        await identity.sign_in(runtime, number, code_sent(runtime, number), View.CONSUMER, name)
    assert await identity.sign_in(runtime, number, code_sent(runtime, number), View.CONSUMER)


async def test_only_a_keyed_hash_of_the_code_is_stored(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    row = await runtime.database.fetchrow("SELECT * FROM one_time_code WHERE phone = $1", number)
    assert row is not None
    assert len(row["code_hash"]) == 64
    assert code_sent(runtime, number) not in row["code_hash"]


async def test_the_next_code_has_to_wait_whatever_the_view(runtime: Runtime) -> None:
    number = phone()
    begun = wall_now()
    await identity.request_otp(runtime, number, View.CONSUMER)
    for view in (View.CONSUMER, View.RIDER):
        with pytest.raises(OtpRateLimited) as refused:
            await identity.request_otp(runtime, number, view)
        passed = (wall_now() - begun).total_seconds()
        assert 60 - passed <= refused.value.retry_after_seconds <= 60


async def test_requests_at_the_same_time_send_one_code(runtime: Runtime) -> None:
    number = phone()
    results = await asyncio.gather(
        *(identity.request_otp(runtime, number, View.CONSUMER) for _ in range(12)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert all(isinstance(r, OtpRateLimited) for r in results if isinstance(r, BaseException))
    assert await runtime.database.fetchval("SELECT count(*) FROM one_time_code WHERE phone = $1", number) == 1


async def test_wall_time_rules_even_when_the_city_runs_fast(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    clock = runtime.clock
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(days=2))
    with pytest.raises(OtpRateLimited):
        await identity.request_otp(runtime, number, View.CONSUMER)
    session = await identity.sign_in(runtime, number, code_sent(runtime, number), View.CONSUMER)
    assert (await principal(runtime, session)).subject == session.person.id


async def test_guesses_at_the_same_time_are_no_more_than_allowed(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    code = code_sent(runtime, number)
    results = await asyncio.gather(
        *(identity.sign_in(runtime, number, wrong(code, n), View.CONSUMER) for n in range(1, 31)),
        return_exceptions=True,
    )
    assert all(isinstance(result, OtpInvalid) for result in results)
    left = sorted(result.attempts_left for result in results if isinstance(result, OtpInvalid))
    assert left == [0] * 26 + [1, 2, 3, 4]
    # Refused attempts are remembered: the right code comes too late.
    with pytest.raises(OtpInvalid):
        await identity.sign_in(runtime, number, code, View.CONSUMER)
    assert await runtime.database.fetchval("SELECT count(*) FROM person WHERE phone = $1", number) == 0


async def test_the_right_code_works_once_also_at_the_same_time(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    code = code_sent(runtime, number)
    results = await asyncio.gather(
        *(identity.sign_in(runtime, number, code, View.CONSUMER) for _ in range(4)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert all(isinstance(r, OtpInvalid) for r in results if isinstance(r, BaseException))
    with pytest.raises(OtpInvalid):
        await identity.sign_in(runtime, number, code, View.CONSUMER)


async def test_a_code_ends_with_its_time(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    await runtime.database.execute("UPDATE one_time_code SET expires_at = $2 WHERE phone = $1", number, ago(seconds=1))
    with pytest.raises(OtpInvalid) as refused:
        await identity.sign_in(runtime, number, code_sent(runtime, number), View.CONSUMER)
    assert refused.value.attempts_left == 0


async def test_a_newer_code_replaces_the_older_one(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    first = code_sent(runtime, number)
    await runtime.database.execute("UPDATE one_time_code SET created_at = $2 WHERE phone = $1", number, ago(minutes=2))
    await identity.request_otp(runtime, number, View.CONSUMER)
    if first != code_sent(runtime, number):
        with pytest.raises(OtpInvalid):
            await identity.sign_in(runtime, number, first, View.CONSUMER)
    assert await identity.sign_in(runtime, number, code_sent(runtime, number), View.CONSUMER)


async def test_a_code_is_for_one_view(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    with pytest.raises(OtpInvalid):
        await identity.sign_in(runtime, number, code_sent(runtime, number), View.ADMIN)


@pytest.mark.parametrize("view", [View.MERCHANT, View.RIDER, View.ADMIN])
async def test_a_view_for_workers_needs_a_role_and_the_code_is_spent(runtime: Runtime, view: View) -> None:
    number = phone()
    await identity.request_otp(runtime, number, view)
    code = code_sent(runtime, number)
    with pytest.raises(PermissionDenied):
        await identity.sign_in(runtime, number, code, view)
    with pytest.raises(OtpInvalid):
        await identity.sign_in(runtime, number, code, view)
    assert await runtime.database.fetchval("SELECT count(*) FROM person WHERE phone = $1", number) == 0


async def test_staff_and_owners_of_merchants_sign_in_as_merchants(world: World) -> None:
    runtime, clerk = world.runtime, phone()
    assert (await sign_in(runtime, world.owner_phone, View.MERCHANT)).view is View.MERCHANT
    grant = await identity.grant_store_role(runtime, world.admin, await world.store(), clerk, GrantRole.STORE_CLERK)
    assert await sign_in(runtime, clerk, View.MERCHANT)
    await identity.revoke_grant(runtime, world.admin, grant.id)
    with pytest.raises(PermissionDenied):
        await sign_in(runtime, clerk, View.MERCHANT)


async def test_a_text_that_cannot_be_sent_makes_nobody_wait(runtime: Runtime) -> None:
    number = phone()
    with pytest.raises(BusinessError):
        await identity.request_otp(replace(runtime, sms=NoSms()), number, View.CONSUMER)
    assert await identity.request_otp(runtime, number, View.CONSUMER)


async def test_many_people_sign_in_at_once_and_read_their_own_code(runtime: Runtime) -> None:
    numbers = [phone() for _ in range(150)]

    async def one(number: str) -> str:
        await identity.request_otp(runtime, number, View.CONSUMER)
        return (await identity.sign_in(runtime, number, code_sent(runtime, number), View.CONSUMER)).person.phone

    assert await asyncio.gather(*map(one, numbers)) == numbers


async def test_every_process_reads_the_sandbox_phones(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = SandboxSms(runtime.database), SandboxSms(runtime.database)
    await asyncio.gather(one.start(), two.start())
    monkeypatch.setattr("clients.sms.KEPT", 3)
    sent = [("+1", "a"), ("+2", "b"), ("+1", "c"), ("+3", "d")]
    for number, text in sent:
        await one.send(number, text)
    assert [await two.messages(number) for number in ("+1", "+2", "+4")] == [[("+1", "c")], [("+2", "b")], []]
    assert await two.messages() == sent[1:], "the oldest is forgotten"
