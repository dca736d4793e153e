"""What clients are told when the server ends before it has answered."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from auth.principals import Principal
from tests.patience import PATIENCE
from tests.realtime.wire import serve


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "application/graphql-response+json"])
async def test_a_request_that_is_broken_off_is_asked_to_come_again(accept: str) -> None:
    """uvicorn cancels what is not over in time, and makes a 500 of it unless somebody answers."""
    async with serve() as site, httpx.AsyncClient(timeout=PATIENCE) as client:
        entered = asyncio.Event()

        async def principal(token: str | None) -> Principal:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

        site.doorman.principal = principal  # type: ignore[method-assign]
        url = site.url.replace("ws:", "http:")
        asked = asyncio.create_task(client.post(url, json={"query": "{ hello }"}, headers={"accept": accept}))
        await entered.wait()
        for task in list(site.server.server_state.tasks):
            task.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")
        response = await asked
    assert response.status_code == 503 and response.headers["retry-after"] == "1"
    assert response.json()["errors"][0]["extensions"]["code"] == "RESTARTING"
