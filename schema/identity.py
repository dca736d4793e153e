"""People, sessions and roles in the graph."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from auth.principals import PrincipalKind, View
from models.identity import Grant as GrantModel
from models.identity import GrantRole
from models.identity import Person as PersonModel
from resolvers import identity as resolvers
from resolvers import partners
from resolvers.context import Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import ALL, A, C, M, Node, P, R, computed, exposes, mutation, node_id, query, result
from schema.delivery import Rider
from services import errors
from services.identity import AccountDeletion as AccountDeletionRecord
from services.identity import AccountExport as AccountExportRecord
from services.identity import OtpSent as OtpSentRecord
from services.identity import PersonRecord
from services.identity import Session as SessionRecord
from services.identity import SignedOut as SignedOutRecord
from services.identity import WeChatPhoneNeeded as WeChatPhoneNeededRecord
from services.sessions import OpenSession as OpenSessionRecord
from services.sessions import SessionsRevoked as SessionsRevokedRecord

if TYPE_CHECKING:
    from schema.merchants import City, Store
    from schema.partners import Partner

StoreType = Annotated["Store", strawberry.lazy("schema.merchants")]
PartnerType = Annotated["Partner", strawberry.lazy("schema.partners")]
CityType = Annotated["City", strawberry.lazy("schema.merchants")]
PEOPLE = (C, M, R, A)
FROM_WECHAT = (errors.WeChatCodeInvalid, errors.WeChatAccountAtRisk, errors.WeChatUnavailable)


@exposes(PersonModel, PersonRecord, shared=True)
@strawberry.type
class Person(Node):
    id: strawberry.ID = node_id("Person")
    name: str | None
    phone: str = computed(
        resolvers.masked_phone, needs=("id", "phone"), description="E.164; masked for everybody but oneself and admins."
    )


@exposes(GrantModel)
@strawberry.type(description="A role of a person at a store or in a city.")
class Grant(Node):
    id: strawberry.ID = node_id("Grant")
    role: GrantRole
    person: Person = computed(resolvers.grant_person, needs=("person_id",))
    store: StoreType | None = computed(resolvers.grant_store, needs=("store_id",))
    city: CityType | None = computed(resolvers.grant_city, needs=("city_id",))
    revoked_at: datetime | None


@exposes(OpenSessionRecord, views=frozenset(PEOPLE))
@strawberry.type(description="A sign-in that still holds.")
class OpenSession:
    id: strawberry.ID = node_id("Session")
    device: str | None = strawberry.field(description="As the app named it at the sign-in.")
    view: View
    created_at: datetime
    last_used_at: datetime = strawberry.field(description="When its access token was last renewed.")
    expires_at: datetime = strawberry.field(description="When it ends unless it is refreshed.")
    current: bool = strawberry.field(description="The one of this request.")


@exposes(resolvers.Viewer)
@strawberry.type(description="Who is asking.")
class Viewer:
    kind: PrincipalKind
    view: View
    person: Person | None = computed(resolvers.viewer_person)
    partner: PartnerType | None = computed(partners.viewer_partner, P)
    grants: list[Grant] = computed(resolvers.viewer_grants)
    sessions: list[OpenSession] = computed(
        resolvers.viewer_sessions, *PEOPLE, description="Where the person is signed in, the newest first."
    )


@exposes(OtpSentRecord, views=frozenset(PEOPLE))
@strawberry.type
class OtpSent:
    phone: str
    expires_at: datetime
    resend_after_seconds: int


@exposes(SessionRecord, views=frozenset(PEOPLE))
@strawberry.type
class Session:
    access_token: str
    refresh_token: str = strawberry.field(description="To be exchanged, by refreshSession, for the next.")
    expires_at: datetime = strawberry.field(description="When the access token ends.")
    view: View
    person: Person


@exposes(WeChatPhoneNeededRecord, views=frozenset(PEOPLE))
@strawberry.type(description="The WeChat account is new here: bindWeChat says which phone it has.")
class WeChatPhoneNeeded:
    ticket: str
    expires_at: datetime


@exposes(AccountExportRecord, views=frozenset(PEOPLE))
@strawberry.type
class AccountExport:
    document: str = strawberry.field(description="JSON: a list of rows for each kind of data.")
    at: datetime


@exposes(AccountDeletionRecord, views=frozenset(PEOPLE))
@strawberry.type
class AccountDeletion:
    due_at: datetime = strawberry.field(description="From when on nothing tells who the person was.")


@exposes(SignedOutRecord, views=frozenset(PEOPLE))
@strawberry.type
class SignedOut:
    at: datetime


@exposes(SessionsRevokedRecord, views=frozenset(PEOPLE))
@strawberry.type
class SessionsRevoked:
    count: int = strawberry.field(description="Sign-ins that were ended; a partner or device counts as one.")
    at: datetime


@strawberry.input(description="An app on a device, as it says of itself.")
class InstallationInput:
    id: str = strawberry.field(description="Random, 16 to 128 characters, the same as long as the app is installed.")
    name: str | None = strawberry.field(default=None, description="What the person knows the device as.")


@strawberry.input(description="Whose sessions: one's own unless a person or client is named.")
class RevokeSessionsInput:
    reason: str = strawberry.field(description="For the audit log.")
    session: strawberry.ID | None = strawberry.field(default=None, description="Only this one of one's own.")
    person: strawberry.ID | None = strawberry.field(
        default=None, description="Somebody with a role or an order in a city that the caller administers."
    )
    client: str | None = strawberry.field(
        default=None,
        description="Client id of a partner or device, for admins of its city or the store's management.",
    )
    keep_current: bool = strawberry.field(default=False, description="Of one's own, all but the one of this request.")
    disable: bool = strawberry.field(default=False, description="The client's secret is void too, for good.")


@strawberry.input
class RegisterRiderInput:
    city: strawberry.ID
    phone: str
    name: str


@strawberry.input
class GrantStoreRoleInput:
    store: strawberry.ID
    phone: str
    role: GrantRole


@strawberry.type
class IdentityQuery:
    @query(Viewer, *ALL)
    async def viewer(self, info: Info) -> object:
        """Who am I?"""
        return resolvers.viewer(info.context)


@strawberry.type
class IdentityMutation:
    @mutation(result("RequestOtpResult", OtpSent, errors.OtpRateLimited), *PEOPLE)
    async def request_otp(
        self, info: Info, phone: str, view: View, installation: InstallationInput | None = None
    ) -> object:
        """Have a one-time code sent to a phone, to sign in to `view`."""
        return await resolvers.request_otp(info.context, phone, view, installation)

    @mutation(result("SignInResult", Session, errors.OtpInvalid, errors.OtpRateLimited), *PEOPLE)
    async def sign_in(
        self,
        info: Info,
        phone: str,
        code: str,
        view: View,
        name: str | None = None,
        installation: InstallationInput | None = None,
    ) -> object:
        """Sign in with the code; `name` is kept when the person is new."""
        return await resolvers.sign_in(info.context, phone, code, view, name, installation)

    @mutation(
        result("SignInWithWeChatResult", [Session, WeChatPhoneNeeded], *FROM_WECHAT, errors.OtpRateLimited),
        *PEOPLE,
    )
    async def sign_in_with_we_chat(
        self,
        info: Info,
        code: str,
        view: View,
        phone_code: str | None = None,
        installation: InstallationInput | None = None,
    ) -> object:
        """Sign in with the code of `wx.login`; with `phoneCode`, of `getPhoneNumber`, also the first time."""
        return await resolvers.sign_in_with_wechat(info.context, code, view, phone_code, installation)

    @mutation(
        result(
            "BindWeChatResult",
            Session,
            *FROM_WECHAT,
            errors.WeChatTicketInvalid,
            errors.OtpInvalid,
            errors.OtpRateLimited,
        ),
        *PEOPLE,
    )
    async def bind_we_chat(
        self,
        info: Info,
        ticket: str,
        view: View,
        phone_code: str | None = None,
        phone: str | None = None,
        code: str | None = None,
        installation: InstallationInput | None = None,
    ) -> object:
        """Bind a WeChat account to a phone and sign in. The phone is proven by `phoneCode` of `getPhoneNumber`, or by
        `phone` and the `code` that `requestOtp` sent to it."""
        return await resolvers.bind_wechat(info.context, ticket, view, phone_code, phone, code, installation)

    @mutation(result("ExportMyDataResult", AccountExport, errors.ExportRateLimited), *PEOPLE)
    async def export_my_data(self, info: Info) -> object:
        """Everything that is kept about oneself, at most five times a day."""
        return await resolvers.export_my_data(info.context)

    @mutation(result("RequestDeletionCodeResult", OtpSent, errors.OtpRateLimited), *PEOPLE)
    async def request_deletion_code(self, info: Info) -> object:
        """Have the code that `deleteMyAccount` wants sent to one's phone."""
        return await resolvers.request_deletion_code(info.context)

    @mutation(
        result("DeleteMyAccountResult", AccountDeletion, errors.AccountInUse, errors.OtpInvalid, errors.OtpRateLimited),
        *PEOPLE,
    )
    async def delete_my_account(self, info: Info, code: str) -> object:
        """Sign out everywhere and leave. Signing in again before `dueAt` calls it off."""
        return await resolvers.delete_my_account(info.context, code)

    @mutation(result("RefreshSessionResult", Session, errors.SessionInvalid), *PEOPLE)
    async def refresh_session(self, info: Info, refresh_token: str) -> object:
        """Exchange a refresh token for new tokens.

        One that was just used gives the same answer again, for a client that lost it; an older one ends the session.
        """
        return await resolvers.refresh_session(info.context, refresh_token)

    @mutation(result("SignOutResult", SignedOut), *PEOPLE)
    async def sign_out(self, info: Info) -> object:
        """End this session."""
        return await resolvers.sign_out(info.context)

    @mutation(result("RevokeSessionsResult", SessionsRevoked), *PEOPLE)
    async def revoke_sessions(self, info: Info, input: RevokeSessionsInput) -> object:
        """Cut off: refresh tokens, access tokens and open sockets, at once."""
        return await resolvers.revoke_sessions(
            info.context, input.session, input.person, input.client, input.keep_current, input.disable, input.reason
        )

    @mutation(result("RegisterRiderResult", Rider), A)
    async def register_rider(self, info: Info, input: RegisterRiderInput) -> object:
        """Make somebody a rider of a city."""
        return await resolvers.register_rider(info.context, input.city, input.phone, input.name)

    @mutation(result("GrantStoreRoleResult", Grant), M, A)
    async def grant_store_role(self, info: Info, input: GrantStoreRoleInput) -> object:
        """Let somebody work at a store."""
        return await resolvers.grant_store_role(info.context, input.store, input.phone, input.role)

    @mutation(result("RevokeGrantResult", Grant), M, A)
    async def revoke_grant(self, info: Info, grant: strawberry.ID) -> object:
        """End a role."""
        return await resolvers.revoke_grant(info.context, grant)
