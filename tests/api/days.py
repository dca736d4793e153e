"""A random day of a shop: everybody acts, follows and is refused, and what must hold of what they were told."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from auth.principals import View
from core import ids
from tests.api import documents as doc
from tests.api.city import City, key, new_phone
from tests.api.socket import Socket, Told, open_socket
from tests.api.test_feeds_replay import BOARD, ORDER_UPDATES, QUEUE, TASKS, board, latest, tasks_of
from tests.devices.shop import ACK, NOTE, RESEND, SEND, Shop
from tests.devices.shop import CANCEL as CANCEL_COMMAND

TICKET = """subscription ($ticket: ID!) { queueTicketUpdates(ticket: $ticket) { cursor kind ticket { id state position
    estimatedWaitMinutes version } } }"""

LOCATION = """subscription ($order: ID!) { riderLocation(order: $order, minIntervalMs: 0) { cursor kind riderLocation {
    recordedAt location { latitude longitude } } } }"""

CITY = """subscription ($city: ID!) { cityUpdates(city: $city) { cursor kind overview { ordersToday activeOrders
    ridersOnline ridersBusy deliveriesWaiting queueWaiting ordersByState { state count } grossToday { amount } } } }"""

COMMAND = "id state device { id } payload { __typename }"
COMMANDS = f"""subscription ($after: String) {{ deviceCommands(after: $after) {{ cursor kind type reset {{ reason }}
    commands {{ {COMMAND} }} }} }}"""
PENDING = f"{{ pendingCommands(first: 100) {{ {COMMAND} }} }}"
DEVICES = """subscription ($store: ID!) { storeDevices(store: $store) { cursor kind
    devices { id name state pending problem store { id } } } }"""

RIDER_ORDER = ORDER_UPDATES.replace("availableActions", "number")

STATE = "query ($id: ID!) { order(id: $id) { state mode delivery { id state rider { id } offer { rider { id } } } } }"

LOSSLESS = ("board", "order", "tasks", "commands")
AT = {"latitude": 39.911, "longitude": 116.413}
FIXES = {"latitude": 39.912, "longitude": 116.414}


@dataclass
class Actor:
    """``kind``: consumer, merchant, rider, admin or device; ``id``: of the person, rider or device."""

    kind: str
    token: str
    id: str
    socket: Socket


@dataclass
class Watch:
    """One subscription and who has it."""

    actor: Actor
    name: str
    thing: str
    told: Told
    query: str
    variables: dict[str, Any]
    apply: Callable[[Any, dict[str, Any]], Any]
    after: str | None


@dataclass
class Day:
    """A shop, its people, an outsider of each kind, and what happened to them."""

    city: City
    stack: AsyncExitStack
    rng: random.Random = field(default_factory=random.Random)
    store: str = ""
    sku: str = ""
    clerk_phone: str = ""
    grant: str | None = None
    actors: dict[str, Actor] = field(default_factory=dict)
    orders: dict[str, Actor] = field(default_factory=dict)
    tickets: dict[str, Actor] = field(default_factory=dict)
    commands: dict[str, Actor] = field(default_factory=dict)
    """Those sent to a device, by command."""
    watches: list[Watch] = field(default_factory=list)
    barred: list[tuple[int, str, int]] = field(default_factory=list)
    """``(index of watch, feed, offset)``: beyond it the watch had no right to anything."""
    dismissed: set[int] = field(default_factory=set)
    """Watches that must have ended."""
    done: Counter[str] = field(default_factory=Counter[str])

    # people

    async def add(self, name: str, kind: str, token: str, id: str) -> Actor:
        socket = await self.stack.enter_async_context(open_socket(self.city, token))
        actor = self.actors[name] = Actor(kind, token, id, socket)
        return actor

    async def person(self, name: str, kind: str, view: View) -> Actor:
        token = await self.city._person(view, new_phone())
        viewer = (await self.city.do(token, "{ viewer { person { id } } }"))["person"]["id"]
        return await self.add(name, kind, token, viewer)

    async def open(self) -> None:
        city = self.city
        owner, self.store, self.sku = await city.shop()
        outsider, elsewhere, _ = await city.shop()
        await self.add("owner", "merchant", owner, "")
        await self.add("outsider", "merchant", outsider, "")
        await self.add("admin", "admin", city.tokens["admin"], "")
        for name in ("guest", "other"):
            await self.person(name, "consumer", View.CONSUMER)
        for name in ("rider", "second"):
            token, rider = await city.rider(online=False)
            await self.add(name, "rider", token, rider)
        self.clerk_phone = new_phone()
        await self.let_in()
        person = await city.fetchval("SELECT id FROM person WHERE phone = $1", self.clerk_phone)
        await self.add("clerk", "merchant", await city.open_session(person, View.MERCHANT), "")
        for name, token, store in (("printer", owner, self.store), ("foreign", outsider, elsewhere)):
            device, token = await Shop(city, token, "", store, "", "", "").add(name, "PRINT")
            await self.add(name, "device", token, device)
        await city.do(owner, doc.QUEUE_OPEN, store=self.store, open=True)
        await city.do(self["rider"].token, doc.GO_ONLINE, at=AT)

    def __getitem__(self, name: str) -> Actor:
        return self.actors[name]

    # what may happen

    async def do(self, name: str, who: Actor, document: str, **variables: Any) -> Any:
        value = await self.city.do(who.token, document, **variables)
        if "code" not in value:
            self.done[name] += 1
        return value

    async def let_in(self) -> None:
        if self.grant is None:
            owner = self["owner"].token
            made = await self.city.do(owner, doc.GRANT_CLERK, store=self.store, phone=self.clerk_phone)
            self.grant = made["id"]

    async def throw_out(self) -> None:
        """From here on no event of the shop may reach the clerk."""
        if self.grant is None:
            return
        await self.city.do(self["owner"].token, doc.REVOKE, grant=self.grant)
        self.grant = None
        for index, watch in enumerate(self.watches):
            if watch.actor is self["clerk"] and watch.name == "devices":
                self.dismissed.add(index)
            elif watch.actor is self["clerk"] and watch.name in ("board", "order", "ticket"):
                feed = await self.feed_of(watch)
                self.barred.append((index, feed, await self.top(feed)))

    async def top(self, feed: str) -> int:
        return await self.city.fetchval("SELECT top FROM feed_head WHERE feed = $1", feed) or 0

    async def feed_of(self, watch: Watch) -> str:
        type_name = {"board": "Store", "order": "Order", "tasks": "Rider", "queue": "Store"}.get(watch.name)
        if type_name is None:
            return f"queue:{ids.decode('Store', self.store)}"
        kind = {"board": "store", "order": "order", "tasks": "rider", "queue": "queue"}[watch.name]
        return f"{kind}:{ids.decode(type_name, watch.thing)}"

    async def order_step(self) -> None:
        """Something that may well be possible with one of the orders."""
        rng, owner, admin = self.rng, self["owner"], self["admin"]
        if not self.orders or (len(self.orders) < 25 and rng.random() < 0.08):
            who = self[rng.choice(["guest", "other"])]
            mode = rng.choice(["DELIVERY", "DELIVERY", "DELIVERY", "PICKUP"])
            placed = await self.city.place(who.token, self.store, self.sku, mode)
            self.orders[placed] = who
            await self.watch(who, "order", placed)
            return
        order = rng.choice(list(self.orders)[-3:])
        guest, now = self.orders[order], await self.city.do(admin.token, STATE, id=order)
        delivery = now["delivery"] or {"id": "", "state": None}
        on = {"order": order}
        keyed = {"order": order, "key": key()}
        moves: list[tuple[str, Actor, str, dict[str, Any]]] = []
        match now["state"]:
            case "PLACED":
                await self.city.pay(guest.token, order) if rng.random() < 0.8 else await self.city.miss_deadlines(order)
                self.done["pay or expire"] += 1
                return
            case "PAID":
                if rng.random() < 0.1:
                    await self.city.miss_deadlines(order)
                    self.done["expire"] += 1
                    return
                moves = [("accept", owner, doc.ACCEPT, on)] * 4
                moves += [("reject", owner, doc.REJECT, keyed), ("cancel", guest, doc.CANCEL, keyed)]
            case "ACCEPTED" | "PREPARING":
                moves = [("start", owner, doc.START, on), ("ready", owner, doc.READY, on)] * 2
                moves += [("refund", owner, doc.REFUND, keyed), ("cancel", owner, doc.CANCEL, keyed)]
            case "READY":
                moves = [("hand over", owner, doc.HAND_OVER, on), ("cancel", admin, doc.CANCEL, keyed)]
            case "DELIVERED":
                moves = [("confirm", guest, doc.CONFIRM, keyed), ("refund", admin, doc.REFUND, keyed)]
            case "PICKED_UP" | "COMPLETED":
                moves = [("refund", owner, doc.REFUND, keyed)]
            case _:
                pass
        holder = (delivery["offer"] or {"rider": None})["rider"] or delivery["rider"] if delivery["id"] else None
        riders = [actor for actor in self.actors.values() if actor.kind == "rider"]
        rider = next((a for a in riders if holder and a.id == holder["id"]), riders[0])
        rider = rider if rng.random() < 0.85 else rng.choice(riders)
        brought = {"delivery": delivery["id"]}
        match delivery["state"]:
            case "SEARCHING":
                moves += [("grab", rider, doc.on_delivery("grabDelivery"), brought)] * 2
            case "OFFERED":
                moves += [("take offer", rider, doc.ACCEPT_OFFER, brought)] * 3
                moves += [("decline", rider, doc.DECLINE_OFFER, brought)] * 2
                await self.watch(rider, "order", order)
            case "ASSIGNED":
                moves += [("arrive", rider, doc.ARRIVE, brought)] * 3
            case "AT_STORE":
                moves += [("pick up", rider, doc.PICK_UP, brought)] * 4
            case "PICKED_UP":
                moves += [("complete", rider, doc.COMPLETE, brought)] * 4
            case _:
                pass
        if moves:
            name, who, document, variables = rng.choice(moves)
            await self.do(name, who, document, **variables)

    async def rider_step(self) -> None:
        rider = self[self.rng.choice(["rider", "second"])]
        if self.rng.random() < 0.3:
            await self.do("online", rider, doc.GO_ONLINE, at=AT)
        elif self.rng.random() < 0.5:
            fix = FIXES | {"recordedAt": datetime.now(UTC).isoformat()}
            await self.do("report", rider, doc.REPORT, fixes=[fix])
        else:
            await self.do("offline", self["second"], doc.GO_OFFLINE)

    async def queue_step(self) -> None:
        rng, owner = self.rng, self["owner"]
        if not self.tickets or rng.random() < 0.3:
            who = self[rng.choice(["guest", "other", "owner"])]
            made = await self.do("take", who, doc.TAKE, store=self.store, size=2, key=key())
            if "code" not in made:
                self.tickets[made["id"]] = who
            return
        if rng.random() < 0.1:
            await self.do("queue", owner, doc.QUEUE_OPEN, store=self.store, open=rng.random() < 0.6)
            return
        ticket = rng.choice(list(self.tickets))
        name = rng.choice(["callTicket", "seatTicket", "skipTicket", "requeueTicket", "cancelTicket"])
        await self.do(name, owner, doc.on_ticket(name), ticket=ticket)

    async def device_step(self) -> None:
        """A note for one of the devices, or what becomes of one."""
        rng, pending = self.rng, list(self.commands)
        if not pending or rng.random() < 0.4:
            sender, device = rng.choice([("owner", "printer"), ("admin", "printer"), ("outsider", "foreign")])
            made = await self.do("send", self[sender], SEND, device=self[device].id, content=NOTE, key=key())
            if "code" not in made:
                self.commands[made["id"]] = self[device]
            return
        command = rng.choice(pending[-5:])
        device = self.commands[command]
        match rng.choice(["done", "done", "failed", "cancel", "resend", "resend", "theirs"]):
            case "done":
                await self.do("acknowledge", device, ACK, command=command, outcome="DONE")
            case "failed":
                await self.do("fail", device, ACK, command=command, outcome="FAILED", failure="FAULT")
            case "cancel":
                await self.do("cancel command", self["owner"], CANCEL_COMMAND, command=command)
            case "resend":
                sender = self["owner" if device is self["printer"] else "outsider"]
                made = await self.do("resend", sender, RESEND, command=command, key=key())
                if "code" not in made and "id" in made:
                    self.commands[made["id"]] = device
            case _:
                other = self["foreign" if device is self["printer"] else "printer"]
                refused = await self.city.do(other.token, ACK, command=command, outcome="DONE")
                assert refused["code"] == "NOT_FOUND", refused

    async def rights_step(self) -> None:
        await (self.throw_out() if self.rng.random() < 0.5 else self.let_in())

    async def watch_step(self) -> None:
        """Somebody tries to follow something."""
        rng = self.rng
        actor = rng.choice(list(self.actors.values()))
        names = ["board", "queue", "devices", "city"]
        names += ["order", "order", "location"] if self.orders else []
        names += ["ticket"] if self.tickets else []
        names += {"rider": ["tasks"] * 2, "device": ["commands"] * 3}.get(actor.kind, [])
        await self.watch(actor, rng.choice(names))

    async def watch(self, actor: Actor, name: str, order: str | None = None) -> None:
        rng, thing = self.rng, self.store
        if name in ("order", "location"):
            thing = order or rng.choice(list(self.orders)[-3:])
        elif name == "ticket":
            thing = rng.choice(list(self.tickets))
        elif name in ("tasks", "commands"):
            thing = actor.id
        elif name == "city":
            thing = self.city.id
        query, variables, apply = {
            "board": (BOARD, {"store": thing}, board),
            "queue": (QUEUE, {"store": thing}, latest("board")),
            "order": (RIDER_ORDER, {"order": thing}, latest("order")),
            "location": (LOCATION, {"order": thing}, latest("riderLocation")),
            "ticket": (TICKET, {"ticket": thing}, latest("ticket")),
            "tasks": (TASKS, {}, tasks_of(thing)),
            "commands": (COMMANDS, {}, pending_of(thing)),
            "devices": (DEVICES, {"store": thing}, latest("devices")),
            "city": (CITY, {"city": thing}, latest("overview")),
        }[name]
        # Somebody else's cursor of the same feed is a way to ask for what was before one's own time.
        cursors = [u["cursor"] for w in self.watches if (w.name, w.thing) == (name, thing) for u in w.told.values]
        after = rng.choice(cursors) if cursors and name in LOSSLESS and rng.random() < 0.5 else None
        variables |= {"after": after} if after else {}
        id = str(len(self.watches))
        told = actor.socket.operations[id] = Told()
        payload = {"query": query, "variables": variables}
        await actor.socket.ws.send_json({"id": id, "type": "subscribe", "payload": payload})
        if name != "location" and after is None:
            await actor.socket.until(lambda: told.values or told.ended)
        self.watches.append(Watch(actor, name, thing, told, query, variables, apply, after))

    # what must hold

    async def check(self) -> None:
        for index, watch in enumerate(self.watches):
            for update in watch.told.values:
                await self.check_visible(index, watch, update)
            await self.check_end(watch)
            if watch.told.ended is None and watch.name != "location":
                await self.check_state(watch)

    async def version(self, order: str, version: int) -> dict[str, Any]:
        """The order as the log has it at ``version``."""
        payload = await self.city.fetchval(
            """SELECT payload -> 'order' FROM feed_event WHERE feed = $1 AND "offset" = $2""",
            f"order:{ids.decode('Order', order)}",
            version,
        )
        return orjson.loads(payload)

    async def check_visible(self, index: int, watch: Watch, update: dict[str, Any]) -> None:
        """Whether the reader could have asked for it then."""
        for barred, _, offset in self.barred:
            if barred == index:
                assert _offset(update["cursor"]) <= offset, (watch.name, "told after the right was gone")
        actor = watch.actor
        if watch.name == "order":
            then = await self.version(watch.thing, update["order"]["version"])
            assert self.is_party(actor, then), (actor.kind, update)
        elif watch.name == "board":
            assert actor.kind == "admin" or actor in (self["owner"], self["clerk"], self["printer"])
            for order in update["orders"]:
                then = await self.version(order["id"], order["version"])
                assert then["store_id"] == str(ids.decode("Store", self.store)) and then["paid_at"]
        elif watch.name == "tasks":
            for task in update["tasks"]:
                then = await self.version(task["order"]["id"], task["order"]["version"])
                assert self.is_party(actor, then), (actor.id, update)
        elif watch.name == "ticket":
            assert actor in (self.tickets[watch.thing], self["owner"], self["clerk"])
        elif watch.name == "commands":
            for command in update["commands"]:
                # Others than those of this table are the kitchen tickets of accepted orders.
                assert (
                    self.commands.get(command["id"], self["printer"]) is actor and command["device"]["id"] == actor.id
                )
        elif watch.name == "devices":
            assert index not in self.dismissed or watch.told.ended is not None
            assert actor.kind == "admin" or actor in (self["owner"], self["clerk"])
            assert {device["store"]["id"] for device in update["devices"]} == {self.store}
        elif watch.name == "city":
            assert actor.kind == "admin"
        elif watch.name == "location":
            assert actor.kind != "rider" and actor is not self["outsider"]
            assert actor.kind != "consumer" or self.orders[watch.thing] is actor

    def is_party(self, actor: Actor, order: dict[str, Any]) -> bool:
        match actor.kind:
            case "consumer":
                return order["consumer_id"] == str(ids.decode("Person", actor.id))
            case "device":
                return actor is self["printer"] and order["paid_at"] is not None
            case "merchant":
                return actor in (self["owner"], self["clerk"]) and order["paid_at"] is not None
            case "rider":
                delivery = order["delivery"]
                return delivery is not None and delivery["rider_id"] == str(ids.decode("Rider", actor.id))
            case _:
                return actor.kind == "admin"

    async def check_end(self, watch: Watch) -> None:
        """A subscription ends for a reason that is true."""
        match watch.told.ended:
            case None | [{"code": "NOT_FOUND"}, *_] | [{"code": "GRAPHQL_VALIDATION_FAILED"}, *_]:
                pass
            case "complete":
                assert watch.name == "ticket" and watch.told.values[-1]["ticket"]["state"] in (
                    "SEATED",
                    "CANCELLED",
                    "EXPIRED",
                )
            case [{"code": "ACCESS_ENDED", "reason": "GRANT_REVOKED"}]:
                assert watch.actor is self["clerk"]
            case [{"code": "ACCESS_ENDED", "reason": "NOT_A_PARTY"}]:
                assert watch.actor.kind == "rider" and watch.name == "order"
            case [{"code": "ACCESS_ENDED", "reason": "DELIVERY_ENDED"}]:
                now = await self.city.do(self["admin"].token, STATE, id=watch.thing)
                assert watch.name == "location"
                assert now["state"] in ("DELIVERED", "COMPLETED", "CANCELLED", "REJECTED", "EXPIRED")
            case other:
                raise AssertionError(other)

    async def check_state(self, watch: Watch) -> None:
        """All that was told, applied to its snapshot, is what somebody sees who looks afresh."""
        if watch.name == "commands":
            await self.check_commands(watch)
            return
        asked = {name: value for name, value in watch.variables.items() if name != "after"}
        async with self.city.follow(watch.actor.token, watch.query, **asked) as fresh:
            await fresh.count(1)
        want, cursor = watch.apply(None, fresh.values[0]), fresh.values[0]["cursor"]
        values = watch.told.values

        def position() -> int | None:
            if watch.after == cursor:
                return -1
            return next((n for n, update in enumerate(values) if update["cursor"] == cursor), None)

        if watch.name in ("ticket", "queue", "devices", "city"):
            await watch.actor.socket.until(lambda: self.same(watch.name, watch.apply(None, values[-1]), want))
            return
        await watch.actor.socket.until(lambda: position() is not None or watch.told.ended)
        assert watch.told.ended is None
        cursors = [update["cursor"] for update in values]
        assert len(set(cursors)) == len(cursors) and cursors == sorted(cursors, key=_offset), "each once, in order"
        if watch.after is not None:
            return
        assert values[0]["kind"] == "SNAPSHOT"
        state: Any = None
        for update in values[: (position() or 0) + 1]:
            state = watch.apply(state, update)
        assert state == want, watch.name

    async def check_commands(self, watch: Watch) -> None:
        """The device knows of each command that it still has to carry out, and of no other."""
        want = {command["id"] for command in await self.city.do(watch.actor.token, PENDING)}
        values = watch.told.values

        def held() -> set[str]:
            state: dict[str, Any] = {}
            for update in values:
                state = watch.apply(state, update)
            return set(state)

        if watch.after is None:
            await watch.actor.socket.until(lambda: held() == want)
        cursors = [update["cursor"] for update in values]
        assert len(set(cursors)) == len(cursors) and cursors == sorted(cursors, key=_offset), "each once, in order"

    @staticmethod
    def same(name: str, one: Any, other: Any) -> bool:
        """Equal but for estimates, which change with time alone."""
        return orjson.dumps(_without_estimates(one)) == orjson.dumps(_without_estimates(other))

    async def close(self) -> None:
        """Leave no rider behind whom another day's orders could be offered to."""
        await self.city.execute("UPDATE rider SET online = false")


def pending_of(device: str) -> Callable[[Any, dict[str, Any]], Any]:
    """Commands by id that the device has not closed."""

    def apply(state: Any, update: dict[str, Any]) -> Any:
        held = {} if update["kind"] == "SNAPSHOT" else dict(state)
        held |= {command["id"]: command for command in update["commands"]}
        assert all(command["device"]["id"] == device for command in update["commands"])
        return {id: command for id, command in held.items() if command["state"] in ("QUEUED", "DELIVERED")}

    return apply


def _offset(cursor: str) -> int:
    return int(cursor.split(".")[1], 16)


def _without_estimates(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_estimates(inner) for name, inner in value.items() if name != "estimatedWaitMinutes"}
    return [_without_estimates(inner) for inner in value] if isinstance(value, list) else value
