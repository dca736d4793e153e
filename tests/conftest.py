"""Fixtures that every test may use. The engines start only when a test asks for them."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from clients import latest, presence
from core import logs
from gateway import texts, throttle
from tests.engines import PostgresServer, Reaper, RedisServer
from tests.patience import PATIENCE

# `make test` tries the same examples every time, `make fuzz` new ones; both may share a test's database among them.
settings.register_profile(
    "test",
    deadline=None,
    derandomize=True,
    # How long it takes to make examples says how busy the machine is.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("fuzz", settings.get_profile("test"), derandomize=False, max_examples=5000)
settings.load_profile("test")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--compiler=off``: graphql-core executes everything, here and in processes that tests start."""
    parser.addoption("--compiler", choices=("on", "off"), default="on", help="whether operations are compiled")


def pytest_configure(config: pytest.Config) -> None:
    """Set the compiler. A polite kill ends the run like Ctrl-C does, with teardown."""
    os.environ["HUTONG_COMPILER"] = config.getoption("--compiler")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands of the operator set what is logged for their process; the next tests of this one log as ever."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers[:], root.level
    yield
    if structlog.get_config() != before:
        logs.configure("warning")  # so that no logger keeps what was configured in the test
        structlog.configure(**before)
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def patient_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is waited for, where else a busy machine's answer may come too late to be heard."""
    for module in (throttle, latest, presence):
        monkeypatch.setattr(module, "_TIMEOUT", PATIENCE)
    monkeypatch.setattr(texts, "_PATIENCE", PATIENCE)


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    """Cleans up when pytest is killed."""
    reaper = Reaper()
    yield reaper
    reaper.close()


@pytest.fixture(scope="session")
async def postgres_server(reaper: Reaper) -> AsyncIterator[PostgresServer]:
    """The session's PostgreSQL; ``HUTONG_TEST_DATABASE_SERVER`` names one to use instead of starting one."""
    server = PostgresServer(reaper, os.environ.get("HUTONG_TEST_DATABASE_SERVER"))
    yield server
    await server.close()


@pytest.fixture
async def database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A fresh migrated database for this test."""
    url = await postgres_server.create()
    yield url
    await postgres_server.drop(url)


@pytest.fixture(scope="module")
async def module_database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A fresh migrated database that the tests of one module share."""
    url = await postgres_server.create()
    yield url
    await postgres_server.drop(url)


@pytest.fixture(scope="session")
def redis_url(reaper: Reaper) -> Iterator[str]:
    """The session's Redis. Tests share it, so they use names of their own; see ``redis_server`` to break one."""
    server = RedisServer(reaper).start()
    yield server.url
    server.close()


@pytest.fixture
def redis_server(reaper: Reaper) -> Iterator[RedisServer]:
    """A Redis of this test alone, to be stopped, killed and restarted."""
    server = RedisServer(reaper).start()
    yield server
    server.close()
