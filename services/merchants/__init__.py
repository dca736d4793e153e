"""Merchants and their stores: records, opening hours, discovery, and what staff and admins do to them."""

from services.merchants.hours import OpeningHours
from services.merchants.records import (
    CityRecord,
    MerchantRecord,
    StoreRecord,
    TableRecord,
    TagRecord,
    cities,
    cities_by_ids,
    get_store,
    merchants_by_ids,
    my_stores,
    stores_by_ids,
    stores_of_city,
    stores_of_merchant,
    tables_by_ids,
    tables_of_stores,
    tags,
    tags_by_ids,
)

__all__ = [
    "CityRecord",
    "MerchantRecord",
    "OpeningHours",
    "StoreRecord",
    "TableRecord",
    "TagRecord",
    "cities",
    "cities_by_ids",
    "get_store",
    "merchants_by_ids",
    "my_stores",
    "stores_by_ids",
    "stores_of_city",
    "stores_of_merchant",
    "tables_by_ids",
    "tables_of_stores",
    "tags",
    "tags_by_ids",
]
