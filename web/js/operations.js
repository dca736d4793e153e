// Every operation these terminals send, grouped by the view whose contract it must fit.

const REFUSAL = `... on UserError { errorCode: code message }`;
const MONEY = `{ amount currency }`;
const POINT = `{ latitude longitude }`;
const PICTURE = `{ url width height }`;

export const CLOCK = `query Clock { clock { now speed } cities { id timezone } }`;
export const CITIES = `query Cities { cities { id name center ${POINT} } }`;

// ---- signing in (any view) ----

export const REQUEST_OTP = `mutation RequestOtp($phone: String!, $view: View!) {
  requestOtp(phone: $phone, view: $view) { __typename ... on OtpSent { phone expiresAt resendAfterSeconds } ${REFUSAL} }
}`;
const SESSION = `... on Session { accessToken refreshToken expiresAt view }`;
export const SIGN_IN = `mutation SignIn($phone: String!, $code: String!, $view: View!) {
  signIn(phone: $phone, code: $code, view: $view) { __typename ${SESSION} ${REFUSAL} }
}`;
export const REFRESH_SESSION = `mutation RefreshSession($refreshToken: String!) {
  refreshSession(refreshToken: $refreshToken) { __typename ${SESSION} ${REFUSAL} }
}`;

// ---- consumer ----

const ORDER_LINES = `lines { id itemName skuName options quantity total ${MONEY} }`;
const CONSUMER_ORDER = `
fragment ConsumerOrder on Order {
  id number pickupNumber state mode version note availableActions closeReason
  store { id name phone location ${POINT} }
  address { text location ${POINT} }
  table { code }
  ${ORDER_LINES}
  subtotal ${MONEY} deliveryFee ${MONEY} total ${MONEY} refunded ${MONEY}
  payment { id state payUrl }
  delivery { id state rider { id name } riderLocation { location ${POINT} } }
  placedAt paidAt acceptedAt readyAt pickedUpAt deliveredAt completedAt closedAt payBy eta promisedReadyAt
}`;

export const NEARBY_STORES = `query NearbyStores($near: GeoPointInput!, $radius: Int!, $tag: ID, $search: String, $first: Int!, $after: String) {
  stores(near: $near, radiusMetres: $radius, tag: $tag, search: $search, first: $first, after: $after) {
    nodes { id name isOpen opensAt distanceMetres prepMinutes minimumOrder ${MONEY} deliveryFee ${MONEY} tags { id name } logo ${PICTURE} }
    pageInfo { hasNextPage endCursor }
  }
}`;
export const STORE_TAGS = `query StoreTags { storeTags { id name } }`;
export const STORE_MENU = `query StoreMenu($store: ID!) {
  store(id: $store) {
    id name address phone isOpen opensAt prepMinutes services minimumOrder ${MONEY} deliveryFee ${MONEY} location ${POINT}
    tables { id code seats } logo ${PICTURE} photos ${PICTURE}
    menu { id name items { id name description isAvailable isSoldOut picture ${PICTURE}
      skus { id name stock price ${MONEY} }
      optionGroups { id name minSelected maxSelected options { id name priceDelta ${MONEY} } } } }
  }
}`;
export const STORE_PLACE = `query StorePlace($store: ID!) { store(id: $store) { id name location ${POINT} } }`;
export const CREATE_QUOTE = `mutation CreateQuote($input: CreateQuoteInput!) {
  createQuote(input: $input) { __typename
    ... on Quote { id expiresAt subtotal ${MONEY} deliveryFee ${MONEY} total ${MONEY}
      lines { itemName skuName options quantity total ${MONEY} } }
    ${REFUSAL} }
}`;
export const PLACE_ORDER = `mutation PlaceOrder($input: PlaceOrderInput!, $key: String!) {
  placeOrder(input: $input, idempotencyKey: $key) { __typename ...ConsumerOrder ${REFUSAL} }
}${CONSUMER_ORDER}`;
export const PAY_ORDER = `mutation PayOrder($order: ID!, $key: String!) {
  payOrder(order: $order, channel: "sandbox", idempotencyKey: $key) { __typename ... on Payment { id state payUrl amount ${MONEY} } ${REFUSAL} }
}`;
export const CANCEL_ORDER = `mutation CancelOrder($order: ID!, $reason: String!, $key: String!) {
  cancelOrder(order: $order, reason: $reason, idempotencyKey: $key) { __typename ... on Order { id version } ${REFUSAL} }
}`;
export const CONFIRM_RECEIPT = `mutation ConfirmReceipt($order: ID!, $key: String!) {
  confirmReceipt(order: $order, idempotencyKey: $key) { __typename ... on Order { id version } ${REFUSAL} }
}`;
export const MY_ORDERS = `query MyOrders($first: Int!, $after: String) {
  myOrders(first: $first, after: $after) {
    nodes { id number state placedAt store { id name } total ${MONEY} lines { itemName quantity } }
    pageInfo { hasNextPage endCursor }
  }
}`;
export const ORDER_UPDATES = `subscription OrderUpdates($order: ID!, $after: String) {
  orderUpdates(order: $order, after: $after) { cursor kind type at reset { reason } order { ...ConsumerOrder } }
}${CONSUMER_ORDER}`;
export const RIDER_LOCATION = `subscription RiderLocation($order: ID!) {
  riderLocation(order: $order) { cursor kind at eta riderLocation { recordedAt heading location ${POINT} } }
}`;

