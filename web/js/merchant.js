// The store's board: every live order in the column of its next step, and the menu with its stock.

import { Component } from "./component.js";
import { h, toast } from "./dom.js";
import { freshKey } from "./graphql.js";
import { called, countdown, money, t, time } from "./i18n.js";
import { menuView } from "./merchant_menu.js";
import { refundView } from "./merchant_refund.js";
import * as ops from "./operations.js";
import { uploadPicture } from "./pictures.js";
import { chip, empty } from "./shell.js";

const COLUMNS = [
  ["new", new Set(["PAID"])],
  ["preparing", new Set(["ACCEPTED", "PREPARING"])],
  ["ready", new Set(["READY"])],
  ["out", new Set(["PICKED_UP"])],
];
const SURE_FOR = 4000; // milliseconds in which the second tap has to come
const LONGEST_REASON = 200;
const LIVE = new Set(COLUMNS.flatMap(([, states]) => [...states]));
const ACTIONS = {
  REJECT: { kind: "quiet", run: (screen, order) => screen.client.act(ops.REJECT_ORDER, { order: order.id, reason: t("reason.merchant"), key: `reject-${order.id}` }) },
  ACCEPT: { kind: "primary", run: (screen, order) => screen.client.act(ops.ACCEPT_ORDER, { order: order.id, minutes: null }) },
  START_PREPARING: { kind: "primary", run: (screen, order) => screen.client.act(ops.START_PREPARING, { order: order.id }) },
  MARK_READY: { kind: "primary", run: (screen, order) => screen.client.act(ops.MARK_READY, { order: order.id }) },
  HAND_OVER: { kind: "primary", run: (screen, order) => screen.client.act(ops.HAND_OVER, { order: order.id }) },
};

