"""From a token to the caller: the token says who, the database says whether it still holds and what is granted."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
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

_PEOPLE_SQL: Final = """
SELECT s.id AS session_id, s.person_id, s.view, g.role, g.store_id, g.city_id, r.id AS rider_id
FROM refresh_session s
LEFT JOIN "grant" g ON g.person_id = s.person_id AND g.revoked_at IS NULL AND g.role = ANY($2::text[])
LEFT JOIN rider r ON g.role = 'RIDER' AND r.person_id = s.person_id AND r.city_id = g.city_id
WHERE s.id = ANY($1::uuid[]) AND s.ended_at IS NULL AND s.expires_at > $3
ORDER BY g.created_at, g.id
"""

_CLIENTS_SQL: Final = """
SELECT id, kind, generation, store_id, city_id FROM client WHERE id = ANY($1::uuid[]) AND revoked_at IS NULL
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
        recent = self._recent.get(token)
        if recent is not None and time.monotonic() < recent[0] and recent[1] == changes.revision():
            return recent[2]
        if claims.view in PERSON_VIEWS and claims.session_id is None:
            raise Unauthenticated(Reason.INVALID)
        found = await self._look_up({token: claims})
        if token not in found:
            raise Unauthenticated(Reason.REVOKED)
        return found[token]

    async def prepare(self, tokens: Collection[str]) -> None:
        """Ask about many callers at once, so that :meth:`principal` answers from memory for a second."""
        known: dict[str, Claims] = {}
        for token in tokens:
            with suppress(Unauthenticated):
                known[token] = self._verifier.verify(token)
        if known:
            await self._look_up(known)

    async def _look_up(self, tokens: dict[str, Claims]) -> dict[str, Principal]:
        """The principals of those that still hold, which are remembered."""
        until, revision = time.monotonic() + REMEMBERED_FOR, changes.revision()
        people = {token: claims for token, claims in tokens.items() if claims.view in PERSON_VIEWS}
        clients = {token: claims for token, claims in tokens.items() if claims.view not in PERSON_VIEWS}
        found: dict[str, Principal] = {}
        if people:
            found |= await self._people(people)
        if clients:
            found |= await self._clients(clients)
        for token, principal in found.items():
            self._recent.pop(token, None)
            self._recent[token] = (until, revision, principal)
        # Oldest first, and all live equally long: what is over is at the front.
        now = time.monotonic()
        while self._recent and next(iter(self._recent.values()))[0] <= now:
            self._recent.popitem(last=False)
        return found

    async def _people(self, tokens: dict[str, Claims]) -> dict[str, Principal]:
        roles = {role.value for claims in tokens.values() for role in VIEW_ROLES[claims.view]}
        sessions: dict[UUID | None, list[Record]] = {}
        wanted = {claims.session_id for claims in tokens.values()}
        for row in await self._database.fetch(_PEOPLE_SQL, list(wanted), list(roles), wall_now()):
            sessions.setdefault(row["session_id"], []).append(row)
        found: dict[str, Principal] = {}
        for token, claims in tokens.items():
            rows = sessions.get(claims.session_id)
            if rows and (rows[0]["person_id"], rows[0]["view"]) == (claims.subject, claims.view.value):
                found[token] = _person(claims, rows)
        return found

    async def _clients(self, tokens: dict[str, Claims]) -> dict[str, Principal]:
        wanted = {claims.subject for claims in tokens.values()}
        rows = {row["id"]: row for row in await self._database.fetch(_CLIENTS_SQL, list(wanted))}
        found: dict[str, Principal] = {}
        for token, claims in tokens.items():
            row = rows.get(claims.subject)
            if row is not None and (row["kind"], row["generation"]) == (claims.view.value, claims.generation):
                found[token] = _client(claims, row)
        return found


def _person(claims: Claims, rows: list[Record]) -> Principal:
    """``rows``: a row per grant, or one without."""
    grants = tuple(
        Held(role, row["store_id"], row["city_id"])
        for row in rows
        if row["role"] is not None and (role := GrantRole(row["role"])) in VIEW_ROLES[claims.view]
    )
    return Principal(
        kind=PrincipalKind(claims.view.value),
        view=claims.view,
        subject=claims.subject,
        session_id=claims.session_id,
        rider_id=_first_rider(rows) if claims.view is View.RIDER else None,
        grants=grants,
        expires_at=claims.expires_at,
    )


def _client(claims: Claims, row: Record) -> Principal:
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
