"""Where pictures are shown. A picture is shown in one place: putting it elsewhere takes it away there. What is shown
nowhere any more is removed.

Managers of the store decide, and admins of its city, who take down what must not be shown; what they do is noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from auth.principals import Principal, View
from models.files import PicturePlace
from services import audit, catalog, merchants
from services.catalog import ItemRecord, lock_store, require_managing
from services.errors import InvalidInput, NotFound
from services.merchants import StoreRecord
from services.runtime import Runtime
from services.unit import Unit, transaction

MAX_PHOTOS: Final = 9


async def set_item_picture(
    runtime: Runtime, principal: Principal, item_id: UUID, picture_id: UUID | None
) -> ItemRecord:
    """Show the picture, or none, at the item. Raises NotFound (item, picture), PermissionDenied (clerks)."""
    async with transaction(runtime) as unit:
        store_id = await unit.sql.fetchval("SELECT store_id FROM item WHERE id = $1", item_id)
        if store_id is None:
            raise NotFound(resource="Item")
        await _require_deciding(unit, principal, store_id, "Item")
        await lock_store(unit, store_id)
        shown = [] if picture_id is None else [picture_id]
        await _show(unit, principal, store_id, PicturePlace.ITEM, shown, item_id)
    return (await catalog.items_by_ids(runtime, [item_id]))[item_id]


async def set_store_logo(
    runtime: Runtime, principal: Principal, store_id: UUID, picture_id: UUID | None
) -> StoreRecord:
    """Show the picture, or none, as the store's logo. Raises NotFound (store, picture), PermissionDenied (clerks)."""
    return await _set_of_store(
        runtime, principal, store_id, PicturePlace.LOGO, [] if picture_id is None else [picture_id]
    )


async def set_store_photos(
    runtime: Runtime, principal: Principal, store_id: UUID, picture_ids: Sequence[UUID]
) -> StoreRecord:
    """Show these pictures of the store, in this order, in place of those before.

    Raises NotFound (store, picture), PermissionDenied (clerks), InvalidInput.
    """
    if len(picture_ids) > MAX_PHOTOS or len(set(picture_ids)) != len(picture_ids):
        raise InvalidInput(field="pictures", reason=f"must be at most {MAX_PHOTOS} different pictures")
    return await _set_of_store(runtime, principal, store_id, PicturePlace.PHOTO, picture_ids)


async def _set_of_store(
    runtime: Runtime, principal: Principal, store_id: UUID, place: PicturePlace, picture_ids: Sequence[UUID]
) -> StoreRecord:
    async with transaction(runtime) as unit:
        await _require_deciding(unit, principal, store_id, "Store")
        await lock_store(unit, store_id)
        await _show(unit, principal, store_id, place, picture_ids, None)
        return await merchants.get_store(unit, store_id)


async def _require_deciding(unit: Unit, principal: Principal, store_id: UUID, resource: str) -> None:
    if principal.view is not View.ADMIN:
        require_managing(principal, store_id, resource)
        return
    city_id: UUID | None = await unit.sql.fetchval("SELECT city_id FROM store WHERE id = $1", store_id)
    if city_id is None or not principal.administers(city_id):
        raise NotFound(resource=resource)


async def _show(
    unit: Unit,
    principal: Principal,
    store_id: UUID,
    place: PicturePlace,
    picture_ids: Sequence[UUID],
    item_id: UUID | None,
) -> None:
    """Show exactly these pictures in the place. The store is locked. Raises NotFound."""
    removed = await unit.sql.fetch(
        """UPDATE picture SET state = 'REMOVED', place = NULL, item_id = NULL
           WHERE store_id = $1 AND place = $2 AND item_id IS NOT DISTINCT FROM $3 AND id <> ALL($4::uuid[])
           RETURNING id, name""",
        store_id,
        place.value,
        item_id,
        list(picture_ids),
    )
    if principal.view is View.ADMIN:
        city_id: UUID = await unit.sql.fetchval("SELECT city_id FROM store WHERE id = $1", store_id)
        for row in removed:
            facts = {"store": store_id, "file": row["name"]}
            await audit.note(unit, principal, "take_down_picture", row["id"], facts, city_id)
    for position, picture_id in enumerate(picture_ids):
        shown = await unit.sql.execute(
            """UPDATE picture SET place = $3, item_id = $4, position = $5
               WHERE id = $1 AND store_id = $2 AND state = 'READY'""",
            picture_id,
            store_id,
            place.value,
            item_id,
            position,
        )
        if not shown:
            raise NotFound(resource="Picture")
