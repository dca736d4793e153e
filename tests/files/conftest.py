"""Fixtures of a city with a folder of files."""

from __future__ import annotations

from tests.files.shops import city, folder, shop

__all__ = ["city", "folder", "shop"]
