"""The documents that the players send: small selections, each text fixed so that the server knows it by heart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import orjson

_NAME: Final = re.compile(r"\b(query|mutation|subscription)\s+(\w+)")
_SPACE: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Operation:
    """One document with one root field. ``head`` is the request's body up to its variables."""

    name: str
    field: str
    text: str
    head: bytes

    def body(self, variables: dict[str, object]) -> bytes:
        """The JSON of a request."""
        return self.head + orjson.dumps(variables) + b"}"


def _operation(text: str) -> Operation:
    text = _SPACE.sub(" ", text).strip()
    match = _NAME.search(text)
    root = re.search(r"\{\s*(\w+)", text)
    assert match is not None and root is not None
    head = b'{"query":' + orjson.dumps(text) + b',"variables":'
    return Operation(match.group(2), root.group(1), text, head)


def _mutation(name: str, arguments: str, success: str, selection: str) -> Operation:
    """A mutation named like its root field; ``arguments`` as ``name: Type, …``."""
    names = [part.split(":")[0].strip() for part in arguments.split(",")] if arguments else []
    declared = f"({', '.join('$' + part.strip() for part in arguments.split(','))})" if arguments else ""
    passed = f"({', '.join(f'{n}: ${n}' for n in names)})" if names else ""
    return _operation(
        f"mutation {name[0].upper()}{name[1:]}{declared} {{ {name}{passed} "
        f"{{ ... on {success} {{ {selection} }} ... on UserError {{ code message }} }} }}"
    )


SESSION: Final = "accessToken refreshToken expiresAt person { id }"

# people
REQUEST_OTP = _mutation("requestOtp", "phone: String!, view: View!", "OtpSent", "expiresAt")
SIGN_IN = _mutation("signIn", "phone: String!, code: String!, view: View!, name: String", "Session", SESSION)
REFRESH = _mutation("refreshSession", "refreshToken: String!", "Session", SESSION)

# admin
CITIES = _operation("query Cities { cities { id slug name timezone center { latitude longitude } } }")
CLOCK = _operation("query Clock { clock { now speed } }")
REGISTER_MERCHANT = _mutation("registerMerchant", "input: RegisterMerchantInput!", "Merchant", "id")
REGISTER_RIDER = _mutation("registerRider", "input: RegisterRiderInput!", "Rider", "id")
CITY_RIDERS = _operation("""query CityRiders($city: ID!, $after: String) { city(id: $city) {
    riders(first: 100, after: $after) { nodes { id phone } pageInfo { hasNextPage endCursor } } } }""")
CITY_STORES = _operation("""query CityStores($city: ID!, $after: String) { city(id: $city) {
    stores(first: 100, after: $after) { nodes { id phone } pageInfo { hasNextPage endCursor } } } }""")
CITY_OVERVIEW = _operation("""query CityOverview($city: ID!) { city(id: $city) {
    overview { at activeOrders ordersByState { state count } ridersOnline ridersBusy deliveriesWaiting } } }""")
ORDER_TRUTH = _operation("""query OrderTruth($order: ID!, $after: String) { order(id: $order) {
    id version state total { amount } refunded { amount } delivery { state rider { id } }
    events(first: 100, after: $after) { nodes { type version } pageInfo { hasNextPage endCursor } } } }""")
CITY_UPDATES = _operation("""subscription CityUpdates($city: ID!) { cityUpdates(city: $city) { cursor kind at
    overview { at activeOrders ordersByState { state count } ridersOnline ridersBusy deliveriesWaiting } } }""")

# store staff
MY_STORES = _operation("query MyStores { myStores { id location { latitude longitude } minimumOrder { amount } } }")
CREATE_STORE = _mutation("createStore", "input: CreateStoreInput!", "Store", "id")
CREATE_CATEGORY = _mutation("createCategory", "store: ID!, name: String!", "Category", "id")
CREATE_ITEM = _mutation(
    "createItem", "input: CreateItemInput!", "Item",
    "id skus { id price { amount } } optionGroups { minSelected options { id } }",
)  # fmt: skip
STORE_MENU = _operation("""query StoreMenu($store: ID!) { store(id: $store) { id status menu { items {
    id isAvailable isSoldOut skus { id price { amount } } optionGroups { minSelected options { id } } } } } }""")
ACCEPT_ORDER = _mutation(
    "acceptOrder", "order: ID!, prepMinutes: Int", "Order", "id version delivery { id state offer { rider { id } } }"
)
START_PREPARING = _mutation("startPreparing", "order: ID!", "Order", "id version")
MARK_READY = _mutation("markOrderReady", "order: ID!", "Order", "id version")
REJECT_ORDER = _mutation(
    "rejectOrder", "order: ID!, reason: String!, idempotencyKey: String!", "Order", "id version state"
)
STORE_BOARD = _operation("""subscription StoreBoard($store: ID!, $after: String) {
    storeBoard(store: $store, after: $after) { cursor kind type reset { reason }
    orders { id version state note } } }""")

# consumers
CREATE_QUOTE = _mutation("createQuote", "input: CreateQuoteInput!", "Quote", "id total { amount }")
PLACE_ORDER = _mutation(
    "placeOrder", "input: PlaceOrderInput!, idempotencyKey: String!", "Order", "id version total { amount }"
)
PAY_ORDER = _mutation("payOrder", "order: ID!, idempotencyKey: String!", "Payment", "id payUrl")
CANCEL_ORDER = _mutation(
    "cancelOrder", "order: ID!, reason: String!, idempotencyKey: String!", "Order", "id version state"
)
CONFIRM_RECEIPT = _mutation("confirmReceipt", "order: ID!, idempotencyKey: String!", "Order", "id version state")
ORDER_NOW = _operation("""query OrderNow($order: ID!) { order(id: $order) {
    id version state delivery { state } } }""")
RIDER_LOCATION_NOW = _operation("""query RiderLocationNow($order: ID!) { order(id: $order) {
    delivery { riderLocation { recordedAt } } } }""")
ORDER_UPDATES = _operation("""subscription OrderUpdates($order: ID!, $after: String) {
    orderUpdates(order: $order, after: $after) { cursor kind type reset { reason }
    order { id version state refunded { amount } } } }""")
RIDER_LOCATION = _operation("""subscription RiderLocation($order: ID!) { riderLocation(order: $order) {
    cursor kind riderLocation { recordedAt location { latitude longitude } } } }""")

# riders
GO_ONLINE = _mutation("goOnline", "location: GeoPointInput!", "Rider", "id currentTask { id state }")
GO_OFFLINE = _mutation("goOffline", "", "Rider", "id online")
REPORT_LOCATION = _mutation("reportLocation", "fixes: [LocationFixInput!]!", "LocationReport", "accepted ignored")
ACCEPT_OFFER = _mutation("acceptOffer", "delivery: ID!", "Delivery", "id state order { id }")
DECLINE_OFFER = _mutation("declineOffer", "delivery: ID!", "Delivery", "id state offer { rider { id } }")
ARRIVE_AT_STORE = _mutation("arriveAtStore", "delivery: ID!", "Delivery", "id state")
PICK_UP = _mutation("pickUpDelivery", "delivery: ID!", "Delivery", "id state")
COMPLETE = _mutation("completeDelivery", "delivery: ID!", "Delivery", "id state rider { currentTask { id state } }")
RIDER_TASKS = _operation("""subscription RiderTasks($after: String) { riderTasks(after: $after) {
    cursor kind type reset { reason } tasks { id state
    pickup { latitude longitude } dropoff { latitude longitude } rider { id }
    offer { rider { id } } order { id version state } } gone } }""")
