// device.html: a terminal in a shop (printer, board, gate) and the shop's view of its devices.
// ?only=device is the terminal alone, for a screen on the wall; ?only=shop the shop's view.

import { DeviceScreen } from "./device.js";
import { DevicesScreen } from "./devices.js";
import { h, render, toast } from "./dom.js";
import { explain, onLanguage, t } from "./i18n.js";
import { bar, Gate } from "./shell.js";

const only = new URLSearchParams(location.search).get("only");
const PANES = [
  ["device", "DEVICE", DeviceScreen],
  ["shop", "MERCHANT", DevicesScreen],
].filter(([name]) => !only || only === name);

const main = document.getElementById("main");
bar("device");
main.classList.toggle("single", PANES.length === 1);
for (const [name, view, Screen] of PANES) {
  const head = document.createElement("header");
  const body = document.createElement("div");
  const pane = document.createElement("section");
  head.className = "pane-head";
  body.className = "pane-body";
  body.dataset.scroll = "";
  pane.className = `pane pane-${name}`;
  pane.append(head, body);
  main.append(pane);
  const draw = () => render(head, h("h2", null, t(`device.pane.${name}`)), h("span", { class: "end" }, gate.badge()));
  const gate = new Gate(body, view, (root, context) => new Screen(root, context), () => draw());
  onLanguage(draw);
  draw();
  gate.open().catch((error) => toast(explain(error)));
}
