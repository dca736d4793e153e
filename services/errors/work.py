"""What goes on around an order: deliveries, queues, devices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from core.errors import BusinessError
from models.delivery import DeliveryState
from models.devices import CommandAction, CommandState, DeviceCapability, DeviceState
from models.queueing import QueueAction, QueueTicketState
from services.errors.references import (
    CommandRef,
    DeliveryRef,
    DeviceRef,
    StoreRef,
    TicketRef,
)

# delivery


@dataclass(eq=False)
class DeliveryActionNotAllowed(BusinessError):
    delivery: DeliveryRef
    state: DeliveryState
    action: str
    messages: ClassVar[dict[str, str]] = {
        "en": "{action} is not possible while the delivery is {state}.",
        "zh-CN": "配送状态为“{state}”，不能“{action}”。",
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
        "zh-CN": "排号状态为“{state}”，不能“{action}”。",
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
        "zh-CN": "设备状态为“{device_state}”，请先配对。",
    }


@dataclass(eq=False)
class CapabilityMissing(BusinessError):
    """The device is not made for such a command."""

    device: DeviceRef
    capability: DeviceCapability
    messages: ClassVar[dict[str, str]] = {
        "en": "The device has no {capability}.",
        "zh-CN": "该设备不具备“{capability}”能力。",
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
        "zh-CN": "指令状态为“{state}”，不能“{action}”。",
    }
