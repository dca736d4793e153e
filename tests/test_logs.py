"""Lines of the log, as whoever collects them reads them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from core import logs

log = logs.get(__name__)
ROOT = Path(__file__).parent.parent


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


def test_what_libraries_fail_at_is_told_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", json=True)
    try:
        raise OSError("away")
    except OSError:
        logging.getLogger("uvicorn.error").exception("in a library")
    told = json.loads(capsys.readouterr().err)
    assert told["event"] == "in a library"
    assert "Traceback" in told["exception"] and "OSError: away" in told["exception"]


IN_PART = """
import orjson
from core import logs
from gateway.compiler import OPTIONS
from services.columns import Columns, Shape
from services.ordering.reading import LineRecord

record = Shape(LineRecord, "l").choose(frozenset({"quantity"})).record(["key", 3])
logs.configure("info", json=True)
logs.get("test").info("told", record=record, more=[record, {"in": record}])
try:
    orjson.dumps({"data": [record]}, option=OPTIONS)
except TypeError:
    pass
else:
    raise SystemExit("it is no value of an answer")
"""
"""Of a record that was read in part; in a process of its own, because it used to end by a fault of orjson's."""


def test_a_record_that_was_read_in_part_can_be_told_and_is_no_answer() -> None:
    child = subprocess.run([sys.executable, "-c", IN_PART], capture_output=True, text=True, cwd=ROOT, check=False)
    assert child.returncode == 0, child.stderr
    line = json.loads(child.stderr)
    assert "LineRecord object" in line["record"] and "LineRecord object" in line["more"][1]["in"]
