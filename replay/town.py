"""The people of a day, made through the public API: stores with their menus, riders, consumers, and the admin."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar, cast

from core.geo import Point
from replay import operations
from replay.api import Api, CallFailed, Refused, Session
from replay.day import Courier, Day, Plane, Restaurant

T = TypeVar("T")

SHOPS_FROM: Final = 0
RIDERS_FROM: Final = 2_000
BUYERS_FROM: Final = 4_000
MOST_PEOPLE: Final = 10_000
"""A run's people have consecutive phone numbers: owners, riders, consumers."""

STREETS: Final = ("Drum Tower", "Lantern", "Willow", "Silver Ingot", "East Gate", "Pomegranate", "Plum", "Old Well")
KITCHENS: Final = ("Noodle House", "Dumplings", "Hotpot", "Roast Duck", "Congee", "Barbecue", "Tea House", "Bakery")
FAMILY: Final = ("Wang", "Li", "Zhang", "Liu", "Chen", "Yang", "Zhao", "Huang", "Zhou", "Wu")
GIVEN: Final = ("Wei", "Fang", "Min", "Jing", "Lei", "Yan", "Tao", "Juan", "Ping", "Gang")
DISHES: Final = ("House noodles", "Pork dumplings", "Spicy tofu", "Fried rice", "Cold cucumber", "Sesame chicken")


@dataclass(frozen=True, slots=True)
class Dish:
    """Something to order: a variant with the options that must be chosen. Price in minor units."""

    sku: str
    price: int
    options: tuple[str, ...]


@dataclass(slots=True)
class Shop:
    plan: Restaurant
    session: Session
    store: str
    menu: list[Dish]
    minimum: int = 0
    """What an order must come to, where the cheapest dish does not, in minor units."""


@dataclass(slots=True)
class RiderPerson:
    session: Session
    rider: str


@dataclass(slots=True)
class Town:
    """Everybody who is needed to play days on one plane."""

    admin: Session
    city: str
    plane: Plane
    shops: dict[str, Shop] = field(default_factory=dict[str, Shop])
    riders: dict[str, RiderPerson] = field(default_factory=dict[str, RiderPerson])
    buyers: list[Session] = field(default_factory=list[Session])

    def sessions(self) -> Iterable[Session]:
        yield self.admin
        for shop in self.shops.values():
            yield shop.session
        for rider in self.riders.values():
            yield rider.session
        yield from self.buyers


def new_run() -> int:
    """A number for a run whose people shall be new, random; from 80000 on the demo's own people have their phones."""
    return int.from_bytes(os.urandom(4)) % 80_000


def phone(run: int, index: int) -> str:
    """Phone number (E.164, mainland mobile) of the ``index``-th person of a run."""
    return f"+8613{run:05d}{index:04d}"


async def find_city(api: Api, session: Session, slug: str | None) -> tuple[str, Point]:
    """Id and centre of the city with ``slug``, or of the first one. Raises CallFailed."""
    cities: list[dict[str, Any]] = await api.call(operations.CITIES, session)
    city = next((c for c in cities if slug is None or c["slug"] == slug), None)
    if city is None:
        raise CallFailed("Cities", f"there is no city {slug}" if slug else "there is no city")
    return city["id"], Point(city["center"]["latitude"], city["center"]["longitude"])


