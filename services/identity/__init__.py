"""Signing in, staying signed in, and who may do what."""

from services.identity.account import (
    JOBS,
    AccountDeletion,
    AccountExport,
    delete,
    export,
    request_deletion_code,
)
from services.identity.codes import Caller, OtpSent, request_otp
from services.identity.people import PersonRecord, checked_name, checked_phone, ensure_person, people
from services.identity.roles import (
    grant_store_role,
    grants_of_person,
    register_rider,
    revoke_grant,
    staff,
)
from services.identity.signing_in import sign_in
from services.identity.tokens import Session, SignedOut, open_session, refresh_session, sign_out
from services.identity.wechat import WeChatPhoneNeeded, bind_wechat, sign_in_with_wechat

__all__ = [
    "JOBS",
    "AccountDeletion",
    "AccountExport",
    "Caller",
    "OtpSent",
    "PersonRecord",
    "Session",
    "SignedOut",
    "WeChatPhoneNeeded",
    "bind_wechat",
    "checked_name",
    "checked_phone",
    "delete",
    "ensure_person",
    "export",
    "grant_store_role",
    "grants_of_person",
    "open_session",
    "people",
    "refresh_session",
    "register_rider",
    "request_deletion_code",
    "request_otp",
    "revoke_grant",
    "sign_in",
    "sign_in_with_wechat",
    "sign_out",
    "staff",
]
