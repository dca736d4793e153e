"""Fields and actions of people, sessions and roles: one service call each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from auth.principals import Principal, PrincipalKind, View
from core.phones import masked
from models.identity import Grant, GrantRole, Person
from resolvers import merchants
from resolvers.base import action, key
from resolvers.context import Context, Info
from services import identity
from services.delivery.reading import RiderRecord
from services.errors import NotFound
from services.identity import OtpSent, Session, SignedOut
from services.merchants import CityRecord, StoreRecord


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is asking."""

    principal: Principal

    @property
    def kind(self) -> PrincipalKind:
        return self.principal.kind

    @property
    def view(self) -> View:
        return self.principal.view


def viewer(context: Context) -> Viewer:
    return Viewer(context.principal)


# fields


async def viewer_person(root: Viewer, info: Info) -> Person | None:
    principal = root.principal
    if principal.subject is None or principal.view in (View.PARTNER, View.DEVICE):
        return None
    return await person_by_id(info.context, principal.subject)


async def viewer_grants(root: Viewer, info: Info) -> list[Grant]:
    return await identity.grants_of_person(info.context.runtime, root.principal)


async def person_by_id(context: Context, person_id: UUID) -> Person | None:
    return await context.loader(_load_people).load(person_id)


async def _load_people(context: Context, keys: list[UUID]) -> list[Person | None]:
    found = await identity.people(context.runtime, keys)
    return [found.get(k) for k in keys]


async def consumer_of(root: Any, info: Info) -> Person | None:
    """The person who ordered."""
    return await person_by_id(info.context, root.consumer_id)


def masked_phone(root: Person, info: Info) -> str:
    """In full for oneself and for admins; others see the middle digits hidden."""
    principal = info.context.principal
    if principal.subject == root.id or principal.view is View.ADMIN:
        return root.phone
    return masked(root.phone)


async def grant_person(root: Any, info: Info) -> Person | None:
    return await person_by_id(info.context, root.person_id)


async def grant_store(root: Grant, info: Info) -> StoreRecord | None:
    if root.store_id is None:
        return None
    return await info.context.loader(merchants.load_stores).load(root.store_id)


async def grant_city(root: Grant, info: Info) -> CityRecord | None:
    if root.city_id is None:
        return None
    return await info.context.loader(merchants.load_cities).load(root.city_id)


async def staff_of(root: Any, info: Info) -> list[Grant]:
    """Who works at the store, for its staff and the city's admins. Raises NotFound."""
    principal = info.context.principal
    if not (principal.works_at(root.id) or principal.administers(root.city_id)):
        raise NotFound(resource="Store")
    return await info.context.loader(_load_staff).load(root.id)


async def _load_staff(context: Context, keys: list[UUID]) -> list[list[Grant]]:
    found = await identity.staff(context.runtime, keys)
    return [found[k] for k in keys]


# actions


@action
async def request_otp(context: Context, phone: str, view: View) -> OtpSent:
    return await identity.request_otp(context.runtime, phone, view)


@action
async def sign_in(context: Context, phone: str, code: str, view: View, name: str | None) -> Session:
    return await identity.sign_in(context.runtime, phone, code, view, name)


@action
async def refresh_session(context: Context, refresh_token: str) -> Session:
    return await identity.refresh_session(context.runtime, refresh_token)


@action
async def sign_out(context: Context) -> SignedOut:
    return await identity.sign_out(context.runtime, context.principal)


@action
async def register_rider(context: Context, city: str, phone: str, name: str) -> RiderRecord:
    return await identity.register_rider(context.runtime, context.principal, key("City", city), phone, name)


@action
async def grant_store_role(context: Context, store: str, phone: str, role: GrantRole) -> Grant:
    return await identity.grant_store_role(context.runtime, context.principal, key("Store", store), phone, role)


@action
async def revoke_grant(context: Context, grant: str) -> Grant:
    return await identity.revoke_grant(context.runtime, context.principal, key("Grant", grant))


async def load_person(context: Context, person_id: UUID) -> Person | None:
    """Oneself."""
    return await person_by_id(context, person_id) if context.principal.subject == person_id else None


async def load_grant(context: Context, grant_id: UUID) -> Grant | None:
    """A grant of oneself, of a store one works at, or of a city one administers."""
    grant = await Grant.get_or_none(id=grant_id)
    if grant is None:
        return None
    principal = context.principal
    if grant.store_id is not None:
        store = (await merchants.load_stores(context, [grant.store_id]))[0]
        mine = principal.works_at(grant.store_id) or (store is not None and principal.administers(store.city_id))
    else:
        mine = grant.city_id is not None and principal.administers(grant.city_id)
    own = any(held.id == grant.id for held in await identity.grants_of_person(context.runtime, principal))
    return grant if mine or own else None


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {"Grant": load_grant, "Person": load_person}
