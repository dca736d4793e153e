"""The store of files, behind a narrow port. Clients send what they upload straight to it, by an address that it signed.

A file comes in under a key that only its uploader knows and nobody can read, and what is found good there is published
under another name. Nothing that is uploaded later changes what was published.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

INCOMING: Final = "incoming"
PUBLIC: Final = "public"
"""Folders of a store; only the second one may be read by everybody."""

IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""``Cache-Control`` of what is published: under one name there is only ever one content."""


class StoreUnavailable(Exception):
    """The store cannot be reached, or does not take what is asked for the moment."""


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """The one request by which a client uploads. The store refuses it with another type, size or key, and too late."""

    url: str
    method: str
    headers: tuple[tuple[str, str], ...]


class FileStore(Protocol):
    def upload_target(self, key: str, media_type: str, size: int, ends_at: datetime) -> UploadTarget:
        """Where to send ``size`` bytes of the type before ``ends_at``, in wall time. Asks nobody."""
        ...

    async def read(self, key: str, limit: int) -> bytes | None:
        """What was uploaded under ``key``, or its first ``limit`` bytes; None: nothing. Raises StoreUnavailable."""
        ...

    async def publish(self, name: str, content: bytes, media_type: str) -> None:
        """Let everybody read ``content`` under ``name``, durably. Raises StoreUnavailable."""
        ...

    async def remove(self, key: str | None, name: str | None) -> None:
        """Forget what was uploaded and what was published, if there is anything. Raises StoreUnavailable."""
        ...

    def url(self, name: str) -> str:
        """Where everybody reads what is published under ``name``."""
        ...
