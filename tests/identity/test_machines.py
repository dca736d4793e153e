"""Partners and devices: the token endpoint (RFC 6749, section 4.4) and what their tokens are good for."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.parse import quote_plus
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette

from auth import authenticate, http
from auth.authenticate import REMEMBERED_FOR, Authenticator
from auth.principals import Principal, PrincipalKind, View
from auth.tokens import Reason, Unauthenticated, hash_secret
from services import partners
from services.runtime import Runtime
from services.unit import transaction
from tests.identity.world import World

SECRET = "a secret+with/odd=chars%&é"


@dataclass
class Machine:
    id: UUID
    client_id: str


@pytest.fixture
async def endpoint(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=http.routes(runtime, runtime.keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hutong.test") as client:
        yield client


async def machine(world: World, kind: View, store_id: UUID | None = None) -> Machine:
    id = world.runtime.new_id()
    client_id = f"{kind.lower()}:{id.hex[:20]}"
    await world.runtime.database.execute(
        """INSERT INTO client (id, kind, name, client_id, secret_hash, store_id, city_id, created_at)
           VALUES ($1, $2, 'Machine', $3, $4, $5, $6, $7)""",
        id, kind.value, client_id, hash_secret(SECRET) if kind is View.DEVICE else None, store_id, world.city_id,
        world.runtime.clock.now(),
    )  # fmt: skip
    if kind is View.PARTNER:
        async with transaction(world.runtime) as unit:
            await partners.add_secret(unit, id, "Secret", SECRET)
    return Machine(id, client_id)


def basic(client_id: str, secret: str = SECRET) -> dict[str, str]:
    text = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


GRANT = {"grant_type": "client_credentials"}


async def test_a_partner_gets_a_token_by_basic_authentication(world: World, endpoint: httpx.AsyncClient) -> None:
    partner = await machine(world, View.PARTNER)
    answer = await endpoint.post("/oauth/token", data=GRANT, headers=basic(partner.client_id))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    who = await Authenticator(world.runtime.database, world.runtime.keys).principal(body["access_token"])
    assert who == Principal(
        PrincipalKind.PARTNER, View.PARTNER, partner.id, expires_at=who.expires_at, city_id=world.city_id
    )


async def test_a_device_gets_a_token_by_form_and_works_at_its_store(world: World, endpoint: httpx.AsyncClient) -> None:
    store, other = await world.store(), await world.store()
    device = await machine(world, View.DEVICE, store)
    answer = await endpoint.post("/oauth/token", data={**GRANT, "client_id": device.client_id, "client_secret": SECRET})
    assert answer.status_code == 200
    authenticator = Authenticator(world.runtime.database, world.runtime.keys)
    who = await authenticator.principal(answer.json()["access_token"])
    assert who.view is View.DEVICE
    assert who.works_at(store)
    assert not who.works_at(other)
    assert not who.works_at(store, managing=True)


async def test_a_revoked_client_is_out_and_gets_nothing(
    world: World, endpoint: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = await machine(world, View.PARTNER)
    token = (await endpoint.post("/oauth/token", data=GRANT, headers=basic(partner.client_id))).json()["access_token"]
    authenticator = Authenticator(world.runtime.database, world.runtime.keys)
    assert await authenticator.principal(token)
    # As another process does it: this one notices when what it remembers is over.
    await world.runtime.database.execute("UPDATE client SET revoked_at = now() WHERE id = $1", partner.id)
    later = time.monotonic() + REMEMBERED_FOR
    monkeypatch.setattr(authenticate, "time", SimpleNamespace(monotonic=lambda: later))
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.principal(token)
    assert refused.value.reason is Reason.REVOKED
    answer = await endpoint.post("/oauth/token", data=GRANT, headers=basic(partner.client_id))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_wrong_clients_are_refused_alike(world: World, endpoint: httpx.AsyncClient) -> None:
    partner = await machine(world, View.PARTNER)
    headers = [
        basic(partner.client_id, "wrong"), basic(partner.client_id, ""), basic("nobody"), basic("nobody", ""),
        basic("nul\0"), {"authorization": "Basic !!!"}, {"authorization": "Bearer x"}, {},
        {"authorization": "Basic " + base64.b64encode(b"\xff:x").decode()},
    ]  # fmt: skip
    for header in headers:
        answer = await endpoint.post("/oauth/token", data=GRANT, headers=header)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), header
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert answer.headers["cache-control"] == "no-store"


async def test_malformed_requests_are_told_why(world: World, endpoint: httpx.AsyncClient) -> None:
    partner = await machine(world, View.PARTNER)
    header = basic(partner.client_id)
    form = {**header, "content-type": "application/x-www-form-urlencoded"}

    async def error(expected: int = 400, **request: object) -> str:
        answer = await endpoint.post("/oauth/token", **request)  # type: ignore[arg-type]
        assert answer.status_code == expected
        return answer.json()["error"]

    assert await error(data={}, headers=form) == "invalid_request"
    assert await error(data={"grant_type": "password"}, headers=header) == "unsupported_grant_type"
    assert await error(data={**GRANT, "scope": "everything"}, headers=header) == "invalid_scope"
    assert await error(json=GRANT, headers=header) == "invalid_request"
    assert await error(data={**GRANT, "client_secret": "x"}, headers=header) == "invalid_request"
    twice = "grant_type=client_credentials&grant_type=client_credentials"
    assert await error(content=twice, headers=form) == "invalid_request"
    assert await error(413, content="x=" + "y" * 9000, headers=form) == "invalid_request"
    assert (await endpoint.get("/oauth/token")).status_code == 405
