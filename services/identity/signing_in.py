"""From a proof of who somebody is to a session."""

from __future__ import annotations

from auth.principals import View
from services.errors import PermissionDenied
from services.identity.codes import UNKNOWN, Caller, use_code
from services.identity.people import checked_name, checked_phone, ensure_person, has_role, person_view
from services.identity.tokens import Session, open_session
from services.runtime import Runtime
from services.unit import transaction


async def sign_in(
    runtime: Runtime, phone: str, code: str, view: View, name: str | None = None, caller: Caller = UNKNOWN
) -> Session:
    """Exchange a code for a session; consumers are registered on the way.

    Raises InvalidInput, OtpInvalid, OtpRateLimited, PermissionDenied (the person has no role in that view; the code
    is used up).
    """
    phone = checked_phone(phone)
    person_view(view)
    name = None if name is None else checked_name(name)
    await use_code(runtime, phone, view, code, caller)
    async with transaction(runtime) as unit:
        person_id = await ensure_person(unit, phone, name)
        if not await has_role(unit, person_id, view):
            raise PermissionDenied(reason=f"this phone has no {view.lower()} role")
        return await open_session(unit, person_id, view, runtime.settings.access_token_ttl, caller.device)
