"""What the clients of the tests send."""

ERROR = "... on UserError { __typename code message }"

REGISTER_RIDER = """mutation ($city: ID!, $phone: String!) {
    registerRider(input: {city: $city, name: "Rider", phone: $phone}) {
        ... on Rider { id } ... on UserError { code } } }"""
REGISTER_MERCHANT = """mutation ($city: ID!, $phone: String!) {
    registerMerchant(input: {city: $city, name: "Shop", ownerPhone: $phone}) {
        ... on Merchant { id } ... on UserError { code message } } }"""
CREATE_STORE = """mutation ($merchant: ID!) { createStore(input: {merchant: $merchant, name: "Shop",
    address: "Street 2",
    phone: "+861065123457", location: {latitude: 39.912, longitude: 116.414}, deliveryRadiusMetres: 15000,
    minimumOrder: 1000, deliveryFee: 500, prepMinutes: 10, services: [DELIVERY, PICKUP, DINE_IN], tags: [],
    tables: [{code: "T1", seats: 4}], hours: [
        {weekday: 1, opens: "00:00", closes: "24:00"}, {weekday: 2, opens: "00:00", closes: "24:00"},
        {weekday: 3, opens: "00:00", closes: "24:00"}, {weekday: 4, opens: "00:00", closes: "24:00"},
        {weekday: 5, opens: "00:00", closes: "24:00"}, {weekday: 6, opens: "00:00", closes: "24:00"},
        {weekday: 7, opens: "00:00", closes: "24:00"}]}) { ... on Store { id } ... on UserError { code message } } }"""
CREATE_CATEGORY = """mutation ($store: ID!) { createCategory(store: $store, name: "Mains") {
    ... on Category { id } ... on UserError { code } } }"""
CREATE_ITEM = """mutation ($category: ID!) { createItem(input: {category: $category, name: "Soup",
    skus: [{name: "Bowl", price: 2500}]}) { ... on Item { id skus { id } } ... on UserError { code message } } }"""
MENU = """query ($store: ID!) { store(id: $store) { menu { id items { id name isAvailable skus { id name stock }
    optionGroups { minSelected options { id } } } } } }"""

CREATE_QUOTE = f"""mutation ($input: CreateQuoteInput!) {{ createQuote(input: $input) {{
    ... on Quote {{ id total {{ amount }} expiresAt }} {ERROR} }} }}"""
PLACE = f"""mutation ($input: PlaceOrderInput!, $key: String!) {{ placeOrder(input: $input, idempotencyKey: $key) {{
    ... on Order {{ __typename id version total {{ amount }} }} {ERROR} }} }}"""
PAY = f"""mutation ($order: ID!, $key: String!) {{ payOrder(order: $order, idempotencyKey: $key) {{
    ... on Payment {{ __typename id payUrl }} {ERROR} }} }}"""
CANCEL = f"""mutation ($order: ID!, $key: String!, $reason: String! = "Changed my mind") {{
    cancelOrder(order: $order, reason: $reason,
    idempotencyKey: $key) {{ ... on Order {{ __typename id version state }} {ERROR} }} }}"""
REJECT = f"""mutation ($order: ID!, $key: String!, $reason: String! = "No noodles left") {{
    rejectOrder(order: $order, reason: $reason,
    idempotencyKey: $key) {{ ... on Order {{ __typename id state }} {ERROR} }} }}"""
REFUND = f"""mutation ($order: ID!, $key: String!, $amount: Int64! = 100, $reason: String! = "Spilt") {{
    refundOrder(order: $order, amount: $amount, reason: $reason,
    idempotencyKey: $key) {{ ... on Order {{ __typename id state }} {ERROR} }} }}"""


def on_order(name: str) -> str:
    """A mutation that takes an order and nothing else."""
    return f"""mutation ($order: ID!) {{ {name}(order: $order) {{
        ... on Order {{ __typename id state delivery {{ id }} }} {ERROR} }} }}"""


ACCEPT = """mutation ($order: ID!) { acceptOrder(order: $order, prepMinutes: 5) { ... on Order {
    __typename id state delivery { id state offer { rider { id } } } }
    ... on UserError { __typename code message } } }"""
START = on_order("startPreparing")
READY = on_order("markOrderReady")
HAND_OVER = on_order("handOverOrder")
CONFIRM = f"""mutation ($order: ID!, $key: String!) {{ confirmReceipt(order: $order, idempotencyKey: $key) {{
    ... on Order {{ __typename id version state }} {ERROR} }} }}"""


def on_delivery(name: str) -> str:
    """A mutation of the rider that takes a delivery."""
    return f"""mutation ($delivery: ID!) {{ {name}(delivery: $delivery) {{
        ... on Delivery {{ __typename id state }} {ERROR} }} }}"""


ACCEPT_OFFER = on_delivery("acceptOffer")
DECLINE_OFFER = on_delivery("declineOffer")
ARRIVE = on_delivery("arriveAtStore")
PICK_UP = on_delivery("pickUpDelivery")
COMPLETE = on_delivery("completeDelivery")
GO_ONLINE = (
    f"""mutation ($at: GeoPointInput!) {{ goOnline(location: $at) {{ ... on Rider {{ id online }} {ERROR} }} }}"""
)
GO_OFFLINE = f"""mutation {{ goOffline {{ ... on Rider {{ id online }} {ERROR} }} }}"""
REPORT = """mutation ($fixes: [LocationFixInput!]!) { reportLocation(fixes: $fixes) {
    ... on LocationReport { __typename accepted ignored } ... on UserError { __typename code message }
    ... on LocationRejected { index reason } } }"""

GRANT_CLERK = f"""mutation ($store: ID!, $phone: String!) {{ grantStoreRole(input: {{store: $store, phone: $phone,
    role: STORE_CLERK}}) {{ ... on Grant {{ id }} {ERROR} }} }}"""
REVOKE = f"mutation ($grant: ID!) {{ revokeGrant(grant: $grant) {{ ... on Grant {{ revokedAt }} {ERROR} }} }}"

TAKE = f"""mutation ($store: ID!, $size: Int!, $key: String!) {{ takeQueueNumber(store: $store, partySize: $size,
    idempotencyKey: $key) {{ ... on QueueTicket {{ __typename id number }} {ERROR} }} }}"""
CANCEL_TICKET = f"""mutation ($ticket: ID!) {{ cancelTicket(ticket: $ticket) {{
    ... on QueueTicket {{ __typename id state }} {ERROR} }} }}"""
QUEUE_OPEN = f"""mutation ($store: ID!, $open: Boolean!) {{ setQueueOpen(store: $store, open: $open) {{
    ... on QueueBoard {{ __typename open }} {ERROR} }} }}"""
CALL_NEXT = f"""mutation ($store: ID!, $class: ID!, $key: String!) {{ callNext(store: $store, class: $class,
    idempotencyKey: $key) {{
    ... on QueueTicket {{ __typename id state }} {ERROR} }} }}"""


def on_ticket(name: str) -> str:
    """A mutation of the staff that takes a ticket."""
    return f"""mutation ($ticket: ID!) {{ {name}(ticket: $ticket) {{
        ... on QueueTicket {{ __typename id state }} {ERROR} }} }}"""


ORDER_STATE_UPDATES = """subscription ($order: ID!) { orderUpdates(order: $order) {
    cursor kind type order { id version state } } }"""
