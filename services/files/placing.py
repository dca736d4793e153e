"""Where pictures are shown. A picture is shown in one place: putting it elsewhere takes it away there. What is shown
nowhere any more is removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from auth.principals import Principal
from models.files import PicturePlace
from services import catalog, merchants
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
        require_managing(principal, store_id, "Item")
        await lock_store(unit, store_id)
        shown = [] if picture_id is None else [picture_id]
        await _show(unit, store_id, PicturePlace.ITEM, shown, item_id)
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
    require_managing(principal, store_id, "Store")
    async with transaction(runtime) as unit:
        await lock_store(unit, store_id)
        await _show(unit, store_id, place, picture_ids, None)
        return await merchants.get_store(unit, store_id)


async def _show(
    unit: Unit, store_id: UUID, place: PicturePlace, picture_ids: Sequence[UUID], item_id: UUID | None
) -> None:
    """Show exactly these pictures in the place. The store is locked. Raises NotFound."""
    await unit.sql.execute(
        """UPDATE picture SET state = 'REMOVED', place = NULL, item_id = NULL
           WHERE store_id = $1 AND place = $2 AND item_id IS NOT DISTINCT FROM $3 AND id <> ALL($4::uuid[])""",
        store_id,
        place.value,
        item_id,
        list(picture_ids),
    )
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
