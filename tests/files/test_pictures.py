"""Pictures in the places where they are shown, and those that are shown nowhere."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from auth.principals import View
from clients.files import StoreUnavailable
from clients.local_files import LocalFiles
from core import ids
from core.clock import wall_now
from services import files, seed
from services.unit import transaction
from tests.api.city import City, new_phone, some_id
from tests.files.samples import png
from tests.files.shops import items, names
from tests.files.world import (
    COMPLETE,
    SET_ITEM,
    SET_LOGO,
    SET_PHOTOS,
    SHOWN,
    get,
    picture,
    request,
    send,
)


async def test_pictures_of_another_store_cannot_be_shown(city: City, shop: tuple[str, str]) -> None:
    other, elsewhere, _ = await city.shop()
    foreign = await picture(city, other, elsewhere, png())
    owner, store = shop
    (item,) = await items(city, store)
    for document, of in ((SET_ITEM, {"item": item["id"]}), (SET_LOGO, {"store": store})):
        assert (await city.do(owner, document, **of, picture=foreign["id"]))["code"] == "NOT_FOUND"
    refused = await city.do(owner, SET_PHOTOS, store=store, pictures=[foreign["id"]])
    assert refused["code"] == "NOT_FOUND"
    assert await city.do(owner, SHOWN, store=store) == {"logo": None, "photos": []}


async def test_an_admin_of_the_city_takes_down_what_must_not_be_shown(city: City, shop: tuple[str, str]) -> None:
    owner, store = shop
    bad, worse = [(await picture(city, owner, store, png(n, n))) for n in (1, 2)]
    (item,) = await items(city, store)
    await city.do(owner, SET_ITEM, item=item["id"], picture=bad["id"])
    await city.do(owner, SET_PHOTOS, store=store, pictures=[worse["id"]])
    elsewhere = await admin_of_another_city(city)
    assert (await city.do(elsewhere, SET_ITEM, item=item["id"]))["code"] == "NOT_FOUND"
    assert (await city.do(elsewhere, SET_PHOTOS, store=store, pictures=[]))["code"] == "NOT_FOUND"
    admin = city.tokens["admin"]
    assert (await city.do(admin, SET_ITEM, item=item["id"]))["picture"] is None
    assert (await city.do(admin, SET_PHOTOS, store=store, pictures=[]))["photos"] == []
    noted = await city.program.runtime.database.fetch(
        "SELECT target_id, facts FROM audit_entry WHERE action = 'take_down_picture' ORDER BY at"
    )
    assert [ids.encode("Picture", row["target_id"]) for row in noted] == [bad["id"], worse["id"]]
    assert bad["url"].rsplit("/", 1)[1] in noted[0]["facts"]


async def admin_of_another_city(city: City) -> str:
    other = ids.uuid7()
    await city.execute(
        "INSERT INTO city VALUES ($1, $2, '杭州', 30.25, 120.16, 'Asia/Shanghai', 'CNY')", other, other.hex
    )
    async with transaction(city.program.runtime) as unit:
        person = await seed.ensure_admin(unit, other, new_phone(), "Somebody")
    return await city.open_session(person, View.ADMIN)


async def test_a_picture_is_shown_in_one_place_and_what_is_shown_nowhere_goes(
    city: City, shop: tuple[str, str]
) -> None:
    owner, store = shop
    first, second, third = [(await picture(city, owner, store, png(n, n)))["id"] for n in (1, 2, 3)]
    (item,) = await items(city, store)
    assert (await city.do(owner, SET_LOGO, store=store, picture=first))["logo"]["id"] == first
    done = await city.do(owner, SET_PHOTOS, store=store, pictures=[third, second])
    assert [photo["id"] for photo in done["photos"]] == [third, second]
    await city.do(owner, SET_ITEM, item=item["id"], picture=second)
    assert await city.do(city.tokens["consumer"], SHOWN, store=store) == {
        "logo": {"id": first}, "photos": [{"id": third}],
    }  # fmt: skip
    await city.do(owner, SET_LOGO, store=store, picture=second)
    assert (await items(city, store))[0]["picture"] is None
    assert (await city.do(owner, SET_LOGO, store=store, picture=first))["code"] == "NOT_FOUND"  # replaced
    done = await city.do(owner, SET_PHOTOS, store=store, pictures=[])
    assert done["photos"] == []
    assert (await city.do(owner, SET_PHOTOS, store=store, pictures=[second, second]))["code"] == "INVALID_INPUT"
    assert (await city.do(owner, SET_PHOTOS, store=store, pictures=[some_id("Picture")] * 10))[
        "code"
    ] == "INVALID_INPUT"
    assert (await city.do(owner, SHOWN, store=store))["logo"] == {"id": second}
    assert (await city.do(owner, SET_LOGO, store=store))["logo"] is None


async def test_placing_at_once_leaves_each_picture_in_one_place(city: City, shop: tuple[str, str]) -> None:
    owner, store = shop
    pictures = [(await picture(city, owner, store, png(n, 1)))["id"] for n in range(1, 5)]
    (item,) = await items(city, store)
    work = [city.do(owner, SET_ITEM, item=item["id"], picture=p) for p in pictures]
    work += [city.do(owner, SET_LOGO, store=store, picture=p) for p in pictures]
    work += [city.do(owner, SET_PHOTOS, store=store, pictures=pictures[n:] + pictures[:n]) for n in range(4)]
    answers = await asyncio.gather(*work)
    assert {answer["__typename"] for answer in answers} <= {"Item", "Store", "NotFound"}
    shown = await city.do(owner, SHOWN, store=store)
    (item,) = await items(city, store)
    places = [p["id"] for p in [shown["logo"], *shown["photos"], item["picture"]] if p]
    assert len(places) == len(set(places))


async def age(city: City, pictures: list[str], by: timedelta) -> None:
    """Make them so much older."""
    keys = [ids.decode("Picture", p) for p in pictures]
    await city.execute(
        """UPDATE picture SET created_at = created_at - $2::interval, upload_ends_at = upload_ends_at - $2::interval
           WHERE id = ANY($1::uuid[])""",
        keys,
        by,
    )


async def test_what_nobody_finished_or_shows_is_swept_away(city: City, shop: tuple[str, str], folder: Path) -> None:
    owner, store = shop
    (item,) = await items(city, store)
    shown = await picture(city, owner, store, png(11, 1))
    await city.do(owner, SET_ITEM, item=item["id"], picture=shown["id"])
    unused = await picture(city, owner, store, png(12, 1))
    young = await picture(city, owner, store, png(13, 1))
    unfinished = await request(city, owner, store, len(png()))
    await send(city, unfinished, png())
    never = await request(city, owner, store, 100)
    replaced = await picture(city, owner, store, png(14, 1))
    await city.do(owner, SET_LOGO, store=store, picture=replaced["id"])
    await city.do(owner, SET_LOGO, store=store)
    mine = [p["id"] for p in (shown, unused, young, unfinished, never, replaced)]
    await files.sweep(city.program.runtime)  # nothing is old enough
    assert set(mine) - {never["id"]} <= names(folder, "incoming")

    await age(city, [young["id"], replaced["id"]], timedelta(hours=2))
    await age(city, [p["id"] for p in (shown, unused, unfinished, never)], timedelta(days=2))
    await asyncio.gather(*(files.sweep(city.program.runtime) for _ in range(3)))
    assert not set(mine) & names(folder, "incoming")
    published = {p["url"].rsplit("/", 1)[1] for p in (shown, unused, young, replaced)} & names(folder, "public")
    assert published == {p["url"].rsplit("/", 1)[1] for p in (shown, young)}
    left = await city.program.runtime.database.fetch(
        "SELECT id FROM picture WHERE store_id = $1", ids.decode("Store", store)
    )
    assert {ids.encode("Picture", row["id"]) for row in left} == {shown["id"], young["id"]}
    assert (await items(city, store))[0]["picture"]["id"] == shown["id"]
    assert (await get(city, shown["url"]))[0].status == 200
    assert (await city.do(owner, COMPLETE, upload=unfinished["id"]))["code"] == "NOT_FOUND"
    assert (await city.do(owner, COMPLETE, upload=shown["id"]))["__typename"] == "Picture"


async def test_a_folder_that_cannot_be_written_is_a_store_that_is_not_available(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("not a folder")
    store = LocalFiles(tmp_path / "files", b"secret", "")
    await store.start()
    with pytest.raises(StoreUnavailable):
        await store.publish("a.png", png(), "image/png")
    key = some_id("Picture")
    address = store.upload_target(key, "image/png", 3, wall_now() + timedelta(minutes=1)).url
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Starlette(routes=store.routes())), base_url="http://api.example"
    ) as client:
        response = await client.put(address, content=b"abc", headers={"content-type": "image/png"})
        assert response.status_code == 503
        assert (await client.get("/files/a.png")).status_code == 404