// ---- merchant ----

const BOARD_ORDER = `
fragment BoardOrder on Order {
  id number pickupNumber state mode version note availableActions closeReason
  consumer { name } table { code } address { text }
  ${ORDER_LINES}
  total ${MONEY} refunded ${MONEY}
  delivery { id state eta pickupEta rider { id name } }
  placedAt paidAt acceptedAt readyAt pickedUpAt acceptBy promisedReadyAt eta
}`;
export const MY_STORES = `query MyStores { myStores { id name status isOpen location ${POINT} logo ${PICTURE} } }`;
export const STORE_BOARD = `subscription StoreBoard($store: ID!, $after: String) {
  storeBoard(store: $store, after: $after) { cursor kind type at reset { reason } orders { ...BoardOrder } }
}${BOARD_ORDER}`;
export const STORE_STOCK = `query StoreStock($store: ID!) {
  store(id: $store) { id menu { id name items { id name isAvailable isSoldOut picture ${PICTURE} skus { id name stock price ${MONEY} } } } }
}`;
export const REQUEST_PICTURE_UPLOAD = `mutation RequestPictureUpload($store: ID!, $format: PictureFormat!, $size: Int!, $key: String!) {
  requestPictureUpload(store: $store, format: $format, size: $size, idempotencyKey: $key) { __typename
    ... on PictureUpload { id url method headers { name value } } ${REFUSAL} }
}`;
export const COMPLETE_PICTURE_UPLOAD = `mutation CompletePictureUpload($upload: ID!) {
  completePictureUpload(upload: $upload) { __typename ... on Picture { id } ${REFUSAL} }
}`;
export const SET_ITEM_PICTURE = `mutation SetItemPicture($item: ID!, $picture: ID) {
  setItemPicture(item: $item, picture: $picture) { __typename ... on Item { id picture ${PICTURE} } ${REFUSAL} }
}`;
export const SET_STORE_LOGO = `mutation SetStoreLogo($store: ID!, $picture: ID) {
  setStoreLogo(store: $store, picture: $picture) { __typename ... on Store { id logo ${PICTURE} } ${REFUSAL} }
}`;
const orderAction = (field, name, declare = "", pass = "") => `mutation ${name}($order: ID!${declare}) {
  ${field}(order: $order${pass}) { __typename ... on Order { id version } ${REFUSAL} }
}`;
export const ACCEPT_ORDER = orderAction("acceptOrder", "AcceptOrder", ", $minutes: Int", ", prepMinutes: $minutes");
export const REJECT_ORDER = orderAction("rejectOrder", "RejectOrder", ", $reason: String!, $key: String!", ", reason: $reason, idempotencyKey: $key");
export const START_PREPARING = orderAction("startPreparing", "StartPreparing");
export const MARK_READY = orderAction("markOrderReady", "MarkOrderReady");
export const HAND_OVER = orderAction("handOverOrder", "HandOverOrder");
export const REFUND_ORDER = `mutation RefundOrder($order: ID!, $amount: Int64!, $reason: String!, $key: String!) {
  refundOrder(order: $order, amount: $amount, reason: $reason, idempotencyKey: $key) { __typename ... on Order { id version } ${REFUSAL} }
}`;
export const SET_STOCK = `mutation SetStock($sku: ID!, $stock: Int, $key: String!) {
  setStock(sku: $sku, stock: $stock, idempotencyKey: $key) { __typename ... on Sku { id stock } ${REFUSAL} }
}`;
export const SET_STORE_STATUS = `mutation SetStoreStatus($store: ID!, $status: StoreStatus!) {
  setStoreStatus(store: $store, status: $status) { __typename ... on Store { id status isOpen } ${REFUSAL} }
}`;
export const SET_ITEM_AVAILABILITY = `mutation SetItemAvailability($item: ID!, $available: Boolean!) {
  setItemAvailability(item: $item, available: $available) { __typename ... on Item { id isAvailable isSoldOut } ${REFUSAL} }
}`;

