"""From wanting to upload to a published picture, in steps that are each durable and repeatable.

1. **Request**: a PENDING row, and the signed address that the client sends the file to, past this program.
2. **Complete**: read what came; take the picture out of it; note its sizes and its name, part of which is its hash, in
   the row; publish exactly the bytes that were looked at, under that name; mark the row READY. What is uploaded to the
   address later is looked at by nobody, and a repeated or concurrent completion finds the name in the row.
3. **Sweep**, every hour: remove what came in once nothing more can come, and rows with their files that nobody shows.

Instants are wall time: the store's clock is, too.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from auth.principals import Principal
from clients.files import StoreUnavailable, UploadTarget
from core import logs
from core.clock import wall_now
from core.ids import encode
from models.database import Record
from models.files import PictureFormat, PictureProblem, PictureState
from services import idempotency
from services.catalog import lock_store, require_managing
from services.errors import (
    FilesUnavailable,
    NotFound,
    PictureRejected,
    PictureTooLarge,
    TooManyUploads,
    UploadMissing,
)
from services.files.formats import BadPicture, Cleaned, clean
from services.files.records import PictureRecord, pictures_by_ids
from services.merchants.checks import within
from services.runtime import Runtime
from services.unit import transaction

MAX_UNUSED: Final = 50
"""Pictures of one store that are shown nowhere, uploaded or not."""
UNUSED_LIFE: Final = timedelta(days=1)
LATE: Final = timedelta(hours=1)
"""An upload that began in time has ended by then."""
RETRY_AFTER: Final = 5
SWEPT_AT_ONCE: Final = 200
AT_ONCE: Final = 4
"""Uploaded files that a process holds in memory at the same time."""
_EXTENSIONS: Final = {PictureFormat.JPEG: "jpg", PictureFormat.PNG: "png", PictureFormat.WEBP: "webp"}

log = logs.get(__name__)
_looking = asyncio.Semaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class PictureUpload:
    """Where and how to send a file. ``id`` is that of the picture that it becomes; sizes in bytes."""

    id: UUID
    target: UploadTarget
    ends_at: datetime
    max_size: int


async def request_upload(
    runtime: Runtime, principal: Principal, store_id: UUID, format: PictureFormat, size: int, idempotency_key: str
) -> PictureUpload:
    """Let a manager of the store upload a picture of exactly ``size`` bytes.

    Raises NotFound, PermissionDenied (clerks), InvalidInput, PictureTooLarge, TooManyUploads, IdempotencyConflict.
    """
    require_managing(principal, store_id, "Store")
    within("size", size, 1, 2**31 - 1)
    limit = runtime.settings.max_upload
    if size > limit:
        raise PictureTooLarge(maximum=limit, size=size)
    asked = {"store": store_id, "format": format, "size": size}
    async with transaction(runtime) as unit:
        answered = await idempotency.recall(unit, principal, idempotency_key, "requestPictureUpload", asked)
        if answered is not None:
            return _from_json(answered, limit)
        await lock_store(unit, store_id)
        unused = await unit.sql.fetchval(
            "SELECT count(*) FROM picture WHERE store_id = $1 AND place IS NULL AND state <> 'REMOVED'", store_id
        )
        if unused >= MAX_UNUSED:
            raise TooManyUploads(maximum=MAX_UNUSED)
        key, now = runtime.new_id(), wall_now()
        ends_at = (now + runtime.settings.upload_ttl).replace(microsecond=0)
        await unit.sql.execute(
            """INSERT INTO picture (id, store_id, state, format, declared_size, position, created_at, upload_ends_at,
                   incoming_gone) VALUES ($1, $2, 'PENDING', $3, $4, 0, $5, $6, false)""",
            key,
            store_id,
            format.value,
            size,
            now,
            ends_at,
        )
        target = runtime.files.upload_target(encode("Picture", key), format.media_type, size, ends_at)
        upload = PictureUpload(key, target, ends_at, limit)
        await idempotency.remember(unit, principal, idempotency_key, _to_json(upload))
    return upload


async def complete_upload(runtime: Runtime, principal: Principal, picture_id: UUID) -> PictureRecord:
    """Check what was uploaded, and publish the picture in it. Repeating it gives the same answer.

    Raises NotFound, PermissionDenied (clerks), UploadMissing, PictureRejected, FilesUnavailable.
    """
    row = await _row(runtime, picture_id)
    require_managing(principal, row["store_id"], "Picture")
    if row["state"] == PictureState.PENDING:
        async with _looking:
            try:
                await _check_and_publish(runtime, row)
            except StoreUnavailable:
                raise FilesUnavailable(retry_after_seconds=RETRY_AFTER) from None
    found = await pictures_by_ids(runtime, [picture_id])
    if picture_id not in found:
        raise NotFound(resource="Picture")
    return found[picture_id]


async def _check_and_publish(runtime: Runtime, row: Record) -> None:
    key, size, format = encode("Picture", row["id"]), row["declared_size"], PictureFormat(row["format"])
    content = await runtime.files.read(key, size + 1)
    if content is None:
        raise UploadMissing()
    if len(content) != size:
        raise PictureRejected(problem=PictureProblem.WRONG_SIZE)
    try:
        picture = await asyncio.to_thread(clean, content, format)
    except BadPicture as bad:
        raise PictureRejected(problem=bad.problem) from None
    name = f"{key}-{hashlib.sha256(picture.content).hexdigest()[:12]}.{_EXTENSIONS[format]}"
    if not await _reserve(runtime, row["id"], name, picture):
        state = await _row(runtime, row["id"])
        if state["state"] == PictureState.READY and state["name"] == name:
            return
        raise PictureRejected(problem=PictureProblem.CHANGED)
    await runtime.files.publish(name, picture.content, format.media_type)
    ready = await runtime.database.fetchval(
        """UPDATE picture SET state = 'READY' WHERE id = $1 AND state IN ('PENDING', 'READY') AND name = $2
           RETURNING 1""",
        row["id"],
        name,
    )
    if not ready:  # it was swept away meanwhile
        await runtime.files.remove(None, name)


async def _reserve(runtime: Runtime, picture_id: UUID, name: str, picture: Cleaned) -> bool:
    """Whether the picture is to be published under the name: none was before it."""
    reserved = await runtime.database.fetchval(
        """UPDATE picture SET name = $2, size = $3, width = $4, height = $5
           WHERE id = $1 AND state = 'PENDING' AND (name IS NULL OR name = $2) RETURNING 1""",
        picture_id,
        name,
        len(picture.content),
        picture.width,
        picture.height,
    )
    return reserved is not None


async def sweep(runtime: Runtime) -> None:
    """Remove what nobody needs: see the module."""
    now = wall_now()
    await runtime.database.execute(
        """UPDATE picture SET state = 'REMOVED' WHERE place IS NULL AND state <> 'REMOVED' AND created_at < $1""",
        now - UNUSED_LIFE,
    )
    removed = 0
    try:
        while rows := await _to_sweep(runtime, now - LATE):
            for row in rows:
                await _sweep_one(runtime, row)
            removed += len(rows)
    except StoreUnavailable as error:
        log.warning("files.not_swept", error=str(error))  # the next hour is soon enough
    if removed:
        log.info("files.swept", pictures=removed)


async def _to_sweep(runtime: Runtime, before: datetime) -> list[Record]:
    return await runtime.database.fetch(
        """SELECT id, name, state FROM picture WHERE upload_ends_at < $1 AND (NOT incoming_gone OR state = 'REMOVED')
           ORDER BY upload_ends_at LIMIT $2""",
        before,
        SWEPT_AT_ONCE,
    )


async def _sweep_one(runtime: Runtime, row: Record) -> None:
    removed = row["state"] == PictureState.REMOVED
    # The files first: a row that is left behind says what is to be removed, a file says nothing.
    await runtime.files.remove(encode("Picture", row["id"]), row["name"] if removed else None)
    if removed:
        await runtime.database.execute("DELETE FROM picture WHERE id = $1 AND state = 'REMOVED'", row["id"])
    else:
        await runtime.database.execute("UPDATE picture SET incoming_gone = true WHERE id = $1", row["id"])


async def _row(runtime: Runtime, picture_id: UUID) -> Record:
    row = await runtime.database.fetchrow(
        "SELECT id, store_id, state, format, declared_size, name FROM picture WHERE id = $1", picture_id
    )
    if row is None:
        raise NotFound(resource="Picture")
    return row


def _to_json(upload: PictureUpload) -> dict[str, Any]:
    target = upload.target
    return {
        "picture": str(upload.id),
        "url": target.url,
        "method": target.method,
        "headers": target.headers,
        "ends_at": upload.ends_at.isoformat(),
    }


def _from_json(answer: dict[str, Any], limit: int) -> PictureUpload:
    headers = tuple((name, value) for name, value in answer["headers"])
    target = UploadTarget(answer["url"], answer["method"], headers)
    return PictureUpload(UUID(answer["picture"]), target, datetime.fromisoformat(answer["ends_at"]), limit)
