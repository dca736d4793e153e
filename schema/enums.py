"""The enums of the models as the schema shows them, and the error types built on them.

Every schema module imports this one first: ``from schema import enums as _enums``.
"""

import strawberry

from auth.principals import PrincipalKind
from models.delivery import DeliveryState
from models.devices import (
    BoardKind,
    CommandAction,
    CommandFailure,
    CommandOutcome,
    CommandState,
    DeviceCapability,
    DeviceState,
    DeviceStation,
    TicketKind,
)
from models.files import PictureFormat, PictureProblem
from models.identity import CredentialKind, GrantRole
from models.merchants import StoreStatus
from models.ordering import FulfilmentMode, OrderAction, OrderState
from models.payments import PaymentState
from models.queueing import QueueAction, QueueTicketState
from models.webhooks import (
    SharingParty,
    SharingState,
    WebhookDeliveryState,
    WebhookDisabledReason,
    WebhookEndpointState,
    WebhookFault,
)
from schema.base import declare_errors
from services.delivery.fixes import FixProblem
from services.delivery.nearby import RiderSupply
from services.errors import EndReason, OtpLimit
from subscriptions.updates import ResetReason, UpdateKind

for enum in (
    PrincipalKind,
    GrantRole,
    StoreStatus,
    FulfilmentMode,
    OrderState,
    OrderAction,
    PaymentState,
    DeliveryState,
    FixProblem,
    RiderSupply,
    QueueTicketState,
    QueueAction,
    DeviceCapability,
    DeviceStation,
    DeviceState,
    CommandState,
    CommandAction,
    CommandOutcome,
    CommandFailure,
    TicketKind,
    BoardKind,
    UpdateKind,
    ResetReason,
    EndReason,
    OtpLimit,
    CredentialKind,
    PictureFormat,
    PictureProblem,
    WebhookEndpointState,
    WebhookDisabledReason,
    WebhookDeliveryState,
    WebhookFault,
    SharingParty,
    SharingState,
):
    strawberry.enum(enum, description=enum.__doc__ if enum.__doc__ and "\n" not in enum.__doc__ else None)

declare_errors()
