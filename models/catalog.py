"""What a store sells."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7
from models.merchants import Store


class Category(Model):
    id = fields.UUIDField(primary_key=True, default=uuid7)
    store: fields.ForeignKeyRelation[Store] = fields.ForeignKeyField("models.Store", related_name="categories")
    name = fields.CharField(max_length=40)
    position = fields.IntField()

    class Meta(Model.Meta):
        table = "category"
        indexes = [Index(fields=("store_id",))]


class Item(Model):
    """``available`` is the staff's switch; an item whose SKUs all ran out is sold out by itself."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    store: fields.ForeignKeyRelation[Store] = fields.ForeignKeyField("models.Store", related_name="items")
    category: fields.ForeignKeyRelation[Category] = fields.ForeignKeyField("models.Category", related_name="items")
    name = fields.CharField(max_length=80)
    description = fields.CharField(max_length=500, default="")
    position = fields.IntField()
    available = fields.BooleanField(default=True)

    class Meta(Model.Meta):
        table = "item"
        indexes = [Index(fields=("store_id",)), Index(fields=("category_id",))]


class Sku(Model):
    """A variant that is sold. With a counted stock, ``held + sold <= total`` always (also a table constraint).

    ``total`` null: not counted. Units that can still be bought: ``total - held - sold``.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    item: fields.ForeignKeyRelation[Item] = fields.ForeignKeyField("models.Item", related_name="skus")
    name = fields.CharField(max_length=40)
    price = fields.BigIntField()
    position = fields.IntField()
    total = fields.BigIntField(null=True)
    held = fields.BigIntField(default=0)
    sold = fields.BigIntField(default=0)

    class Meta(Model.Meta):
        table = "sku"
        indexes = [Index(fields=("item_id",))]


class OptionGroup(Model):
    id = fields.UUIDField(primary_key=True, default=uuid7)
    item: fields.ForeignKeyRelation[Item] = fields.ForeignKeyField("models.Item", related_name="option_groups")
    name = fields.CharField(max_length=40)
    min_selected = fields.SmallIntField()
    max_selected = fields.SmallIntField()
    position = fields.IntField()

    class Meta(Model.Meta):
        table = "option_group"
        indexes = [Index(fields=("item_id",))]


class Option(Model):
    id = fields.UUIDField(primary_key=True, default=uuid7)
    group: fields.ForeignKeyRelation[OptionGroup] = fields.ForeignKeyField("models.OptionGroup", related_name="options")
    name = fields.CharField(max_length=40)
    price_delta = fields.BigIntField()
    position = fields.IntField()

    class Meta(Model.Meta):
        table = "option"
        indexes = [Index(fields=("group_id",))]
