"""What a played day amounts to: figures, as JSON and as text for a terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from replay.day import Day
from replay.feeds import Verdict
from replay.server import Usage
from replay.sockets import Traffic
from replay.tally import Outcome, RiderRun, Tally

BUCKET_MINUTES: Final = 15
HISTOGRAM_MINUTES: Final = 5


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity is distributed; all None without any values."""

    count: int
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    most: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not values:
            return cls(0, None, None, None, None, None)
        ordered = sorted(values)
        return cls(
            len(ordered),
            sum(ordered) / len(ordered),
            percentile(ordered, 50),
            percentile(ordered, 90),
            percentile(ordered, 99),
            ordered[-1],
        )


@dataclass(frozen=True, slots=True)
class OperationFigures:
    """Latency of one operation in milliseconds, from request to whole answer."""

    name: str
    count: int
    p50: float
    p99: float
    most: float


@dataclass(slots=True)
class Report:
    """See ``docs/replay.md`` for the meaning of every field. Times are minutes unless named otherwise."""

    day: str
    orders: int
    restaurants: int
    couriers: int
    speed: str
    seed: int
    url: str
    outcomes: dict[str, int]
    reasons: dict[str, int]
    undelivered_share: float
    click_to_door: Spread
    over_target_share: float
    ready_to_pickup: Spread
    click_to_door_histogram: list[tuple[int, int]]
    ready_to_pickup_histogram: list[tuple[int, int]]
    orders_per_hour: list[tuple[int, int, int]]
    rider_utilisation: float
    riders_over_day: list[tuple[int, float, float]]
    cost_per_order: float | None
    offers: int
    offers_declined: int
    offers_missed: int
    offers_while_offline: int
    setup_seconds: float
    playing_seconds: float
    checking_seconds: float
    orders_per_second: float
    api_calls: int
    api_calls_per_second: float
    api_pauses: int
    operations: list[OperationFigures]
    feeds: dict[str, Verdict]
    not_seen: dict[str, int]
    events_received: int
    events_per_second: float
    sockets: dict[str, Any]
    fixes: dict[str, int]
    failures: dict[str, int]
    lag_seconds: dict[str, float]
    usage: Usage | None = None
    problems: list[str] = field(default_factory=list[str])

    @property
    def good(self) -> bool:
        """Every order delivered or called off with its money back, and no feed lost, repeated or mixed up anything."""
        return not self.problems

    def json(self) -> bytes:
        body = asdict(self)
        body["good"] = self.good
        return orjson.dumps(body, option=orjson.OPT_INDENT_2)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The ``share``-th percentile of sorted values, linearly interpolated."""
    place = (len(ordered) - 1) * share / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summarise(
    day: Day,
    tally: Tally,
    verdicts: Mapping[str, Verdict],
    latencies: Mapping[str, Sequence[float]],
    traffic: Traffic,
    *,
    calls: int,
    pauses: int,
    messages: int,
    speed: str,
    seed: int,
    url: str,
    lag: tuple[float, float] = (0.0, 0.0),
    usage: Usage | None = None,
) -> Report:
    """The report of a day. ``calls`` and ``messages`` count what happened while the day was played."""
    doors = [m for run in tally.orders if (m := run.click_to_door) is not None]
    waits = [m for run in tally.orders if (m := run.ready_to_pickup) is not None]
    played = max(tally.playing_seconds, 1e-9)
    target = day.parameters.target_click_to_door
    report = Report(
        day=day.name,
        orders=len(day.orders),
        restaurants=len(day.restaurants),
        couriers=len(day.couriers),
        speed=speed,
        seed=seed,
        url=url,
        outcomes={outcome.value: tally.count(outcome) for outcome in Outcome},
        reasons=dict(Counter(r.reason for r in tally.orders if r.reason and r.outcome is not Outcome.DELIVERED)),
        undelivered_share=1 - tally.count(Outcome.DELIVERED) / len(day.orders),
        click_to_door=Spread.of(doors),
        over_target_share=sum(1 for m in doors if m > target) / len(doors) if doors else 0.0,
        ready_to_pickup=Spread.of(waits),
        click_to_door_histogram=histogram(doors, HISTOGRAM_MINUTES),
        ready_to_pickup_histogram=histogram(waits, HISTOGRAM_MINUTES),
        orders_per_hour=per_hour(tally),
        rider_utilisation=utilisation(tally.riders),
        riders_over_day=over_day(tally.riders),
        cost_per_order=cost_per_order(day, tally),
        offers=sum(r.offers for r in tally.riders),
        offers_declined=sum(r.declined for r in tally.riders),
        offers_missed=sum(r.missed for r in tally.riders),
        offers_while_offline=tally.offers_while_offline,
        setup_seconds=tally.setup_seconds,
        playing_seconds=tally.playing_seconds,
        checking_seconds=tally.checking_seconds,
        orders_per_second=(tally.count(Outcome.DELIVERED) + tally.count(Outcome.CANCELLED)) / played,
        api_calls=calls,
        api_calls_per_second=calls / played,
        api_pauses=pauses,
        operations=[_figures(name, times) for name, times in sorted(latencies.items()) if times],
        feeds=dict(verdicts),
        not_seen=dict(tally.not_seen),
        events_received=messages,
        events_per_second=messages / played,
        sockets={
            "opened": traffic.opened,
            "dropped_on_purpose": traffic.dropped_on_purpose,
            "closed_by_server": dict(traffic.closed_by_server),
            "failures": dict(traffic.failures),
        },
        fixes={"accepted": tally.fixes_accepted, "ignored": tally.fixes_ignored},
        failures=dict(tally.failures),
        lag_seconds={"mean": lag[0], "worst": lag[1]},
        usage=usage,
    )
    report.problems = _problems(report)
    return report


def _problems(report: Report) -> list[str]:
    found: list[str] = []
    if report.outcomes[Outcome.FAILED]:
        found.append(f"{report.outcomes[Outcome.FAILED]} orders neither delivered nor called off with a full refund")
    for kind, verdict in report.feeds.items():
        if not verdict.good:
            found.append(
                f"{kind} feeds: {verdict.lost} lost, {verdict.duplicated} duplicated, {verdict.reordered} reordered, "
                f"{verdict.wrong} wrong, {verdict.resets} reset"
            )
    found += [f"{count} × not delivered in time: {what}" for what, count in report.not_seen.items()]
    found += [f"{count} × {reason}" for reason, count in report.failures.items()]
    if report.offers_while_offline:
        found.append(f"{report.offers_while_offline} offers to riders who were offline")
    return found


def _figures(name: str, times: Sequence[float]) -> OperationFigures:
    ordered = sorted(1000 * t for t in times)
    return OperationFigures(name, len(ordered), percentile(ordered, 50), percentile(ordered, 99), ordered[-1])


def histogram(values: Sequence[float], width: int) -> list[tuple[int, int]]:
    """How many values lie in each step of ``width`` from its start on, without gaps."""
    if not values:
        return []
    counts = Counter(math.floor(value / width) * width for value in values)
    return [(start, counts[start]) for start in range(min(counts), max(counts) + width, width)]


def per_hour(tally: Tally) -> list[tuple[int, int, int]]:
    """For each hour of the day: orders placed and orders delivered in it."""
    placed = Counter(int(run.plan.placed // 60) for run in tally.orders)
    delivered = Counter(int(run.delivered // 60) for run in tally.orders if run.delivered is not None)
    hours = [*placed, *delivered]
    return [(h, placed[h], delivered[h]) for h in range(min(hours), max(hours) + 1)] if hours else []


def utilisation(riders: Sequence[RiderRun]) -> float:
    """Share of the riders' time on duty in which they had a job."""
    on_duty = sum(max(r.off, *(end for _, end in r.busy)) - r.on if r.busy else r.off - r.on for r in riders)
    return sum(end - start for r in riders for start, end in _merged(r.busy)) / on_duty if on_duty else 0.0


def over_day(riders: Sequence[RiderRun]) -> list[tuple[int, float, float]]:
    """For each quarter of an hour: riders on duty and riders busy, on average."""
    if not riders:
        return []
    first = min(int(r.on // BUCKET_MINUTES) for r in riders)
    last = max(math.ceil(max(r.off, *(end for _, end in r.busy), r.off) / BUCKET_MINUTES) for r in riders)
    series: list[tuple[int, float, float]] = []
    busy = [(s, e) for r in riders for s, e in _merged(r.busy)]
    duty = [(r.on, max([r.off, *(end for _, end in r.busy)])) for r in riders]
    for i in range(first, last):
        start, end = i * BUCKET_MINUTES, (i + 1) * BUCKET_MINUTES
        series.append((start, _covered(duty, start, end), _covered(busy, start, end)))
    return series


def _covered(spans: Sequence[tuple[float, float]], start: float, end: float) -> float:
    return sum(max(0.0, min(e, end) - max(s, start)) for s, e in spans) / (end - start)


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spans without what overlaps: a rider may take a job while still leaving the last door."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def cost_per_order(day: Day, tally: Tally) -> float | None:
    """Pay of all riders by delivered order: by job, but at least the guaranteed pay of the shift."""
    delivered = Counter(run.rider for run in tally.orders if run.delivered is not None)
    if not delivered:
        return None
    pay = day.parameters
    total = sum(
        max(pay.pay_per_order * delivered[r.name], pay.guaranteed_pay_per_hour * (r.off - r.on) / 60)
        for r in tally.riders
    )
    return total / sum(delivered.values())


def show(report: Report, console: Console) -> None:
    """Print the report."""
    console.print()
    console.rule(f"[bold]{report.day}[/] at speed {report.speed}")
    done = Table("orders", "delivered", "cancelled + refunded", "failed", "orders/s", "playing", "setup", "checking")
    done.add_row(
        str(report.orders),
        str(report.outcomes["delivered"]),
        str(report.outcomes["cancelled"]),
        str(report.outcomes["failed"]),
        f"{report.orders_per_second:.1f}",
        f"{report.playing_seconds:.1f} s",
        f"{report.setup_seconds:.1f} s",
        f"{report.checking_seconds:.1f} s",
    )
    console.print(done)
    times = Table("minutes", "mean", "p50", "p90", "max")
    for name, spread in (("click to door", report.click_to_door), ("ready to pickup", report.ready_to_pickup)):
        times.add_row(name, *(_number(v) for v in (spread.mean, spread.p50, spread.p90, spread.most)))
    console.print(times)
    console.print(
        f"undelivered {report.undelivered_share:.2%}, over target {report.over_target_share:.1%}, riders busy "
        f"{report.rider_utilisation:.0%}, cost per order {_number(report.cost_per_order)}, offers {report.offers} "
        f"({report.offers_declined} declined, {report.offers_missed} missed)"
    )
    feeds = Table("feed", "subscribers", "owed", "received", "lost", "dup", "disorder", "wrong", "resumed", "again")
    for kind, v in report.feeds.items():
        figures = (v.feeds, v.owed, v.received, v.lost, v.duplicated, v.reordered, v.wrong, v.resumed, v.read_again)
        feeds.add_row(kind, *(str(n) for n in figures), style=None if v.good else "red")
    console.print(feeds)
    calls = Table("operation", "calls", "p50 ms", "p99 ms", "max ms")
    for o in report.operations:
        calls.add_row(o.name, str(o.count), f"{o.p50:.1f}", f"{o.p99:.1f}", f"{o.most:.1f}")
    console.print(calls)
    console.print(
        f"{report.api_calls} calls ({report.api_calls_per_second:.0f}/s), {report.events_received} events "
        f"({report.events_per_second:.0f}/s), {report.sockets['opened']} sockets, "
        f"{report.sockets['dropped_on_purpose']} dropped on purpose"
    )
    if report.usage is not None:
        u = report.usage
        console.print(
            f"CPU seconds while playing: server {u.server_cpu:.1f}, database {u.database_cpu:.1f}, client "
            f"{u.client_cpu:.1f}; server RSS at most {u.server_rss / 2**20:.0f} MiB"
        )
    for problem in report.problems:
        console.print(f"[red]problem:[/] {problem}", highlight=False)
    for kind, v in report.feeds.items():
        for example in v.examples:
            console.print(f"[yellow]{kind}:[/] {example}", highlight=False)
    console.print("[green]All good.[/]" if report.good else "[red]Not good.[/]")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def write(report: Report, folder: Path) -> list[Path]:
    """Write ``replay.json`` and ``replay.html`` into ``folder``."""
    from replay.page import page

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "replay.json", folder / "replay.html"]
    files[0].write_bytes(report.json())
    files[1].write_text(page(report), encoding="utf-8")
    return files
