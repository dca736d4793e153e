"""``make fuzz``: all random campaigns, each in a process of its own, two at a time. Fails when one does.

First the compiler: generated documents of every contract and of an adversarial schema, executed by graphql-core and
compiled, until as many different ones were compared as were asked for. Then the tests marked ``fuzz``. The seed that
is printed makes the same documents again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

from tests.compiler.campaign import SCHEMAS

REPORTS = Path("reports")
DOCUMENTS = 1_600
"""Different documents of each schema; half of them with fields that are read in all ways of a planner."""
PROMISED = 10_000
"""Different documents of all schemas together, at least."""
MEMORY = 1_000
"""MB that no process may exceed."""
PROGRESS = 30.0
"""Seconds between two reports of progress."""
SHOWN = 60
"""Lines of the log of a failure."""


@dataclass
class Job:
    """A process."""

    name: str
    command: list[str]
    folder: Path
    schema: str = ""
    """Of which documents are compared."""
    started: float = 0.0
    seconds: float = 0.0
    megabytes: float = 0.0
    code: int | None = None
    process: subprocess.Popen[bytes] | None = None
    documents: set[str] = field(default_factory=set)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name.replace('/', '-').replace('::', '-')}.log"

    @property
    def report(self) -> Path:
        return self.log.with_suffix(".json")

    def run(self) -> None:
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(self.process.pid, 0)  # which tells the memory of this child
        self.process.returncode = self.code = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - self.started
        self.megabytes = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        if self.report.exists():
            self.documents = set(json.loads(self.report.read_text())["documents"])
        print(self.summary(), flush=True)

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    @property
    def good(self) -> bool:
        return self.code == 0 and self.megabytes <= MEMORY

    def summary(self) -> str:
        counted = f", {len(self.documents)} documents" if self.schema else ""
        line = (
            f"{'ok    ' if self.good else 'FAILED'} {self.name}: {self.seconds:.0f} s, {self.megabytes:.0f} MB{counted}"
        )
        return line if self.good else "\n".join([line, *self.lines()[-SHOWN:], f"all of it: {self.log}", ""])


def comparisons(folder: Path, seed: int, documents: int) -> list[Job]:
    """Both ways of every schema. Each job has seeds of its own, or they would compare the same documents."""
    jobs: list[Job] = []
    for schema in SCHEMAS:
        for flags in ([], ["--planned"]):
            job = Job(" ".join([schema, *flags]).replace(" --", "-"), [], folder, schema)
            first = seed + 1_000 * len(jobs)
            wanted = documents // 2
            job.command = [
                sys.executable, "-m", "tests.compiler.campaign", schema, *flags, "--seed", str(first),
                "--documents", str(wanted), "--report", str(job.report),
            ]  # fmt: skip
            jobs.append(job)
    return jobs


def marked(folder: Path, seed: int) -> list[Job]:
    """The tests marked ``fuzz``, a job for each function."""
    pytest = [sys.executable, "-m", "pytest", "-m", "fuzz", "-q", "-o", "faulthandler_timeout=0"]
    found = subprocess.run([*pytest, "--collect-only"], capture_output=True, text=True, check=True).stdout
    names = dict.fromkeys(line.partition("[")[0] for line in found.splitlines() if "::" in line)
    options = ["--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}"]
    return [Job(name, [*pytest, *options, name], folder) for name in names]


def tell(jobs: list[Job], done: threading.Event) -> None:
    """Say how far it is until it is done."""
    began = time.monotonic()
    while not done.wait(PROGRESS):
        for job in jobs:
            if job.started and job.code is None:
                last = (job.lines() or [""])[-1].strip()[:100]
                print(f"[{time.monotonic() - began:5.0f} s] {job.name}: {last}", flush=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of a run that is to be repeated")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="different ones of each schema")
    parser.add_argument("--only", default="", help="jobs with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    chosen = parser.parse_args()
    seed = SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    folder = (REPORTS / f"fuzz-{seed}").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    jobs = [
        job for job in [*comparisons(folder, seed, chosen.documents), *marked(folder, seed)] if chosen.only in job.name
    ]
    print(f"seed {seed}, {len(jobs)} jobs, logs in {folder}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done = threading.Event()
    teller = threading.Thread(target=tell, args=(jobs, done), daemon=True)
    teller.start()
    pool = ThreadPoolExecutor(chosen.jobs)
    try:
        for finished in [pool.submit(job.run) for job in jobs]:
            finished.result()
    finally:
        done.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for job in jobs:
            if job.process is not None and job.code is None:
                job.process.terminate()
    good = all(job.good for job in jobs) and bool(jobs)
    documents: dict[str, set[str]] = {job.schema: set() for job in jobs if job.schema}
    for job in jobs:
        if job.schema:
            documents[job.schema] |= job.documents
    for schema, different in documents.items():
        print(f"{schema:>10} {len(different):6} different documents compared")
    total = sum(len(different) for different in documents.values())
    print(f"{'all':>10} {total:6}; most memory of a process: {max((j.megabytes for j in jobs), default=0):.0f} MB")
    if not chosen.only and total < min(PROMISED, len(SCHEMAS) * chosen.documents * 0.9):
        print(f"fewer than promised: {PROMISED}")
        good = False
    print("good" if good else f"FAILED, the same again: make fuzz ARGS='--seed {seed}'")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
