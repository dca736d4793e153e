"""The command line makes the first city, its admin and its partners on an empty installation."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from auth.clients import authenticate
from auth.principals import View
from cli import cli
from tests.identity.world import principal, sign_in
from tests.support import make_runtime

PHONE = "+8613900009999"


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HUTONG_DATABASE_URL", database_url)
    monkeypatch.setenv("HUTONG_DATA_DIR", str(tmp_path))

    async def operator(*arguments: str, fails: bool = False) -> str:
        # The command has a loop of its own, as in a process of its own.
        result = await asyncio.to_thread(CliRunner().invoke, cli, list(arguments))
        assert bool(result.exit_code) == fails, (result.output, result.exception)
        return result.output

    return operator


async def test_an_empty_installation_gets_its_first_people(run: Any, database_url: str, tmp_path: Path) -> None:
    city = ("admin", "city", "suzhou", "苏州", "--latitude", "31.3", "--longitude", "120.6")
    assert "suzhou is cit_" in await run(*city)
    assert "slug: is taken" in await run(*city, fails=True)
    await run("admin", "city", "nowhere", "X", "--latitude", "91", "--longitude", "0", fails=True)
    await run("admin", "city", "x1", "X", "--latitude", "1", "--longitude", "0", "--timezone", "Mars/Base", fails=True)
    assert "No such City" in await run("admin", "appoint", "nanjing", PHONE, "Li", fails=True)
    await run("admin", "appoint", "suzhou", PHONE, "Li")
    await run("admin", "appoint", "suzhou", PHONE, "Li")
    assert (await run("admin", "list")).count(PHONE) == 1

    made = await run("partner", "create", "suzhou", "Example", "--client-id", "example")
    first = re.search(r"client secret +(\S+)", made)
    assert first is not None
    second = re.search(r"client secret +(\S+)", await run("partner", "rotate-secret", "example", "--overlap", "1"))
    assert second is not None
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    file = tmp_path / "public.pem"
    file.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    kid = (await run("partner", "add-key", "example", str(file))).split()[1]
    listed = await run("partner", "list")
    assert kid in listed and listed.count("pcr_") == 3
    (line,) = [line for line in listed.splitlines() if "ends" in line]
    await run("partner", "revoke", line.split()[0], "--reason", "rotation")
    await run("partner", "revoke", "pcr_nonsense", "--reason", "x", fails=True)
    await run("partner", "rotate-secret", "nobody", fails=True)

    async with make_runtime(database_url) as runtime:
        session = await sign_in(runtime, PHONE, View.ADMIN)
        city_id = await runtime.database.fetchval("SELECT id FROM city")
        assert (await principal(runtime, session)).administers(city_id)
        form = {"client_id": "example", "client_secret": second[1]}
        assert (await authenticate(runtime.database, None, form, ())).view is View.PARTNER
        rows = await runtime.database.fetch("SELECT DISTINCT view FROM audit_entry")
        assert [row["view"] for row in rows] == ["OPERATOR"]
        assert await runtime.database.fetchval("SELECT count(*) FROM audit_entry") == 7
    await run("admin", "dismiss", "suzhou", PHONE)
    await run("admin", "dismiss", "suzhou", PHONE, fails=True)
    assert PHONE not in await run("admin", "list")
