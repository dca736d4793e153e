"""From a token to the caller: the token says who, the database says whether it still holds and what is granted."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final
from uuid import UUID

from auth import changes
from auth.keys import SigningKeys
from auth.principals import ANONYMOUS, Held, Principal, PrincipalKind, View
from auth.tokens import Claims, Reason, Unauthenticated, Verifier
from core.clock import wall_now
from models.database import Database, Record
from models.identity import STORE_ROLES, GrantRole

REMEMBERED_FOR: Final = 1.0
"""Seconds for which an answer may be reused: the longest a revoked grant or ended session still works."""

VIEW_ROLES: Final[dict[View, frozenset[GrantRole]]] = {
    View.CONSUMER: frozenset(),
    View.MERCHANT: STORE_ROLES,
    View.RIDER: frozenset({GrantRole.RIDER}),
    View.ADMIN: frozenset({GrantRole.CITY_ADMIN}),
    View.PARTNER: frozenset(),
    View.DEVICE: frozenset(),
}
"""The grants that count in each view; a principal carries no others."""

PERSON_VIEWS: Final = frozenset({View.CONSUMER, View.MERCHANT, View.RIDER, View.ADMIN})

_PERSON_SQL: Final = """
SELECT g.role, g.store_id, g.city_id, r.id AS rider_id
FROM refresh_session s
LEFT JOIN "grant" g ON g.person_id = s.person_id AND g.revoked_at IS NULL AND g.role = ANY($4::text[])
LEFT JOIN rider r ON g.role = 'RIDER' AND r.person_id = s.person_id AND r.city_id = g.city_id
WHERE s.id = $1 AND s.person_id = $2 AND s.view = $3 AND s.ended_at IS NULL AND s.expires_at > $5
ORDER BY g.created_at, g.id
"""

_CLIENT_SQL: Final = """
SELECT store_id, city_id FROM client WHERE id = $1 AND kind = $2 AND generation = $3 AND revoked_at IS NULL
"""


class Authenticator:
    """Makes principals of tokens. One per process."""

    def __init__(self, database: Database, keys: SigningKeys) -> None:
        self._database = database
        self._verifier = Verifier(keys)
        self._recent: OrderedDict[str, tuple[float, int, Principal]] = OrderedDict()

    async def principal(self, token: str | None, view: View | None = None) -> Principal:
        """The caller behind ``token``, with the grants as they are now (at most a second old); ANONYMOUS without one.

        Raises Unauthenticated: EXPIRED or INVALID tokens, REVOKED when the session has ended or the client is
        revoked, WRONG_AUDIENCE when ``view`` is given and the token is for another one.
        """
        if token is None:
            return ANONYMOUS
        claims = self._verifier.verify(token, view)
        now = time.monotonic()
        recent = self._recent.get(token)
        revision = changes.revision()
        if recent is not None and now < recent[0] and recent[1] == revision:
            return recent[2]
        principal = await (self._person(claims) if claims.view in PERSON_VIEWS else self._client(claims))
        self._recent.pop(token, None)
        self._recent[token] = (now + REMEMBERED_FOR, revision, principal)
        # Oldest first, and all live equally long: what is over is at the front.
        while self._recent and next(iter(self._recent.values()))[0] <= now:
            self._recent.popitem(last=False)
        return principal

    async def _person(self, claims: Claims) -> Principal:
        if claims.session_id is None:
            raise Unauthenticated(Reason.INVALID)
        roles = VIEW_ROLES[claims.view]
        rows = await self._database.fetch(
            _PERSON_SQL, claims.session_id, claims.subject, claims.view.value, [r.value for r in roles], wall_now()
        )
        if not rows:
            raise Unauthenticated(Reason.REVOKED)
        grants = tuple(
            Held(GrantRole(row["role"]), row["store_id"], row["city_id"]) for row in rows if row["role"] is not None
        )
        return Principal(
            kind=PrincipalKind(claims.view.value),
            view=claims.view,
            subject=claims.subject,
            session_id=claims.session_id,
            rider_id=_first_rider(rows),
            grants=grants,
            expires_at=claims.expires_at,
        )

    async def _client(self, claims: Claims) -> Principal:
        row = await self._database.fetchrow(_CLIENT_SQL, claims.subject, claims.view.value, claims.generation)
        if row is None:
            raise Unauthenticated(Reason.REVOKED)
        device = claims.view is View.DEVICE and row["store_id"] is not None
        return Principal(
            kind=PrincipalKind(claims.view.value),
            view=claims.view,
            subject=claims.subject,
            grants=(Held(GrantRole.STORE_CLERK, row["store_id"], None),) if device else (),
            expires_at=claims.expires_at,
            city_id=row["city_id"],
        )


def _first_rider(rows: list[Record]) -> UUID | None:
    """Somebody who rides in several cities acts as the rider of the one that was granted first."""
    return next((row["rider_id"] for row in rows if row["rider_id"] is not None), None)
