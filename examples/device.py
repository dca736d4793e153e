"""A printer, gate or board on the device API: a whole client in one file.

    python examples/device.py http://127.0.0.1:8000 --pair 7KQF2-M9DXA     pair, then work
    python examples/device.py http://127.0.0.1:8000                        go on, with the credentials kept
    python examples/device.py http://127.0.0.1:8000 --poll 5               the same without a connection

What it does right, and a device of yours should too:

- it writes down what became of a command before it says so, and carries out no command that it has written down;
- it says so until it has been answered, also after a restart; the server takes the same word twice;
- it connects without a cursor, so that it is told of everything that is still to do, and does it in order;
- it acts on a command only while its state is DELIVERED: one that is over is told as over.

The options after --faults make it a bad device on purpose: it loses its connection, answers late or twice, runs out
of paper.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

COMMAND = """id state payload { __typename
    ... on PrintTicket { kind title number pickupNumber mode table note placedAt dueAt total { amount currency }
        lines { name options quantity total { amount } } }
    ... on OpenGate { gate seconds reason }
    ... on ShowBoard { board store { id } } }"""
COMMANDS = f"subscription DeviceCommands {{ deviceCommands {{ type commands {{ {COMMAND} }} }} }}"
PENDING = f"query PendingCommands {{ pendingCommands(first: 50) {{ {COMMAND} }} }}"
ACKNOWLEDGE = """mutation Acknowledge($command: ID!, $outcome: CommandOutcome!, $failure: CommandFailure) {
    acknowledgeCommand(command: $command, outcome: $outcome, failure: $failure) { __typename
        ... on DeviceCommand { state } ... on CommandActionNotAllowed { state } ... on UserError { code message } } }"""
QUEUE = """subscription QueueScreen($store: ID!) { queueBoardUpdates(store: $store) {
    board { classes { code waiting calling { number } } } } }"""

RENEW_BEFORE = 60.0
"""Seconds before its end at which an access token is replaced."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0


class Refused(Exception):
    """The server does not take this device's credentials: somebody has to pair it."""


@dataclass
class Faults:
    """Shares (0 to 1) of commands with which something goes wrong. ``paper``: tickets per roll; ``late`` in seconds."""

    drop: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    paper: int | None = None
    dice: random.Random = field(default_factory=random.Random)

    def strikes(self, share: float) -> bool:
        return self.dice.random() < share


