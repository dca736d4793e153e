"""Structured logs: one JSON line per fact in production, coloured key=value lines on a terminal."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any, Final, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""What is being answered: noted in every line."""

_loggers: Final[list[Any]] = []
"""Those of all modules: what structlog keeps ready for each is of the configuration that it was made with."""


def configure(level: str = "info", *, json: bool = False) -> None:
    """Send structlog and the standard library's logging through one renderer to stderr."""
    for logger in _loggers:
        logger.__dict__.pop("bind", None)
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        _add_request_id,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if json:
        traced = structlog.processors.format_exc_info
        own: list[Processor] = [traced, structlog.processors.JSONRenderer(_to_json)]
        foreign: list[Processor] = [traced, structlog.processors.JSONRenderer(_to_text)]
    else:
        own = foreign = [
            structlog.dev.ConsoleRenderer(
                exception_formatter=structlog.dev.plain_traceback  # rich ones print locals, secrets among them
            )
        ]
    structlog.configure(
        processors=[*shared, *own],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _STDERR,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *foreign],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


class _Stderr:
    """Writes lines to what standard error is at that moment."""

    def msg(self, line: str | bytes) -> None:
        if isinstance(line, bytes):
            stream = sys.stderr.buffer
            stream.write(line + b"\n")
        else:
            stream = sys.stderr
            stream.write(line + "\n")
        stream.flush()

    debug = info = warning = error = critical = exception = msg


_STDERR: Final = _Stderr()


def _to_json(event: Any, **_: Any) -> bytes:
    # orjson ends the process by a fault when a slotted dataclass that it writes itself has a field without a value, and
    # records that were read in part are such.
    return orjson.dumps(event, default=_shown, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # nothing that is only to be told may fail
        return object.__repr__(value)


def _to_text(event: Any, **_: Any) -> str:
    return _to_json(event).decode()


def _add_request_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
    id = REQUEST_ID.get()
    if id is not None:
        event.setdefault("request_id", id)
    return event


def get(name: str) -> FilteringBoundLogger:
    """The logger of one module."""
    logger = structlog.get_logger(name)
    _loggers.append(logger)
    return cast(FilteringBoundLogger, logger)
