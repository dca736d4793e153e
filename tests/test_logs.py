"""Lines of the log, as whoever collects them reads them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from core import logs

log = logs.get(__name__)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers[:], root.level
    yield
    logs.configure("warning")  # so that no logger keeps what was configured here
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_json_with_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    noted = logs.REQUEST_ID.set("one")
    try:
        log.info("operation", ms=1.5, at={"b"})
        log.info("told", request_id="own")
    finally:
        logs.REQUEST_ID.reset(noted)
    log.info("later")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed")
    first, told, later, failed = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {"event": "operation", "level": "info", "request_id": "one", "ms": 1.5, "at": "{'b'}"}
    assert told["request_id"] == "own"
    assert "request_id" not in later
    assert failed["level"] == "error" and "ValueError: why" in failed["exception"]


def test_another_configuration_counts_for_loggers_that_are_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    log.info("first")
    logs.configure("warning", json=True)
    log.info("second")
    log.warning("third")
    logs.configure("info")
    log.info("fourth")
    with structlog.testing.capture_logs() as captured:
        log.info("fifth")
    written = capsys.readouterr().err
    assert "first" in written and "second" not in written and '"event":"third"' in written
    assert "fourth" in written and '"event":"fourth"' not in written
    assert "fifth" not in written and captured[0]["event"] == "fifth"
