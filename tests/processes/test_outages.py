"""The database goes away and comes back while a process serves: callers are told to try again, and then it works."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx

from app import create_app
from core.settings import Settings
from services import seed
from tests.processes.installation import until
from tests.proxy import proxied

CITIES = {"query": "{ cities { id } }"}


async def test_without_its_database_it_says_try_again(database_url: str, tmp_path: Path) -> None:
    parts = urlsplit(database_url)
    assert parts.port is not None
    async with proxied(parts.port) as proxy:
        account = parts.netloc.rpartition("@")[0]
        url = urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{proxy.port}"))
        app = create_app(Settings(database_url=url, data_dir=tmp_path, sandbox=True))
        async with app.router.lifespan_context(app):
            tokens = await seed.demo_tokens(app.state.program.runtime)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                signed_in = {"authorization": f"Bearer {tokens['merchant']}"}

                async def ready() -> bool:
                    return (await client.get("/readyz")).status_code == 200

                await until(ready)
                proxy.refusing = True
                proxy.cut_all()
                answer = await client.post("/graphql", json=CITIES)
                assert answer.status_code == 200
                said = answer.json()["errors"][0]["extensions"]
                assert said == {"code": "SERVICE_UNAVAILABLE", "retryAfterSeconds": 1}
                refused = await client.post("/graphql", json=CITIES, headers=signed_in)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
                assert not await ready()
                assert (await client.get("/healthz")).status_code == 200
                proxy.refusing = False

                async def answered() -> bool:
                    return "errors" not in (await client.post("/graphql", json=CITIES, headers=signed_in)).json()

                await until(answered)
                await until(ready)
