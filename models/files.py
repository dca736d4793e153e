"""Pictures of stores and of what they sell; what is in them lies in the store of files."""

from __future__ import annotations

from enum import StrEnum

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7
from models.catalog import Item
from models.merchants import Store


class PictureFormat(StrEnum):
    """What pictures may be."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"

    @property
    def media_type(self) -> str:
        return f"image/{self.value.lower()}"


class PictureProblem(StrEnum):
    """Why an uploaded file is not taken."""

    WRONG_SIZE = "WRONG_SIZE"
    """It has another number of bytes than was said."""
    WRONG_TYPE = "WRONG_TYPE"
    """Its content is not of the format that was said."""
    DAMAGED = "DAMAGED"
    """It is cut off, or not put together as its format asks."""
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    """It is wider, higher or larger than pictures may be."""
    CHANGED = "CHANGED"
    """Something else was uploaded to the same place after it was checked."""


class PictureState(StrEnum):
    """PENDING: asked for, and perhaps uploaded. READY: checked and published. REMOVED: its content goes soon."""

    PENDING = "PENDING"
    READY = "READY"
    REMOVED = "REMOVED"


class PicturePlace(StrEnum):
    """Where a picture is shown; nowhere while it has none."""

    ITEM = "ITEM"
    LOGO = "LOGO"
    PHOTO = "PHOTO"


class Picture(Model):
    """``name``: of the published file, set once its content was checked. Sizes in bytes, instants in wall time.

    ``incoming_gone``: what the client uploaded was removed after the time for uploading had ended.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    store: fields.ForeignKeyRelation[Store] = fields.ForeignKeyField("models.Store", related_name="pictures")
    state = fields.CharEnumField(PictureState, max_length=8, default=PictureState.PENDING)
    format = fields.CharEnumField(PictureFormat, max_length=4)
    declared_size = fields.IntField()
    name = fields.CharField(max_length=80, null=True)
    size = fields.IntField(null=True)
    width = fields.IntField(null=True)
    height = fields.IntField(null=True)
    place = fields.CharEnumField(PicturePlace, max_length=5, null=True)
    item: fields.ForeignKeyNullableRelation[Item] = fields.ForeignKeyField(
        "models.Item", related_name="pictures", null=True
    )
    position = fields.SmallIntField(default=0)
    created_at = fields.DatetimeField()
    upload_ends_at = fields.DatetimeField()
    incoming_gone = fields.BooleanField(default=False)

    class Meta(Model.Meta):
        table = "picture"
        indexes = [Index(fields=("store_id",))]
