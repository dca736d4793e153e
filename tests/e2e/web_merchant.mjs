// The merchant's screen without a browser: nothing is drawn, and what it asks of the server is printed.
// Arguments: URL of merchant.js, scenario.

const [page, scenario] = process.argv.slice(2);
const element = () => ({ children: [], style: {}, setAttribute() {}, append() {}, addEventListener() {}, remove() {} });
globalThis.document = { documentElement: {}, body: element(), createElement: element };
globalThis.navigator ??= { languages: ["en"] };
globalThis.setInterval = globalThis.setTimeout = () => 0;

const { MerchantScreen } = await import(page);
MerchantScreen.prototype.update = () => {};

const sent = [];
let lost = 0;
const client = {
  request: async () => ({ myStores: [] }),
  act: async (_, variables) => {
    sent.push(variables);
    if (lost-- > 0) throw new Error("no answer");
    return { stock: variables.stock };
  },
};
const screen = new MerchantScreen({ querySelector: () => null }, { client, clock: {} });
const yuan = (amount) => ({ amount, currency: "CNY" });

await {
  async refund() {
    const lines = [
      { id: "a", itemName: "Noodles", quantity: 2, total: yuan(4400) },
      { id: "b", itemName: "Juice", quantity: 1, total: yuan(600) },
    ];
    const order = { id: "ord_1", lines };
    lost = 2;
    for (let n = 0; n < 4; n++) {
      screen.draft(order).lines.add("a");
      await screen.refund(order, yuan(4400));
    }
  },
  async stock() {
    const sku = { id: "sku_1", stock: 9 };
    const item = { id: "itm_1", skus: [sku] };
    lost = 2;
    for (const count of [5, 5, 5, 5, 0, null]) {
      await screen.setStock(item, sku, count);
      sent.at(-1).soldOut = item.isSoldOut;
    }
  },
  async twice() {
    let done = 0;
    for (let n = 0; n < 3; n++) {
      screen.twice("a question", () => done++);
      sent.push(done);
    }
  },
}[scenario]();
console.log(JSON.stringify(sent));