class Journal:
    """What became of which command, on disk before anybody is told: one JSON object a line, the newest counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.board: dict[str, Any] | None = None
        if path.exists():
            for line in path.read_text().splitlines():
                with suppress(ValueError):  # the last line of a device that lost its power
                    self._take(json.loads(line))

    def _take(self, entry: dict[str, Any]) -> None:
        if "board" in entry:
            self.board = entry["board"]
        else:
            self.outcomes.setdefault(entry["id"], {}).update(entry)

    def write(self, **entry: Any) -> None:
        self._take(entry)
        with self._path.open("a") as file:
            file.write(f"{json.dumps(entry)}\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def owed(self) -> list[dict[str, Any]]:
        """Outcomes that the server has not taken yet."""
        return [entry for entry in self.outcomes.values() if not entry.get("told")]


class Device:
    """Works until cancelled. ``show`` gets what it prints and says; ``done`` lists the commands carried out."""

    def __init__(
        self,
        url: str,
        credentials: dict[str, str],
        journal: Journal,
        show: Callable[[str], None] = print,
        faults: Faults | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.journal = journal
        self.faults = faults or Faults()
        self.done: list[str] = []
        self.connections = 0
        self._credentials = credentials
        self._show = show
        self._token, self._token_ends = "", 0.0
        self._paper = self.faults.paper
        self._pause = FIRST_PAUSE
        self._ws: aiohttp.ClientWebSocketResponse | None = None

    # -- with a connection

    async def run(self) -> None:
        """Stay connected. Raises Refused."""
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    await self._converse(http)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._show(f"· connection lost ({type(error).__name__})")
                await asyncio.sleep(random.uniform(self._pause / 2, self._pause))
                self._pause = min(LONGEST_PAUSE, self._pause * 2)

    async def _converse(self, http: aiohttp.ClientSession) -> None:
        """One connection from its beginning to its end."""
        headers = {"authorization": f"Bearer {await self._access(http)}"}
        url = f"{self.url}/graphql"
        async with http.ws_connect(url, protocols=("graphql-transport-ws",)) as ws:
            self._ws = ws
            self.connections += 1
            renewing = asyncio.create_task(self._renew(http, ws))
            try:
                await ws.send_json({"type": "connection_init", "payload": headers})
                async for frame in ws:
                    await self._hear(http, json.loads(frame.data))
            finally:
                renewing.cancel()
                self._ws = None
                if ws.close_code == 4403:
                    self._token_ends = 0.0  # the next one is asked for, and refused if the device is disabled

    async def _hear(self, http: aiohttp.ClientSession, message: dict[str, Any]) -> None:
        assert self._ws is not None
        match message["type"]:
            case "connection_ack":
                await self._settle(http)
                await self._subscribe("commands", COMMANDS)
                await self._watch_board()
            case "ping":
                await self._ws.send_json({"type": "pong"})
            case "next" if message["id"] == "board":
                self._show_board(message["payload"]["data"]["queueBoardUpdates"]["board"])
            case "next":
                self._pause = FIRST_PAUSE
                for command in message["payload"]["data"]["deviceCommands"]["commands"]:
                    await self._handle(http, command)
            case "error" | "complete" if message["id"] == "commands":
                raise ConnectionError(message.get("payload"))

    async def _subscribe(self, id: str, query: str, **variables: Any) -> None:
        if self._ws is not None:
            payload = {"query": query, "variables": variables}
            await self._ws.send_json({"id": id, "type": "subscribe", "payload": payload})

    async def _renew(self, http: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Hand a new token over before the old one ends; the connection stays."""
        while True:
            await asyncio.sleep(max(1.0, self._token_ends - RENEW_BEFORE - time.monotonic()))
            with suppress(aiohttp.ClientError, OSError):
                authorization = f"Bearer {await self._access(http)}"
                await ws.send_json({"type": "ping", "payload": {"authorization": authorization}})

    # -- without one

    async def poll(self, every: float) -> None:
        """Ask every so many seconds. Raises Refused."""
        async with aiohttp.ClientSession() as http:
            while True:
                with suppress(aiohttp.ClientError, OSError, TimeoutError):
                    await self._settle(http)
                    for command in (await self._ask(http, PENDING))["pendingCommands"]:
                        await self._handle(http, command)
                await asyncio.sleep(every)

    # -- commands

    async def _handle(self, http: aiohttp.ClientSession, command: dict[str, Any]) -> None:
        """Carry a command out unless that has been done, and say what became of it."""
        if command["id"] not in self.journal.outcomes:
            if command["state"] != "DELIVERED":
                return
            failure = self._carry_out(command["payload"])
            outcome = "DONE" if failure is None else "FAILED"
            self.journal.write(id=command["id"], outcome=outcome, failure=failure)
            self._show(f"· {command['id']} {failure or outcome}")
            if failure is None:
                self.done.append(command["id"])
        if command["payload"]["__typename"] == "ShowBoard" and command["state"] == "DELIVERED":
            await self._watch_board()
        if self.faults.strikes(self.faults.drop) and self._ws is not None:
            raise ConnectionError("on purpose")
        if self.faults.late:
            await asyncio.sleep(self.faults.late)
        await self._tell(http, self.journal.outcomes[command["id"]])
        if self.faults.strikes(self.faults.twice):
            await self._tell(http, self.journal.outcomes[command["id"]])

    async def _settle(self, http: aiohttp.ClientSession) -> None:
        """Say what the server may not have heard."""
        for entry in self.journal.owed:
            await self._tell(http, entry)

    async def _tell(self, http: aiohttp.ClientSession, entry: dict[str, Any]) -> None:
        told = {"command": entry["id"], "outcome": entry["outcome"], "failure": entry["failure"]}
        answer = (await self._ask(http, ACKNOWLEDGE, told))["acknowledgeCommand"]
        # A typed refusal is an answer too: the command had ended before, and repeating it would change nothing.
        if answer["__typename"] != "DeviceCommand":
            self._show(f"· {entry['id']}: {answer['message']}")
        if not entry.get("told"):
            self.journal.write(id=entry["id"], told=True)

    def _carry_out(self, payload: dict[str, Any]) -> str | None:
        """Do it; why not, when it cannot be done."""
        match payload["__typename"]:
            case "PrintTicket":
                if self._paper == 0:
                    self._paper = self.faults.paper  # somebody puts a roll in, for the next ticket
                    return "OUT_OF_PAPER"
                if self._paper is not None:
                    self._paper -= 1
                self._show(ticket(payload))
            case "OpenGate":
                self._show(f"▌ gate {payload['gate']} opens for {payload['seconds']} s {payload['reason']}".rstrip())
            case "ShowBoard":
                self.journal.write(board=payload)
            case _:
                return "UNSUPPORTED"
        return None

    async def _watch_board(self) -> None:
        """Follow what the last command told to show."""
        board = self.journal.board
        if self._ws is not None:
            await self._ws.send_json({"id": "board", "type": "complete"})
        if board is not None and board["board"] == "QUEUE":
            await self._subscribe("board", QUEUE, store=board["store"]["id"])

    def _show_board(self, board: dict[str, Any]) -> None:
        for line in board["classes"]:
            called = " ".join(ticket["number"] for ticket in line["calling"]) or "–"
            self._show(f"▌ {line['code']}  {called}  ({line['waiting']} waiting)")

    # -- the API

    async def _access(self, http: aiohttp.ClientSession) -> str:
        """An access token that still lasts. Raises Refused."""
        if time.monotonic() > self._token_ends - RENEW_BEFORE:
            form = {"grant_type": "client_credentials", **self._credentials}
            async with http.post(f"{self.url}/oauth/token", data=form) as response:
                if response.status == 401:
                    raise Refused("the credentials are not taken any more; pair the device again")
                response.raise_for_status()
                answer = await response.json()
            self._token = answer["access_token"]
            self._token_ends = time.monotonic() + answer["expires_in"]
        return self._token

    async def _ask(self, http: aiohttp.ClientSession, query: str, variables: dict[str, Any] | None = None) -> Any:
        headers = {"authorization": f"Bearer {await self._access(http)}"}
        body = {"query": query, "variables": variables or {}}
        async with http.post(f"{self.url}/graphql", json=body, headers=headers) as response:
            answer = await response.json()
        if answer.get("data") is None:
            self._token_ends = 0.0
            raise ConnectionError(answer)
        return answer["data"]


