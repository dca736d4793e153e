"""A city in memory behind the public contract: just enough to test the players and the checking subscribers.

It can misbehave on purpose: lose, repeat or swap live events, and hide offers from riders.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from replay import operations

FIELD = {o.text: o.field for o in vars(operations).values() if isinstance(o, operations.Operation)}

STEPS = {"startPreparing": "order.preparing", "markOrderReady": "order.ready", "confirmReceipt": "order.completed"}


@dataclass
class Misbehaviour:
    """Every ``lose``-th, ``repeat``-th, ``swap``-th live event of a feed kind; 0 for never."""

    kind: str = ""
    lose: int = 0
    repeat: int = 0
    swap: int = 0


@dataclass(eq=False)
class Listener:
    socket: web.WebSocketResponse
    id: str
    root: str
    feed: str
    user: str


@dataclass
class FakeCity:
    misbehave: Misbehaviour = field(default_factory=Misbehaviour)
    close_sockets_after: int = 0
    """Close a socket after this many messages sent on it; 0 for never."""

    def __post_init__(self) -> None:
        self.numbers = itertools.count(1)
        self.users: dict[str, dict[str, Any]] = {}
        self.stores: dict[str, dict[str, Any]] = {}
        self.riders: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.log: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.listeners: list[Listener] = []
        self.held: dict[str, dict[str, Any]] = {}
        self.sent: defaultdict[str, int] = defaultdict(int)
        self.url = ""
        self.waiting: list[tuple[int, asyncio.Event]] = []
        self.writing: set[asyncio.Future[None]] = set()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeCity:
        app = web.Application()
        app.router.add_post("/graphql", self.post)
        app.router.add_get("/graphql", self.connect)
        app.router.add_get("/sandbox/sms", self.sms)
        app.router.add_post("/pay/{order}", self.pay)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def new(self, prefix: str) -> str:
        return f"{prefix}_{next(self.numbers):06d}"

    async def sms(self, request: web.Request) -> web.Response:
        return web.json_response([{"phone": request.query["phone"], "text": "Your code is 123456."}])

    async def pay(self, request: web.Request) -> web.Response:
        self.change(self.orders[request.match_info["order"]], "order.paid", "PAID")
        return web.Response()

    async def post(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        root = FIELD[body["query"]]
        user = request.headers.get("Authorization", "").removeprefix("Bearer ")
        value = getattr(self, "on_" + root)(user, **body["variables"])
        return web.Response(body=orjson.dumps({"data": {root: value}}), content_type="application/json")

    # people

    def on_requestOtp(self, user: str, **_: Any) -> Any:
        return {"expiresAt": datetime.now(UTC).isoformat()}

    def on_signIn(self, user: str, phone: str, view: str, **_: Any) -> Any:
        token = f"{view}:{phone}"
        self.users.setdefault(token, {"rider": next((r for r in self.riders.values() if r["phone"] == phone), None)})
        return self.session(token)

    def session(self, token: str) -> Any:
        expires = (datetime.now(UTC) + timedelta(minutes=15)).isoformat()
        return {"accessToken": token, "refreshToken": token, "expiresAt": expires, "person": {"id": "per_1"}}

    def on_refreshSession(self, user: str, refreshToken: str) -> Any:
        return self.session(refreshToken)

    def on_cities(self, user: str) -> Any:
        center = {"latitude": 39.93, "longitude": 116.4}
        return [{"id": "cit_1", "slug": "test", "name": "Test", "timezone": "Asia/Shanghai", "center": center}]

    def on_clock(self, user: str) -> Any:
        return {"now": datetime.now(UTC).isoformat(), "speed": 1.0}

    def on_city(self, user: str, city: str, **_: Any) -> Any:
        page = {"hasNextPage": False, "endCursor": None}
        return {
            "overview": self.overview(),
            "stores": {"nodes": list(self.stores.values()), "pageInfo": page},
            "riders": {"nodes": [{"id": r["id"], "phone": r["phone"]} for r in self.riders.values()], "pageInfo": page},
        }

    def overview(self) -> Any:
        states: defaultdict[str, int] = defaultdict(int)
        for order in self.orders.values():
            states[order["state"]] += 1
        riders = self.riders.values()
        return {
            "at": datetime.now(UTC).isoformat(),
            "activeOrders": 0,
            "ordersByState": [{"state": s, "count": n} for s, n in states.items()],
            "ridersOnline": sum(r["online"] for r in riders),
            "ridersBusy": sum(r["task"] is not None for r in riders),
            "deliveriesWaiting": 0,
        }

    def on_registerMerchant(self, user: str, input: Any) -> Any:
        return {"id": self.new("mer")}

    def on_registerRider(self, user: str, input: Any) -> Any:
        rider = {"id": self.new("rid"), "phone": input["phone"], "online": False, "task": None, "at": None}
        self.riders[rider["id"]] = rider
        return rider

    def on_createStore(self, user: str, input: Any) -> Any:
        store = {"id": self.new("sto"), "phone": input["phone"], "location": input["location"], "menu": []}
        self.stores[store["id"]] = store
        return store

    def own_shop(self) -> str:
        """A store of somebody who is not of the run, who signs in as ``OWNER``; its id."""

        def item(*prices: int, sold_out: bool = False) -> Any:
            skus = [{"id": self.new("sku"), "price": {"amount": price}} for price in prices]
            state = {"isAvailable": True, "isSoldOut": sold_out}
            return {"id": self.new("itm"), "skus": skus, "optionGroups": [], **state}

        self.stores["sto_own"] = {
            "id": "sto_own", "phone": "+8613800000002", "location": {"latitude": 39.932, "longitude": 116.402},
            "minimumOrder": {"amount": 2000},
            "menu": [{"items": [item(2200, 2800), item(600), item(900, sold_out=True)]}],
        }  # fmt: skip
        return "sto_own"

    def on_myStores(self, user: str) -> Any:
        return [self.stores["sto_own"]] if user == "OWNER" else []

    def on_store(self, user: str, store: str) -> Any:
        return self.stores[store]

    def on_createCategory(self, user: str, store: str, name: str) -> Any:
        category = {"id": self.new("cat"), "items": []}
        self.stores[store]["menu"].append(category)
        return category

    def on_createItem(self, user: str, input: Any) -> Any:
        groups = [
            {"minSelected": g["minSelected"], "options": [{"id": self.new("opt")} for _ in g["options"]]}
            for g in input["optionGroups"]
        ]
        skus = [{"id": self.new("sku"), "price": {"amount": s["price"]}} for s in input["skus"]]
        return {"id": self.new("itm"), "skus": skus, "optionGroups": groups}

    # orders

    def on_createQuote(self, user: str, input: Any) -> Any:
        return {"id": f"{input['store']}", "total": {"amount": 2500}}

    def on_placeOrder(self, user: str, input: Any, idempotencyKey: str) -> Any:
        order = {
            "id": self.new("ord"), "version": 0, "state": "PLACED", "note": input["note"], "store": input["quote"],
            "total": {"amount": 2500}, "refunded": {"amount": 0}, "delivery": None, "paid": False,
            "at": input["address"]["location"],
        }  # fmt: skip
        self.orders[order["id"]] = order
        self.change(order, "order.placed", "PLACED")
        return order

    def on_payOrder(self, user: str, order: str, idempotencyKey: str) -> Any:
        return {"id": self.new("pay"), "payUrl": f"{self.url}/pay/{order}"}

    def on_acceptOrder(self, user: str, order: str, prepMinutes: int) -> Any:
        found = self.orders[order]
        pickup = self.stores[found["store"]]["location"]
        found["delivery"] = {
            "id": self.new("del"), "state": "SEARCHING", "rider": None, "offer": None,
            "pickup": pickup, "dropoff": found["at"],
        }  # fmt: skip
        self.change(found, "order.accepted", "ACCEPTED")
        self.dispatch()
        return self.copy(found)

    def step(self, order: str, state: str, type: str) -> Any:
        self.change(self.orders[order], type, state)
        return self.copy(self.orders[order])

    def on_startPreparing(self, user: str, order: str) -> Any:
        return self.step(order, "PREPARING", "order.preparing")

    def on_markOrderReady(self, user: str, order: str) -> Any:
        if self.orders[order]["state"] == "CANCELLED":
            return {"code": "ORDER_ACTION_NOT_ALLOWED", "message": "cancelled"}
        return self.step(order, "READY", "order.ready")

    def on_confirmReceipt(self, user: str, order: str, idempotencyKey: str) -> Any:
        return self.step(order, "COMPLETED", "order.completed")

    def on_cancelOrder(self, user: str, order: str, reason: str, idempotencyKey: str) -> Any:
        found = self.orders[order]
        if user.startswith("CONSUMER") and found["state"] in ("ACCEPTED", "PREPARING"):
            return {"code": "ORDER_ACTION_NOT_ALLOWED", "message": "too late"}
        rider = found["delivery"]["rider"]
        if rider is not None:
            self.riders[rider["id"]]["task"] = None
        found["delivery"].update(state="CANCELLED", rider=None, offer=None)
        self.change(found, "order.cancelled", "CANCELLED", former=rider and rider["id"])
        answer = self.copy(found)
        self.dispatch()

        def refund() -> None:
            found["refunded"] = {"amount": found["total"]["amount"]}
            self.change(found, "order.refunded", "CANCELLED")

        asyncio.get_running_loop().call_later(0.02, refund)
        return answer

    def on_order(self, user: str, order: str, **_: Any) -> Any:
        found = self.copy(self.orders[order])
        nodes = [{"type": e["type"], "version": e["order"]["version"]} for e in self.log[f"order:{order}"]]
        found["events"] = {"nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}
        if found["delivery"] is not None:
            found["delivery"]["riderLocation"] = self.orders[order].get("location")
        return found

    # riders

    def me(self, user: str) -> dict[str, Any]:
        phone = user.partition(":")[2]
        return next(r for r in self.riders.values() if r["phone"] == phone)

    def job(self, delivery: str) -> dict[str, Any]:
        return next(o for o in self.orders.values() if o["delivery"] and o["delivery"]["id"] == delivery)

    def task(self, rider: dict[str, Any]) -> Any:
        return None if rider["task"] is None else {"id": rider["task"], "state": "OFFERED"}

    def on_goOnline(self, user: str, location: Any) -> Any:
        rider = self.me(user)
        rider.update(online=True, at=location)
        self.figures()
        self.dispatch()
        return {"id": rider["id"], "currentTask": self.task(rider)}

    def on_goOffline(self, user: str) -> Any:
        rider = self.me(user)
        offered = rider["task"]
        if offered is not None and self.job(offered)["delivery"]["state"] != "OFFERED":
            return {"code": "RIDER_BUSY", "message": "busy"}
        rider["online"] = False
        if offered is not None:
            self.on_declineOffer(user, offered)
        self.figures()
        return {"id": rider["id"], "online": False}

    def on_reportLocation(self, user: str, fixes: Any) -> Any:
        rider = self.me(user)
        rider["at"] = fixes[-1]
        value = {"recordedAt": fixes[-1]["recordedAt"], "location": fixes[-1]}
        if rider["task"] is not None:
            order = self.job(rider["task"])
            order["location"] = value
            self.push(f"location:{order['id']}", {"cursor": "x", "kind": "EVENT", "riderLocation": value})
        return {"accepted": len(fixes), "ignored": 0}

    def move(self, delivery: str, state: str, order_state: str | None, type: str) -> Any:
        order = self.job(delivery)
        order["delivery"]["state"] = state
        self.change(order, type, order_state or order["state"])
        return {**order["delivery"], "order": {"id": order["id"]}}

    def on_acceptOffer(self, user: str, delivery: str) -> Any:
        if self.me(user)["task"] != delivery:
            return {"code": "NOT_FOUND", "message": "not yours"}
        return self.move(delivery, "ASSIGNED", None, "delivery.assigned")

    def on_declineOffer(self, user: str, delivery: str) -> Any:
        rider, order = self.me(user), self.job(delivery)
        if rider["task"] != delivery:
            return {"code": "NOT_FOUND", "message": "not yours"}
        rider["task"] = None
        order.setdefault("declined", set()).add(rider["id"])
        order["delivery"].update(state="SEARCHING", rider=None, offer=None)
        self.change(order, "delivery.declined", order["state"], former=rider["id"])
        self.dispatch()
        return self.copy(order)["delivery"]

    def on_arriveAtStore(self, user: str, delivery: str) -> Any:
        return self.move(delivery, "AT_STORE", None, "delivery.at_store")

    def on_pickUpDelivery(self, user: str, delivery: str) -> Any:
        assert self.job(delivery)["state"] == "READY", "picked up before it was ready"
        return self.move(delivery, "PICKED_UP", "PICKED_UP", "order.picked_up")

    def on_completeDelivery(self, user: str, delivery: str) -> Any:
        rider = self.me(user)
        answer = self.move(delivery, "DELIVERED", "DELIVERED", "order.delivered")
        rider["task"] = None
        self.figures()
        self.dispatch()
        return {**answer, "rider": {"currentTask": self.task(rider)}}

    def dispatch(self) -> None:
        for order in self.orders.values():
            delivery = order["delivery"]
            if delivery is None or delivery["state"] != "SEARCHING":
                continue
            free = [
                r for r in self.riders.values()
                if r["online"] and r["task"] is None and r["id"] not in order.get("declined", ())
            ]  # fmt: skip
            if not free:
                continue
            to = delivery["pickup"]
            place = (to["latitude"], to["longitude"])
            rider = min(free, key=lambda r: math.dist((r["at"]["latitude"], r["at"]["longitude"]), place))
            rider["task"] = delivery["id"]
            delivery.update(state="OFFERED", rider={"id": rider["id"]}, offer={"rider": {"id": rider["id"]}})
            self.change(order, "delivery.offered", order["state"])

    # feeds

    def copy(self, order: dict[str, Any]) -> dict[str, Any]:
        return orjson.loads(orjson.dumps({k: v for k, v in order.items() if k != "declined"}))

    def change(self, order: dict[str, Any], type: str, state: str, former: str | None = None) -> None:
        order["version"] += 1
        order["state"] = state
        order["paid"] = order["paid"] or state == "PAID"
        shown = self.copy(order)
        feeds = [f"order:{order['id']}"]
        if order["paid"]:
            feeds.append(f"store:{order['store']}")
        rider = order["delivery"] and order["delivery"]["rider"]
        feeds += [f"rider:{r}" for r in {former, rider["id"] if rider else None} - {None}]
        for feed in feeds:
            event = {"type": type, "order": shown, "offset": len(self.log[feed]) + 1}
            self.log[feed].append(event)
            self.push(feed, self.update(feed, event))
        for count, reached in self.waiting:
            if sum(o["state"] == "COMPLETED" for o in self.orders.values()) >= count:
                reached.set()
        self.figures()

    async def completed(self, count: int) -> None:
        """Wait until so many orders are completed."""
        reached = asyncio.Event()
        self.waiting.append((count, reached))
        await reached.wait()

    def figures(self) -> None:
        at = datetime.now(UTC).isoformat()
        self.push("city:cit_1", {"cursor": "c", "kind": "EVENT", "at": at, "overview": self.overview()})

    def update(self, feed: str, event: dict[str, Any]) -> dict[str, Any]:
        common = {"cursor": f"e.{event['offset']}", "kind": "EVENT", "type": event["type"], "reset": None}
        return {**common, **self.value(feed, [event["order"]])}

    def value(self, feed: str, orders: list[dict[str, Any]]) -> dict[str, Any]:
        if feed.startswith("order:"):
            return {"order": orders[0]}
        if feed.startswith("store:"):
            return {"orders": orders}
        return {"tasks": [{**o["delivery"], "order": o} for o in orders], "gone": []}

    def push(self, feed: str, value: dict[str, Any]) -> None:
        for listener in [one for one in self.listeners if one.feed == feed]:
            self.deliver(listener, value)

    def deliver(self, listener: Listener, value: dict[str, Any]) -> None:
        """Send a live event, or misbehave."""
        bad, key = self.misbehave, f"{id(listener)}"
        if not bad.kind or not listener.feed.startswith(bad.kind):
            self.send(listener, value)
            return
        self.sent[bad.kind] += 1
        n = self.sent[bad.kind]
        if bad.lose and n % bad.lose == 0:
            return
        if bad.swap and n % bad.swap == 0 and key not in self.held:
            self.held[key] = value
            return
        self.send(listener, value)
        if bad.repeat and n % bad.repeat == 0:
            self.send(listener, value)
        if key in self.held:
            self.send(listener, self.held.pop(key))

    def send(self, listener: Listener, value: dict[str, Any]) -> None:
        message = {"id": listener.id, "type": "next", "payload": {"data": {listener.root: value}}}
        text = orjson.dumps(message).decode()
        task = asyncio.ensure_future(self.write(listener, text))
        self.writing.add(task)
        task.add_done_callback(self.writing.discard)

    async def write(self, listener: Listener, text: str) -> None:
        if not listener.socket.closed:
            try:
                await listener.socket.send_str(text)
            except ConnectionError:
                return

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("graphql-transport-ws",))
        await socket.prepare(request)
        user = ""
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            message = orjson.loads(frame.data)
            if message["type"] == "connection_init":
                user = str(message["payload"]).split("Bearer ")[-1].rstrip("'}")
                await socket.send_str('{"type":"connection_ack"}')
            elif message["type"] == "subscribe":
                self.start(socket, user, message)
            elif message["type"] == "complete":
                self.listeners = [one for one in self.listeners if (one.socket, one.id) != (socket, message["id"])]
        self.listeners = [one for one in self.listeners if one.socket is not socket]
        return socket

    def start(self, socket: web.WebSocketResponse, user: str, message: dict[str, Any]) -> None:
        variables, root = message["payload"]["variables"], FIELD[message["payload"]["query"]]
        if root == "riderTasks":
            feed = f"rider:{self.me(user)['id']}"
        elif root == "riderLocation":
            feed = f"location:{variables['order']}"
        else:
            feed = {"orderUpdates": "order", "storeBoard": "store", "cityUpdates": "city"}[root]
            feed += f":{next(v for k, v in variables.items() if k != 'after')}"
        listener = Listener(socket, message["id"], root, feed, user)
        self.listeners.append(listener)
        after = variables.get("after")
        if root == "cityUpdates":
            at = datetime.now(UTC).isoformat()
            self.send(listener, {"cursor": "c", "kind": "SNAPSHOT", "at": at, "overview": self.overview()})
        elif root == "riderLocation":
            known = self.orders[variables["order"]].get("location")
            if known is not None:
                self.send(listener, {"cursor": "x", "kind": "SNAPSHOT", "riderLocation": known})
        elif after is not None:
            for event in self.log[feed][int(after.partition(".")[2]) :]:
                self.send(listener, self.update(feed, event))
        else:
            orders = [self.copy(self.orders[variables["order"]])] if root == "orderUpdates" else []
            common = {"cursor": f"e.{len(self.log[feed])}", "kind": "SNAPSHOT", "type": None, "reset": None}
            self.send(listener, {**common, **self.value(feed, orders)})
