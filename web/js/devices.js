// The shop's view of its devices: who is there, what waits, what became of the last commands.

import { Component } from "./component.js";
import { h } from "./dom.js";
import { freshKey } from "./graphql.js";
import { called, countdown, t, time } from "./i18n.js";
import * as ops from "./operations.js";
import { chip, empty } from "./shell.js";

const STATIONS = ["KITCHEN", "COUNTER", "ENTRANCE"];
const CAPABILITIES = ["PRINT", "BOARD", "GATE"];
/** Real seconds after which a waiting command means that somebody should look after the device. */
const STUCK = 60;
const TRIES = {
  PRINT: [["device.testPrint", () => ({ printNote: { title: t("device.test"), lines: [t("device.testLine")] } })]],
  BOARD: [["device.showQueue", () => ({ showBoard: { board: "QUEUE" } })], ["device.blank", () => ({ showBoard: { board: "BLANK" } })]],
  GATE: [["device.openGate", () => ({ openGate: { gate: "1", seconds: 5 } })]],
};

export class DevicesScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.stores = null;
    this.store = null;
    this.devices = null;
    this.chosen = null;
    this.sure = null;
    this.commands = null;
    this.code = null;
    this.draft = null;
    this.update();
    this.start();
  }

  start() {
    return this.run("start", async () => {
      const { myStores } = await this.client.request(ops.MY_STORES);
      this.stores = myStores;
      const store = myStores.find((s) => s.id === this.context.sandbox?.store) ?? myStores[0];
      if (store) this.watch(store.id);
    });
  }

  watch(store) {
    this.stopDevices?.();
    this.store = store;
    this.devices = this.chosen = this.commands = this.code = this.draft = null;
    this.stopDevices = this.follow(ops.STORE_DEVICES, { store }, (update) => {
      this.devices = update.devices;
      if (this.code && this.devices.find((d) => d.id === this.code.device.id)?.pairedAt !== this.code.device.pairedAt) this.code = null;
      if (this.chosen) this.load();
    });
    this.update();
  }

  choose(device) {
    this.chosen = this.chosen === device.id ? null : device.id;
    this.sure = null;
    this.commands = null;
    if (this.chosen) this.load();
    this.update();
  }

  /** One read at a time; a change that comes meanwhile is read once more after it. */
  async load() {
    if (this.loading) return void (this.again = true);
    this.loading = true;
    try {
      do {
        this.again = false;
        const id = this.chosen;
        const { device } = await this.client.request(ops.DEVICE_HISTORY, { device: id });
        if (id === this.chosen) this.commands = device?.commands.nodes ?? [];
      } while (this.again && this.chosen);
    } catch {
      // The list shows what is there; the next change reads again.
    } finally {
      this.loading = false;
      this.update();
    }
  }

  send(device, content) {
    return this.run(device.id, () => this.client.act(ops.SEND_DEVICE_COMMAND, { device: device.id, content, key: freshKey() }));
  }

  act(command, document) {
    return this.run(command.id, () => this.client.act(document, { command: command.id, ...(document === ops.RESEND_DEVICE_COMMAND && { key: freshKey() }) }));
  }

  async pair(device) {
    this.code = (await this.run(device.id, () => this.client.act(ops.PAIR_DEVICE, { device: device.id }))) ?? null;
    this.update();
  }

  async register() {
    const { name, station, capabilities } = this.draft;
    const code = await this.run("register", () =>
      this.client.act(ops.REGISTER_DEVICE, { input: { store: this.store, name, station, capabilities } }));
    if (!code) return;
    this.code = code;
    this.draft = null;
    this.update();
  }

  /** The first press asks, the second does it. */
  disable(device) {
    this.sure = this.sure === device.id ? null : device.id;
    this.update();
    return this.sure ? null : this.run(device.id, () => this.client.act(ops.DISABLE_DEVICE, { device: device.id }));
  }

  view() {
    if (!this.stores) return this.busy("start") ? empty(t("loading")) : h("div", { class: "empty" }, h("button", { type: "button", onclick: () => this.start() }, t("retry")));
    if (!this.store) return empty(t("board.noStore"));
    return [
      h("div", { class: "subbar", key: "bar" },
        this.stores.length > 1
          ? h("select", { key: "store", class: "grow", "aria-label": t("board.store"), value: this.store, onchange: (event) => this.watch(event.target.value) },
            this.stores.map((s) => h("option", { key: s.id, value: s.id }, s.name)))
          : h("h2", { key: "name", class: "ellipsis" }, this.stores[0].name),
        h("button", { type: "button", class: "small end", onclick: () => { this.draft = this.draft ? null : { name: "", station: "KITCHEN", capabilities: ["PRINT"] }; this.update(); } }, t("device.add"))),
      h("div", { class: "page", key: "page" },
        this.draft && this.form(),
        this.code && this.codeCard(),
        !this.devices ? empty(t("loading")) : this.devices.length === 0 ? empty(t("device.noneYet")) : h("ul", { class: "rows", key: "devices" }, this.devices.map((device) => this.row(device)))),
    ];
  }

  form() {
    const { draft } = this;
    return h("form", { class: "card take", key: "form", onsubmit: (event) => { event.preventDefault(); this.register(); } },
      h("div", { class: "two" },
        h("label", { class: "field" }, t("device.name"), h("input", { value: draft.name, required: true, maxlength: 80, oninput: (event) => { draft.name = event.target.value; this.update(); } })),
        h("label", { class: "field" }, t("device.station"), h("select", { value: draft.station, onchange: (event) => { draft.station = event.target.value; this.update(); } },
          STATIONS.map((station) => h("option", { key: station, value: station }, t(`station.${station}`)))))),
      h("div", { class: "buttons" },
        CAPABILITIES.map((able) => h("label", { class: "check", key: able }, h("input", {
          type: "checkbox", checked: draft.capabilities.includes(able),
          onchange: () => { draft.capabilities = CAPABILITIES.filter((c) => (c === able) !== draft.capabilities.includes(c)); this.update(); },
        }), t(`able.${able}`))),
        h("button", { class: "primary end", disabled: this.busy("register") || !draft.name.trim() || draft.capabilities.length === 0 }, t("device.register"))));
  }

  codeCard() {
    const left = (Date.parse(this.code.expiresAt) - Date.now()) / 1000;
    return h("article", { class: "number-card", key: "code" },
      h("p", { class: "sub" }, t("device.codeFor", { name: this.code.device.name })),
      h("p", { class: "pairing-code" }, left > 0 ? this.code.code : t("device.codeOver")),
      h("p", { class: "sub" }, left > 0 && t("device.codeHint", { time: countdown(left) })),
      h("button", { type: "button", class: "quiet", onclick: () => { this.code = null; this.update(); } }, t("close")));
  }

  row(device) {
    const waits = device.waitingSince ? -this.clock.until(device.waitingSince) / this.clock.speed : 0;
    const stuck = device.state === "ACTIVE" && waits > STUCK;
    return h("li", { key: device.id },
      h("button", { type: "button", class: `row${device.state === "ACTIVE" ? "" : " faded"}`, "aria-expanded": String(this.chosen === device.id), onclick: () => this.choose(device) },
        h("span", { class: "row-main" },
          h("strong", null, device.name),
          h("span", { class: "sub" }, [t(`station.${device.station}`), ...device.capabilities.map((able) => t(`able.${able}`))].join(" · "))),
        h("span", { class: "row-side" },
          device.state !== "ACTIVE"
            ? h("span", { class: "chip s-CANCELLED" }, t(`device.${device.state}`))
            : h("span", { class: `light ${device.online ? "light-live" : "light-failed"}` }, t(device.online ? "device.online" : "device.offline")),
          device.problem ? chip("failure", device.problem)
            : device.pending > 0 ? h("span", { class: stuck ? "late" : "sub" }, t("device.pending", { n: device.pending, time: countdown(waits) }))
              : device.lastSeenAt && !device.online ? h("span", { class: "sub" }, t("device.seen", { time: time(device.lastSeenAt) })) : null)),
      this.chosen === device.id && this.details(device));
  }

  details(device) {
    const busy = this.busy(device.id);
    return h("div", { class: "device-details" },
      h("div", { class: "buttons" },
        device.state === "ACTIVE" && device.capabilities.flatMap((able) => TRIES[able]).map(([label, content]) => h("button", {
          key: label, type: "button", class: "small", disabled: busy, onclick: () => this.send(device, content()),
        }, t(label))),
        h("button", { type: "button", class: "small quiet end", disabled: busy, onclick: () => this.pair(device) }, t(device.state === "UNPAIRED" ? "device.pair" : "device.pairAgain")),
        device.state !== "DISABLED" && h("button", { type: "button", class: `small ${this.sure === device.id ? "primary" : "quiet"}`, disabled: busy, onclick: () => this.disable(device) }, t(this.sure === device.id ? "device.sure" : "device.disable"))),
      !this.commands ? empty(t("loading")) : this.commands.length === 0 ? empty(t("device.nothing")) : h("ul", { class: "feed" }, this.commands.map((command) => this.command(command))));
  }

  command(command) {
    return h("li", { key: command.id },
      h("time", null, time(command.createdAt)),
      h("span", { class: "ellipsis" }, what(command.payload)),
      h("span", { class: "end" }, said(command) && h("span", { class: "sub" }, `${said(command)} `),
        h("span", { class: `chip c-${command.state}` }, t(`command.${command.state}`))),
      command.availableActions.includes("RESEND") && command.state !== "ACKNOWLEDGED" && h("button", {
        type: "button", class: "small quiet", disabled: this.busy(command.id), onclick: () => this.act(command, ops.RESEND_DEVICE_COMMAND),
      }, t("device.resend")),
      command.availableActions.includes("CANCEL") && h("button", {
        type: "button", class: "small quiet", disabled: this.busy(command.id), onclick: () => this.act(command, ops.CANCEL_DEVICE_COMMAND),
      }, t("queue.cancel")));
  }
}

/** What the device said, where the state alone does not tell. */
function said(command) {
  if (command.failure) return t(`failure.${command.failure}`);
  return command.outcome === "DONE" && command.state !== "ACKNOWLEDGED" ? t("device.doneLate") : null;
}

function what(payload) {
  if (payload.__typename === "PrintTicket") return `${t(`paper.${payload.kind}`)} ${payload.number ? called(payload) : payload.title}`;
  if (payload.__typename === "OpenGate") return `${t("able.GATE")} ${payload.gate}`;
  return t(payload.board === "QUEUE" ? "device.showQueue" : "device.blank");
}