// ---- rider ----

const RIDER_TASK = `
fragment RiderTask on Delivery {
  id state distanceMetres eta pickupEta fee ${MONEY} pickup ${POINT} dropoff ${POINT}
  offer { expiresAt }
  order { id number pickupNumber state version note promisedReadyAt store { id name address } address { contact phone text } lines { id itemName quantity } }
}`;
export const RIDER = `query Rider { rider { id name online location ${POINT} } }`;
export const RIDER_TASKS = `subscription RiderTasks($after: String) {
  riderTasks(after: $after) { cursor kind type at reset { reason } tasks { ...RiderTask } gone }
}${RIDER_TASK}`;
export const MY_TASKS = `query MyTasks { myTasks { ...RiderTask } }${RIDER_TASK}`;
export const OPEN_DELIVERIES = `query OpenDeliveries($first: Int!) { openDeliveries(first: $first) { ...RiderTask } }${RIDER_TASK}`;
export const GO_ONLINE = `mutation GoOnline($location: GeoPointInput!) {
  goOnline(location: $location) { __typename ... on Rider { id online } ${REFUSAL} }
}`;
export const GO_OFFLINE = `mutation GoOffline { goOffline { __typename ... on Rider { id online } ${REFUSAL} } }`;
export const REPORT_LOCATION = `mutation ReportLocation($fixes: [LocationFixInput!]!) {
  reportLocation(fixes: $fixes) { __typename ${REFUSAL} }
}`;
const deliveryAction = (field, name) => `mutation ${name}($delivery: ID!) {
  ${field}(delivery: $delivery) { __typename ... on Delivery { id state } ${REFUSAL} }
}`;
export const ACCEPT_OFFER = deliveryAction("acceptOffer", "AcceptOffer");
export const DECLINE_OFFER = deliveryAction("declineOffer", "DeclineOffer");
export const GRAB_DELIVERY = deliveryAction("grabDelivery", "GrabDelivery");
export const ARRIVE_AT_STORE = deliveryAction("arriveAtStore", "ArriveAtStore");
export const PICK_UP_DELIVERY = deliveryAction("pickUpDelivery", "PickUpDelivery");
export const COMPLETE_DELIVERY = deliveryAction("completeDelivery", "CompleteDelivery");

// ---- queue: the guest is a consumer, the host is staff ----

