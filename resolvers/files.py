"""Pictures: read for whole lists at once; uploading and showing them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from models.files import PictureFormat
from resolvers.base import action, key
from resolvers.context import Context, Info, batched
from resolvers.merchants import by_id, node
from services import files
from services.catalog import ItemRecord
from services.files import PictureRecord, PictureUpload
from services.merchants import StoreRecord


@dataclass(frozen=True, slots=True)
class Header:
    name: str
    value: str


# fields


async def _load_of_items(context: Context, keys: list[UUID]) -> list[PictureRecord | None]:
    found = await files.pictures_of_items(context.runtime, keys, context.columns)
    return [found.get(key) for key in keys]


async def _load_logos(context: Context, keys: list[UUID]) -> list[PictureRecord | None]:
    found = await files.logos_of_stores(context.runtime, keys, context.columns)
    return [found.get(key) for key in keys]


async def _load_photos(context: Context, keys: list[UUID]) -> list[list[PictureRecord]]:
    found = await files.photos_of_stores(context.runtime, keys, context.columns)
    return [found[key] for key in keys]


load_pictures = by_id(files.pictures_by_ids, "Picture")
picture_of_item = batched(_load_of_items, attrgetter("id"))
logo_of_store = batched(_load_logos, attrgetter("id"))
photos_of_store = batched(_load_photos, attrgetter("id"))


def url_of(root: Any, info: Info) -> str:
    return info.context.runtime.files.url(root.name)


def upload_url(root: Any) -> str:
    return root.target.url


def upload_method(root: Any) -> str:
    return root.target.method


def upload_headers(root: Any) -> list[Header]:
    return [Header(name, value) for name, value in root.target.headers]


def upload_expires_at(root: Any) -> datetime:
    return root.ends_at


# actions


@action
async def request_upload(
    context: Context, store: str, format: PictureFormat, size: int, idempotency_key: str
) -> PictureUpload:
    return await files.request_upload(
        context.runtime, context.principal, key("Store", store), format, size, idempotency_key
    )


@action
async def complete_upload(context: Context, upload: str) -> PictureRecord:
    return await files.complete_upload(context.runtime, context.principal, key("Picture", upload))


@action
async def set_item_picture(context: Context, item: str, picture: str | None) -> ItemRecord:
    chosen = None if picture is None else key("Picture", picture)
    return await files.set_item_picture(context.runtime, context.principal, key("Item", item), chosen)


@action
async def set_store_logo(context: Context, store: str, picture: str | None) -> StoreRecord:
    chosen = None if picture is None else key("Picture", picture)
    return await files.set_store_logo(context.runtime, context.principal, key("Store", store), chosen)


@action
async def set_store_photos(context: Context, store: str, pictures: Sequence[str]) -> StoreRecord:
    chosen = [key("Picture", picture) for picture in pictures]
    return await files.set_store_photos(context.runtime, context.principal, key("Store", store), chosen)


NODES: Final[dict[str, Callable[[Context, UUID], Awaitable[object | None]]]] = {"Picture": node(load_pictures)}
