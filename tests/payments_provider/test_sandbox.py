"""The sandbox provider when everything goes wrong at once: all faults, broken receivers, strangers, ends in between."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from typing import Any

import asyncpg
import orjson
import pytest

from clients.payments import ChargeState, NotificationInvalid, NotificationKind, ProviderError
from clients.sandbox_payments import SandboxPayments, _signed
from core.clock import wall_now
from core.settings import Settings
from tests.payments_provider.world import SECRET, Receiver, World, provider


def signed(by: SandboxPayments, body: bytes, *, at: str | None = None) -> dict[str, str]:
    timestamp = str(int(wall_now().timestamp())) if at is None else at
    signature = base64.b64encode(by._private.sign(_signed(timestamp, "nonce", body))).decode()
    return {"x-sandbox-timestamp": timestamp, "x-sandbox-nonce": "nonce", "x-sandbox-signature": signature}


FACT: dict[str, Any] = {
    "kind": "PAID", "out_trade_no": "n", "out_refund_no": None, "amount": 1, "currency": "CNY", "trade_no": "t"
}  # fmt: skip


async def test_when_all_notifications_go_wrong_each_still_arrives(database_url: str, receiver: Receiver) -> None:
    numbers = [f"order-{n}" for n in range(30)]
    async with provider(database_url, receiver, faults=1.0) as world:
        await asyncio.gather(*map(world.paid, numbers))
        await asyncio.gather(*(world.payments.refund(no, f"r-{no}", 100, "why") for no in numbers))
        await world.settled()
        told = Counter(
            (t.kind, t.out_trade_no) for t in (world.payments.verify(*received) for received in receiver.received)
        )
    assert set(told) == {(kind, no) for kind in NotificationKind for no in numbers}
    assert set(told.values()) == {1, 2}


async def test_a_receiver_that_fails_and_faults_together_lose_nothing(database_url: str) -> None:
    receiver = Receiver(answer=lambda number: 500 if number <= 12 else 200)
    async with provider(database_url, receiver, faults=1.0) as world:
        numbers = [f"order-{n}" for n in range(12)]
        await asyncio.gather(*map(world.paid, numbers))
        await world.settled()
        assert {world.payments.verify(*received).out_trade_no for received in receiver.received} == set(numbers)


@pytest.mark.parametrize("status", [301, 400, 404, 413, 503])
async def test_only_a_2xx_counts_as_taken(database_url: str, status: int) -> None:
    receiver = Receiver(answer=lambda number: status if number == 1 else 200)
    async with provider(database_url, receiver) as world:
        await world.paid("order-1")
        assert len(await world.told(2)) == 2
        await world.settled()


async def test_a_process_that_ends_before_the_delivery_leaves_it_to_the_next(database_url: str) -> None:
    deaf, hearing = Receiver(answer=lambda number: 500), Receiver()
    async with provider(database_url, deaf) as world:
        await world.paid("order-1")
        await deaf.until(1)
        await world.payments.stop()
        # The charge and its notification stand; nothing is sent or kept running by a stopped provider.
        assert not world.payments._sending
        sent = len(deaf.received)
        await world.payments.start(database_url, world.base_url)
        deaf.answer = lambda number: 200
        await deaf.until(sent + 1)
        await world.settled()
        assert world.payments.verify(*deaf.received[-1]).out_trade_no == "order-1"
    async with provider(database_url, hearing):
        pass
    assert hearing.received == []


async def test_two_processes_share_charges_and_keys(database_url: str, receiver: Receiver) -> None:
    async with provider(database_url, receiver) as one, provider(database_url, Receiver()) as two:
        await one.charge("order-1")
        assert (await two.pay("order-1"))[0] == 200
        status = await one.payments.query("order-1")
        assert status is not None
        assert status.state is ChargeState.PAID
        # Told to whom the charge named, signed so that either verifies.
        await receiver.until(1)
        assert one.payments.verify(*receiver.received[0]) == two.payments.verify(*receiver.received[0])
        await one.payments.refund("order-1", "refund-1", 600, "why")
        with pytest.raises(ProviderError):
            await two.payments.refund("order-1", "refund-2", 401, "why")


async def test_an_open_call_at_the_end_is_worth_another_try(world: World) -> None:
    await world.charge("order-1")
    async with world.http.get(world.base_url):  # a warm connection
        pass
    results = await asyncio.gather(
        *(world.payments.query("order-1") for _ in range(10)), world.payments.stop(), return_exceptions=True
    )
    errors = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(error, ProviderError) and error.retryable for error in errors), errors
    async with world.http.post(f"{world.api}/charges/order-1/pay") as response:
        assert response.status == 503
        assert await response.json() == {"reason": "STARTING"}


async def test_a_payment_during_the_end_is_told_after_it(world: World, database_url: str) -> None:
    for n in range(10):
        await world.charge(f"order-{n}")
    answers, _ = await asyncio.gather(
        asyncio.gather(*(world.pay(f"order-{n}") for n in range(10)), return_exceptions=True), world.payments.stop()
    )
    await world.payments.start(database_url, world.base_url)
    paid = {f"order-{n}" for n, answer in enumerate(answers) if isinstance(answer, tuple) and answer[0] == 200}
    await world.settled()
    assert paid <= {world.payments.verify(*received).out_trade_no for received in world.receiver.received}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"text"', b"{}", b"\xff", orjson.dumps({**FACT, "kind": "STOLEN"}),
        orjson.dumps({**FACT, "amount": "much"}), orjson.dumps({**FACT, "amount": None}),
        orjson.dumps({**FACT, "kind": "REFUNDED", "amount": []}),
    ],
)  # fmt: skip
async def test_a_well_signed_body_of_the_wrong_shape_is_invalid(body: bytes) -> None:
    payments = SandboxPayments(Settings(), SECRET)
    with pytest.raises(NotificationInvalid):
        payments.verify(signed(payments, body), body)


@pytest.mark.parametrize("at", ["", "now", "0", "-1", "9" * 400, "9" * 5000, "1e9", "NaN"])
async def test_a_well_signed_time_that_is_none_or_far_is_invalid(at: str) -> None:
    payments, body = SandboxPayments(Settings(), SECRET), orjson.dumps(FACT)
    assert payments.verify(signed(payments, body), body).amount == 1
    with pytest.raises(NotificationInvalid):
        payments.verify(signed(payments, body, at=at), body)


async def test_the_api_key_does_not_sign_and_another_key_does_not_count() -> None:
    payments, body = SandboxPayments(Settings(), SECRET), orjson.dumps(FACT)
    for secret in (b"", b"another", SECRET + b" ", payments._api_key.encode()):
        with pytest.raises(NotificationInvalid):
            payments.verify(signed(SandboxPayments(Settings(), secret), body), body)
    # The secret in the settings rules over the installation's.
    named = Settings(payment_notify_secret="named")
    assert SandboxPayments(named, b"x").verify(signed(SandboxPayments(named, b"y"), body), body)


@pytest.mark.parametrize("authorization", ["Bearer", "Bearer ", "Basic eDp5", "bearer é"])
async def test_strangers_are_not_heard(world: World, authorization: str) -> None:
    await world.paid("order-1")
    headers = {"authorization": authorization}
    async with world.http.post(f"{world.api}/charges/order-1/close", headers=headers) as response:
        assert response.status == 401
    # Refused before the body is looked at.
    async with world.http.post(f"{world.api}/refunds", data=b"\xff{", headers=headers) as response:
        assert response.status == 401


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b"\xff", b'{"out_trade_no":1}', b"[" * 5000, orjson.dumps({"out_trade_no": "order-1"}),
        b'{"out_trade_no":"order-1","out_refund_no":"r","amount":true}',
        b'{"out_trade_no":"order-1","out_refund_no":"r","amount":1.0}',
        b'{"out_trade_no":"order-1","out_refund_no":"r","amount":99999999999999999999999}',
    ],
)  # fmt: skip
async def test_a_request_of_the_wrong_shape_is_refused_and_moves_no_money(world: World, body: bytes) -> None:
    await world.paid("order-1")
    headers = {"authorization": f"Bearer {world.payments._api_key}"}
    async with world.http.post(f"{world.api}/refunds", data=body, headers=headers) as response:
        assert response.status == 400
    async with world.http.get(f"{world.api}/charges/order-1", headers=headers) as response:
        assert (await response.json())["refunded"] == 0


async def test_the_database_itself_forbids_to_refund_more_than_was_paid(world: World, database_url: str) -> None:
    await world.paid("order-1")
    connection = await asyncpg.connect(database_url)
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE sandbox.charge SET refunded = 1001")
    finally:
        await connection.close()
