// What the compiler catches. This is compiled and not run: a line that is no mistake any more does not compile.
import { CancelOrderDocument, FindStoresDocument, FollowOrderDocument } from "./generated/graphql.js";
import type { connect } from "./hutong.js";

export async function mistakes(client: ReturnType<typeof connect>) {
  // @ts-expect-error a variable that is missing
  await client.request(FindStoresDocument, { first: 1 });
  // @ts-expect-error a variable of another type
  await client.request(FindStoresDocument, { near: { latitude: 39.9, longitude: "116.4" }, first: 1 });
  // @ts-expect-error a variable that there is not
  client.subscribe(FollowOrderDocument, { order: "ord_1", since: "now" });

  const { cancelOrder } = await client.request(CancelOrderDocument, { order: "ord_1", reason: "late", key: "1" });
  // @ts-expect-error a field of one member before it is known which one it is
  console.log(cancelOrder.availableActions);
  // @ts-expect-error a member that the result does not have
  if (cancelOrder.__typename === "OutOfDeliveryArea") return;
  // @ts-expect-error a state that there is not
  if (cancelOrder.__typename === "Order" && cancelOrder.state === "EATEN") return;
}
