"""A site that the tests of a module share, and sockets to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.realtime import wire
from tests.realtime.log import until
from tests.realtime.wire import Site, Terminal, serve


@pytest.fixture(scope="module", params=["direct", "asgi"])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with serve(direct=request.param == "direct") as running:
        yield running


@pytest.fixture
async def site(shared: Site) -> AsyncIterator[Site]:
    """The module's site, on a new stage."""
    wire.STAGE = wire.Stage()
    answers = dict(shared.doorman.answers)
    yield shared
    shared.doorman.answers = answers
    await until(lambda: (shared.sockets.sockets, shared.sockets.operations) == (0, 0))


@pytest.fixture
async def fresh(site: Site) -> AsyncIterator[Terminal]:
    """Connected, not initialised."""
    async with site.terminal() as terminal:
        yield terminal


@pytest.fixture
async def ready(fresh: Terminal) -> Terminal:
    """Acknowledged."""
    return await fresh.init()
