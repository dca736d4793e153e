// The consumer's terminal: stores nearby, a menu, a cart, a price, a payment, and the order as it moves.

import { Component } from "./component.js";
import { h, toast } from "./dom.js";
import { offset, pointInput } from "./geo.js";
import { freshKey } from "./graphql.js";
import { money, t, time } from "./i18n.js";
import * as ops from "./operations.js";
import { checkoutView, menuView, storesView } from "./consumer_shop.js";
import { Tracking, trackingView } from "./consumer_track.js";
import { chip, empty } from "./shell.js";

const RADIUS = 5000;
const QUOTE_DELAY = 250;

export class ConsumerScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.page = "stores";
    this.search = "";
    this.tag = null;
    this.tags = [];
    this.stores = null;
    this.store = null;
    this.cart = [];
    this.choosing = null;
    this.mode = "DELIVERY";
    this.table = null;
    this.note = "";
    this.contact = { name: null, phone: "13800000000", text: null };
    this.quote = null;
    this.wallet = null;
    this.tracking = null;
    this.orders = null;
    this.home = null;
    this.update();
    this.start();
  }

  tick() {
    if (this.page !== "stores") this.update();
  }

  async start() {
    await this.run("start", async () => {
      this.home = await this.findHome();
      const { storeTags } = await this.client.request(ops.STORE_TAGS);
      this.tags = storeTags;
    });
    this.loadStores();
  }

  /** A courtyard some 900 m from the demo store, or the middle of the first city. */
  async findHome() {
    const demo = this.context.sandbox?.store;
    if (demo) {
      const { store } = await this.client.request(ops.STORE_PLACE, { store: demo });
      if (store) return offset(store.location, 620, 640);
    }
    const { cities } = await this.client.request(ops.CITIES);
    return cities[0]?.center ?? { latitude: 39.9345, longitude: 116.4 };
  }

  loadStores() {
    return this.run("stores", async () => {
      const { stores } = await this.client.request(ops.NEARBY_STORES, {
        near: pointInput(this.home), radius: RADIUS, tag: this.tag, search: this.search.trim() || null, first: 30,
      });
      this.stores = stores.nodes;
    });
  }

  find(text) {
    this.search = text;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.loadStores(), 300);
    this.update();
  }

  filter(tag) {
    this.tag = this.tag === tag ? null : tag;
    this.loadStores();
  }

  openStore(id) {
    return this.run(`store:${id}`, async () => {
      const { store } = await this.client.request(ops.STORE_MENU, { store: id });
      if (!store) return;
      if (this.store?.id !== id) this.cart = [];
      this.store = store;
      this.mode = store.services.includes("DELIVERY") ? "DELIVERY" : store.services[0];
      this.table = store.tables[0]?.id ?? null;
      this.show("menu");
    });
  }

  show(page) {
    this.page = page;
    this.update();
    queueMicrotask(() => this.root.closest("[data-scroll]")?.scrollTo(0, 0));
  }

  // ---- cart ----

  lineKey(sku, options) {
    return [sku, ...[...options].sort()].join("+");
  }

  add(item, sku, options = [], step = 1) {
    const key = this.lineKey(sku.id, options.map((o) => o.id));
    const line = this.cart.find((l) => l.key === key);
    if (line) line.quantity += step;
    else if (step > 0) this.cart.push({ key, item, sku, options, quantity: 1 });
    this.cart = this.cart.filter((l) => l.quantity > 0);
    this.quote = null;
    if (this.page === "checkout") {
      if (this.cart.length) this.requote();
      else this.show("menu");
    }
    this.update();
  }

  count(item) {
    return this.cart.filter((l) => l.item.id === item.id).reduce((n, l) => n + l.quantity, 0);
  }

  cartTotal() {
    const amount = this.cart.reduce((sum, l) => sum + l.quantity * (Number(l.sku.price.amount) + l.options.reduce((s, o) => s + Number(o.priceDelta.amount), 0)), 0);
    return { amount, currency: this.store?.minimumOrder.currency ?? "CNY" };
  }

  // ---- price and order ----

  checkout() {
    this.show("checkout");
    return this.requote();
  }

  requote() {
    clearTimeout(this.quoting);
    return new Promise((resolve) => {
      this.quoting = setTimeout(() => resolve(this.fetchQuote()), QUOTE_DELAY);
    });
  }

  async fetchQuote() {
    this.quote = null;
    const input = {
      store: this.store.id,
      mode: this.mode,
      lines: this.cart.map((l) => ({ sku: l.sku.id, quantity: l.quantity, options: l.options.map((o) => o.id) })),
      location: this.mode === "DELIVERY" ? pointInput(this.home) : null,
    };
    this.quote = (await this.run("quote", () => this.client.act(ops.CREATE_QUOTE, { input }))) ?? null;
    this.update();
    return this.quote;
  }

  addressInput() {
    return {
      contact: this.contact.name ?? t("demo.contact"),
      phone: this.contact.phone,
      text: this.contact.text ?? t("demo.address"),
      location: pointInput(this.home),
    };
  }

  async place() {
    const quote = this.quote;
    if (!quote) return null;
    const order = await this.run("place", () => this.client.act(ops.PLACE_ORDER, {
      input: {
        quote: quote.id,
        address: this.mode === "DELIVERY" ? this.addressInput() : null,
        table: this.mode === "DINE_IN" ? this.table : null,
        note: this.note.trim(),
      },
      // One quote becomes one order, however often the button is pressed.
      key: `place-${quote.id}`,
    }));
    if (!order) return null;
    this.cart = [];
    this.note = "";
    this.quote = null;
    this.track(order.id, order);
    return order;
  }

  /** Prepare the payment and open the wallet. */
  pay(order) {
    return this.run("pay", async () => {
      const payment = await this.client.act(ops.PAY_ORDER, { order: order.id, key: freshKey() });
      this.wallet = { order, payment };
      return payment;
    });
  }

  /** What the consumer's finger does in a real wallet. */
  confirmPayment() {
    return this.run("wallet", async () => {
      const { payment } = this.wallet;
      if (payment.payUrl) {
        // The sandbox's wallet is on this server, whatever name the browser knows it by.
        const { pathname } = new URL(payment.payUrl, location.href);
        const answer = await fetch(pathname, { method: "POST", headers: { accept: "application/json" } }).catch(() => null);
        if (!answer?.ok) {
          toast(t("wallet.refused"));
          return;
        }
      }
      this.wallet = null;
      toast(t("wallet.paid"), "info");
    });
  }

  track(id, order = null) {
    this.tracking?.dispose();
    this.tracking = new Tracking(this, id, order);
    this.show("order");
  }

  cancel(order) {
    return this.run(`cancel:${order.id}`, () =>
      this.client.act(ops.CANCEL_ORDER, { order: order.id, reason: t("reason.consumer"), key: `cancel-${order.id}` }));
  }

  confirmReceipt(order) {
    return this.run(`receipt:${order.id}`, () => this.client.act(ops.CONFIRM_RECEIPT, { order: order.id, key: `receipt-${order.id}` }));
  }

  showOrders() {
    this.show("orders");
    return this.run("orders", async () => {
      const { myOrders } = await this.client.request(ops.MY_ORDERS, { first: 20 });
      this.orders = myOrders.nodes;
    });
  }

  leaveOrder() {
    this.tracking?.dispose();
    this.tracking = null;
    this.wallet = null;
    this.show("stores");
  }

  /** Order something simple from `storeId` and pay: what the demonstration presses. Resolves to the order or null. */
  async playOrder(storeId, pause) {
    if (this.page === "order") this.leaveOrder();
    await this.openStore(storeId);
    if (!this.store) return null;
    await pause();
    const simple = this.store.menu.flatMap((c) => c.items)
      .filter((i) => i.isAvailable && !i.isSoldOut && i.optionGroups.every((g) => g.minSelected === 0) && i.skus[0]?.stock !== 0);
    const minimum = Number(this.store.minimumOrder.amount);
    for (let n = 0; simple.length && n < 12 && (n < 2 || Number(this.cartTotal().amount) < minimum); n++) {
      const item = simple[n % simple.length];
      this.add(item, item.skus[0]);
      await pause(0.35);
    }
    if (!(await this.checkout())) return null;
    await pause();
    const order = await this.place();
    if (!order) return null;
    await pause(0.6);
    if (!(await this.pay(order))) return null;
    await pause();
    await this.confirmPayment();
    return order;
  }

  // ---- views ----

  view() {
    return [
      h("div", { class: "subbar" },
        this.page === "stores"
          ? h("h2", { key: "title" }, t("shop.near"))
          : h("button", { key: "back", class: "quiet", type: "button", onclick: () => this.back() }, "‹ ", t("back")),
        this.page !== "stores" && h("h2", { key: "heading", class: "ellipsis" }, this.heading()),
        this.page !== "orders" && h("button", { key: "orders", class: "quiet end", type: "button", onclick: () => this.showOrders() }, t("orders.mine")),
      ),
      h("div", { class: "page", key: this.page }, this.body()),
      this.wallet && this.walletView(),
    ];
  }

  heading() {
    if (this.page === "menu") return this.store.name;
    if (this.page === "checkout") return t("checkout.title");
    if (this.page === "orders") return t("orders.mine");
    return this.tracking?.order ? t("four.order", { number: this.tracking.order.number }) : "";
  }

  back() {
    if (this.page === "checkout") this.show("menu");
    else if (this.page === "order") this.leaveOrder();
    else this.show("stores");
  }

  body() {
    if (this.page === "menu") return menuView(this);
    if (this.page === "checkout") return checkoutView(this);
    if (this.page === "order") return trackingView(this);
    if (this.page === "orders") return this.ordersView();
    return storesView(this);
  }

  ordersView() {
    if (!this.orders) return empty(t("loading"));
    if (this.orders.length === 0) return empty(t("orders.none"));
    return h("ul", { class: "rows" }, this.orders.map((order) => h("li", { key: order.id },
      h("button", { class: "row", type: "button", onclick: () => this.track(order.id) },
        h("span", { class: "row-main" },
          h("strong", { class: "ellipsis" }, order.store.name),
          h("span", { class: "sub ellipsis" }, order.lines.map((l) => `${l.itemName}×${l.quantity}`).join(" "))),
        h("span", { class: "row-side" }, chip("order", order.state), h("span", { class: "sub" }, `${time(order.placedAt)} · ${money(order.total)}`))))));
  }

  walletView() {
    const { payment } = this.wallet;
    return h("div", { class: "sheet-veil", key: "wallet" }, h("div", { class: "sheet", role: "dialog", "aria-modal": "true", "aria-label": t("wallet.title") },
      h("h3", null, t("wallet.title")),
      h("p", { class: "wallet-sum" }, money(payment.amount)),
      h("p", { class: "hint" }, t("wallet.hint")),
      h("div", { class: "buttons" },
        h("button", { class: "quiet", type: "button", onclick: () => { this.wallet = null; this.update(); } }, t("wallet.later")),
        h("button", { class: "primary", type: "button", disabled: this.busy("wallet"), onclick: () => this.confirmPayment() }, t("wallet.pay", { money: money(payment.amount) }))),
    ));
  }

  dispose() {
    this.tracking?.dispose();
    clearTimeout(this.typing);
    clearTimeout(this.quoting);
    super.dispose();
  }
}

