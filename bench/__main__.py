"""``python -m bench`` (or ``make bench ARGS=…``): one bench by name. What each measures: docs/benchmarks.md."""

from __future__ import annotations

import sys
from importlib import import_module

BENCHES = {
    "database": "what services and gateway cost on top of bare asyncpg",
    "execution": "execution to bytes in memory, beside Strawberry, Ariadne and mercurius with its JIT",
    "http": "requests per second per core through HTTP and PostgreSQL, beside Strawberry and a hand-written handler",
    "realtime": "subscriptions: fan-out, memory, reconnects, locations, beside Strawberry and Node graphql-ws",
    "webhooks": "from an event to a partner's server: what it costs and how late it is",
}


def main() -> None:
    name, *arguments = sys.argv[1:] or [""]
    if name not in BENCHES:
        width = max(map(len, BENCHES))
        print("Usage: python -m bench NAME [OPTIONS]; each has --help.\n")
        print("\n".join(f"  {name:<{width}}  {what}" for name, what in BENCHES.items()))
        sys.exit(0 if not name else 2)
    import_module(f"bench.{name}").main(arguments)


if __name__ == "__main__":
    main()
