// An order as it moves: steps with times, the rider on a map, and what the viewer may do now.

import { h } from "./dom.js";
import { called, countdown, money, t, time } from "./i18n.js";
import { arcPhase, CityMap } from "./map.js";
import * as ops from "./operations.js";
import { chip, empty } from "./shell.js";

const RIDING = new Set(["ASSIGNED", "AT_STORE", "PICKED_UP"]);
const ENDED = new Set(["COMPLETED", "REJECTED", "CANCELLED", "EXPIRED"]);
const STEPS = {
  DELIVERY: [["PAID", "paidAt"], ["ACCEPTED", "acceptedAt"], ["READY", "readyAt"], ["PICKED_UP", "pickedUpAt"], ["DELIVERED", "deliveredAt"]],
  PICKUP: [["PAID", "paidAt"], ["ACCEPTED", "acceptedAt"], ["READY", "readyAt"], ["DELIVERED", "deliveredAt"]],
};

/** Follows one order and, while a rider carries it, the rider. */
export class Tracking {
  constructor(screen, id, order) {
    this.screen = screen;
    this.id = id;
    this.order = order;
    this.rider = null;
    this.eta = null;
    this.map = new CityMap({ minimumSpan: 700, padding: 34 });
    this.stopRider = null;
    this.stop = screen.follow(ops.ORDER_UPDATES, { order: id }, (update) => this.take(update));
  }

  take(update) {
    const { order } = update;
    if (this.order && order.version < this.order.version) return;
    this.order = order;
    if (update.kind === "EVENT") this.screen.context.observe?.({ terminal: "consumer", order: order.id, number: order.number, version: order.version, type: update.type, state: order.state, delivery: order.delivery?.state });
    if (order.delivery?.riderLocation) this.rider = order.delivery.riderLocation.location;
    const riding = order.delivery && RIDING.has(order.delivery.state);
    if (riding && !this.stopRider) {
      this.stopRider = this.screen.follow(ops.RIDER_LOCATION, { order: this.id }, (update) => this.move(update), () => (this.stopRider = null));
    } else if (!riding) {
      this.stopRider?.();
      this.stopRider = null;
      this.rider = null;
    }
    if (this.screen.wallet?.order.id === order.id && order.state !== "PLACED") this.screen.wallet = null;
    this.draw();
  }

  move(update) {
    this.rider = update.riderLocation.location;
    this.eta = update.eta;
    this.draw();
  }

  draw() {
    const { order } = this;
    const home = order.address?.location;
    const store = order.store.location;
    const phase = order.delivery && arcPhase(order.delivery.state);
    this.map.set({
      stores: [{ id: order.store.id, name: order.store.name, point: store, load: 3, open: true }],
      marks: home ? [{ id: "home", point: home }] : [],
      deliveries: home && phase ? [{ from: store, to: home, phase }] : [],
      riders: this.rider ? [{ id: "rider", point: this.rider, busy: true }] : [],
    });
    this.map.fit([store, home, this.rider && !ENDED.has(order.state) ? this.rider : null]);
  }

  dispose() {
    this.stop();
    this.stopRider?.();
    this.map.dispose();
  }
}

export function trackingView(screen) {
  const { tracking } = screen;
  const order = tracking?.order;
  if (!order) return empty(t("loading"));
  const bad = order.state === "REJECTED" || order.state === "CANCELLED" || order.state === "EXPIRED";
  return [
    h("div", { class: `track-head s-${order.state}`, key: "head" },
      h("p", { class: "track-state", key: order.state }, t(order.state === "PAID" ? "mine.PAID" : `order.${order.state}`)),
      h("p", { class: "track-line" }, headline(screen, order, tracking)),
      order.pickupNumber && h("p", { class: "track-line" }, t("track.called", { number: called(order) }))),
    !bad && stepsView(order),
    order.mode === "DELIVERY" && order.address && h("div", { class: "track-map", key: "map" }, tracking.map.canvas),
    order.delivery && !bad && order.state !== "COMPLETED" && h("p", { class: "track-rider", key: "rider" },
      chip("delivery", order.delivery.state), order.delivery.rider && h("span", null, t("track.rider", { name: order.delivery.rider.name }))),
    actionsView(screen, order),
    h("div", { class: "card", key: "lines" },
      h("p", { class: "strong" }, order.store.name),
      h("ul", { class: "lines" }, order.lines.map((line) => h("li", { key: line.id },
        h("span", { class: "row-main" }, h("span", null, line.itemName), line.options.length > 0 && h("span", { class: "sub" }, line.options.join(" · "))),
        h("span", { class: "sub" }, `×${line.quantity}`), h("span", { class: "amount" }, money(line.total))))),
      h("dl", { class: "sums" },
        h("dt", null, t("checkout.fee")), h("dd", null, money(order.deliveryFee)),
        h("dt", { class: "strong" }, t("checkout.total")), h("dd", { class: "strong" }, money(order.total))),
      Number(order.refunded.amount) > 0 && h("p", { class: "hint" }, t("track.refunded", { money: money(order.refunded) })),
      order.note && h("p", { class: "hint" }, order.note)),
  ];
}

function headline(screen, order, tracking) {
  if (order.state === "PLACED" && order.payBy) return t("track.payBy", { time: countdown(screen.clock.until(order.payBy) / screen.clock.speed) });
  if (ENDED.has(order.state) || order.state === "DELIVERED") return order.closeReason || `${order.store.name} · ${t("four.order", { number: order.number })}`;
  const eta = tracking.eta ?? order.eta;
  if (order.mode === "DELIVERY" && eta) return t("track.eta", { time: time(eta) });
  if (order.promisedReadyAt) return t("track.ready", { time: time(order.promisedReadyAt) });
  return order.store.name;
}

function stepsView(order) {
  const steps = STEPS[order.mode === "DELIVERY" ? "DELIVERY" : "PICKUP"];
  const reached = steps.filter(([, at]) => order[at]).length;
  return h("ol", { class: "steps", key: "steps" }, steps.map(([state, at], index) => h("li", {
    key: state, class: index < reached ? `done s-${state}` : "", "aria-current": index === reached - 1 ? "step" : null,
  }, h("span", { class: "step-name" }, t(state === "PAID" ? "step.PAID" : `order.${state}`)), h("span", { class: "step-time" }, order[at] ? time(order[at]) : " "))));
}

function actionsView(screen, order) {
  const button = (action, kind, busy, act) => order.availableActions.includes(action) &&
    h("button", { key: action, type: "button", class: kind, disabled: screen.busy(busy), onclick: act }, t(`act.${action}`));
  return h("div", { class: "buttons", key: "actions" },
    button("CANCEL", "quiet", `cancel:${order.id}`, () => screen.cancel(order)),
    button("PAY", "primary", "pay", () => screen.pay(order)),
    button("COMPLETE", "primary", `receipt:${order.id}`, () => screen.confirmReceipt(order)),
    ENDED.has(order.state) && h("button", { key: "again", type: "button", onclick: () => screen.leaveOrder() }, t("track.fresh")));
}
