"""The catalogue, its pictures, and orders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from core.errors import BusinessError
from core.money import Money
from models.files import PictureProblem
from models.ordering import OrderAction, OrderState
from services.errors.references import (
    ItemRef,
    OrderRef,
    SkuRef,
    StoreRef,
)

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
        "zh-CN": "订单状态为“{state}”，不能“{action}”。",
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
