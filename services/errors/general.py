"""What every context may refuse for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from core.errors import BusinessError


@dataclass(eq=False)
class NotFound(BusinessError):
    """There is no such thing, or it is none of the caller's business."""

    resource: str
    messages: ClassVar[dict[str, str]] = {"en": "No such {resource}.", "zh-CN": "找不到该{resource}。"}


@dataclass(eq=False)
class InvalidInput(BusinessError):
    """A value breaks a rule; ``field`` is its path in the input."""

    field: str
    reason: str
    messages: ClassVar[dict[str, str]] = {"en": "{field}: {reason}.", "zh-CN": "{field} 无效：{reason}。"}


@dataclass(eq=False)
class PermissionDenied(BusinessError):
    """The caller may see the thing but not do this to it."""

    reason: str
    messages: ClassVar[dict[str, str]] = {"en": "Not allowed: {reason}.", "zh-CN": "没有权限：{reason}。"}


@dataclass(eq=False)
class ManifestRejected(BusinessError):
    """A document of the manifest cannot be registered; none of them was."""

    document: str
    reason: str
    messages: ClassVar[dict[str, str]] = {
        "en": "{document} cannot be registered: {reason}.",
        "zh-CN": "{document} 无法注册：{reason}。",
    }


class EndReason(StrEnum):
    """Why a subscription that was allowed is not any more."""

    GRANT_REVOKED = "GRANT_REVOKED"
    """A role that allowed it was taken away."""
    SESSION_REVOKED = "SESSION_REVOKED"
    """The caller signed out or was cut off."""
    DELIVERY_ENDED = "DELIVERY_ENDED"
    """The delivery is over, and with it what it allowed to see."""
    NOT_A_PARTY = "NOT_A_PARTY"
    """The caller no longer has to do with the thing: the order went to another rider, for example."""


@dataclass(eq=False)
class AccessEnded(BusinessError):
    """A subscription ends because its reader may see no more of it; other operations of the connection go on.

    ``reason``: GRANT_REVOKED, SESSION_REVOKED, DELIVERY_ENDED or NOT_A_PARTY.
    """

    reason: EndReason
    messages: ClassVar[dict[str, str]] = {
        "en": "You can no longer follow this ({reason}).",
        "zh-CN": "您已无法继续查看该内容（{reason}）。",
    }


@dataclass(eq=False)
class IdempotencyConflict(BusinessError):
    """The key was used before with another operation or other input."""

    key: str
    messages: ClassVar[dict[str, str]] = {
        "en": "The idempotency key {key} was already used for another request.",
        "zh-CN": "幂等键 {key} 已用于另一个请求。",
    }
