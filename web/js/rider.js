// The rider's terminal: on duty or off, offers with a countdown, the task in hand, and a position that moves.

import { Component } from "./component.js";
import { h, toast } from "./dom.js";
import { distance, heading, offset, pointInput, towards } from "./geo.js";
import { called, countdown, metres, money, t } from "./i18n.js";
import { arcPhase, CityMap } from "./map.js";
import * as ops from "./operations.js";
import { chip, empty } from "./shell.js";

/** Metres per domain second of an electric bike in traffic. */
const PACE = 6;
const NEAR = 40;
const FIX_EVERY = 1000;
const OPEN_EVERY = 4000;
const DONE = new Set(["DELIVERED", "CANCELLED"]);
const MINE = new Set(["ASSIGNED", "AT_STORE", "PICKED_UP"]);

export class RiderScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.rider = null;
    this.known = false;
    this.tasks = new Map();
    this.offered = new Map();
    this.open = [];
    this.here = null;
    this.crs = "GCJ02";
    this.moving = true;
    this.gps = null;
    this.delivered = 0;
    this.map = new CityMap({ minimumSpan: 600, padding: 34 });
    this.stops.push(() => this.map.dispose(), () => this.stopGps());
    const ride = setInterval(() => this.ride(), FIX_EVERY);
    const look = setInterval(() => this.lookAround(), OPEN_EVERY);
    this.stops.push(() => clearInterval(ride), () => clearInterval(look));
    this.update();
    this.start();
  }

  start() {
    return this.run("start", async () => {
      const { rider } = await this.client.request(ops.RIDER);
      this.known = true;
      this.rider = rider;
      if (!rider) return;
      this.here = await this.findPlace();
      this.draw();
      this.follow(ops.RIDER_TASKS, {}, (update) => this.take(update));
      this.lookAround();
    });
  }

  /** Where a simulated rider stands first: where last seen, else some 250 m from the demo store, else the city's middle. */
  async findPlace() {
    const demo = this.context.sandbox?.store;
    if (demo) {
      const { store } = await this.client.request(ops.STORE_PLACE, { store: demo });
      if (store) {
        const place = offset(store.location, -180, 170);
        const last = this.rider.location;
        return last && distance(last, place) < 2500 ? last : place;
      }
    }
    if (this.rider.location) return this.rider.location;
    const { cities } = await this.client.request(ops.CITIES);
    return cities[0]?.center ?? { latitude: 39.9345, longitude: 116.4 };
  }

  take(update) {
    if (update.kind === "SNAPSHOT") this.tasks = new Map(update.tasks.map((task) => [task.id, task]));
    else {
      for (const id of update.gone) this.tasks.delete(id);
      for (const task of update.tasks) {
        const known = this.tasks.get(task.id);
        if (task.state === "DELIVERED" && known && known.state !== "DELIVERED") this.delivered += 1;
        if (DONE.has(task.state)) this.tasks.delete(task.id);
        else this.tasks.set(task.id, task);
        const { order } = task;
        this.context.observe?.({ terminal: "rider", order: order.id, number: order.number, version: order.version, type: update.type, state: order.state, delivery: task.state });
      }
    }
    this.draw();
  }

  /** The task being done, nearest to its end first. */
  current() {
    const rank = { PICKED_UP: 0, AT_STORE: 1, ASSIGNED: 2 };
    return [...this.tasks.values()].filter((task) => task.state in rank).sort((a, b) => rank[a.state] - rank[b.state])[0] ?? null;
  }

  offers() {
    return [...this.tasks.values()].filter((task) => task.state === "OFFERED" && task.offer && this.clock.until(task.offer.expiresAt) > 0);
  }

  target(task) {
    return task.state === "PICKED_UP" ? task.dropoff : task.pickup;
  }

  setOnline(online) {
    return this.run("online", async () => {
      const rider = online
        ? await this.client.act(ops.GO_ONLINE, { location: pointInput(this.here, this.crs) })
        : await this.client.act(ops.GO_OFFLINE);
      Object.assign(this.rider, rider);
      if (online) this.lookAround();
      else this.open = [];
    });
  }

  act(document, task) {
    return this.run(task.id, async () => {
      // Taken or gone, it is no longer open to me; the next look tells.
      this.open = this.open.filter((other) => other.id !== task.id);
      const delivery = await this.client.act(document, { delivery: task.id });
      if (document === ops.DECLINE_OFFER) this.tasks.delete(task.id);
      else if (document === ops.ACCEPT_OFFER) Object.assign(task, { state: delivery.state, offer: null });
      return delivery;
    });
  }

  /** One step towards the target, and a fix for the city. */
  async ride() {
    if (!this.rider?.online || !this.here) return;
    const task = this.current();
    const before = this.here;
    let course = null;
    if (task && this.moving && !this.gps) {
      const goal = this.target(task);
      course = heading(before, goal);
      this.here = towards(before, goal, PACE * this.clock.speed * (FIX_EVERY / 1000));
    }
    this.draw();
    this.update();
    if (this.sending) return;
    const still = this.here.latitude === before.latitude && this.here.longitude === before.longitude;
    // A rider who stands still is heard of every ten seconds, one who moves every second.
    if (still && performance.now() - (this.sentAt ?? -1e9) < 10_000) return;
    this.sending = true;
    this.sentAt = performance.now();
    const fix = { ...pointInput(this.here, this.crs), recordedAt: this.clock.iso(), accuracyMetres: 8, heading: course, speed: still ? 0 : PACE };
    try {
      await this.client.act(ops.REPORT_LOCATION, { fixes: [fix] });
      this.fixError = null;
    } catch (error) {
      if (this.fixError !== error.message) toast(error.message);
      this.fixError = error.message;
    } finally {
      this.sending = false;
    }
  }

  async lookAround() {
    if (!this.rider?.online || this.current() || document.hidden) return;
    try {
      const { openDeliveries } = await this.client.request(ops.OPEN_DELIVERIES, { first: 5 });
      this.open = openDeliveries.filter((task) => !this.tasks.has(task.id));
      this.update();
    } catch {
      // The next look comes in seconds; the light in the head shows a lost connection.
    }
  }

  toggleGps() {
    if (this.gps) return this.stopGps();
    if (!navigator.geolocation) return toast(t("rider.gpsFail"));
    this.gps = navigator.geolocation.watchPosition(
      ({ coords }) => {
        // Browsers speak WGS-84; the server converts.
        this.crs = "WGS84";
        this.here = { latitude: coords.latitude, longitude: coords.longitude };
        this.draw();
        this.update();
      },
      () => {
        this.stopGps();
        toast(t("rider.gpsFail"));
      },
      { enableHighAccuracy: true, maximumAge: 2000 },
    );
    this.update();
  }

  stopGps() {
    if (this.gps === null) return;
    navigator.geolocation.clearWatch(this.gps);
    this.gps = null;
    this.crs = "GCJ02";
    if (!this.stops.length) return;
    this.update();
  }

  draw() {
    const task = this.current() ?? this.offers()[0];
    const phase = task && arcPhase(task.state);
    this.map.set({
      stores: task ? [{ id: "store", name: task.order.store.name, point: task.pickup, load: 3, open: true }] : [],
      marks: task ? [{ id: "home", point: task.dropoff }] : [],
      deliveries: phase ? [{ from: task.pickup, to: task.dropoff, phase }] : [],
      riders: this.here ? [{ id: "me", point: this.here, busy: Boolean(task && MINE.has(task.state)) }] : [],
    });
    if (this.here) this.map.fit(task ? [this.here, task.pickup, task.dropoff] : [this.here]);
  }

  view() {
    if (!this.known) return this.busy("start") ? empty(t("loading")) : h("div", { class: "empty" }, h("button", { type: "button", onclick: () => this.start() }, t("retry")));
    if (!this.rider) return empty(t("rider.none"));
    const task = this.current();
    const offers = this.offers();
    return [
      h("div", { class: "subbar" },
        h("h2", { class: "ellipsis" }, this.rider.name),
        h("button", {
          class: "switch end", type: "button", role: "switch", "aria-checked": String(this.rider.online), disabled: this.busy("online"),
          onclick: () => this.setOnline(!this.rider.online),
        }, h("span", { class: "knob" }), h("span", null, this.rider.online ? t("rider.online") : t("rider.offline")))),
      h("div", { class: "page", key: "page" },
        h("div", { class: "track-map", key: "map" }, this.map.canvas),
        offers.map((offer) => this.offerCard(offer)),
        task && this.taskCard(task),
        !task && offers.length === 0 && empty(this.rider.online ? t("rider.idle") : t("rider.offlineHint")),
        this.rider.online && !task && this.openView(),
        h("div", { class: "rider-foot", key: "foot" },
          h("label", { class: "check", title: t("rider.moveHint") },
            h("input", { type: "checkbox", checked: this.moving && !this.gps, disabled: Boolean(this.gps), onchange: (event) => { this.moving = event.target.checked; } }), t("rider.move")),
          h("label", { class: "check" }, h("input", { type: "checkbox", checked: Boolean(this.gps), onchange: () => this.toggleGps() }), t("rider.gps")),
          h("span", { class: "sub end" }, t("rider.done", { n: this.delivered })))),
    ];
  }

  route(task) {
    return h("ol", { class: "route" },
      h("li", { class: "from" }, h("strong", null, task.order.store.name), h("span", { class: "sub" }, task.order.store.address)),
      h("li", { class: "to" }, h("strong", null, task.order.address?.text ?? "–"), task.order.address && h("span", { class: "sub" }, `${task.order.address.contact} ${task.order.address.phone}`)));
  }

  offerCard(task) {
    const left = this.clock.until(task.offer.expiresAt) / this.clock.speed;
    this.offered.set(task.id, Math.max(this.offered.get(task.id) ?? 0, left));
    const share = Math.max(0, Math.min(1, left / this.offered.get(task.id)));
    return h("article", { key: task.id, class: "offer fresh", "aria-live": "polite" },
      h("header", null, h("strong", null, t("rider.offer")), h("span", { class: "fee" }, money(task.fee)),
        h("span", { class: "ring end", vars: { "--share": String(share) } }, h("span", null, countdown(left)))),
      this.route(task),
      h("p", { class: "sub" }, `${metres(task.distanceMetres)} · ${task.order.lines.map((l) => `${l.itemName}×${l.quantity}`).join(" ")}`),
      h("div", { class: "buttons" },
        h("button", { class: "quiet", type: "button", disabled: this.busy(task.id), onclick: () => this.act(ops.DECLINE_OFFER, task) }, t("rider.decline")),
        h("button", { class: "primary", type: "button", disabled: this.busy(task.id), onclick: () => this.act(ops.ACCEPT_OFFER, task) }, t("rider.accept"))));
  }

  taskCard(task) {
    const away = this.here ? distance(this.here, this.target(task)) : null;
    const ready = task.order.state === "READY" || task.state === "PICKED_UP";
    const step = {
      ASSIGNED: [ops.ARRIVE_AT_STORE, "rider.arrive", true],
      AT_STORE: [ops.PICK_UP_DELIVERY, "rider.pickUp", ready],
      PICKED_UP: [ops.COMPLETE_DELIVERY, "rider.deliver", true],
    }[task.state];
    return h("article", { key: `${task.id}|${task.state}`, class: "task fresh" },
      h("header", null, h("strong", null, t(task.state === "PICKED_UP" ? "rider.toDoor" : "rider.toStore")), h("span", { class: "number" }, called(task.order)), chip("order", task.order.state),
        h("span", { class: "end sub" }, away === null ? "" : away < NEAR ? t("rider.there") : t("rider.away", { distance: metres(away) }))),
      this.route(task),
      task.order.note && h("p", { class: "note" }, task.order.note),
      h("div", { class: "buttons" }, h("button", {
        class: "primary wide", type: "button", disabled: this.busy(task.id) || !step[2], onclick: () => this.act(step[0], task),
      }, step[2] ? t(step[1]) : t("rider.notReady"))));
  }

  openView() {
    return h("section", { class: "category", key: "open" }, h("h3", null, t("rider.open")),
      this.open.length === 0
        ? empty(t("rider.openNone"))
        : h("ul", { class: "rows" }, this.open.map((task) => h("li", { key: task.id, class: "item" },
          h("span", { class: "row-main" }, h("strong", { class: "ellipsis" }, task.order.store.name), h("span", { class: "sub" }, `${metres(task.distanceMetres)} · ${money(task.fee)}`)),
          h("button", { type: "button", disabled: this.busy(task.id), onclick: () => this.act(ops.GRAB_DELIVERY, task) }, t("rider.grab"))))));
  }
}