const GUEST_TICKET = `
fragment GuestTicket on QueueTicket {
  id number state partySize position estimatedWaitMinutes takenAt calledAt seatedAt availableActions version store { id name }
}`;
const BOARD_TICKET = `id number state partySize takenAt calledAt availableActions`;
export const MY_QUEUE_TICKETS = `query MyQueueTickets { myQueueTickets(active: true) { ...GuestTicket } }${GUEST_TICKET}`;
export const TAKE_QUEUE_NUMBER = `mutation TakeQueueNumber($store: ID!, $partySize: Int!, $phone: String, $key: String!) {
  takeQueueNumber(store: $store, partySize: $partySize, phone: $phone, idempotencyKey: $key) { __typename ...GuestTicket ${REFUSAL} }
}${GUEST_TICKET}`;
export const QUEUE_TICKET_UPDATES = `subscription QueueTicketUpdates($ticket: ID!, $after: String) {
  queueTicketUpdates(ticket: $ticket, after: $after) { cursor kind type at reset { reason } ticket { ...GuestTicket } }
}${GUEST_TICKET}`;
export const QUEUE_BOARD = `subscription QueueBoard($store: ID!, $after: String) {
  queueBoardUpdates(store: $store, after: $after) { cursor kind type at reset { reason }
    board { open store { id name } classes { id code minParty maxParty waiting estimatedWaitMinutes
      calling { id number calledAt } } } }
}`;
export const QUEUE_BOARD_STAFF = `subscription QueueBoardStaff($store: ID!, $after: String) {
  queueBoardUpdates(store: $store, after: $after) { cursor kind type at reset { reason }
    board { open store { id name } classes { id code minParty maxParty waiting estimatedWaitMinutes
      calling { ${BOARD_TICKET} } next { ${BOARD_TICKET} } } } }
}`;
export const CALL_NEXT = `mutation CallNext($store: ID!, $class: ID!, $key: String!) {
  callNext(store: $store, class: $class, idempotencyKey: $key) { __typename ... on QueueTicket { id number state } ${REFUSAL} }
}`;
const ticketAction = (field, name) => `mutation ${name}($ticket: ID!) {
  ${field}(ticket: $ticket) { __typename ... on QueueTicket { id number state } ${REFUSAL} }
}`;
export const CALL_TICKET = ticketAction("callTicket", "CallTicket");
export const SEAT_TICKET = ticketAction("seatTicket", "SeatTicket");
export const SKIP_TICKET = ticketAction("skipTicket", "SkipTicket");
export const REQUEUE_TICKET = ticketAction("requeueTicket", "RequeueTicket");
export const CANCEL_TICKET = ticketAction("cancelTicket", "CancelTicket");
export const SET_QUEUE_OPEN = `mutation SetQueueOpen($store: ID!, $open: Boolean!) {
  setQueueOpen(store: $store, open: $open) { __typename ... on QueueBoard { open } ${REFUSAL} }
}`;

// ---- devices: the terminal itself, and the shop that looks after it ----

const PAYLOAD = `payload { __typename
  ... on PrintTicket { kind title number pickupNumber mode table note placedAt dueAt total ${MONEY} lines { name options quantity total ${MONEY} } }
  ... on OpenGate { gate seconds reason }
  ... on ShowBoard { board store { id name } } }`;
const DEVICE = `id name station capabilities state pairedAt`;
export const MY_DEVICE = `query MyDevice { myDevice { id name capabilities store { id name } } }`;
// Without a cursor: after every connection the terminal is told of all that is still to do.
export const DEVICE_COMMANDS = `subscription DeviceCommands {
  deviceCommands { cursor kind type at reset { reason } commands { id state expiresAt ${PAYLOAD} } }
}`;
export const ACKNOWLEDGE_COMMAND = `mutation AcknowledgeCommand($command: ID!, $outcome: CommandOutcome!, $failure: CommandFailure) {
  acknowledgeCommand(command: $command, outcome: $outcome, failure: $failure) { __typename ... on DeviceCommand { id state } ${REFUSAL} }
}`;
export const STORE_DEVICES = `subscription StoreDevices($store: ID!) {
  storeDevices(store: $store) { cursor kind at devices { ${DEVICE} online lastSeenAt pending waitingSince problem } }
}`;
export const DEVICE_HISTORY = `query DeviceHistory($device: ID!) {
  device(id: $device) { id commands(first: 12) { nodes { id state createdAt outcome failure detail availableActions ${PAYLOAD} } } }
}`;
const PAIRING = `... on DevicePairing { code expiresAt device { id name pairedAt } }`;
export const REGISTER_DEVICE = `mutation RegisterDevice($input: RegisterDeviceInput!) {
  registerDevice(input: $input) { __typename ${PAIRING} ${REFUSAL} }
}`;
export const PAIR_DEVICE = `mutation PairDevice($device: ID!) { pairDevice(device: $device) { __typename ${PAIRING} ${REFUSAL} } }`;
export const DISABLE_DEVICE = `mutation DisableDevice($device: ID!) {
  disableDevice(device: $device) { __typename ... on Device { id state } ${REFUSAL} }
}`;
export const SEND_DEVICE_COMMAND = `mutation SendDeviceCommand($device: ID!, $content: CommandContentInput!, $key: String!) {
  sendDeviceCommand(device: $device, content: $content, idempotencyKey: $key) { __typename ... on DeviceCommand { id state } ${REFUSAL} }
}`;
export const RESEND_DEVICE_COMMAND = `mutation ResendDeviceCommand($command: ID!, $key: String!) {
  resendDeviceCommand(command: $command, idempotencyKey: $key) { __typename ... on DeviceCommand { id state } ${REFUSAL} }
}`;
export const CANCEL_DEVICE_COMMAND = `mutation CancelDeviceCommand($command: ID!) {
  cancelDeviceCommand(command: $command) { __typename ... on DeviceCommand { id state } ${REFUSAL} }
}`;

