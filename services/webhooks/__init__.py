"""Signed webhooks to partners, about the orders of the stores that are shared with them.

``sharing`` whose orders, ``endpoints`` where to, ``relaying`` from the event log to deliveries, ``sending`` the jobs
that send them, ``schedule`` when again, ``messages`` bodies and signatures, ``deliveries`` looking at them and sending
them again.
"""

from typing import Final

from services.webhooks import relaying, sending
from services.webhooks.deliveries import Replay, attempts_of, of_endpoints, ping, replay, resend
from services.webhooks.deliveries import get as get_delivery
from services.webhooks.endpoints import (
    create,
    disable,
    enable,
    get,
    of_partners,
    rotate_secret,
    secrets_of,
    update,
)
from services.webhooks.messages import EVENT_TYPES
from services.webhooks.records import Attempt, Delivery, Endpoint, NewEndpointSecret, Secret
from services.webhooks.relaying import relay, sweep
from services.webhooks.sharing import Sharing, share_store, stores_of, unshare_store
from services.webhooks.sharing import of_stores as sharings_of_stores

JOBS: Final = {"webhook_send": sending.send}

METRICS: Final = (
    sending.ATTEMPTS, sending.SETTLED, sending.LAG, sending.DISABLED, relaying.MISSING, relaying.OLDEST,
)  # fmt: skip

__all__ = [
    "EVENT_TYPES",
    "JOBS",
    "METRICS",
    "Attempt",
    "Delivery",
    "Endpoint",
    "NewEndpointSecret",
    "Replay",
    "Secret",
    "Sharing",
    "attempts_of",
    "create",
    "disable",
    "enable",
    "get",
    "get_delivery",
    "of_endpoints",
    "of_partners",
    "ping",
    "relay",
    "replay",
    "resend",
    "rotate_secret",
    "secrets_of",
    "share_store",
    "sharings_of_stores",
    "stores_of",
    "sweep",
    "unshare_store",
    "update",
]
