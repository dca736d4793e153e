"""Every business error, with its facts and its words in each locale.

A fact annotated ``OrderRef`` (and so on) is the key of such an object and leaves as its public id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias
from uuid import UUID

from core.errors import BusinessError
from core.money import Money
from models.delivery import DeliveryState
from models.devices import CommandAction, CommandState, DeviceCapability, DeviceState
from models.files import PictureProblem
from models.identity import CredentialKind
from models.ordering import OrderAction, OrderState
from models.queueing import QueueAction, QueueTicketState
from models.webhooks import WebhookDisabledReason

OrderRef: TypeAlias = Annotated[UUID, "Order"]
DeliveryRef: TypeAlias = Annotated[UUID, "Delivery"]
StoreRef: TypeAlias = Annotated[UUID, "Store"]
ItemRef: TypeAlias = Annotated[UUID, "Item"]
SkuRef: TypeAlias = Annotated[UUID, "Sku"]
TicketRef: TypeAlias = Annotated[UUID, "QueueTicket"]
DeviceRef: TypeAlias = Annotated[UUID, "Device"]
CommandRef: TypeAlias = Annotated[UUID, "DeviceCommand"]
EndpointRef: TypeAlias = Annotated[UUID, "WebhookEndpoint"]


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
class CredentialLimitReached(BusinessError):
    """The partner has as many live credentials of the kind as it may; revoke one first."""

    kind: CredentialKind
    maximum: int
    messages: ClassVar[dict[str, str]] = {
        "en": "The partner already has {maximum} live credentials of the kind {kind}.",
        "zh-CN": "该合作方已有 {maximum} 个有效的 {kind} 凭据。",
    }


# catalogue and ordering


@dataclass(eq=False)
class StoreClosed(BusinessError):
    """``opens_at`` is null when the staff closed or paused the store by hand."""

    store: StoreRef
    opens_at: datetime | None
    messages: ClassVar[dict[str, str]] = {"en": "The store is not taking orders now.", "zh-CN": "门店当前不接单。"}


@dataclass(eq=False)
class ModeNotOffered(BusinessError):
    store: StoreRef
    mode: str
    messages: ClassVar[dict[str, str]] = {
        "en": "The store does not offer {mode}.",
        "zh-CN": "门店不支持该方式：{mode}。",
    }


@dataclass(eq=False)
class ItemUnavailable(BusinessError):
    item: ItemRef
    name: str
    messages: ClassVar[dict[str, str]] = {"en": "{name} is not available.", "zh-CN": "{name} 已下架。"}


@dataclass(eq=False)
class InsufficientStock(BusinessError):
    sku: SkuRef
    name: str
    available: int
    requested: int
    messages: ClassVar[dict[str, str]] = {
        "en": "Only {available} of {name} left, {requested} asked for.",
        "zh-CN": "{name} 仅剩 {available} 份，需要 {requested} 份。",
    }


@dataclass(eq=False)
class OutOfDeliveryArea(BusinessError):
    distance_metres: int
    messages: ClassVar[dict[str, str]] = {
        "en": "The address is {distance_metres} m away, outside the delivery area.",
        "zh-CN": "地址距门店 {distance_metres} 米，超出配送范围。",
    }


@dataclass(eq=False)
class BelowMinimumOrder(BusinessError):
    minimum: Money
    subtotal: Money
    messages: ClassVar[dict[str, str]] = {
        "en": "The minimum order is {minimum}; these items cost {subtotal}.",
        "zh-CN": "起送价 {minimum}，当前 {subtotal}。",
    }


@dataclass(eq=False)
class QuoteExpired(BusinessError):
    expired_at: datetime
    messages: ClassVar[dict[str, str]] = {
        "en": "The quote has expired; ask for a new one.",
        "zh-CN": "报价已过期，请重新获取。",
    }


@dataclass(eq=False)
class QuoteAlreadyUsed(BusinessError):
    """The quote became ``order`` before: a double tap."""

    order: OrderRef
    messages: ClassVar[dict[str, str]] = {"en": "This quote was already ordered.", "zh-CN": "该报价已下单。"}


@dataclass(eq=False)
class OrderActionNotAllowed(BusinessError):
    order: OrderRef
    state: OrderState
    action: OrderAction
    available_actions: list[OrderAction]
    messages: ClassVar[dict[str, str]] = {
        "en": "{action} is not possible while the order is {state}.",
        "zh-CN": "订单状态为 {state}，不能执行 {action}。",
    }


@dataclass(eq=False)
class RefundExceedsCaptured(BusinessError):
    refundable: Money
    messages: ClassVar[dict[str, str]] = {
        "en": "At most {refundable} can be refunded.",
        "zh-CN": "最多可退 {refundable}。",
    }


@dataclass(eq=False)
class PaymentFailed(BusinessError):
    reason: str
    messages: ClassVar[dict[str, str]] = {
        "en": "The payment provider could not take the payment: {reason}.",
        "zh-CN": "支付渠道未能受理：{reason}。",
    }


# files


@dataclass(eq=False)
class PictureTooLarge(BusinessError):
    """Files have at most so many bytes."""

    maximum: int
    size: int
    messages: ClassVar[dict[str, str]] = {
        "en": "The file has {size} bytes; at most {maximum} are taken.",
        "zh-CN": "文件大小为 {size} 字节，上限为 {maximum} 字节。",
    }


@dataclass(eq=False)
class TooManyUploads(BusinessError):
    """So many pictures of the store are shown nowhere. Show them, or wait: they are removed after a day."""

    maximum: int
    messages: ClassVar[dict[str, str]] = {
        "en": "The store already has {maximum} pictures that are shown nowhere.",
        "zh-CN": "该门店已有 {maximum} 张未使用的图片。",
    }


@dataclass(eq=False)
class UploadMissing(BusinessError):
    """Nothing was uploaded yet, or too long ago."""

    messages: ClassVar[dict[str, str]] = {"en": "Nothing was uploaded.", "zh-CN": "尚未上传文件。"}


@dataclass(eq=False)
class PictureRejected(BusinessError):
    """What was uploaded is not taken. Until the address expires another file of the same size can be uploaded there."""

    problem: PictureProblem
    messages: ClassVar[dict[str, str]] = {
        "en": "The picture cannot be used ({problem}).",
        "zh-CN": "图片无法使用（{problem}）。",
    }


@dataclass(eq=False)
class FilesUnavailable(BusinessError):
    """The store of files does not answer. Nothing is lost: complete the upload again later."""

    retry_after_seconds: int
    messages: ClassVar[dict[str, str]] = {
        "en": "Files cannot be stored now; try again in {retry_after_seconds} s.",
        "zh-CN": "文件服务暂不可用，请 {retry_after_seconds} 秒后重试。",
    }


# delivery


@dataclass(eq=False)
class DeliveryActionNotAllowed(BusinessError):
    delivery: DeliveryRef
    state: DeliveryState
    action: str
    messages: ClassVar[dict[str, str]] = {
        "en": "{action} is not possible while the delivery is {state}.",
        "zh-CN": "配送状态为 {state}，不能执行 {action}。",
    }


@dataclass(eq=False)
class OfferExpired(BusinessError):
    expired_at: datetime
    messages: ClassVar[dict[str, str]] = {"en": "The offer has expired.", "zh-CN": "派单已超时。"}


@dataclass(eq=False)
class DeliveryTaken(BusinessError):
    delivery: DeliveryRef
    messages: ClassVar[dict[str, str]] = {"en": "Another rider has this delivery.", "zh-CN": "该单已被其他骑手接走。"}


@dataclass(eq=False)
class RiderOffline(BusinessError):
    reason: str = "GO_ONLINE_FIRST"
    messages: ClassVar[dict[str, str]] = {"en": "Go online first.", "zh-CN": "请先上线。"}


@dataclass(eq=False)
class RiderBusy(BusinessError):
    delivery: DeliveryRef
    messages: ClassVar[dict[str, str]] = {"en": "Finish the current delivery first.", "zh-CN": "请先完成当前配送。"}


@dataclass(eq=False)
class LocationRejected(BusinessError):
    """``index`` of the first bad fix of the batch; nothing of the batch was taken. ``received_at`` is our clock's time,
    by which a phone with a wrong clock can correct its fixes."""

    index: int
    reason: str
    received_at: datetime
    messages: ClassVar[dict[str, str]] = {
        "en": "Fix {index}: {reason}.",
        "zh-CN": "第 {index} 个定位点无效：{reason}。",
    }


# queueing


@dataclass(eq=False)
class QueueClosed(BusinessError):
    store: StoreRef
    messages: ClassVar[dict[str, str]] = {"en": "The queue is closed.", "zh-CN": "当前不可取号。"}


@dataclass(eq=False)
class QueueEmpty(BusinessError):
    code_name: str
    messages: ClassVar[dict[str, str]] = {
        "en": "Nobody is waiting in {code_name}.",
        "zh-CN": "{code_name} 队列暂无等候。",
    }


@dataclass(eq=False)
class QueueActionNotAllowed(BusinessError):
    ticket: TicketRef
    state: QueueTicketState
    action: QueueAction
    messages: ClassVar[dict[str, str]] = {
        "en": "{action} is not possible while the ticket is {state}.",
        "zh-CN": "排号状态为 {state}，不能执行 {action}。",
    }


@dataclass(eq=False)
class PartyTooLarge(BusinessError):
    maximum: int
    messages: ClassVar[dict[str, str]] = {"en": "The largest party is {maximum}.", "zh-CN": "最多接待 {maximum} 人。"}


@dataclass(eq=False)
class AlreadyQueued(BusinessError):
    ticket: TicketRef
    messages: ClassVar[dict[str, str]] = {"en": "You already hold a number here.", "zh-CN": "您已在该店取号。"}


# devices


@dataclass(eq=False)
class DeviceNotActive(BusinessError):
    """No hardware is paired with the device, or it is disabled."""

    device: DeviceRef
    device_state: DeviceState
    messages: ClassVar[dict[str, str]] = {
        "en": "The device is {device_state}; pair it first.",
        "zh-CN": "设备状态为 {device_state}，请先配对。",
    }


@dataclass(eq=False)
class CapabilityMissing(BusinessError):
    """The device is not made for such a command."""

    device: DeviceRef
    capability: DeviceCapability
    messages: ClassVar[dict[str, str]] = {
        "en": "The device has no {capability}.",
        "zh-CN": "该设备不具备 {capability} 能力。",
    }


@dataclass(eq=False)
class DeviceBacklogged(BusinessError):
    """The device has not carried out what it was sent before: look after it first."""

    device: DeviceRef
    pending: int
    messages: ClassVar[dict[str, str]] = {
        "en": "{pending} commands already wait for the device.",
        "zh-CN": "该设备已有 {pending} 条指令待执行。",
    }


@dataclass(eq=False)
class CommandActionNotAllowed(BusinessError):
    """The command is in another state. A device that reports too late learns here what it has become by then."""

    command: CommandRef
    state: CommandState
    action: CommandAction
    closed_at: datetime | None
    messages: ClassVar[dict[str, str]] = {
        "en": "{action} is not possible, the command is {state}.",
        "zh-CN": "指令状态为 {state}，不能执行 {action}。",
    }
