"""Fields and actions of people, sessions and roles: one service call each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol
from uuid import UUID

from auth.principals import Principal, PrincipalKind, View
from core.phones import masked
from models.identity import Grant, GrantRole, Person
from resolvers import merchants
from resolvers.base import action, key
from resolvers.context import Context, Info, batched
from services import identity, sessions
from services.delivery.reading import RiderRecord
from services.errors import InvalidInput, NotFound
from services.identity import (
    AccountDeletion,
    AccountExport,
    Caller,
    OtpSent,
    PersonRecord,
    Session,
    SignedOut,
    WeChatPhoneNeeded,
)
from services.sessions import OpenSession, SessionsRevoked


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


async def viewer_person(root: Viewer, info: Info) -> PersonRecord | None:
    principal = root.principal
    if principal.subject is None or principal.view in (View.PARTNER, View.DEVICE):
        return None
    return await info.context.loader(load_people).load(principal.subject)


async def viewer_sessions(root: Viewer, info: Info) -> list[OpenSession]:
    return await sessions.open_sessions(info.context.runtime, root.principal)


async def viewer_grants(root: Viewer, info: Info) -> list[Grant]:
    return await identity.grants_of_person(info.context.runtime, root.principal)


async def load_people(context: Context, keys: list[UUID]) -> list[PersonRecord | None]:
    found = await identity.people(context.runtime, keys, context.columns)
    return [found.get(k) for k in keys]


consumer_of = batched(load_people, attrgetter("consumer_id"))
grant_person = batched(load_people, attrgetter("person_id"))
grant_store = batched(merchants.load_stores, attrgetter("store_id"))
grant_city = batched(merchants.load_cities, attrgetter("city_id"))


def masked_phone(root: Person | PersonRecord, info: Info) -> str:
    """In full for oneself and for admins; others see the middle digits hidden."""
    principal = info.context.principal
    if principal.subject == root.id or principal.view is View.ADMIN:
        return root.phone
    return masked(root.phone)


async def _load_staff(context: Context, keys: list[tuple[UUID, UUID]]) -> list[list[Grant] | Exception]:
    """Who works at a store of a city, for its staff and the city's admins; NotFound for others."""
    principal = context.principal
    mine = {store for store, city in keys if principal.works_at(store) or principal.administers(city)}
    found = await identity.staff(context.runtime, list(mine)) if mine else {}
    return [found[store] if store in mine else NotFound(resource="Store") for store, _ in keys]


staff_of = batched(_load_staff, attrgetter("id", "city_id"))


# actions


class Installation(Protocol):
    """What an app says of itself."""

    id: str
    name: str | None


def caller(context: Context, installation: Installation | None) -> Caller:
    """Where the request comes from. Raises InvalidInput."""
    if installation is None:
        return Caller(context.client_address)
    return Caller.checked(context.client_address, installation.id, installation.name)


@action
async def request_otp(context: Context, phone: str, view: View, installation: Installation | None) -> OtpSent:
    return await identity.request_otp(context.runtime, phone, view, caller(context, installation))


@action
async def sign_in(
    context: Context, phone: str, code: str, view: View, name: str | None, installation: Installation | None
) -> Session:
    return await identity.sign_in(context.runtime, phone, code, view, name, caller(context, installation))


@action
async def sign_in_with_wechat(
    context: Context, code: str, view: View, phone_code: str | None, installation: Installation | None
) -> Session | WeChatPhoneNeeded:
    by = caller(context, installation)
    return await identity.sign_in_with_wechat(context.runtime, code, view, phone_code, by)


@action
async def bind_wechat(
    context: Context,
    ticket: str,
    view: View,
    phone_code: str | None,
    phone: str | None,
    code: str | None,
    installation: Installation | None,
) -> Session:
    by = caller(context, installation)
    return await identity.bind_wechat(context.runtime, ticket, view, phone_code, phone, code, by)


@action
async def export_my_data(context: Context) -> AccountExport:
    return await identity.export(context.runtime, context.principal)


@action
async def request_deletion_code(context: Context) -> OtpSent:
    return await identity.request_deletion_code(context.runtime, context.principal, caller(context, None))


@action
async def delete_my_account(context: Context, code: str) -> AccountDeletion:
    return await identity.delete(context.runtime, context.principal, code, caller(context, None))


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


@action
async def revoke_sessions(
    context: Context,
    session: str | None,
    person: str | None,
    client: str | None,
    keep_current: bool,
    disable: bool,
    reason: str,
) -> SessionsRevoked:
    """Of the one who is named, at most one; else of the caller."""
    runtime, principal = context.runtime, context.principal
    if sum(named is not None for named in (session, person, client)) > 1:
        raise InvalidInput(field="input", reason="must name one of session, person and client")
    if person is not None:
        return await sessions.revoke_of_person(runtime, principal, key("Person", person), reason)
    if client is not None:
        return await sessions.revoke_of_client(runtime, principal, client, reason, disable=disable)
    one = None if session is None else key("Session", session)
    return await sessions.revoke_own(runtime, principal, one, reason, keep_current=keep_current)


async def load_person(context: Context, person_id: UUID) -> PersonRecord | None:
    """Oneself."""
    return await context.loader(load_people).load(person_id) if context.principal.subject == person_id else None


async def load_grant(context: Context, grant_id: UUID) -> Grant | None:
    """A grant of oneself, of a store one works at, or of a city one administers."""
    grant = await Grant.get_or_none(id=grant_id)
    if grant is None:
        return None
    principal = context.principal
    if grant.store_id is not None:
        store = await context.loader(merchants.load_stores).load(grant.store_id)
        mine = principal.works_at(grant.store_id) or principal.administers(store.city_id)
    else:
        mine = grant.city_id is not None and principal.administers(grant.city_id)
    own = any(held.id == grant.id for held in await identity.grants_of_person(context.runtime, principal))
    return grant if mine or own else None


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {"Grant": load_grant, "Person": load_person}
