// The city's figures as tiles and as a bar of states.

import { h } from "./dom.js";
import { minutes, number, t, wholeMoney } from "./i18n.js";

export const STATE_ORDER = ["PLACED", "PAID", "ACCEPTED", "PREPARING", "READY", "PICKED_UP", "DELIVERED", "COMPLETED", "CANCELLED", "REJECTED", "EXPIRED"];
const HISTORY = 90;

/** Remembers the last readings of some figures, for their little lines. */
export class History {
  constructor(...names) {
    this.series = Object.fromEntries(names.map((name) => [name, []]));
  }

  take(overview) {
    for (const [name, values] of Object.entries(this.series)) {
      values.push(overview[name]);
      if (values.length > HISTORY) values.shift();
    }
  }

  line(name) {
    const values = this.series[name];
    if (!values || values.length < 5) return null;
    const low = Math.min(...values);
    // A line that shakes because one order came says nothing: the scale spans a tenth of the figure at least.
    const span = Math.max(Math.max(...values) - low, 4, low * 0.1);
    const start = HISTORY - values.length;
    const points = values.map((v, i) => `${(((start + i) / (HISTORY - 1)) * 100).toFixed(1)},${(20 - ((v - low) / span) * 18).toFixed(1)}`).join(" ");
    return h("svg", { class: "spark", viewBox: "0 0 100 22", preserveAspectRatio: "none", "aria-hidden": "true" }, h("polyline", { points }));
  }
}

/** Tiles of an overview (may be null while loading). `names` chooses and orders them. */
export function tiles(overview, names, history = null) {
  const values = {
    ordersToday: () => number(overview.ordersToday),
    active: () => number(overview.activeOrders),
    riders: () => [number(overview.ridersBusy), h("span", { class: "of" }, ` / ${number(overview.ridersOnline)}`)],
    waiting: () => number(overview.deliveriesWaiting),
    gross: () => wholeMoney(overview.grossToday),
    mean: () => minutes(overview.clickToDoorMeanSeconds),
    p90: () => minutes(overview.clickToDoorP90Seconds),
    queue: () => number(overview.queueWaiting),
    stores: () => number(overview.storesOpen),
  };
  const series = { active: "activeOrders", waiting: "deliveriesWaiting", riders: "ridersBusy", ordersToday: "ordersToday" };
  return h("dl", { class: "tiles" }, names.map((name) => h("div", {
    key: name, class: `tile tile-${name}${name === "waiting" && overview?.deliveriesWaiting > 0 ? " warn" : ""}`,
  }, h("dt", null, t(`city.${name}`)), h("dd", null, overview ? values[name]() : "–"), overview && history && series[name] ? history.line(series[name]) : null)));
}

/** Orders by state: one bar and its words. */
export function stateBar(overview) {
  const counts = STATE_ORDER.map((state) => [state, overview?.ordersByState.find((s) => s.state === state)?.count ?? 0]).filter(([, n]) => n > 0);
  return h("figure", { class: "states" },
    h("figcaption", null, t("city.states")),
    counts.length === 0
      ? h("p", { class: "sub" }, t(overview ? "city.none" : "loading"))
      : [
        h("div", { class: "states-bar", "aria-hidden": "true" }, counts.map(([state, n]) => h("span", { key: state, class: `s-${state}`, vars: { "--n": String(n) }, title: `${t(`order.${state}`)} ${n}` }))),
        h("ul", { class: "states-words" }, counts.map(([state, n]) => h("li", { key: state, class: `s-${state}` }, h("span", { class: "dot" }), t(`order.${state}`), h("b", null, number(n))))),
      ]);
}