def ticket(content: dict[str, Any], width: int = 32) -> str:
    """A ticket laid out for a narrow printer."""
    lines = ["-" * width, content["kind"].center(width), content["title"][:width].center(width)]
    if content["number"]:
        called = content["pickupNumber"] or content["number"][-4:]
        lines.append(f"#{called}  {content['mode']}  {content['table'] or ''}".rstrip())
    for line in content["lines"]:
        price = "" if line["total"] is None else f"{int(line['total']['amount']) / 100:.2f}"
        lines.append(f"{line['quantity']} x {line['name']}".ljust(width - len(price)) + price)
        lines += [f"    {option}" for option in line["options"]]
    if content["note"]:
        lines.append(f"* {content['note']}")
    if content["total"]:
        lines.append(f"{int(content['total']['amount']) / 100:.2f} {content['total']['currency']}".rjust(width))
    return "\n".join([*lines, "-" * width])


async def pair(url: str, code: str) -> dict[str, str]:
    """Exchange the code that the merchant has read out for credentials; works once. Raises Refused."""
    headers = {"authorization": f"Bearer {code}"}
    url = f"{url.rstrip('/')}/oauth/register"
    async with aiohttp.ClientSession() as http, http.post(url, headers=headers) as response:
        answer = await response.json()
    if "client_id" not in answer:
        raise Refused(answer["error_description"])
    return {"client_id": answer["client_id"], "client_secret": answer["client_secret"]}


def main() -> None:
    parser = argparse.ArgumentParser(description="A printer, gate or board on the device API.")
    parser.add_argument("url")
    parser.add_argument("--pair", metavar="CODE", help="pairing code of the merchant")
    parser.add_argument("--home", type=Path, default=Path("device"), help="folder for credentials and journal")
    parser.add_argument("--poll", type=float, metavar="SECONDS", help="ask instead of holding a connection")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    faults = parser.add_argument_group("--faults", "what goes wrong on purpose")
    faults.add_argument("--drop", type=float, default=0.0, help="share of commands after which the connection is lost")
    faults.add_argument("--twice", type=float, default=0.0, help="share of answers that are sent again")
    faults.add_argument("--late", type=float, default=0.0, help="seconds before an answer")
    faults.add_argument("--paper", type=int, help="tickets per roll of paper")
    chosen = parser.parse_args()
    chosen.home.mkdir(parents=True, exist_ok=True)
    kept = chosen.home / "credentials.json"
    environment = {name: os.environ.get(f"HUTONG_DEVICE_{name.upper()}", "") for name in ("client_id", "client_secret")}
    try:
        if chosen.pair:
            kept.write_text(json.dumps(asyncio.run(pair(chosen.url, chosen.pair))))
            kept.chmod(0o600)
        if not kept.exists() and not all(environment.values()):
            sys.exit("Not paired yet: ask the merchant for a code and give it with --pair.")
        credentials = environment if all(environment.values()) else json.loads(kept.read_text())
        show = (lambda line: None) if chosen.quiet else print
        device = Device(
            chosen.url, credentials, Journal(chosen.home / "journal.jsonl"), show,
            Faults(chosen.drop, chosen.twice, chosen.late, chosen.paper),
        )  # fmt: skip
        asyncio.run(device.run() if chosen.poll is None else device.poll(chosen.poll))
    except Refused as refused:
        sys.exit(str(refused))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
