// Order something, follow the order, call it off:
//   HUTONG_TOKEN=… node dist/order.js http://127.0.0.1:8000/graphql
import { randomUUID } from "node:crypto";
import WebSocket from "ws";
import {
  CancelOrderDocument,
  CreateQuoteDocument,
  FindStoresDocument,
  FollowOrderDocument,
  PlaceOrderDocument,
  type QuoteLineInput,
} from "./generated/graphql.js";
import { connect, GraphQLFailed } from "./hutong.js";

const [url = "http://127.0.0.1:8000/graphql"] = process.argv.slice(2);
// A real client gets a new one here, with `refreshSession`.
const token = async () => ({ accessToken: process.env["HUTONG_TOKEN"] ?? "" });
const client = connect({ url, token, webSocketImpl: WebSocket });

const near = { latitude: 39.9042, longitude: 116.4074 };
const [store] = (await client.request(FindStoresDocument, { near, first: 1 })).stores.nodes;
const item = store?.menu[0]?.items[0];
const sku = item?.skus[0];
if (!store || !sku) throw new Error("There is nothing to order.");
console.log("store", store.name);

const options = item.optionGroups.flatMap((group) => group.options.slice(0, group.minSelected).map(({ id }) => id));
const lines: QuoteLineInput[] = [{ sku: sku.id, quantity: 1, options }];
const quote = (await client.request(CreateQuoteDocument, { input: { store: store.id, mode: "PICKUP", lines } }))
  .createQuote;
if (quote.__typename !== "Quote") throw new Error(`${quote.__typename}: ${quote.message}`);
console.log("quote", quote.total.amount, quote.total.currency);

const placed = (await client.request(PlaceOrderDocument, { input: { quote: quote.id }, key: randomUUID() })).placeOrder;
if (placed.__typename !== "Order") throw new Error(`${placed.__typename}: ${placed.message}`);

const cancel = (reason: string) =>
  client.request(CancelOrderDocument, { order: placed.id, reason, key: randomUUID() });
let asked = false;
for await (const { orderUpdates: update } of client.subscribe(FollowOrderDocument, { order: placed.id })) {
  console.log(update.kind, update.type, update.order.state, update.order.version);
  if (update.order.state === "CANCELLED") break;
  if (!asked) await cancel("A mistake");
  asked = true;
}

const again = (await cancel("Twice")).cancelOrder;
if (again.__typename === "OrderActionNotAllowed") console.log("refused", again.code, again.state, again.availableActions);

try {
  await client.request(FindStoresDocument, { near, first: 1_000_000 });
} catch (error) {
  if (!(error instanceof GraphQLFailed)) throw error;
  console.log("failed", error.codes.join());
}
await client.dispose();
