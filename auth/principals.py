"""Who is asking, and what they may do.

A principal belongs to one *view*: the surface its token was made for. The view decides which contract (part of
the schema) exists for the caller; the grants decide whose rows the services show.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from models.identity import STORE_ROLES, GrantRole


class View(StrEnum):
    """The six surfaces; also the audience of a token."""

    CONSUMER = "CONSUMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    ADMIN = "ADMIN"
    PARTNER = "PARTNER"
    DEVICE = "DEVICE"


class PrincipalKind(StrEnum):
    ANONYMOUS = "ANONYMOUS"
    CONSUMER = "CONSUMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    ADMIN = "ADMIN"
    PARTNER = "PARTNER"
    DEVICE = "DEVICE"


@dataclass(frozen=True, slots=True)
class Held:
    """One live grant as the principal holds it."""

    role: GrantRole
    store_id: UUID | None
    city_id: UUID | None


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller of one request or socket.

    ``subject`` is the person, or the client record of a partner or device; None for anonymous callers.
    ``rider_id`` is set in the rider view. ``session_id`` is the refresh-token family.
    """

    kind: PrincipalKind
    view: View
    subject: UUID | None = None
    session_id: UUID | None = None
    rider_id: UUID | None = None
    grants: tuple[Held, ...] = ()
    expires_at: float | None = None
    """Unix time at which the access token ends."""
    city_id: UUID | None = None
    """The city a partner works in."""

    @property
    def key(self) -> str:
        """Stable name of the caller, for idempotency keys and limits."""
        return f"{self.kind}:{self.subject}"

    def works_at(self, store_id: UUID, *, managing: bool = False) -> bool:
        """Whether a merchant principal is staff (with ``managing``: owner or manager) of the store, or its device."""
        roles = STORE_ROLES - {GrantRole.STORE_CLERK} if managing else STORE_ROLES
        return self.view in (View.MERCHANT, View.DEVICE) and any(
            g.store_id == store_id and g.role in roles for g in self.grants
        )

    def owns(self, store_id: UUID) -> bool:
        """Whether a merchant principal is an owner of the store."""
        return self.view is View.MERCHANT and any(
            g.store_id == store_id and g.role is GrantRole.STORE_OWNER for g in self.grants
        )

    def administers(self, city_id: UUID) -> bool:
        return self.view is View.ADMIN and any(
            g.role is GrantRole.CITY_ADMIN and g.city_id == city_id for g in self.grants
        )

    @property
    def store_ids(self) -> list[UUID]:
        """Stores the principal is staff of."""
        return [g.store_id for g in self.grants if g.store_id is not None and g.role in STORE_ROLES]


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS, View.CONSUMER)
