"""Signing in, accounts, and what partners may have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from core.errors import BusinessError
from models.identity import CredentialKind
from models.webhooks import WebhookDisabledReason
from services.errors.references import EndpointRef, PartnerRef, StoreRef

# identity


@dataclass(eq=False)
class OtpInvalid(BusinessError):
    attempts_left: int
    messages: ClassVar[dict[str, str]] = {
        "en": "The code is wrong or has expired; {attempts_left} attempts left.",
        "zh-CN": "验证码错误或已过期，还可尝试 {attempts_left} 次。",
    }


class OtpLimit(StrEnum):
    """What limits one-time codes."""

    PAUSE = "PAUSE"
    """A code was just sent."""
    PHONE = "PHONE"
    """Codes or wrong guesses of the phone."""
    ADDRESS = "ADDRESS"
    """Of everybody at the caller's address."""
    DEVICE = "DEVICE"
    """Of the installation of the app."""


@dataclass(eq=False)
class OtpRateLimited(BusinessError):
    """Too many codes were asked for, or too many wrong ones tried. ``limit``: PAUSE, PHONE, ADDRESS or DEVICE."""

    retry_after_seconds: int
    limit: OtpLimit
    messages: ClassVar[dict[str, str]] = {
        "en": "Too many attempts; try again in {retry_after_seconds} s.",
        "zh-CN": "操作过于频繁，请 {retry_after_seconds} 秒后再试。",
    }


@dataclass(eq=False)
class SessionInvalid(BusinessError):
    """``reason``: UNKNOWN, EXPIRED, REUSED or ENDED."""

    reason: str
    messages: ClassVar[dict[str, str]] = {"en": "Please sign in again ({reason}).", "zh-CN": "请重新登录（{reason}）。"}


@dataclass(eq=False)
class AccountInUse(BusinessError):
    """What has to end before the account can: unfinished orders, deliveries that the person rides, payments and refunds
    under way, merchants that they own, cities that have no other admin."""

    orders: int
    deliveries: int
    payments: int
    merchants: int
    cities: int
    messages: ClassVar[dict[str, str]] = {
        "en": "The account is still in use; finish or hand over what is open first.",
        "zh-CN": "账号仍有未完成的业务，请先处理后再注销。",
    }


@dataclass(eq=False)
class ExportRateLimited(BusinessError):
    """The data was exported several times today."""

    retry_after_seconds: int
    messages: ClassVar[dict[str, str]] = {
        "en": "Your data was exported several times today; try again in {retry_after_seconds} s.",
        "zh-CN": "今日导出次数过多，请 {retry_after_seconds} 秒后再试。",
    }


@dataclass(eq=False)
class WeChatCodeInvalid(BusinessError):
    """WeChat does not know the code, or it was used before or is too old: call ``wx.login`` again."""

    code: ClassVar[str] = "WECHAT_CODE_INVALID"
    messages: ClassVar[dict[str, str]] = {
        "en": "WeChat does not accept the code; try again.",
        "zh-CN": "微信登录凭证无效，请重试。",
    }


@dataclass(eq=False)
class WeChatAccountAtRisk(BusinessError):
    """WeChat holds the account for dangerous and lets it sign in nowhere; a phone still can."""

    code: ClassVar[str] = "WECHAT_ACCOUNT_AT_RISK"
    messages: ClassVar[dict[str, str]] = {
        "en": "WeChat has blocked this account; sign in by phone.",
        "zh-CN": "该微信账号存在风险，请使用手机号登录。",
    }


@dataclass(eq=False)
class WeChatUnavailable(BusinessError):
    """WeChat does not answer, or not us. ``retryAfterSeconds`` is null when trying again is useless for now."""

    code: ClassVar[str] = "WECHAT_UNAVAILABLE"
    retry_after_seconds: int | None
    messages: ClassVar[dict[str, str]] = {
        "en": "WeChat is not available now; sign in by phone or try again later.",
        "zh-CN": "微信登录暂不可用，请稍后再试或使用手机号登录。",
    }


@dataclass(eq=False)
class WeChatTicketInvalid(BusinessError):
    """The ticket is not ours or too old, or its account was bound to another phone meanwhile: sign in again."""

    code: ClassVar[str] = "WECHAT_TICKET_INVALID"
    messages: ClassVar[dict[str, str]] = {
        "en": "Please sign in with WeChat again.",
        "zh-CN": "请重新使用微信登录。",
    }


@dataclass(eq=False)
class WebhookEndpointLimitReached(BusinessError):
    """The partner has as many enabled endpoints as it may have: disable one first."""

    maximum: int
    messages: ClassVar[dict[str, str]] = {
        "en": "There are already {maximum} enabled webhook endpoints.",
        "zh-CN": "已有 {maximum} 个启用的 Webhook 端点。",
    }


@dataclass(eq=False)
class WebhookEndpointDisabled(BusinessError):
    """Nothing is sent to the endpoint until it is enabled again."""

    endpoint: EndpointRef
    reason: WebhookDisabledReason
    messages: ClassVar[dict[str, str]] = {
        "en": "The webhook endpoint is disabled ({reason}).",
        "zh-CN": "该 Webhook 端点已停用（{reason}）。",
    }


@dataclass(eq=False)
class SharingRefused(BusinessError):
    """The store's owner has refused to share it with the partner, and only an owner can take that back."""

    partner: PartnerRef
    store: StoreRef
    since: datetime
    messages: ClassVar[dict[str, str]] = {
        "en": "The store's owner has refused to share it with the partner.",
        "zh-CN": "店主已拒绝与该合作方共享此门店。",
    }


@dataclass(eq=False)
class CredentialLimitReached(BusinessError):
    """The partner has as many live credentials of the kind as it may; revoke one first."""

    kind: CredentialKind
    maximum: int
    messages: ClassVar[dict[str, str]] = {
        "en": "The partner already has {maximum} live credentials of the kind {kind}.",
        "zh-CN": "该合作方已有 {maximum} 个有效的 {kind} 凭据。",
    }
