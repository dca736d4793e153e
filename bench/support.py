"""What the benches share: programs that run beside each other on cores of their own, medians, tables, verdicts."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE: Final = 120.0
"""Seconds that a program may take for one answer; it is ended after that."""

CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
CLIENT_CORE: Final = CORES[0]
SERVER_CORE: Final = CORES[-1]


ENOUGH: Final = dict.fromkeys(
    ("ANONYMOUS", "CONSUMER", "MERCHANT", "RIDER", "ADMIN", "PARTNER", "DEVICE"), 1_000_000_000_000
)
"""Points of cost by which no caller of a bench is ever throttled; they are counted all the same."""


def pin(pid: int, *cores: int) -> None:
    """Keep a process, and what it starts from now on, on some cores, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(pid, cores)


def environment(**more: str) -> dict[str, str]:
    """This process's environment without the product's own settings, which would bend the figures."""
    return {k: v for k, v in os.environ.items() if not k.startswith("HUTONG_")} | more


def end(process: subprocess.Popen[Any], patience: float = 10.0) -> None:
    """End a child politely, or by force after ``patience`` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(patience)


@dataclass
class Cost:
    """Microseconds an operation took, of the clock and of the CPU: the median of rounds."""

    wall: float
    cpu: float


class Program:
    """A program that works when it is told to (:mod:`bench.worker`), on the server's core."""

    def __init__(self, name: str, command: Sequence[str | Path], **variables: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT, env=environment(**variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        pin(self._process.pid, SERVER_CORE)
        self.works: list[str] = self._read()["works"]
        self._rounds: dict[str, list[tuple[float, float]]] = {}
        self._times: dict[str, int] = {}

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise SystemExit(f"{self.name} ended without an answer (exit code {self._process.wait(10)})")
        return json.loads(line)

    def ask(self, **message: Any) -> dict[str, Any]:
        """Its answer to one message."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # its end is noticed when the answer is read
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        return self._read()

    def warm(self, work: str, seconds: float, per_round: float) -> None:
        """Let it work for ``seconds``, and find out how often it can in a round of ``per_round`` seconds."""
        spent, times = 0.0, 1
        while spent < seconds:
            took = self.ask(run=work, times=times)["seconds"]
            spent += took
            self._times[work] = max(1, round(per_round * times / took))
            times = min(times * 4, self._times[work])

    def round(self, work: str) -> None:
        """Work for one round and remember what it cost."""
        times = self._times[work]
        took = self.ask(run=work, times=times)
        self._rounds.setdefault(work, []).append((took["seconds"] / times, took["cpu"] / times))

    def cost(self, work: str) -> Cost:
        """Median over the rounds so far."""
        walls, cpus = zip(*self._rounds[work], strict=True)
        return Cost(statistics.median(walls) * 1e6, statistics.median(cpus) * 1e6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        end(self._process)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder through which a database that runs as another user gets to its own."""
    folder = Path(tempfile.mkdtemp(prefix="hutong-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# reports


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@dataclass
class Report:
    """What a bench prints: tables and, at the end, each target with what was measured."""

    markdown: bool = False
    _verdicts: list[list[str]] = field(default_factory=list[list[str]])

    def heading(self, text: str) -> None:
        print(f"\n### {text}\n" if self.markdown else f"\n{text}", flush=True)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table whose first column is text and whose others are figures."""
        if self.markdown:
            lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
            text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        else:
            widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
            text = "\n".join(
                "  ".join(
                    cell.rjust(width) if n else cell.ljust(width)
                    for n, (cell, width) in enumerate(zip(line, widths, strict=True))
                )
                for line in (head, *rows)
            )
        print(text, flush=True)

    def target(self, what: str, wanted: str, measured: str, met: bool) -> None:
        """Note a target for the end."""
        self._verdicts.append([what, wanted, measured, "yes" if met else "NO"])

    def finish(self) -> None:
        if self._verdicts:
            self.heading("Targets")
            self.table(["target", "wanted", "measured", "met"], self._verdicts)


def load_of_machine() -> str:
    """A line about the machine, for judging the figures."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    return f"{len(CORES)} cores, load {load} at the start, Python {sys.version.split()[0]}"
