// The landing page: the city as it lives. One subscription carries everything that moves; stores are read in pages.

import { Component } from "./component.js";
import { h, toast } from "./dom.js";
import { History, stateBar, tiles } from "./figures.js";
import { day, explain, number, onLanguage, t, time } from "./i18n.js";
import { arcPhase, CityMap } from "./map.js";
import * as ops from "./operations.js";
import { bar, empty, Gate } from "./shell.js";

const STORES_EVERY = 60_000;
const STORE_PAGES = 10;

class CityScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.city = null;
    this.stores = [];
    this.tip = null;
    this.history = new History("activeOrders", "deliveriesWaiting", "ridersBusy", "ordersToday");
    this.map = new CityMap({ labels: 8, minimumSpan: 2500, padding: 64 });
    this.map.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.map.canvas.addEventListener("pointerdown", (event) => this.point(event));
    this.map.canvas.addEventListener("pointerleave", () => this.setTip(null));
    const refresh = setInterval(() => this.loadStores().catch(() => {}), STORES_EVERY);
    this.stops.push(() => this.map.dispose(), () => clearInterval(refresh));
    this.update();
    this.start();
  }

  start() {
    return this.run("start", async () => {
      let id = this.context.sandbox?.city;
      id ??= (await this.client.request(ops.CITIES)).cities[0]?.id;
      if (!id) return;
      const { city } = await this.client.request(ops.ADMIN_CITY, { city: id });
      this.city = city;
      this.follow(ops.CITY_UPDATES, { city: id }, (update) => this.take(update));
      await this.loadStores();
    });
  }

  async loadStores() {
    if (!this.city) return;
    const found = [];
    let after = null;
    for (let page = 0; page < STORE_PAGES; page++) {
      const { city } = await this.client.request(ops.ADMIN_STORES, { city: this.city.id, first: 100, after });
      found.push(...city.stores.nodes);
      if (!city.stores.pageInfo.hasNextPage) break;
      after = city.stores.pageInfo.endCursor;
    }
    this.stores = found;
    this.map.fit([this.city.center, ...found.map((store) => store.location)]);
    this.draw();
  }

  take(update) {
    const before = this.latest;
    this.latest = update;
    this.history.take(update.overview);
    this.draw();
    if (!before) return;
    const known = new Map(before.deliveries.map((d) => [d.id, d]));
    for (const delivery of update.deliveries) if (!known.has(delivery.id)) this.map.pulse(delivery.pickup, "new");
    const live = new Set(update.deliveries.filter((d) => arcPhase(d.state)).map((d) => d.id));
    for (const delivery of before.deliveries) if (delivery.state === "PICKED_UP" && !live.has(delivery.id)) this.map.pulse(delivery.dropoff, "done");
  }

  draw() {
    const live = (this.latest?.deliveries ?? []).filter((d) => arcPhase(d.state));
    const load = new Map();
    const busy = new Set();
    for (const delivery of live) {
      load.set(delivery.order.store.id, (load.get(delivery.order.store.id) ?? 0) + 1);
      if (delivery.rider && delivery.state !== "OFFERED") busy.add(delivery.rider.id);
    }
    const riders = (this.latest?.riders ?? []).filter((r) => r.online && r.location);
    this.map.set({
      stores: this.stores.map((s) => ({ id: s.id, name: s.name, point: s.location, open: s.isOpen, load: load.get(s.id) ?? 0 })),
      riders: riders.map((r) => ({ id: r.id, name: r.name, point: r.location, busy: busy.has(r.id) })),
      deliveries: live.map((d) => ({ from: d.pickup, to: d.dropoff, phase: arcPhase(d.state) })),
    });
    this.map.canvas.setAttribute("aria-label", t("city.mapLabel", { stores: this.stores.length, riders: riders.length, deliveries: live.length }));
  }

  point(event) {
    const box = this.map.canvas.getBoundingClientRect();
    const hit = this.map.at(event.clientX - box.left, event.clientY - box.top);
    this.setTip(hit && { x: hit.x, y: hit.y, flip: hit.x > box.width - 180, name: hit.item.name, text: hit.kind === "store" ? t("city.storeTip", { n: hit.item.load }) : t(hit.item.busy ? "city.riderBusy" : "city.riderFree") });
  }

  setTip(tip) {
    if (!tip && !this.tip) return;
    this.tip = tip;
    this.update();
  }

  view() {
    const overview = this.latest?.overview ?? null;
    return h("div", { class: "city" },
      h("section", { class: "city-map", "aria-label": t("title.city") },
        this.map.canvas,
        h("div", { class: "city-clock" },
          h("h1", null, this.city?.name ?? t("brand")),
          h("p", { class: "clock" }, this.clock.known ? time(this.clock.now(), true) : "–"),
          h("p", { class: "sub" }, this.clock.known ? `${day(this.clock.now())} · ${this.clock.speed === 1 ? t("city.realtime") : t("city.speed", { n: number(this.clock.speed) })}` : " ")),
        this.tip && h("p", { key: "tip", class: `tip${this.tip.flip ? " flip" : ""}`, vars: { "--x": `${this.tip.x}px`, "--y": `${this.tip.y}px` } }, h("strong", null, this.tip.name), h("span", null, this.tip.text)),
        h("ul", { class: "legend" }, ["store", "busy", "free", "searching", "assigned", "picked"].map((name) => h("li", { key: name, class: `legend-${name}` }, h("span", { class: "swatch" }), t(`legend.${name}`))),
          h("li", { class: "ground-note" }, t("city.ground")))),
      h("aside", { class: "city-side" },
        tiles(overview, ["ordersToday", "active", "riders", "waiting", "mean", "p90", "gross", "queue"], this.history),
        stateBar(overview),
        !overview && !this.busy("start") && empty(t("loading"))));
  }
}

let redraw = () => {};
const gate = new Gate(document.getElementById("main"), "ADMIN", (root, context) => new CityScreen(root, context), () => redraw());
redraw = bar("city", () => gate.badge());
onLanguage(() => gate.screen?.draw?.());
gate.open().catch((error) => toast(explain(error)));
