"""``make fuzz``, one part: generated documents of one schema, answered by graphql-core and compiled, compared.

    python -m tests.compiler.campaign consumer --planned --seed 7 --documents 500

Each round has the next seed, so a failure is seen again with the seed of its round.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from pathlib import Path

import hypothesis
from graphql import GraphQLSchema, parse
from hypothesis import HealthCheck, Phase, given, settings

from auth.principals import View
from gateway.compiler import Planner
from tests.compiler.mangle import is_valid, mangle
from tests.compiler.oracle import Case
from tests.compiler.reduce import reduced
from tests.compiler.test_differential import (
    RATES,
    check,
    contracts,
    documents,
    planned,
    planned_contracts,
    seeds,
    strange,
)

SCHEMAS = ("adversary", *(view.lower() for view in View))
ROUND = 200
"""Examples of one round. Hypothesis remembers about 30 kB of each until the round ends."""
SMALLEST = 20
"""Examples of the last rounds: the first ones of a round are always the same."""
VARIANTS = 5
"""Documents made of each example."""
IDLE_ROUNDS = 5
"""After so many rounds without a new document there are none."""
PROGRESS = 30.0
"""Seconds between two lines that say how far it is."""


def schema_of(name: str, *, plans: bool) -> tuple[GraphQLSchema, Planner | None]:
    """A schema of ``SCHEMAS``; with ``plans``, its fields are read in all ways of a planner."""
    if name == "adversary":
        return planned() if plans else (strange(), None)
    view = View(name.upper())
    return planned_contracts()[view] if plans else (contracts()[view], None)


class Failed(Exception):
    """The two differ."""


class Campaign:
    """Compares documents of one schema until enough different ones were compared."""

    def __init__(self, name: str, *, plans: bool, seed: int, wanted: int) -> None:
        self.schema, self._planner = schema_of(name, plans=plans)
        self._again = f"python -m tests.compiler.campaign {name}{' --planned' if plans else ''} --seed"
        self._seed = seed
        self._wanted = wanted
        self.done: set[str] = set()
        """Hashes of the documents that were executed by both."""
        self._told = time.monotonic()

    def run(self) -> None:
        """Raises Failed."""
        strategy = documents(self.schema)
        idle = 0
        while len(self.done) < self._wanted and idle < IDLE_ROUNDS:
            before, seed = len(self.done), self._seed

            @hypothesis.seed(seed)
            @settings(
                max_examples=min(ROUND, max(SMALLEST, (self._wanted - before) // VARIANTS)),
                derandomize=False,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(text=strategy, number=seeds)
            def one(text: str, number: int) -> None:
                self._example(text, number)

            one()
            self._seed += 1
            idle = 0 if len(self.done) > before else idle + 1

    def _example(self, text: str, number: int) -> None:
        for answers in range(number, number + VARIANTS):
            case = mangle(self.schema, text, answers)
            if case is None:
                continue
            try:
                executed = self._check(case, answers)
            except AssertionError:
                raise Failed(self._report(case, answers)) from None
            if executed:
                self.done.add(hashlib.sha256(case.text.encode()).hexdigest()[:16])
        if time.monotonic() - self._told > PROGRESS:
            self._told = time.monotonic()
            print(f"{len(self.done)} documents, seed {self._seed}", flush=True)

    def _check(self, case: Case, answers: int) -> bool:
        sound, *wrong = RATES
        return check(self.schema, case, [answers % 9973], self._planner, (sound, wrong[answers % len(wrong)]))

    def _report(self, case: Case, answers: int) -> str:
        def fails(smaller: Case) -> bool:
            if not is_valid(self.schema, parse(smaller.text)):
                return False
            try:
                self._check(smaller, answers)
            except AssertionError:
                return True
            except Exception:  # nothing that can be executed is left of it
                return False
            return False

        small = reduced(case, fails)
        try:
            self._check(small, answers)
        except AssertionError as error:
            return f"{error}\nanswers of seed {answers % 9973}; the same again: {self._again} {self._seed}"
        return f"{case}\nfailed once and not again: {self._again} {self._seed}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.compiler.campaign", description=__doc__)
    parser.add_argument("schema", choices=SCHEMAS)
    parser.add_argument("--planned", action="store_true", help="fields are read in all ways of a planner")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=int, default=500, help="different ones, to be executed by both")
    parser.add_argument("--report", type=Path, help="where to write which documents were compared")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # coroutines that nobody awaits are counted where that is of interest
    sys.unraisablehook = lambda _: None
    campaign = Campaign(chosen.schema, plans=chosen.planned, seed=chosen.seed, wanted=chosen.documents)
    failure = ""
    try:
        campaign.run()
    except Failed as failed:
        failure = str(failed)
        print(failure)
    print(f"{len(campaign.done)} documents compared")
    if chosen.report is not None:
        chosen.report.write_text(json.dumps({"schema": chosen.schema, "documents": sorted(campaign.done)}))
    if not failure and len(campaign.done) < chosen.documents:
        failure = "too few documents"
        print(failure)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
