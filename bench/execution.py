"""Execution to bytes: the gateway against its peers, on the same orders in memory.

Every program has the same 1,000 orders and gives the same answers, which is checked first. The programs take turns
on one core, in rounds that alternate, so that a noisy machine disturbs all of them alike; the medians count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from bench import data, peers
from bench.support import ROOT, Program, Report, environment, load_of_machine, number, temporary_folder

OURS, HAND, OFF, CORE = "Hutong", "by hand", "compiler off", "graphql-core"
STRAWBERRY, ARIADNE, MERCURIUS = "Strawberry", "Ariadne", "mercurius"
WORKS = {
    "one": "one order",
    "list20": "20 orders",
    "list1000": "1,000 orders",
    "batched20": "20 orders, batched",
    "encoded20": "20 orders, ids written",
    "event": "event of 8 fields",
}


def ours(way: str) -> list[str]:
    return [sys.executable, "-m", "bench.ours.execution", way]


def start(stack: ExitStack, folder: Path, alone: bool) -> dict[str, Program]:
    commands: dict[str, list[str | Path]] = {
        OURS: [*ours("door")],
        HAND: [*ours("hand")],
        OFF: [*ours("door")],
        CORE: [*ours("core")],
    }
    if not alone:
        documents = {"one": data.ONE, "list": data.LIST, "encoded": data.ENCODED, "event": data.EVENT}
        file = folder / "data.json"
        file.write_text(json.dumps({"sdl": data.SDL, "documents": documents} | data.make()))
        commands[STRAWBERRY] = [peers.PYTHON, "-m", "bench.peers.strawberry_execution"]
        commands[ARIADNE] = [peers.PYTHON, "-m", "bench.peers.ariadne_execution"]
        commands[MERCURIUS] = [peers.node(), peers.NODE / "execution.mjs", file]
    settings = {OFF: {"HUTONG_COMPILER": "off"}}
    return {
        name: stack.enter_context(Program(name, command, **settings.get(name, {})))
        for name, command in commands.items()
    }


def check_equal(programs: dict[str, Program]) -> None:
    """Every program must say the same, or comparing them means nothing."""
    for work in WORKS:
        expected = programs[OURS].ask(answer=work)["answer"]
        assert expected["data"] and "errors" not in expected, (work, expected)
        for program in programs.values():
            if work in program.works and program.ask(answer=work)["answer"] != expected:
                sys.exit(f"{program.name} answers {work!r} differently from {OURS}")


def measure(programs: dict[str, Program], rounds: int, seconds: float) -> None:
    extra = [work for work in programs[CORE].works if work.startswith("uncached ")]
    for work in [*WORKS, *extra]:
        able = [program for program in programs.values() if work in program.works]
        for program in able:
            program.warm(work, max(1.0, seconds), seconds)
        for _ in range(rounds):
            for program in able:
                program.round(work)


def show(report: Report, programs: dict[str, Program]) -> None:
    for title, figure in (("Microseconds per operation", "wall"), ("Microseconds of CPU per operation", "cpu")):
        report.heading(f"{title}; in brackets the ratio to {OURS}")
        rows: list[list[str]] = []
        for work, label in WORKS.items():
            base = getattr(programs[OURS].cost(work), figure)
            row = [label]
            for program in programs.values():
                if work not in program.works:
                    row.append("–")
                    continue
                cost = getattr(program.cost(work), figure)
                row.append(number(cost) + ("" if program is programs[OURS] else f" ({number(cost / base)}×)"))
            rows.append(row)
        report.table(["", *programs], rows)
    report.heading("graphql-core that parses and validates each time, µs of CPU")
    core = programs[CORE]
    report.table(
        ["", CORE],
        [
            [WORKS[w.removeprefix("uncached ")], number(core.cost(w).cpu)]
            for w in core.works
            if w.startswith("uncached")
        ],
    )


def compilation(report: Report) -> None:
    """What compiling the registered operations costs."""
    output = subprocess.run(
        [sys.executable, "-m", "bench.ours.compilation"], cwd=ROOT, env=environment(), capture_output=True, check=True
    ).stdout
    found = json.loads(output.splitlines()[-1])
    operations = sorted(found["operations"], key=lambda operation: -operation["tokens"])
    total = sum(operation["ms"] for operation in operations)
    report.heading("Compilation of the registered operations, ms of CPU; the largest ones")
    rows = [[f"{o['name']} ({o['view'].lower()})", str(o["tokens"]), number(o["ms"])] for o in operations[:4]]
    rows.append([f"all {len(operations)}", str(sum(o["tokens"] for o in operations)), number(total)])
    report.table(["operation", "tokens", "ms"], rows)
    print(f"\nHolding all of them takes {found['bytes'] / 1e6:.1f} MB.")
    slowest = max(operation["ms"] for operation in operations)
    report.target("compilation of any registered operation", "≤ 20 ms", f"≤ {number(slowest)} ms", slowest <= 20)


def judge(report: Report, programs: dict[str, Program]) -> None:
    def cost(name: str, work: str) -> float:
        return programs[name].cost(work).cpu

    def at_most(what: str, work: str, limit: float) -> None:
        took = cost(OURS, work)
        report.target(what, f"≤ {limit:g} µs", f"{number(took)} µs", took <= limit)

    at_most("20 orders", "list20", 250)
    at_most("one order", "one", 60)
    at_most("event of 8 fields", "event", 8)
    if STRAWBERRY in programs:
        for work, wanted in (("list20", 12), ("list1000", 15)):
            ratio = cost(STRAWBERRY, work) / cost(OURS, work)
            report.target(f"{WORKS[work]} against Strawberry", f"≥ {wanted}×", f"{ratio:.1f}×", ratio >= wanted)
        ratio = cost(MERCURIUS, "list20") / cost(OURS, "list20")
        report.target("20 orders against mercurius with JIT", "≥ 1×", f"{ratio:.2f}×", ratio >= 1)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench execution", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="alternating rounds; the median counts")
    parser.add_argument("--seconds", type=float, default=0.1, help="length of one program's round")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    args = parser.parse_args(arguments)
    if not args.alone:
        peers.install()
    report = Report(args.markdown)
    print(load_of_machine())
    with ExitStack() as stack:
        programs = start(stack, stack.enter_context(temporary_folder()), args.alone)
        check_equal(programs)
        measure(programs, args.rounds, args.seconds)
    show(report, programs)
    compilation(report)
    judge(report, programs)
    report.finish()