// ---- admin ----

const OVERVIEW = `overview { at ordersByState { state count } ordersToday activeOrders ridersOnline ridersBusy deliveriesWaiting
  storesOpen queueWaiting grossToday ${MONEY} clickToDoorMeanSeconds clickToDoorP90Seconds }`;
export const ADMIN_CITY = `query AdminCity($city: ID!) { city(id: $city) { id name timezone currency center ${POINT} } }`;
export const ADMIN_STORES = `query AdminStores($city: ID!, $first: Int!, $after: String) {
  city(id: $city) { stores(first: $first, after: $after) {
    nodes { id name isOpen location ${POINT} } pageInfo { hasNextPage endCursor } } }
}`;
export const CITY_UPDATES = `subscription CityUpdates($city: ID!) {
  cityUpdates(city: $city) { cursor kind at ${OVERVIEW}
    riders { id name online location ${POINT} }
    deliveries { id state pickup ${POINT} dropoff ${POINT} rider { id } order { id number state store { id } } } }
}`;
export const CITY_FIGURES = `subscription CityFigures($city: ID!) {
  cityUpdates(city: $city) { cursor kind at ${OVERVIEW} }
}`;
export const ADMIN_BOARD = `subscription AdminBoard($store: ID!, $after: String) {
  storeBoard(store: $store, after: $after) { cursor kind type at reset { reason }
    orders { id number state version total ${MONEY} delivery { id state } } }
}`;

/** Operations by the contract they are written for; tests validate each against it. */
export const BY_VIEW = {
  ANONYMOUS: { CLOCK, CITIES, REQUEST_OTP, SIGN_IN, REFRESH_SESSION },
  CONSUMER: {
    CLOCK, CITIES, NEARBY_STORES, STORE_TAGS, STORE_MENU, STORE_PLACE, CREATE_QUOTE, PLACE_ORDER, PAY_ORDER, CANCEL_ORDER,
    CONFIRM_RECEIPT, MY_ORDERS, ORDER_UPDATES, RIDER_LOCATION, MY_QUEUE_TICKETS, TAKE_QUEUE_NUMBER,
    QUEUE_TICKET_UPDATES, QUEUE_BOARD, CANCEL_TICKET,
  },
  MERCHANT: {
    CLOCK, MY_STORES, STORE_PLACE, STORE_BOARD, STORE_STOCK, ACCEPT_ORDER, REJECT_ORDER, START_PREPARING, MARK_READY, HAND_OVER,
    REFUND_ORDER, SET_STOCK, SET_STORE_STATUS, SET_ITEM_AVAILABILITY, REQUEST_PICTURE_UPLOAD, COMPLETE_PICTURE_UPLOAD, SET_ITEM_PICTURE, SET_STORE_LOGO,
    QUEUE_BOARD_STAFF, TAKE_QUEUE_NUMBER, CALL_NEXT, CALL_TICKET, SEAT_TICKET,
    SKIP_TICKET, REQUEUE_TICKET, CANCEL_TICKET, SET_QUEUE_OPEN, STORE_DEVICES, DEVICE_HISTORY, REGISTER_DEVICE, PAIR_DEVICE,
    DISABLE_DEVICE, SEND_DEVICE_COMMAND, RESEND_DEVICE_COMMAND, CANCEL_DEVICE_COMMAND,
  },
  RIDER: {
    CLOCK, CITIES, STORE_PLACE, RIDER, RIDER_TASKS, MY_TASKS, OPEN_DELIVERIES, GO_ONLINE, GO_OFFLINE, REPORT_LOCATION, ACCEPT_OFFER,
    DECLINE_OFFER, GRAB_DELIVERY, ARRIVE_AT_STORE, PICK_UP_DELIVERY, COMPLETE_DELIVERY,
  },
  ADMIN: { CLOCK, CITIES, ADMIN_CITY, ADMIN_STORES, CITY_UPDATES, CITY_FIGURES, ADMIN_BOARD },
  DEVICE: { CLOCK, MY_DEVICE, DEVICE_COMMANDS, ACKNOWLEDGE_COMMAND, QUEUE_BOARD },
};
