"""``make soak``: the loss harness for minutes or hours. Prints a report; a failing run keeps its logs."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from pathlib import Path
from random import SystemRandom

from core import logs
from tests.engines import Reaper
from tests.soak.soak import Plan, run

REPORTS = Path("reports")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--publishers", type=int, default=4)
    chosen = parser.parse_args()
    logs.configure("warning")
    seed = SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    folder = (REPORTS / f"soak-{seed}").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (folder, *folder.parents):
        if path == Path.cwd():
            break
        path.chmod(0o711)
    seconds = chosen.minutes * 60
    pause = min(25.0, seconds / 8)
    plan = Plan(seconds, seed, chosen.workers, chosen.publishers, longest_pause=pause)
    print(f"seed {seed}, logs in {folder}", flush=True)
    reaper = Reaper()
    try:
        report = asyncio.run(run(plan, reaper, folder))
    finally:
        reaper.close()
    text = report.text()
    (folder / "report.txt").write_text(text + "\n")
    print(text)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
