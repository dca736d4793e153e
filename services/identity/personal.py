"""Where data about people is: what a person is given of it, what is removed when the person goes, and what stays.

A test walks all models and fails on a column that is not in :data:`COLUMNS`, so that nobody adds a place and forgets
the people.
"""

from __future__ import annotations

from typing import Final

NO_PHONE: Final = "-"
"""Begins what stands in the place of a deleted person's phone."""

_ORDERS: Final = 'SELECT id FROM "order" WHERE consumer_id = $1'
_RIDERS: Final = "SELECT id FROM rider WHERE person_id = $1"

ERASE: Final = (
    f"""DELETE FROM track_point WHERE rider_id IN ({_RIDERS})
        OR delivery_id IN (SELECT id FROM delivery WHERE order_id IN ({_ORDERS}))""",
    f"""UPDATE delivery SET dropoff_latitude = pickup_latitude, dropoff_longitude = pickup_longitude
        WHERE order_id IN ({_ORDERS})""",
    f"""UPDATE device_command SET payload = payload || '{{"note": ""}}'
        WHERE order_id IN ({_ORDERS}) AND payload ? 'note'""",
    """UPDATE feed_event SET payload = jsonb_set(payload, '{order}', (payload->'order')
            || '{"contact": null, "contact_phone": null, "address": null, "latitude": null, "longitude": null,
                  "note": "", "close_reason": null}'
            || CASE WHEN jsonb_typeof(payload->'order'->'delivery') = 'object' THEN
                   jsonb_build_object('delivery', (payload->'order'->'delivery') || jsonb_build_object(
                       'dropoff_latitude', payload->'order'->'delivery'->'pickup_latitude',
                       'dropoff_longitude', payload->'order'->'delivery'->'pickup_longitude'))
               ELSE '{}' END)
        WHERE feed IN (SELECT 'order:' || id FROM "order" WHERE consumer_id = $1)
          AND jsonb_typeof(payload->'order') = 'object'""",
    """UPDATE "order" SET contact = NULL, contact_phone = NULL, address = NULL, latitude = NULL, longitude = NULL,
           note = '', close_reason = NULL WHERE consumer_id = $1""",
    'DELETE FROM quote q WHERE consumer_id = $1 AND NOT EXISTS (SELECT FROM "order" WHERE quote_id = q.id)',
    "UPDATE queue_ticket SET phone = NULL WHERE consumer_id = $1",
    "DELETE FROM idempotency_record WHERE principal LIKE '%:' || $1::uuid::text",
    """UPDATE rider SET name = '-', phone = '-', online = false, latitude = NULL, longitude = NULL, accuracy_m = NULL,
           heading = NULL, speed = NULL, located_at = NULL WHERE person_id = $1""",
    'UPDATE "grant" SET revoked_at = coalesce(revoked_at, now()) WHERE person_id = $1',
    "DELETE FROM wechat_account WHERE person_id = $1",
    "DELETE FROM refresh_session WHERE person_id = $1",
    "DELETE FROM one_time_code WHERE phone = (SELECT phone FROM person WHERE id = $1)",
    # The phone may come back as somebody new; the column wants something that is nobody else's.
    f"""UPDATE person SET name = NULL, phone = '{NO_PHONE}' || right(replace(id::text, '-', ''), 15) WHERE id = $1""",
)
"""Statements that make person $1 nobody, in this order."""

EXPORT: Final = {
    "person": "SELECT id, phone, name, created_at FROM person WHERE id = $1",
    "roles": """SELECT role, store_id, city_id, created_at, revoked_at FROM "grant" WHERE person_id = $1
        ORDER BY created_at""",
    "sessions": """SELECT view, device, created_at, refreshed_at, expires_at, ended_at, end_reason
        FROM refresh_session WHERE person_id = $1 ORDER BY created_at""",
    "wechat_accounts": "SELECT app_id, openid, unionid, created_at FROM wechat_account WHERE person_id = $1",
    "orders": """SELECT o.*, (SELECT coalesce(json_agg(l ORDER BY l.position), '[]') FROM order_line l
        WHERE l.order_id = o.id) AS lines FROM "order" o WHERE consumer_id = $1 ORDER BY o.id""",
    "payments": f"""SELECT id, order_id, state, channel, out_trade_no, currency, amount, refunded, created_at,
        captured_at FROM payment WHERE order_id IN ({_ORDERS}) ORDER BY id""",
    "refunds": f"""SELECT r.payment_id, r.state, r.amount, r.reason, r.created_at, r.succeeded_at
        FROM refund r JOIN payment p ON p.id = r.payment_id WHERE p.order_id IN ({_ORDERS}) ORDER BY r.id""",
    "quotes": "SELECT * FROM quote WHERE consumer_id = $1 ORDER BY id",
    "deliveries_to_me": f"""SELECT id, order_id, state, dropoff_latitude, dropoff_longitude, distance_m, created_at
        FROM delivery WHERE order_id IN ({_ORDERS}) ORDER BY id""",
    "queue_tickets": "SELECT * FROM queue_ticket WHERE consumer_id = $1 ORDER BY id",
    "rider": "SELECT * FROM rider WHERE person_id = $1",
    "deliveries_by_me": f"""SELECT id, order_id, store_id, state, distance_m, currency, fee, created_at
        FROM delivery WHERE rider_id IN ({_RIDERS}) ORDER BY id""",
    "my_tracks": f"""SELECT delivery_id, recorded_at, latitude, longitude FROM track_point
        WHERE rider_id IN ({_RIDERS}) ORDER BY recorded_at""",
    "merchants": "SELECT id, city_id, name, created_at FROM merchant WHERE owner_id = $1",
    "audit": "SELECT at, view, action, facts FROM audit_entry WHERE actor_id = $1 OR target_id = $1 ORDER BY at",
}
"""Queries of what person $1 is given, by section. Hashes of secrets are nobody's to read."""

