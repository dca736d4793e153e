"""Facts that are keys: the key of such an object leaves as its public id."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from uuid import UUID

OrderRef: TypeAlias = Annotated[UUID, "Order"]
DeliveryRef: TypeAlias = Annotated[UUID, "Delivery"]
StoreRef: TypeAlias = Annotated[UUID, "Store"]
ItemRef: TypeAlias = Annotated[UUID, "Item"]
SkuRef: TypeAlias = Annotated[UUID, "Sku"]
TicketRef: TypeAlias = Annotated[UUID, "QueueTicket"]
DeviceRef: TypeAlias = Annotated[UUID, "Device"]
CommandRef: TypeAlias = Annotated[UUID, "DeviceCommand"]
PartnerRef: TypeAlias = Annotated[UUID, "Partner"]
EndpointRef: TypeAlias = Annotated[UUID, "WebhookEndpoint"]
