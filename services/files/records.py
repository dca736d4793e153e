"""Pictures as they are shown: one statement per call, for any number of items or stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from models.database import Record
from models.files import PictureFormat
from services.columns import ALL, Columns, Shape, by_value
from services.runtime import Runtime


@dataclass(slots=True)
class PictureRecord:
    """A published picture. ``size`` in bytes; ``name`` of its file."""

    id: UUID
    store_id: UUID
    item_id: UUID | None
    name: str
    format: PictureFormat
    size: int
    width: int
    height: int


PICTURES: Final = Shape(
    PictureRecord, "p", always=("id", "store_id", "item_id"), read={"format": by_value(PictureFormat)}
)


async def pictures_by_ids(runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, PictureRecord]:
    found = await _read(runtime, "p.state = 'READY' AND p.id = ANY($1::uuid[])", ids, columns)
    return {picture.id: picture for picture in found}


async def pictures_of_items(
    runtime: Runtime, item_ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, PictureRecord]:
    """The picture of each item that has one."""
    found = await _read(runtime, "p.item_id = ANY($1::uuid[])", item_ids, columns)
    return {picture.item_id: picture for picture in found if picture.item_id is not None}


async def logos_of_stores(
    runtime: Runtime, store_ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, PictureRecord]:
    """The logo of each store that has one."""
    found = await _read(runtime, "p.place = 'LOGO' AND p.store_id = ANY($1::uuid[])", store_ids, columns)
    return {picture.store_id: picture for picture in found}


async def photos_of_stores(
    runtime: Runtime, store_ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, list[PictureRecord]]:
    """The photos of each store, in their order."""
    photos: dict[UUID, list[PictureRecord]] = {store_id: [] for store_id in store_ids}
    for picture in await _read(runtime, "p.place = 'PHOTO' AND p.store_id = ANY($1::uuid[])", store_ids, columns):
        photos[picture.store_id].append(picture)
    return photos


async def _read(runtime: Runtime, condition: str, keys: Sequence[UUID], columns: Columns) -> list[PictureRecord]:
    chosen = PICTURES.choose(columns.of(PictureRecord))
    sql = f"SELECT {chosen.sql} FROM picture p WHERE {condition} ORDER BY p.position, p.id"
    rows: list[Record] = await runtime.database.fetch(sql, list(keys))
    return list(map(chosen.record, rows))