export class MerchantScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.stores = null;
    this.store = null;
    this.orders = new Map();
    this.changed = new Map();
    this.tab = "orders";
    this.menu = null;
    this.loaded = false;
    this.asking = null;
    this.refunding = null;
    this.refunds = new Map();
    this.counting = null;
    this.counts = new Map();
    this.update();
    this.start();
  }

  start() {
    return this.run("start", async () => {
      const { myStores } = await this.client.request(ops.MY_STORES);
      this.stores = myStores;
      const wanted = this.context.sandbox?.store;
      const store = myStores.find((s) => s.id === wanted) ?? myStores[0];
      if (store) this.choose(store);
    });
  }

  choose(store) {
    this.stopBoard?.();
    this.store = store;
    this.orders = new Map();
    this.changed = new Map();
    this.menu = null;
    this.loaded = false;
    this.stopBoard = this.follow(ops.STORE_BOARD, { store: store.id }, (update) => this.take(update));
    if (this.tab === "menu") this.loadMenu();
    this.update();
  }

  take(update) {
    this.loaded = true;
    if (update.kind === "SNAPSHOT") {
      this.orders = new Map(update.orders.map((order) => [order.id, order]));
      return;
    }
    for (const order of update.orders) {
      const known = this.orders.get(order.id);
      if (known && known.version >= order.version) continue;
      this.changed.set(order.id, performance.now());
      if (LIVE.has(order.state)) this.orders.set(order.id, order);
      else this.orders.delete(order.id);
      this.context.observe?.({ terminal: "merchant", order: order.id, number: order.number, version: order.version, type: update.type, state: order.state, delivery: order.delivery?.state });
    }
  }

  act(order, action) {
    return this.run(order.id, () => ACTIONS[action].run(this, order));
  }

  setStatus(status) {
    return this.run("status", async () => {
      const store = await this.client.act(ops.SET_STORE_STATUS, { store: this.store.id, status });
      Object.assign(this.store, store);
    });
  }

  loadMenu() {
    return this.run("menu", async () => {
      const { store } = await this.client.request(ops.STORE_STOCK, { store: this.store.id });
      this.menu = store.menu;
    });
  }

  setAvailable(item, available) {
    return this.run(item.id, async () => Object.assign(item, await this.client.act(ops.SET_ITEM_AVAILABILITY, { item: item.id, available })));
  }

  /** The lines of an order that are ticked to be given back, and the request for it once it was sent. */
  draft(order) {
    if (!this.refunds.has(order.id)) this.refunds.set(order.id, { lines: new Set(), request: null });
    return this.refunds.get(order.id);
  }

  /** Give the ticked lines back. The same key until there is an answer: who taps again refunds once. */
  refund(order, amount) {
    const draft = this.draft(order);
    const lines = order.lines.filter((line) => draft.lines.has(line.id)).map((line) => `${line.itemName}×${line.quantity}`);
    const reason = t("board.refundReason", { lines: lines.join("、") }).slice(0, LONGEST_REASON);
    draft.request ??= { order: order.id, amount: amount.amount, reason, key: freshKey() };
    return this.run(order.id, async () => {
      await this.client.act(ops.REFUND_ORDER, draft.request);
      this.refunds.delete(order.id);
      this.refunding = null;
      this.root.querySelector(`[data-refund="${order.id}"]`)?.focus(); // the button that was pressed goes
      toast(t("board.refundStarted", { money: money(amount) }), "info");
    });
  }

  /** Set what can still be bought, null for what is not counted. The same key for the same count until there is an answer. */
  setStock(item, sku, stock) {
    const last = this.counts.get(sku.id);
    const key = last?.stock === stock ? last.key : freshKey();
    this.counts.set(sku.id, { stock, key });
    return this.run(item.id, async () => {
      Object.assign(sku, await this.client.act(ops.SET_STOCK, { sku: sku.id, stock, key }));
      this.counts.delete(sku.id);
      item.isSoldOut = item.skus.every((each) => each.stock === 0);
    });
  }

  setPicture(item, file) {
    return this.run(item.id, async () => {
      const picture = await uploadPicture(this.client, this.store.id, file);
      Object.assign(item, await this.client.act(ops.SET_ITEM_PICTURE, { item: item.id, picture: picture.id }));
    });
  }

  setLogo(file) {
    const { store } = this;
    return this.run("logo", async () => {
      const picture = await uploadPicture(this.client, store.id, file);
      Object.assign(store, await this.client.act(ops.SET_STORE_LOGO, { store: store.id, picture: picture.id }));
    });
  }

  view() {
    if (!this.stores) return this.busy("start") ? empty(t("loading")) : h("div", { class: "empty" }, h("button", { type: "button", onclick: () => this.start() }, t("retry")));
    if (!this.store) return empty(t("board.noStore"));
    return [
      h("div", { class: "subbar" },
        this.stores.length > 1
          ? h("select", {
            key: "store", class: "grow", "aria-label": t("board.store"), value: this.store.id,
            onchange: (event) => this.choose(this.stores.find((s) => s.id === event.target.value)),
          }, this.stores.map((s) => h("option", { key: s.id, value: s.id }, s.name)))
          : h("h2", { key: "name", class: "ellipsis" }, this.store.name),
        h("div", { class: "segments small end", role: "group" }, ["orders", "menu"].map((tab) => h("button", {
          key: tab, type: "button", "aria-pressed": String(this.tab === tab),
          onclick: () => { this.tab = tab; if (tab === "menu" && !this.menu) this.loadMenu(); this.update(); },
        }, t(`board.${tab}`)))),
        h("div", { class: "segments small", role: "group", "aria-label": t("board.store") }, ["OPEN", "PAUSED", "CLOSED"].map((status) => h("button", {
          key: status, type: "button", class: `st-${status}`, "aria-pressed": String(this.store.status === status), disabled: this.busy("status"),
          onclick: () => this.setStatus(status),
        }, t(`store.${status}`)))),
        this.tab === "orders" && this.jumps()),
      this.tab === "menu" ? menuView(this) : this.boardView(),
    ];
  }

  /** The orders of a column, oldest first. */
  column(states) {
    return [...this.orders.values()].filter((order) => states.has(order.state))
      .sort((a, b) => Date.parse(a.paidAt ?? a.placedAt) - Date.parse(b.paidAt ?? b.placedAt));
  }

  /** Where the columns stand below each other: a way to each of them that stays in sight, with what is in it. */
  jumps() {
    return h("nav", { key: "jumps", class: "jumps", "aria-label": t("board.columns") }, COLUMNS.map(([name, states]) => h("button", {
      key: name, type: "button", class: `jump-${name}`, onclick: () => this.jump(name),
    }, t(`board.${name}`), h("span", { class: "badge" }, this.column(states).length))));
  }

  jump(name) {
    const heading = this.root.querySelector(`.column-${name} > h3`);
    heading.style.scrollMarginTop = `${this.root.querySelector(".subbar").offsetHeight + 4}px`;
    heading.scrollIntoView();
    heading.focus({ preventScroll: true });
  }

  boardView() {
    const waiting = this.column(COLUMNS[0][1]).length;
    return h("div", { class: "board", key: "board" },
      h("p", { key: "waiting", class: "out-of-sight", role: "status" }, waiting > 0 && t("board.waiting", { n: waiting })),
      COLUMNS.map(([name, states]) => {
        const mine = this.column(states);
        return h("section", { key: name, class: `column column-${name}` },
          h("h3", { tabindex: "-1" }, t(`board.${name}`), h("span", { class: "badge" }, mine.length)),
          h("div", { class: "stack" },
            mine.map((order) => this.card(order)),
            mine.length === 0 && empty(this.loaded ? t(`board.empty.${name}`) : t("loading"))));
      }));
  }

  card(order) {
    const fresh = performance.now() - (this.changed.get(order.id) ?? -1e9) < 2500;
    return h("article", { key: order.id, class: `ticket s-${order.state}${fresh ? ` fresh fresh-${order.version % 2}` : ""}` },
      h("header", null,
        h("strong", { class: "number" }, called(order)),
        h("span", { class: "sub" }, t(`mode.${order.mode}`), order.table && ` ${order.table.code}`),
        h("span", { class: "due end" }, this.due(order))),
      h("ul", { class: "dishes" }, order.lines.map((line) => h("li", { key: line.id },
        h("span", { class: "qty" }, `${line.quantity}×`), h("span", null, line.itemName, line.options.length > 0 && h("span", { class: "sub" }, ` ${line.options.join(" · ")}`))))),
      order.note && h("p", { class: "note" }, order.note),
      order.delivery && h("p", { class: "sub" }, chip("delivery", order.delivery.state), order.delivery.rider && ` ${order.delivery.rider.name}`),
      h("div", { class: "ticket-sum" },
        h("span", null, h("strong", null, t("board.total", { money: money(order.total) })),
          Number(order.refunded.amount) > 0 && h("span", { class: "sub" }, ` ${t("track.refunded", { money: money(order.refunded) })}`)),
        order.availableActions.includes("REFUND") && h("button", {
          type: "button", class: "quiet small end", "data-refund": order.id, "aria-expanded": String(this.refunding === order.id),
          onclick: () => { this.refunding = this.refunding === order.id ? null : order.id; this.update(); },
        }, t("board.refund"))),
      this.refunding === order.id && refundView(this, order),
      this.buttons(order));
  }

  buttons(order) {
    const actions = Object.entries(ACTIONS).filter(([action]) => order.availableActions.includes(action));
    // Where the kitchen may skip a step, the first offered step is the main one.
    const main = actions.find(([action]) => action !== "REJECT")?.[0];
    if (actions.length === 0) return null;
    return h("div", { class: "buttons" }, actions.map(([action, { kind }]) => h("button", {
      key: action, type: "button", class: action === main ? "primary" : kind === "primary" ? "" : kind, disabled: this.busy(order.id),
      // A paid order is refunded when it is rejected, and the button is beside the one that accepts.
      onclick: () => (action === "REJECT" ? this.twice(`reject:${order.id}`, () => this.act(order, action)) : this.act(order, action)),
    }, t(action === "REJECT" && this.asking === `reject:${order.id}` ? "act.REJECT.sure" : `act.${action}`))));
  }

  /** What gives money back takes two taps: the first asks. */
  twice(question, act) {
    if (this.asking === question) {
      this.asking = null;
      return act();
    }
    this.asking = question;
    this.update();
    setTimeout(() => {
      if (this.asking !== question) return;
      this.asking = null;
      this.update();
    }, SURE_FOR);
  }

  due(order) {
    if (order.state === "PAID" && order.acceptBy) {
      const left = this.clock.until(order.acceptBy);
      return left > 0 ? t("board.acceptIn", { time: countdown(left / this.clock.speed) }) : t("board.acceptLate");
    }
    if ((order.state === "ACCEPTED" || order.state === "PREPARING") && order.promisedReadyAt) {
      const late = Math.floor(-this.clock.until(order.promisedReadyAt) / 60);
      return late >= 1 ? h("span", { class: "late" }, t("board.late", { n: late })) : t("board.promised", { time: time(order.promisedReadyAt) });
    }
    return time(order.readyAt && order.state === "READY" ? order.readyAt : order.pickedUpAt ?? order.paidAt);
  }
}
