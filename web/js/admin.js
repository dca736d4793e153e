// The city admin's small view: figures, and the feed of one store's orders as they change.

import { Component } from "./component.js";
import { h } from "./dom.js";
import { History, stateBar, tiles } from "./figures.js";
import { money, t, time } from "./i18n.js";
import * as ops from "./operations.js";
import { chip, empty } from "./shell.js";

const FEED = 40;

export class AdminScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.overview = null;
    this.feed = [];
    this.history = new History("activeOrders", "deliveriesWaiting", "ridersBusy", "ordersToday");
    this.update();
    this.start();
  }

  tick() {}

  start() {
    return this.run("start", async () => {
      const city = this.context.sandbox?.city ?? (await this.client.request(ops.CITIES)).cities[0]?.id;
      if (!city) return;
      this.follow(ops.CITY_FIGURES, { city }, (update) => {
        this.overview = update.overview;
        this.history.take(update.overview);
      });
      const store = this.context.sandbox?.store;
      if (store) this.follow(ops.ADMIN_BOARD, { store }, (update) => this.take(update));
    });
  }

  take(update) {
    if (update.kind === "SNAPSHOT") return;
    for (const order of update.orders) {
      this.feed.unshift({ key: `${order.id}|${order.version}`, at: update.at, order });
      this.context.observe?.({ terminal: "admin", order: order.id, number: order.number, version: order.version, type: update.type, state: order.state, delivery: order.delivery?.state });
    }
    this.feed.length = Math.min(this.feed.length, FEED);
  }

  view() {
    return h("div", { class: "page" },
      tiles(this.overview, ["active", "ordersToday", "riders", "waiting", "mean", "gross"], this.history),
      stateBar(this.overview),
      h("section", { class: "category" }, h("h3", null, t("admin.feed")),
        this.feed.length === 0
          ? empty(t("admin.feedNone"))
          : h("ol", { class: "feed" }, this.feed.map(({ key, at, order }) => h("li", { key, class: "fresh" },
            h("time", null, time(at, true)), h("span", { class: "number" }, `#${order.number.slice(-4)}`), chip("order", order.state),
            h("span", { class: "end sub" }, order.delivery ? t(`delivery.${order.delivery.state}`) : money(order.total)))))));
  }
}
