"""Pictures of stores and items: uploading, showing, forgetting."""

from services.files.placing import set_item_picture, set_store_logo, set_store_photos
from services.files.records import (
    PictureRecord,
    logos_of_stores,
    photos_of_stores,
    pictures_by_ids,
    pictures_of_items,
)
from services.files.uploads import PictureUpload, complete_upload, request_upload, sweep

__all__ = [
    "PictureRecord",
    "PictureUpload",
    "complete_upload",
    "logos_of_stores",
    "photos_of_stores",
    "pictures_by_ids",
    "pictures_of_items",
    "request_upload",
    "set_item_picture",
    "set_store_logo",
    "set_store_photos",
    "sweep",
]
