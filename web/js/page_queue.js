// queue.html: guest, board and host stand next to each other, each its own user. ?only=guest|board|host shows one.

import { h, render, toast } from "./dom.js";
import { explain, onLanguage, t } from "./i18n.js";
import { BoardScreen, GuestScreen, HostScreen } from "./queue.js";
import { bar, Gate } from "./shell.js";

const only = new URLSearchParams(location.search).get("only");
const wanted = new URLSearchParams(location.search).get("store");
const PANES = [
  ["guest", "CONSUMER", GuestScreen],
  ["board", "CONSUMER", BoardScreen],
  ["host", "MERCHANT", HostScreen],
];
const TITLES = { guest: "queue.guest", board: "queue.board", host: "queue.staff" };

const main = document.getElementById("main");
const gates = new Map();
let shown = wanted;

/** All three show the store that somebody chose last. */
function chosen(name, store) {
  if (store === shown) return;
  shown = store;
  for (const [other, gate] of gates) {
    if (other === name || !gate.screen) continue;
    const can = other === "board" || (other === "host" ? gate.screen.stores?.some((s) => s.id === store) : !gate.screen.ticket);
    if (can && gate.screen.store !== store) gate.screen.watch?.(store);
  }
}

const redraw = bar("queue");
const panes = PANES.filter(([name]) => !only || only === name).map(([name, view, Screen]) => {
  const head = document.createElement("header");
  const body = document.createElement("div");
  const pane = document.createElement("section");
  head.className = "pane-head";
  body.className = "pane-body";
  body.dataset.scroll = "";
  pane.className = `pane pane-${name}`;
  pane.append(head, body);
  main.append(pane);
  const draw = () => render(head, h("h2", null, t(TITLES[name])), h("span", { class: "end" }, gate.badge()));
  const gate = new Gate(body, view, (root, context) => new Screen(root, { ...context, store: shown ?? context.sandbox?.store, chosen: (store) => chosen(name, store) }), () => draw());
  gates.set(name, gate);
  onLanguage(draw);
  draw();
  return gate;
});
main.classList.toggle("single", panes.length === 1);
redraw();
for (const gate of panes) gate.open().catch((error) => toast(explain(error)));
