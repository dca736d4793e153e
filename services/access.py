"""Whether somebody is signed in, and changes of who may do what, told to all processes at once."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from auth import changes
from auth.principals import Principal
from services.errors import PermissionDenied
from services.runtime import Runtime
from subscriptions.feeds import ACCESS, Signal


def signed_in(principal: Principal) -> UUID:
    """The calling person or machine. Raises PermissionDenied when nobody is signed in."""
    if principal.subject is None:
        raise PermissionDenied(reason="sign in first")
    return principal.subject


async def changed(runtime: Runtime, subject: UUID) -> None:
    """Call after the commit of a change of the grants or sessions of a person or client."""
    changes.announce(subject)
    await runtime.signals.publish([Signal(ACCESS.of(subject))])


def hear(signals: Sequence[Signal] | None) -> None:
    """Pass on what other processes changed; None: some signals may have been lost."""
    if signals is None:
        changes.announce(None)
        return
    for signal in signals:
        kind, _, key = signal.feed.partition(":")
        if kind == ACCESS.name:
            changes.announce(UUID(key))
