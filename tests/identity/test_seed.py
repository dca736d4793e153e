"""The demo city: made once, whoever asks how often, with a token for every view."""

from __future__ import annotations

import asyncio

from auth.authenticate import Authenticator
from auth.principals import View
from core.ids import decode
from services import identity, seed
from services.runtime import Runtime
from tests.identity.world import sign_in


async def test_seeding_again_changes_nothing(runtime: Runtime) -> None:
    made = await seed.seed(runtime)
    tables = ("city", "store_tag", "person", '"grant"', "rider", "merchant", "store", "item", "client")

    async def counts() -> list[int]:
        return [await runtime.database.fetchval(f"SELECT count(*) FROM {table}") for table in tables]

    before = await counts()
    assert await asyncio.gather(*(seed.seed(runtime) for _ in range(4))) == [made] * 4
    assert await counts() == before


async def test_there_is_a_token_for_every_view(runtime: Runtime) -> None:
    made = await seed.seed(runtime)
    tokens = await seed.demo_tokens(runtime)
    authenticator = Authenticator(runtime.database, runtime.keys)
    who = {view: await authenticator.principal(tokens[view.lower()], view) for view in View}
    assert who[View.ADMIN].administers(made.city_id)
    assert who[View.MERCHANT].works_at(made.store_id, managing=True)
    assert who[View.DEVICE].works_at(made.store_id)
    assert who[View.RIDER].rider_id is not None
    assert who[View.PARTNER].city_id == made.city_id
    assert who[View.CONSUMER].grants == ()
    assert decode("City", tokens["city"]) == made.city_id
    assert decode("Store", tokens["store"]) == made.store_id


async def test_the_demo_people_can_sign_in(runtime: Runtime) -> None:
    made = await seed.seed(runtime)
    for view, number in (
        (View.ADMIN, seed.ADMIN_PHONE),
        (View.MERCHANT, seed.OWNER_PHONE),
        (View.RIDER, seed.RIDER_PHONE),
        (View.CONSUMER, seed.CONSUMER_PHONE),
    ):
        session = await sign_in(runtime, number, view)
        assert session.person.id == made.people[view]
        assert (await identity.refresh_session(runtime, session.refresh_token)).view is view
