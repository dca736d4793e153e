"""Every business error, with its facts and its words in each locale.

A fact annotated ``OrderRef`` (and so on) is the key of such an object and leaves as its public id.
"""

from __future__ import annotations

from typing import Final

from core.errors import BusinessError
from services.errors import commerce, general, identity, work
from services.errors.commerce import (
    BelowMinimumOrder,
    FilesUnavailable,
    InsufficientStock,
    ItemUnavailable,
    ModeNotOffered,
    OrderActionNotAllowed,
    OutOfDeliveryArea,
    PaymentFailed,
    PictureRejected,
    PictureTooLarge,
    QuoteAlreadyUsed,
    QuoteExpired,
    RefundExceedsCaptured,
    StoreClosed,
    TooManyUploads,
    UploadMissing,
)
from services.errors.general import (
    AccessEnded,
    EndReason,
    IdempotencyConflict,
    InvalidInput,
    ManifestRejected,
    NotFound,
    PermissionDenied,
)
from services.errors.identity import (
    AccountInUse,
    CredentialLimitReached,
    ExportRateLimited,
    OtpInvalid,
    OtpLimit,
    OtpRateLimited,
    SessionInvalid,
    SharingRefused,
    WebhookEndpointDisabled,
    WebhookEndpointLimitReached,
    WeChatAccountAtRisk,
    WeChatCodeInvalid,
    WeChatTicketInvalid,
    WeChatUnavailable,
)
from services.errors.references import (
    CommandRef,
    DeliveryRef,
    DeviceRef,
    EndpointRef,
    ItemRef,
    OrderRef,
    PartnerRef,
    SkuRef,
    StoreRef,
    TicketRef,
)
from services.errors.work import (
    AlreadyQueued,
    CapabilityMissing,
    CommandActionNotAllowed,
    DeliveryActionNotAllowed,
    DeliveryTaken,
    DeviceBacklogged,
    DeviceNotActive,
    LocationRejected,
    OfferExpired,
    PartyTooLarge,
    QueueActionNotAllowed,
    QueueClosed,
    QueueEmpty,
    RiderBusy,
    RiderOffline,
)

CATALOGUE: Final[tuple[type[BusinessError], ...]] = tuple(
    value
    for module in (general, identity, commerce, work)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, BusinessError) and value.__module__ == module.__name__
)
"""All of them, the most general first."""

__all__ = [
    "CATALOGUE",
    "AccessEnded",
    "AccountInUse",
    "AlreadyQueued",
    "BelowMinimumOrder",
    "BusinessError",
    "CapabilityMissing",
    "CommandActionNotAllowed",
    "CommandRef",
    "CredentialLimitReached",
    "DeliveryActionNotAllowed",
    "DeliveryRef",
    "DeliveryTaken",
    "DeviceBacklogged",
    "DeviceNotActive",
    "DeviceRef",
    "EndReason",
    "EndpointRef",
    "ExportRateLimited",
    "FilesUnavailable",
    "IdempotencyConflict",
    "InsufficientStock",
    "InvalidInput",
    "ItemRef",
    "ItemUnavailable",
    "LocationRejected",
    "ManifestRejected",
    "ModeNotOffered",
    "NotFound",
    "OfferExpired",
    "OrderActionNotAllowed",
    "OrderRef",
    "OtpInvalid",
    "OtpLimit",
    "OtpRateLimited",
    "OutOfDeliveryArea",
    "PartnerRef",
    "PartyTooLarge",
    "PaymentFailed",
    "PermissionDenied",
    "PictureRejected",
    "PictureTooLarge",
    "QueueActionNotAllowed",
    "QueueClosed",
    "QueueEmpty",
    "QuoteAlreadyUsed",
    "QuoteExpired",
    "RefundExceedsCaptured",
    "RiderBusy",
    "RiderOffline",
    "SessionInvalid",
    "SharingRefused",
    "SkuRef",
    "StoreClosed",
    "StoreRef",
    "TicketRef",
    "TooManyUploads",
    "UploadMissing",
    "WeChatAccountAtRisk",
    "WeChatCodeInvalid",
    "WeChatTicketInvalid",
    "WeChatUnavailable",
    "WebhookEndpointDisabled",
    "WebhookEndpointLimitReached",
]
