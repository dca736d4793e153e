"""Terminals on the npm client ``graphql-ws``, driven from a test."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests import node
from tests.api.follower import PATIENCE

SCRIPT = Path(__file__).with_name("terminals.mjs")


class Terminals:
    """What every terminal saw, in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.values: defaultdict[str, list[Any]] = defaultdict(list)
        self.opened: defaultdict[str, int] = defaultdict(int)
        self.cuts: defaultdict[str, int] = defaultdict(int)
        self.ended: dict[str, Any] = {}
        self._changed = asyncio.Condition()
        self._over = False

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            async with self._changed:
                name = told["name"]
                if "value" in told:
                    self.values[name].append(told["value"])
                elif "ended" in told:
                    self.ended[name] = told["ended"]
                else:
                    (self.cuts if "cut" in told else self.opened)[name] += 1
                self._changed.notify_all()
        async with self._changed:
            self._over = True
            self._changed.notify_all()

    async def _tell(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        await self._process.stdin.drain()

    async def open(self, name: str, url: str, token: str, query: str, **variables: Any) -> None:
        """Subscribe; returns when the first update is there."""
        field = query.split("{")[1].split("(")[0].strip()
        await self._tell(open=name, url=url, token=token, query=query, variables=variables, field=field)
        await self.until(lambda: self.values[name])

    async def cut(self, name: str) -> None:
        """Break the terminal's connection; it comes back by itself."""
        before = self.cuts[name]
        await self._tell(cut=name)
        await self.until(lambda: self.cuts[name] > before)

    async def until(self, condition: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._changed:
                await self._changed.wait_for(lambda: condition() or self.ended or self._over)
        except TimeoutError:
            pass
        assert condition(), (
            self.ended,
            dict(self.opened),
            {n: [v.get("type") for v in vs] for n, vs in self.values.items()},
        )


@asynccontextmanager
async def terminals() -> AsyncIterator[Terminals]:
    """A Node.js process that holds terminals; it ends with the block."""
    # As a file it would look for packages beside itself; as text it looks in its current folder.
    process = await asyncio.create_subprocess_exec(
        *node.node_command(), "--input-type=module", "--eval", SCRIPT.read_text(),
        cwd=node.FOLDER, env=node.environment(), limit=2**20,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Terminals(process)
    reading = asyncio.create_task(running.read())
    try:
        yield running
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading
