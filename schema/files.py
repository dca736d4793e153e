"""Pictures in the graph, and how they get there."""

from __future__ import annotations

from datetime import datetime

import strawberry

from models.files import PictureFormat
from resolvers import files as resolvers
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import A, C, M, Node, P, R, computed, exposes, mutation, node_id, result, shared, sized
from schema.catalog import Item
from schema.merchants import Store
from services import errors, files


@exposes(files.PictureRecord, views={C, M, R, A, P}, shared=True)
@strawberry.type(description="A picture that was checked and can be shown.")
class Picture(Node):
    id: strawberry.ID = node_id("Picture")
    url: str = shared(
        computed(
            resolvers.url_of,
            needs=("name",),
            description="For everybody, and always the same file. Relative to the address of the API where the "
            "installation does not know its own.",
        )
    )
    format: PictureFormat
    size: int = strawberry.field(description="Bytes.")
    width: int = strawberry.field(description="Pixels, as it is shown.")
    height: int = strawberry.field(description="Pixels, as it is shown.")


@exposes(resolvers.Header, views={M}, shared=True, weight=0)
@strawberry.type
class UploadHeader:
    name: str
    value: str


@exposes(files.PictureUpload, views={M})
@strawberry.type(
    description="The one request by which the file is uploaded, its bytes as the body, without the token of this API. "
    "Then complete the upload."
)
class PictureUpload:
    id: strawberry.ID = node_id("Picture")
    url: str = computed(resolvers.upload_url, description="Signed for the type and size that were asked for.")
    method: str = computed(resolvers.upload_method)
    headers: list[UploadHeader] = sized(2, computed(resolvers.upload_headers, description="To be sent exactly so."))
    expires_at: datetime = computed(resolvers.upload_expires_at, description="The upload has begun by then.")
    max_size: int = strawberry.field(description="Bytes that a file of this installation may have.")


class FilesMutation:
    @mutation(
        result(
            "RequestPictureUploadResult",
            PictureUpload,
            errors.PictureTooLarge,
            errors.TooManyUploads,
            errors.IdempotencyConflict,
        ),
        M,
    )
    async def request_picture_upload(
        self, info: Info, store: ID, format: PictureFormat, size: int, idempotency_key: str
    ) -> object:
        """Ask where to upload a picture of a store, of exactly `size` bytes. Managers and owners may."""
        return await resolvers.request_upload(info.context, store, format, size, idempotency_key)

    @mutation(
        result(
            "CompletePictureUploadResult",
            Picture,
            errors.UploadMissing,
            errors.PictureRejected,
            errors.FilesUnavailable,
        ),
        M,
        weight=100,
    )
    async def complete_picture_upload(self, info: Info, upload: ID) -> object:
        """Have the file checked by its content and published, without what is no picture in it. May be repeated."""
        return await resolvers.complete_upload(info.context, upload)

    @mutation(result("SetItemPictureResult", Item), M, A)
    async def set_item_picture(self, info: Info, item: ID, picture: ID | None = None) -> object:
        """Show a picture of the store, or none, at an item. A picture is shown in one place only."""
        return await resolvers.set_item_picture(info.context, item, picture)

    @mutation(result("SetStoreLogoResult", Store), M, A)
    async def set_store_logo(self, info: Info, store: ID, picture: ID | None = None) -> object:
        """Show a picture of the store, or none, as its logo."""
        return await resolvers.set_store_logo(info.context, store, picture)

    @mutation(result("SetStorePhotosResult", Store), M, A)
    async def set_store_photos(self, info: Info, store: ID, pictures: list[ID]) -> object:
        """Show these pictures of the store, at most nine, in this order."""
        return await resolvers.set_store_photos(info.context, store, pictures)
