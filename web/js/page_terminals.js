// terminals.html: four users, four sockets, one order. The strip on top shows when each of them heard of each change.

import { AdminScreen } from "./admin.js";
import { ConsumerScreen } from "./consumer.js";
import { h, render, toast } from "./dom.js";
import { explain, onLanguage, t } from "./i18n.js";
import { MerchantScreen } from "./merchant.js";
import { ACCEPT_OFFER, ARRIVE_AT_STORE, COMPLETE_DELIVERY, GRAB_DELIVERY, PICK_UP_DELIVERY } from "./operations.js";
import { RiderScreen } from "./rider.js";
import { bar, chip, Gate } from "./shell.js";
import { distance } from "./geo.js";

const PANES = [
  ["consumer", ConsumerScreen],
  ["merchant", MerchantScreen],
  ["rider", RiderScreen],
  ["admin", AdminScreen],
];
const NAMES = PANES.map(([name]) => name);
const KEEP = 6;
const PACE = 1400;

const main = document.getElementById("main");
const strip = document.getElementById("moment");
const gates = {};
const moments = [];
let playing = null;

/** A terminal heard that an order reached a version. What others order at the store is no comparison. */
function observe({ terminal, order, number, version, type, state, delivery }) {
  if (gates.consumer.screen?.tracking?.id !== order) return;
  const now = performance.now();
  const key = `${order}|${version}`;
  let moment = moments.find((m) => m.key === key);
  if (!moment) {
    moment = { key, number, what: type?.startsWith("delivery.") && delivery ? ["delivery", delivery] : ["order", state], first: now, heard: {} };
    moments.unshift(moment);
    moments.length = Math.min(moments.length, KEEP * 4);
  }
  moment.heard[terminal] ??= now - moment.first;
  drawStrip();
}

function drawStrip() {
  const shown = moments.filter((m) => Object.keys(m.heard).length > 1).slice(0, KEEP);
  render(strip,
    h("div", { class: "moment-head" },
      h("h1", null, t("title.terminals")),
      h("button", { type: "button", class: playing ? "" : "primary", onclick: () => (playing ? stop() : play()) }, t(playing ? "four.stop" : "four.run"))),
    h("div", { class: "moment-rows", role: "log", "aria-label": t("four.moment") },
      shown.length === 0
        ? h("p", { class: "hint" }, t("four.momentHint"))
        : shown.map((moment) => h("div", { key: moment.key, class: "moment" },
          h("span", { class: "moment-what" }, h("span", { class: "number" }, `#${moment.number.slice(-4)}`), chip(...moment.what)),
          NAMES.map((name) => h("span", { key: name, class: `moment-cell${name in moment.heard ? " heard" : ""}` },
            h("span", { class: "sub" }, t(`four.${name}`)), h("b", null, name in moment.heard ? `+${moment.heard[name].toFixed(0)} ms` : "·")))))));
}

const pause = (share = 1) => new Promise((resolve) => setTimeout(resolve, PACE * share));

/** Press every button of one order's life, each on the terminal it belongs to. */
async function play() {
  const run = { cancelled: false };
  playing = run;
  drawStrip();
  try {
    const { consumer, merchant, rider } = gates;
    if (![consumer, merchant, rider].every((gate) => gate.terminal.session)) return;
    const store = merchant.screen.store?.id;
    if (!store) return toast(t("board.noStore"));
    if (rider.screen.rider && !rider.screen.rider.online) await rider.screen.setOnline(true);
    rider.screen.moving = true;
    const order = await consumer.screen.playOrder(store, pause);
    if (order) await walk(run, order.id);
  } catch (error) {
    toast(explain(error));
  } finally {
    if (playing === run) playing = null;
    drawStrip();
  }
}

async function walk(run, id) {
  const over = new Set(["COMPLETED", "CANCELLED", "REJECTED", "EXPIRED"]);
  let last = performance.now();
  while (!run.cancelled) {
    await pause(0.1);
    const tracked = gates.consumer.screen.tracking?.order;
    if (!tracked || tracked.id !== id || over.has(tracked.state)) return;
    // In a fast city an offer is gone in a blink: it is taken at once, all else goes at a readable pace.
    const offer = gates.rider.screen.offers().find((task) => task.order.id === id);
    if (offer) await gates.rider.screen.act(ACCEPT_OFFER, offer);
    if (offer || performance.now() - last < PACE) continue;
    last = performance.now();
    if (await riderStep(id)) continue;
    const order = gates.merchant.screen.orders.get(id);
    const next = ["ACCEPT", "START_PREPARING", "MARK_READY"].find((action) => order?.availableActions.includes(action));
    if (next) await gates.merchant.screen.act(order, next);
    else if (tracked.state === "DELIVERED") await gates.consumer.screen.confirmReceipt(tracked);
  }
}

async function riderStep(id) {
  const screen = gates.rider.screen;
  const task = [...screen.tasks.values()].find((candidate) => candidate.order.id === id);
  const open = screen.open.find((candidate) => candidate.order.id === id);
  if (!task && open) return screen.act(GRAB_DELIVERY, open);
  if (!task) return null;
  const there = distance(screen.here, screen.target(task)) < 40;
  if (task.state === "ASSIGNED" && there) return screen.act(ARRIVE_AT_STORE, task);
  if (task.state === "AT_STORE" && task.order.state === "READY") return screen.act(PICK_UP_DELIVERY, task);
  if (task.state === "PICKED_UP" && there) return screen.act(COMPLETE_DELIVERY, task);
  return null;
}

function stop() {
  if (playing) playing.cancelled = true;
  playing = null;
  drawStrip();
}

bar("terminals");
const tabs = document.getElementById("tabs");
const drawTabs = () => render(tabs, NAMES.map((name) => h("a", { key: name, href: `#pane-${name}` }, t(`four.${name}`))));
for (const [name, Screen] of PANES) {
  const pane = document.createElement("section");
  const head = document.createElement("header");
  const body = document.createElement("div");
  pane.className = `pane pane-${name}`;
  pane.id = `pane-${name}`;
  head.className = "pane-head";
  body.className = "pane-body";
  body.dataset.scroll = "";
  pane.append(head, body);
  main.append(pane);
  const draw = () => render(head, h("h2", null, t(`four.${name}`)), h("span", { class: "end" }, gate.badge()));
  const gate = new Gate(body, name.toUpperCase(), (root, context) => new Screen(root, { ...context, observe }), () => draw());
  gates[name] = gate;
  onLanguage(draw);
  draw();
  gate.open().catch((error) => toast(explain(error)));
}
onLanguage(drawStrip);
onLanguage(drawTabs);
drawTabs();
drawStrip();