class Builder:
    """Creates the people of a day.

    :param run: decides names and phones; people of an earlier run with the same number are used again.
    :param again: look for them first, which costs a few queries.
    :param buyers: number of different consumers, by default one for each order.
    """

    def __init__(
        self, api: Api, admin: Session, day: Day, run: int, *, city: str | None = None, again: bool = False,
        buyers: int | None = None,
    ) -> None:  # fmt: skip
        self._api = api
        self._admin = admin
        self._day = day
        self._run = run
        self._slug = city
        self._again = again
        self._buyers = len(day.orders) if buyers is None else buyers
        self._known_stores: dict[str, str] = {}
        self._known_riders: dict[str, str] = {}
        self._random = Random(f"town:{run}")

    async def build(self, progress: Callable[[str, int, int], None] | None = None) -> Town:
        """Make everybody. Raises CallFailed or Refused."""
        if len(self._day.restaurants) > 2_000 or len(self._day.couriers) > 2_000 or self._buyers > 6_000:
            raise CallFailed("setup", "more people than a run has phone numbers for")
        city, centre = await find_city(self._api, self._admin, self._slug)
        town = Town(self._admin, city, self._day.plane(centre))
        if self._again:
            self._known_stores = await self._phones(operations.CITY_STORES, "stores", city)
            self._known_riders = await self._phones(operations.CITY_RIDERS, "riders", city)
        radius = min(50_000, math.ceil(self._day.longest_trip * 1.05) + 500)

        async def each(what: str, count: int, make: Callable[[int], Awaitable[None]]) -> None:
            await _all(count, make, lambda done: progress(what, done, count) if progress else None)

        restaurants, couriers = self._day.restaurants, self._day.couriers
        await each("stores", len(restaurants), lambda i: self._shop(town, i, restaurants[i], radius))
        await each("riders", len(couriers), lambda i: self._rider(town, i, couriers[i]))
        await each("consumers", self._buyers, lambda i: self._buyer(town, i))
        return town

    async def _phones(self, operation: operations.Operation, connection: str, city: str) -> dict[str, str]:
        """Ids by phone of everything in a connection of the city."""
        found: dict[str, str] = {}
        after: str | None = None
        while True:
            answer = await self._api.call(operation, self._admin, city=city, after=after)
            page = answer[connection]
            found.update((node["phone"], node["id"]) for node in page["nodes"])
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]

    def _name(self, index: int, first: tuple[str, ...], second: tuple[str, ...]) -> str:
        pick = Random(f"{self._run}:{index}:{first[0]}")
        return f"{pick.choice(first)} {pick.choice(second)}"

    async def _shop(self, town: Town, index: int, plan: Restaurant, radius: int) -> None:
        owner = phone(self._run, SHOPS_FROM + index)
        name = f"{self._name(index, STREETS, KITCHENS)} {plan.name}"
        merchant = ""
        if owner not in self._known_stores:
            wanted = {"city": town.city, "name": name, "ownerPhone": owner}
            merchant = (await self._api.call(operations.REGISTER_MERCHANT, self._admin, input=wanted))["id"]
        session = await self._api.sign_in(owner, "MERCHANT", self._name(index, FAMILY, GIVEN))
        if owner in self._known_stores:
            store = self._known_stores[owner]
            town.shops[plan.name] = Shop(plan, session, store, await read_menu(self._api, session, store))
            return
        at = town.plane.point(plan.x, plan.y)
        answer = await self._api.call(
            operations.CREATE_STORE,
            session,
            input={
                "merchant": merchant,
                "name": name,
                "address": f"{plan.name}, {round(plan.x)} m east, {round(plan.y)} m north",
                "phone": owner,
                "location": {"latitude": at.latitude, "longitude": at.longitude, "crs": "GCJ02"},
                "hours": [{"weekday": day, "opens": "00:00", "closes": "24:00"} for day in range(1, 8)],
                "deliveryRadiusMetres": radius,
                "minimumOrder": 1000,
                "deliveryFee": 500,
                "prepMinutes": 15,
                "tags": [],
                "services": ["DELIVERY"],
                "tables": [],
            },
        )
        category = await self._api.call(operations.CREATE_CATEGORY, session, store=answer["id"], name="Dishes")
        menu = [dish for n in range(2) for dish in await self._item(session, category["id"], index, n)]
        town.shops[plan.name] = Shop(plan, session, answer["id"], menu)

    async def _item(self, session: Session, category: str, index: int, number: int) -> list[Dish]:
        pick = Random(f"{self._run}:{index}:{number}")
        price = pick.randrange(1200, 4200, 100)
        spice = {
            "name": "Spice",
            "minSelected": 1,
            "maxSelected": 1,
            "options": [{"name": "mild", "priceDelta": 0}, {"name": "hot", "priceDelta": 100}],
        }
        item = await self._api.call(
            operations.CREATE_ITEM,
            session,
            input={
                "category": category,
                "name": DISHES[(index + number * 3) % len(DISHES)],
                "description": "",
                "skus": [{"name": "regular", "price": price}, {"name": "large", "price": price + 600}],
                "optionGroups": [spice] if number == 0 else [],
            },
        )
        return _dishes(item)

    async def _rider(self, town: Town, index: int, plan: Courier) -> None:
        number = phone(self._run, RIDERS_FROM + index)
        name = f"{self._name(index, FAMILY, GIVEN)} {plan.name}"
        rider = self._known_riders.get(number)
        if rider is None:
            wanted = {"city": town.city, "phone": number, "name": name}
            rider = cast(str, (await self._api.call(operations.REGISTER_RIDER, self._admin, input=wanted))["id"])
        town.riders[plan.name] = RiderPerson(await self._api.sign_in(number, "RIDER", name), rider)

    async def _buyer(self, town: Town, index: int) -> None:
        number = phone(self._run, BUYERS_FROM + index)
        town.buyers.append(await self._api.sign_in(number, "CONSUMER", self._name(index, FAMILY, GIVEN)))


async def read_menu(api: Api, session: Session, store: str) -> list[Dish]:
    """Everything that can be ordered at a store. Raises CallFailed."""
    answer = await api.call(operations.STORE_MENU, session, store=store)
    items = [item for category in answer["menu"] for item in category["items"]]
    return [dish for item in items if item["isAvailable"] and not item["isSoldOut"] for dish in _dishes(item)]


def _dishes(item: dict[str, Any]) -> list[Dish]:
    options = tuple(g["options"][0]["id"] for g in item["optionGroups"] if g["minSelected"] > 0)
    return [Dish(sku["id"], sku["price"]["amount"], options) for sku in item["skus"]]


async def _all(
    count: int, make: Callable[[int], Awaitable[None]], progress: Callable[[int], object], parallel: int = 16
) -> None:
    """Make the first ``count``, at most ``parallel`` at once; the first error ends all."""
    waiting = iter(range(count))
    done = 0

    async def work() -> None:
        nonlocal done
        for index in waiting:
            await make(index)
            done += 1
            progress(done)

    workers = [asyncio.create_task(work()) for _ in range(parallel)]
    try:
        await asyncio.gather(*workers)
    except (CallFailed, Refused):
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise
