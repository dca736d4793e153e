"""The report as one self-contained HTML page; its plots are inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from replay.report import Report, Spread

WIDTH: Final = 560
HEIGHT: Final = 220
LEFT: Final = 40
BOTTOM: Final = 28
TOP: Final = 14

STYLE: Final = """
:root{--ink:#1c2430;--soft:#667085;--line:#e4e7ec;--paper:#fff;--back:#f5f6f8;--a:#0f766e;--b:#d97706;--bad:#b42318}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#2b3442;--paper:#171d27;--back:#0e131b;
--a:#2dd4bf;--b:#fbbf24;--bad:#f97066}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1220px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:26px;margin:0 0 4px;letter-spacing:-.01em}h2{font-size:15px;margin:0 0 10px}
.sub{color:var(--soft);margin:0 0 24px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-bottom:16px}
.tile,.card{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.tile b{display:block;font-size:24px;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:16px}
.wide{grid-column:1/-1;overflow-x:auto}svg{width:100%;height:auto;display:block}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th{color:var(--soft);font-weight:500;text-align:right;padding:4px 10px;border-bottom:1px solid var(--line)}
td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}tr:last-child td{border-bottom:0}
.bad{color:var(--bad)}.good{color:var(--a)}.legend{color:var(--soft);font-size:13px;margin:6px 0 0}
.dot{display:inline-block;width:10px;height:10px;border-radius:3px;margin:0 4px 0 10px}
ul{margin:0;padding-left:18px}text{fill:var(--soft);font:11px system-ui,sans-serif;paint-order:stroke;
stroke:var(--paper);stroke-width:3px}
"""


def page(report: Report) -> str:
    """The whole document."""
    verdict = (
        '<span class="good">all good</span>'
        if report.good
        else f'<span class="bad">{len(report.problems)} problems</span>'
    )
    doors = histogram(report.click_to_door_histogram, report.click_to_door)
    waits = histogram(report.ready_to_pickup_histogram, report.ready_to_pickup)
    cards = [
        _card("Orders by outcome", outcomes(report)),
        _card("Orders per hour", hours(report), legend=(("placed", "--a"), ("delivered", "--b"))),
        _card(_titled("Click to door, minutes", report.click_to_door), doors),
        _card(_titled("Ready to pickup, minutes", report.ready_to_pickup), waits),
        _card("Riders over the day", riders(report), legend=(("on duty", "--a"), ("busy", "--b")), wide=True),
        _card("Subscribers", feeds(report), wide=True),
        _card("API latency", latencies(report), wide=True),
    ]
    if report.problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in report.problems)
        cards.insert(0, _card("Problems", f'<ul class="bad">{items}</ul>', wide=True))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Replay of {escape(report.day)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(report.day)}</h1>"
        f'<p class="sub">{report.orders} orders, {report.restaurants} restaurants, {report.couriers} riders, '
        f"speed {escape(report.speed)}, seed {report.seed}: {verdict}</p>"
        f'<div class="tiles">{tiles(report)}</div><div class="cards">{"".join(cards)}</div></main></body></html>\n'
    )


def tiles(report: Report) -> str:
    """The figures to see first."""
    wrong = sum(v.lost + v.duplicated + v.reordered + v.wrong for v in report.feeds.values())
    shown = [
        (f"{report.outcomes['delivered']}", "delivered"),
        (f"{report.outcomes['cancelled']}", "cancelled and refunded"),
        (f"{report.outcomes['failed']}", "failed"),
        (f"{report.orders_per_second:.1f}/s", "whole orders"),
        (_number(report.click_to_door.mean), "mean click to door, min"),
        (_number(report.ready_to_pickup.mean), "mean ready to pickup, min"),
        (f"{report.rider_utilisation:.0%}", "riders busy"),
        (f"{wrong}", "lost, repeated or mixed-up events"),
        (f"{report.events_per_second:.0f}/s", "events received"),
        (f"{report.api_calls_per_second:.0f}/s", "API calls"),
        (f"{report.setup_seconds:.1f} s", "setup"),
        (f"{report.playing_seconds:.1f} s", "playing"),
    ]
    if report.usage is not None:
        share = report.usage.server_cpu / max(report.playing_seconds, 1e-9)
        shown += [
            (f"{share:.0%}", "server CPU (of one core)"),
            (f"{report.usage.client_cpu / max(report.playing_seconds, 1e-9):.0%}", "client CPU"),
            (f"{report.usage.server_rss / 2**20:.0f} MiB", "server RSS at most"),
        ]
        if report.usage.database_cpu:
            shown.append((f"{report.usage.database_cpu / max(report.playing_seconds, 1e-9):.0%}", "database CPU"))
    return "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in shown
    )


def outcomes(report: Report) -> str:
    """A bar of shares with its reasons."""
    colours = {"delivered": "--a", "cancelled": "--b", "failed": "--bad"}
    x, parts = 0.0, list[str]()
    for name, count in report.outcomes.items():
        width = WIDTH * count / max(report.orders, 1)
        if width > 0:
            parts.append(
                f'<rect x="{x:.1f}" y="4" width="{width:.1f}" height="34" fill="var({colours[name]})">'
                f"<title>{name}: {count}</title></rect>"
            )
        x += width
    bar = f'<svg viewBox="0 0 {WIDTH} 42" role="img" aria-label="Orders by outcome">{"".join(parts)}</svg>'
    rows = [[name, str(count), f"{count / max(report.orders, 1):.2%}"] for name, count in report.outcomes.items()]
    rows += [[f"– {reason}", str(count), ""] for reason, count in report.reasons.items()]
    return bar + _table(["outcome", "orders", "share"], rows)


def hours(report: Report) -> str:
    """Placed and delivered orders of each hour, side by side."""
    rows = report.orders_per_hour
    if not rows:
        return "<p>No orders.</p>"
    top = max(max(p, d) for _, p, d in rows)
    step = (WIDTH - LEFT) / len(rows)
    parts = [_axis(top)]
    for i, (hour, placed, delivered) in enumerate(rows):
        x = LEFT + i * step
        parts.append(_bar(x + step * 0.12, step * 0.36, placed, top, "--a", f"{hour}:00 placed {placed}"))
        parts.append(_bar(x + step * 0.52, step * 0.36, delivered, top, "--b", f"{hour}:00 delivered {delivered}"))
        if len(rows) <= 16 or i % 2 == 0:
            parts.append(f'<text x="{x + step / 2:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{hour}</text>')
    return _svg("Orders per hour", parts)


def histogram(bars: Sequence[tuple[int, int]], spread: Spread) -> str:
    """Counts by step, with the mean and the 90th percentile marked."""
    if not bars:
        return "<p>Nothing was delivered.</p>"
    top = max(count for _, count in bars)
    width = bars[1][0] - bars[0][0] if len(bars) > 1 else 5
    first, step = bars[0][0], (WIDTH - LEFT) / len(bars)
    parts = [_axis(top)]
    for i, (start, count) in enumerate(bars):
        x = LEFT + i * step
        parts.append(_bar(x + 1, step - 2, count, top, "--a", f"{start}–{start + width} min: {count}"))
        if i % max(1, len(bars) // 10) == 0:
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{start}</text>')
    for name, value in (("mean", spread.mean), ("p90", spread.p90)):
        if value is not None:
            x = LEFT + (value - first) / width * step
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="var(--b)" '
                f'stroke-dasharray="4 3"/><text x="{x + 4:.1f}" y="{TOP + 8}">{name} {value:.1f}</text>'
            )
    return _svg("Histogram", parts)


def riders(report: Report) -> str:
    """Riders on duty and busy over the day, as areas."""
    series = report.riders_over_day
    if not series:
        return "<p>No riders.</p>"
    width, top = 1140, max(max(a, b) for _, a, b in series) or 1
    step = (width - LEFT) / len(series)
    parts = [_axis(top, width)]
    for column, colour in ((1, "--a"), (2, "--b")):
        points: list[tuple[float, float]] = [(LEFT, HEIGHT - BOTTOM)]
        for i, row in enumerate(series):
            y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * row[column] / top
            points += [(LEFT + i * step, y), (LEFT + (i + 1) * step, y)]
        points.append((LEFT + len(series) * step, HEIGHT - BOTTOM))
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polygon points="{outline}" fill="var({colour})" fill-opacity=".45" stroke="var({colour})"/>')
    for i, (minute, _, _) in enumerate(series):
        if minute % 60 == 0:
            x = LEFT + i * step
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{minute // 60}</text>')
    return _svg("Riders over the day", parts, width)


def feeds(report: Report) -> str:
    """What was owed to and arrived at the subscribers of each kind."""
    rows = [
        [kind, v.feeds, v.owed, v.received, v.lost, v.duplicated, v.reordered, v.wrong, v.resumed, v.read_again]
        for kind, v in report.feeds.items()
    ]
    heads = "feed,subscribers,owed,received,lost,repeated,reordered,wrong,resumed,read again"
    return _table(heads.split(","), [[str(cell) for cell in row] for row in rows])


def latencies(report: Report) -> str:
    """Every operation's latency."""
    rows = [[o.name, str(o.count), f"{o.p50:.1f}", f"{o.p99:.1f}", f"{o.most:.1f}"] for o in report.operations]
    return _table(["operation", "calls", "p50 ms", "p99 ms", "max ms"], rows)


def _card(title: str, body: str, *, legend: Sequence[tuple[str, str]] = (), wide: bool = False) -> str:
    keys = "".join(f'<i class="dot" style="background:var({colour})"></i>{escape(name)}' for name, colour in legend)
    below = f'<p class="legend">{keys}</p>' if keys else ""
    return f'<section class="card{" wide" if wide else ""}"><h2>{escape(title)}</h2>{body}{below}</section>'


def _titled(title: str, spread: Spread) -> str:
    return f"{title}: mean {_number(spread.mean)}, p50 {_number(spread.p50)}, p90 {_number(spread.p90)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _svg(label: str, parts: Sequence[str], width: int = WIDTH) -> str:
    return f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _bar(x: float, width: float, value: float, top: float, colour: str, title: str) -> str:
    height = (HEIGHT - BOTTOM - TOP) * value / top if top else 0
    return (
        f'<rect x="{x:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" '
        f'fill="var({colour})"><title>{escape(title)}</title></rect>'
    )


def _axis(top: float, width: int = WIDTH) -> str:
    parts = list[str]()
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share
        parts.append(
            f'<line x1="{LEFT}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * share:.0f}</text>'
        )
    return "".join(parts)
