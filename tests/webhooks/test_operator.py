"""The operator does all of it at the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import cli
from core.ids import encode
from services import partners, webhooks
from tests.ordering.world import FakeProvider, build
from tests.support import make_runtime


async def test_from_sharing_a_store_to_replaying(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = FakeProvider()
    # Closed before the commands: each opens a program of its own in a loop of its own.
    async with make_runtime(database_url, payments=provider) as runtime:
        city = await build(runtime, provider)
        partner = (await partners.create(runtime, None, city.id, "Partner")).partner
        await webhooks.share_store(runtime, None, partner.id, city.store_id)
    client, store = partner.client_id, encode("Store", city.store_id)
    monkeypatch.setenv("HUTONG_DATABASE_URL", database_url)
    monkeypatch.setenv("HUTONG_DATA_DIR", str(tmp_path))

    async def run(*arguments: str, status: int = 0) -> str:
        # The command has a loop of its own, as in a process of its own.
        result = await asyncio.to_thread(CliRunner().invoke, cli, ["webhook", *arguments])
        assert result.exit_code == status, (result.output, result.exception)
        return result.output

    made = await run("create", client, "https://example.com/hook", "--type", "order.ready", "--type", "order.paid")
    endpoint = next(word for word in made.split() if word.startswith("whe_"))
    assert "whsec_" in made
    await run("create", client, "http://127.0.0.1/", status=1)  # a production installation
    listed = await run("list", client)
    assert f"{endpoint}  enabled  https://example.com/hook  order.paid, order.ready" in listed and store in listed
    assert endpoint in await run("list")
    await run("list", "nobody", status=1)
    assert "whsec_" in await run("rotate-secret", endpoint, "--overlap", "1")
    ping = next(word for word in (await run("ping", endpoint)).split() if word.startswith("whd_"))
    assert ping in await run("deliveries", endpoint, "--state", "PENDING")
    assert ping not in await run("deliveries", endpoint, "--state", "FAILED")
    assert ping in await run("resend", ping)
    assert "0 are sent again" in await run("replay", endpoint, "--starting", "2026-03-02T12:00:00+08:00")
    await run("replay", endpoint, "--starting", "2026-03-02T12:00:00", status=2)
    await run("replay", endpoint, "--after", "nonsense", status=1)
    await run("replay", endpoint, status=1)
    assert "disabled (requested)" in await run("disable", endpoint, "--reason", "noise")
    await run("ping", endpoint, status=1)
    assert "enabled" in await run("enable", endpoint)
    await run("unshare", client, store)
    assert store not in await run("list", client)
    await run("share", client, store)
    await run("share", client, "nonsense", status=1)
    assert store in await run("list", client)
