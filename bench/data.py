"""The orders that the execution bench serves: the same for every program, made anew from nothing but arithmetic.

Standard library only: the peers read it in environments of their own.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

ORDERS: Final = 1000
STATES: Final = ("PAID", "ACCEPTED", "PREPARING", "READY", "PICKED_UP")
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"

ORDER: Final = (
    "id number state total { amount currency } store { id name } lines { itemName quantity total { amount currency } }"
)
LIST: Final = f"query Orders($first: Int!) {{ orders(first: $first) {{ {ORDER} }} }}"
ONE: Final = f"query Order($id: ID!) {{ order(id: $id) {{ {ORDER} }} }}"
BATCHED: Final = LIST.replace("store {", "store: batchedStore {").replace("lines {", "lines: batchedLines {")
"""The same list, the stores and lines of which every program loads by key, one call for the whole list."""
ENCODED: Final = LIST.replace("id number", "id: publicId number").replace("{ id name", "{ id: publicId name")
"""The same list with ids that are written from their keys, as the product's are."""
EVENT: Final = """subscription Changes {
  orderChanged { id number state version note storeName etaMinutes rider { name latitude longitude } }
}"""

SDL: Final = """
enum OrderState { PLACED PAID ACCEPTED PREPARING READY PICKED_UP DELIVERED COMPLETED REJECTED CANCELLED EXPIRED }
scalar Int64
type Money { amount: Int64! currency: String! }
type Store { id: ID! publicId: ID! name: String! }
type OrderLine { itemName: String! quantity: Int! total: Money! }
type Order {
  id: ID! publicId: ID! number: String! state: OrderState! total: Money!
  store: Store! lines: [OrderLine!]! batchedStore: Store! batchedLines: [OrderLine!]!
}
type Rider { name: String! latitude: Float! longitude: Float! }
type OrderChange {
  id: ID! number: String! state: OrderState! version: Int! note: String! storeName: String! etaMinutes: Int!
  rider: Rider!
}
type Query { orders(first: Int!): [Order!]! order(id: ID!): Order }
type Subscription { orderChanged: OrderChange! }
"""


_TRIPLES: Final = [a + b + c for a in _ALPHABET for b in _ALPHABET for c in _ALPHABET]


def encode(prefix: str, key: UUID) -> str:
    """The public id of a key, as ``core.ids`` writes it."""
    n = key.int
    return f"{prefix}_{_ALPHABET[n >> 125]}{_ALPHABET[n >> 120 & 31]}" + "".join(
        [_TRIPLES[n >> shift & 32767] for shift in range(105, -1, -15)]
    )


def decode(public_id: str) -> UUID:
    """The key in a public id. Raises ValueError."""
    n = 0
    for char in public_id.partition("_")[2]:
        n = n << 5 | _ALPHABET.index(char)
    return UUID(int=n)


def _id(prefix: str, kind: int, number: int) -> tuple[str, str]:
    """``(key, public id)``."""
    key = UUID(int=(0x0190_0000_0000_7000_8000 << 48) | kind << 32 | number)
    return str(key), encode(prefix, key)


def make() -> dict[str, list[dict[str, Any]]]:
    """``orders`` with their stores and lines inside, and ``events``."""
    stores: list[dict[str, Any]] = []
    for n in range(25):
        key, public = _id("sto", 1, n)
        stores.append({"key": key, "id": public, "name": f"老北京面馆 Noodles {n}"})
    orders: list[dict[str, Any]] = []
    for n in range(ORDERS):
        key, public = _id("ord", 2, n)
        lines = [
            {"itemName": f"牛肉面 Beef noodles {(n + i) % 40}", "quantity": 1 + i, "total": 2200 + 100 * i + n}
            for i in range(3)
        ]
        orders.append(
            {
                "key": key,
                "id": public,
                "number": f"{n:06d}",
                "state": STATES[n % len(STATES)],
                "total": sum(line["total"] for line in lines),
                "currency": "CNY",
                "store": stores[n % len(stores)],
                "lines": lines,
            }
        )
    events = [
        {
            "key": order["key"],
            "id": order["id"],
            "number": order["number"],
            "state": order["state"],
            "version": n + 3,
            "note": "少放辣 Less chili, please",
            "storeName": order["store"]["name"],
            "etaMinutes": 12 + n,
            "rider": {"name": "王师傅 Wang", "latitude": 39.91 + n / 1000, "longitude": 116.41 + n / 1000},
        }
        for n, order in enumerate(orders[:16])
    ]
    return {"orders": orders, "events": events}