_ERASED: Final = "erased"
_KEY: Final = "kept: points at a person who is nobody then"
_LAW: Final = "kept: accounting"
_HASH: Final = "kept for a day at most, as a keyed hash"
_AUDIT: Final = "kept: proof of who did what, by key"

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "person": {"phone": _ERASED, "name": _ERASED},
    "grant": {"person_id": _KEY},
    "wechat_account": dict.fromkeys(("app_id", "openid", "unionid", "person_id"), _ERASED),
    "one_time_code": dict.fromkeys(("phone", "view", "code_hash"), _ERASED),
    "rate_limit": {"id": _HASH},
    "refresh_session": dict.fromkeys(
        ("person_id", "view", "device", "token_hash", "previous_hash", "end_reason"), _ERASED
    ),
    "rider": {
        "person_id": _KEY,
        **dict.fromkeys(
            ("name", "phone", "latitude", "longitude", "accuracy_m", "heading", "speed", "located_at"), _ERASED
        ),
    },
    "delivery": {
        "rider_id": _KEY,
        "declined_by": _KEY,
        "dropoff_latitude": _ERASED,
        "dropoff_longitude": _ERASED,
        "pickup_latitude": "of a shop",
        "pickup_longitude": "of a shop",
        "currency": _LAW,
    },
    "track_point": dict.fromkeys(("delivery_id", "rider_id", "latitude", "longitude", "accuracy_m"), _ERASED),
    "quote": {"consumer_id": _KEY, "lines": _LAW, "currency": _LAW},
    "order": {
        "consumer_id": _KEY,
        "number": _LAW,
        "currency": _LAW,
        **dict.fromkeys(
            ("contact", "contact_phone", "address", "latitude", "longitude", "note", "close_reason"), _ERASED
        ),
    },
    "order_line": dict.fromkeys(("item_name", "sku_name", "options"), _LAW),
    "payment": dict.fromkeys(("channel", "out_trade_no", "provider_trade_no", "pay_url", "currency"), _LAW),
    "refund": dict.fromkeys(("out_refund_no", "reason", "payer"), _LAW),
    "ledger_transaction": dict.fromkeys(("kind", "reference"), _LAW),
    "ledger_entry": dict.fromkeys(("account", "currency"), _LAW),
    "queue_ticket": {"consumer_id": _KEY, "phone": _ERASED, "number": "of a place in a line"},
    "device_command": {
        "payload": "the consumer's note is erased; the rest is of the shop",
        "source": "names a cause by key",
        "detail": "what a device says of itself",
    },
    "idempotency_record": dict.fromkeys(("principal", "key", "operation", "fingerprint", "answer"), _ERASED),
    "audit_entry": dict.fromkeys(("view", "actor_id", "action", "target_id", "facts"), _AUDIT),
    "merchant": {"owner_id": "an account that owns a merchant is not deleted", "name": "of a business"},
}
"""What becomes of each column of text, JSON or fractional numbers, and of keys of people, in tables about people."""

OF_NOBODY: Final = frozenset(
    {
        "category", "city", "client", "client_credential", "device", "dining_table", "item", "option", "option_group",
        "partner_store", "persisted_document", "picture", "queue_class", "sku", "store", "store_tag", "used_assertion",
        "webhook_attempt", "webhook_delivery", "webhook_endpoint", "webhook_secret",
    }
)  # fmt: skip
"""Tables of things, businesses and machines."""
