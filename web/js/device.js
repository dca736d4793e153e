// A terminal in a shop: prints tickets on a roll of paper, shows a board, opens a gate.
//
// What became of a command is stored before it is told, and no command is carried out that is stored. It follows its
// feed without a cursor, so that after every connection it is told of all that is still to do.

import { Component } from "./component.js";
import { h } from "./dom.js";
import { called, day, money, t, time } from "./i18n.js";
import * as ops from "./operations.js";
import { BoardScreen } from "./queue.js";
import { empty } from "./shell.js";

const STORED = "hutong.device.done";
const BOARD = "hutong.device.board";
const PRINTED = "hutong.device.roll";
const KEPT = 300;
const ROLL = 30;
const RETRY = 3000;

function read(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Storage is full or forbidden: a reload may then print again what was not acknowledged.
  }
}

export class DeviceScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.device = null;
    this.outcomes = new Map(read(STORED, []));
    this.owed = new Set();
    this.paper = true;
    this.roll = read(PRINTED, []);
    this.gate = null;
    this.board = null;
    this.boardRoot = document.createElement("div");
    this.boardRoot.className = "screen";
    this.update();
    this.start();
  }

  start() {
    return this.run("start", async () => {
      this.device = (await this.client.request(ops.MY_DEVICE)).myDevice;
      if (!this.device) return;
      const board = read(BOARD, null);
      if (board?.store.id === this.device.store.id) this.show(board);
      const retry = setInterval(() => this.settle(), RETRY);
      this.stops.push(() => clearInterval(retry));
      this.follow(ops.DEVICE_COMMANDS, {}, (update) => update.commands.forEach((command) => this.take(command)));
    });
  }

  take(command) {
    if (!this.outcomes.has(command.id)) {
      if (command.state !== "DELIVERED") return;
      const failure = this.carryOut(command);
      this.outcomes.set(command.id, { outcome: failure ? "FAILED" : "DONE", failure });
      this.store();
    } else if (command.state !== "DELIVERED") {
      return;
    }
    this.owed.add(command.id);
    this.settle();
  }

  /** Do it; why not, when it cannot be done. */
  carryOut({ id, payload }) {
    if (payload.__typename === "PrintTicket") {
      if (!this.paper) return "OUT_OF_PAPER";
      this.roll.unshift({ id, at: this.clock.now(), ...payload });
      this.roll.length = Math.min(this.roll.length, ROLL);
      write(PRINTED, this.roll);
    } else if (payload.__typename === "OpenGate") {
      this.gate = { ...payload, until: performance.now() + payload.seconds * 1000 };
    } else if (payload.__typename === "ShowBoard") {
      write(BOARD, payload);
      this.show(payload);
    } else {
      return "UNSUPPORTED";
    }
    return null;
  }

  show(board) {
    this.boardScreen?.dispose();
    this.board = board.board === "QUEUE" ? board : null;
    this.boardScreen = this.board && new BoardScreen(this.boardRoot, { ...this.context, store: board.store.id });
  }

  store() {
    while (this.outcomes.size > KEPT) this.outcomes.delete(this.outcomes.keys().next().value);
    write(STORED, [...this.outcomes]);
  }

  /** Tell what has not been taken yet. A refusal is an answer: the command had ended before. */
  async settle() {
    for (const id of [...this.owed]) {
      try {
        await this.client.request(ops.ACKNOWLEDGE_COMMAND, { command: id, ...this.outcomes.get(id) });
        this.owed.delete(id);
      } catch {
        return; // told again in a moment
      }
    }
    this.update();
  }

  dispose() {
    this.boardScreen?.dispose();
    super.dispose();
  }

  view() {
    if (!this.device) return empty(this.busy("start") ? t("loading") : t("device.none"));
    const open = this.gate && this.gate.until > performance.now();
    return [
      h("div", { class: "subbar", key: "bar" },
        h("h2", { class: "ellipsis" }, this.device.name, h("span", { class: "sub" }, ` ${this.device.store.name}`)),
        this.owed.size > 0 && h("span", { class: "chip s-OFFERED" }, t("device.owed", { n: this.owed.size })),
        this.device.capabilities.includes("PRINT") && h("button", {
          type: "button", class: "switch end", role: "switch", "aria-checked": String(this.paper),
          onclick: () => { this.paper = !this.paper; this.update(); },
        }, t(this.paper ? "device.paper" : "failure.OUT_OF_PAPER"), h("span", { class: "knob" }))),
      open && h("p", { class: "gate-open", key: "gate", role: "alert" }, t("device.gate", { gate: this.gate.gate, n: Math.ceil((this.gate.until - performance.now()) / 1000) })),
      h("div", { class: "device", key: "device" },
        this.board && this.boardRoot,
        h("div", { class: "roll", "aria-live": "polite" },
          this.roll.length === 0 && empty(t("device.waiting")),
          this.roll.map((ticket) => this.ticket(ticket)))),
    ];
  }

  ticket(ticket) {
    return h("article", { key: ticket.id, class: `paper paper-${ticket.kind}` },
      h("header", null,
        h("p", { class: "paper-kind" }, t(`paper.${ticket.kind}`)),
        ticket.number && h("p", { class: "paper-number" }, called(ticket)),
        h("p", null, [ticket.mode && t(`mode.${ticket.mode}`), ticket.table && t("paper.table", { code: ticket.table })].filter(Boolean).join(" · "))),
      ticket.kind === "NOTE" && h("h3", null, ticket.title),
      h("ul", null, ticket.lines.map((line) => h("li", null,
        ticket.kind !== "NOTE" && h("b", { class: "qty" }, `${line.quantity}×`),
        h("span", { class: "paper-line" }, line.name, line.options.length > 0 && h("span", { class: "paper-options" }, line.options.join(" · "))),
        line.total && h("span", { class: "end" }, money(line.total))))),
      ticket.note && h("p", { class: "paper-note" }, ticket.note),
      ticket.total && h("p", { class: "paper-total" }, h("span", null, t("checkout.total")), h("b", null, money(ticket.total))),
      h("footer", null,
        ticket.kind !== "NOTE" && h("span", null, ticket.title),
        h("span", { class: "end" }, ticket.dueAt && ticket.kind === "KITCHEN" ? t("board.promised", { time: time(ticket.dueAt) }) : `${day(ticket.at)} ${time(ticket.at)}`)));
  }
}

