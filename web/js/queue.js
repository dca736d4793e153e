// The restaurant queue: a guest's number, the board on the wall, and the host stand.

import { Component } from "./component.js";
import { h } from "./dom.js";
import { freshKey } from "./graphql.js";
import { t, time } from "./i18n.js";
import * as ops from "./operations.js";
import { chip, empty } from "./shell.js";

const CURRENT = new Set(["WAITING", "CALLED", "SKIPPED"]);

export class GuestScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.ticket = null;
    this.board = null;
    this.stores = null;
    this.store = context.sandbox?.store ?? null;
    this.party = 2;
    this.key = freshKey();
    this.update();
    this.start();
  }

  start() {
    return this.run("start", async () => {
      const { myQueueTickets } = await this.client.request(ops.MY_QUEUE_TICKETS);
      const mine = myQueueTickets[0];
      if (mine) this.store = mine.store.id;
      const near = (await this.client.request(ops.CITIES)).cities[0]?.center;
      if (near) {
        const { stores } = await this.client.request(ops.NEARBY_STORES, { near: { ...near, crs: "GCJ02" }, radius: 8000, tag: null, search: null, first: 50 });
        this.stores = stores.nodes;
      }
      this.store ??= this.stores?.[0]?.id ?? null;
      if (this.store) this.watch(this.store);
      if (mine) this.hold(mine);
    });
  }

  watch(store) {
    this.stopBoard?.();
    this.store = store;
    this.board = null;
    this.stopBoard = this.follow(ops.QUEUE_BOARD, { store }, (update) => (this.board = update.board));
    this.context.chosen?.(store);
    this.update();
  }

  hold(ticket) {
    this.stopTicket?.();
    this.ticket = ticket;
    this.stopTicket = this.follow(ops.QUEUE_TICKET_UPDATES, { ticket: ticket.id }, (update) => (this.ticket = update.ticket));
  }

  async take() {
    const ticket = await this.run("take", () =>
      this.client.act(ops.TAKE_QUEUE_NUMBER, { store: this.store, partySize: this.party, phone: null, key: this.key }));
    // A repeated press before the answer is the same wish; the next one is another.
    this.key = freshKey();
    if (ticket) this.hold(ticket);
    this.update();
  }

  leave() {
    return this.run("leave", () => this.client.act(ops.CANCEL_TICKET, { ticket: this.ticket.id }));
  }

  view() {
    const held = this.ticket && CURRENT.has(this.ticket.state);
    return h("div", { class: "page queue-guest" },
      this.stores && this.stores.length > 1 && h("label", { class: "field" }, t("board.store"), h("select", {
        value: this.store, disabled: held, onchange: (event) => this.watch(event.target.value),
      }, this.stores.map((s) => h("option", { key: s.id, value: s.id }, s.name)))),
      this.ticket ? this.ticketView(held) : null,
      !held && this.takeView(),
      this.board && h("ul", { class: "rows", key: "classes" }, this.board.classes.map((c) => h("li", { key: c.id, class: "item" },
        h("span", { class: "row-main" }, h("strong", null, `${c.code} `, h("span", { class: "sub" }, partyText(c)))),
        h("span", { class: "row-side" }, h("span", null, t("queue.waiting", { n: c.waiting })), h("span", { class: "sub" }, t("queue.wait", { n: c.estimatedWaitMinutes })))))));
  }

  takeView() {
    if (!this.board) return empty(this.store ? t("loading") : t("queue.noStore"));
    if (!this.board.open) return empty(t("queue.closed"));
    const largest = Math.max(2, ...this.board.classes.map((c) => c.maxParty));
    return h("div", { class: "card take", key: "take" },
      h("p", { class: "strong" }, t("queue.party")),
      h("div", { class: "party", role: "group", "aria-label": t("queue.party") }, Array.from({ length: Math.min(largest, 12) }, (_, i) => i + 1).map((n) => h("button", {
        key: n, type: "button", class: "tag", "aria-pressed": String(this.party === n), onclick: () => { this.party = n; this.update(); },
      }, n))),
      h("button", { class: "primary wide", type: "button", disabled: this.busy("take"), onclick: () => this.take() }, this.ticket ? t("queue.again") : t("queue.take")));
  }

  ticketView(held) {
    const { ticket } = this;
    return h("article", { class: `number-card q-${ticket.state}`, key: `${ticket.id}|${ticket.state}`, "aria-live": "polite" },
      h("p", { class: "sub" }, ticket.store.name),
      h("p", { class: "big-number" }, ticket.number),
      h("p", { class: "strong" }, ticket.state === "WAITING" ? (ticket.position === 1 ? t("queue.next") : t("queue.ahead", { n: (ticket.position ?? 1) - 1 })) : t(`ticket.${ticket.state}`)),
      h("p", { class: "sub" }, [t("queue.persons", { n: ticket.partySize }), ticket.state === "WAITING" && ticket.estimatedWaitMinutes !== null && t("queue.wait", { n: ticket.estimatedWaitMinutes }), time(ticket.calledAt ?? ticket.takenAt)].filter(Boolean).join(" · ")),
      held && ticket.availableActions.includes("CANCEL") && h("button", { class: "quiet", type: "button", disabled: this.busy("leave"), onclick: () => this.leave() }, t("queue.leave")));
  }
}

export class BoardScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.board = null;
    this.seen = new Map();
    this.update();
    if (context.store) this.watch(context.store);
  }

  watch(store) {
    this.stopBoard?.();
    this.board = null;
    this.stopBoard = this.follow(ops.QUEUE_BOARD, { store }, (update) => {
      this.board = update.board;
      for (const c of update.board.classes) for (const ticket of c.calling) if (!this.seen.has(ticket.id)) this.seen.set(ticket.id, performance.now());
    });
    this.update();
  }

  view() {
    if (!this.board) return empty(t("queue.noStore"));
    return h("div", { class: "wall" },
      h("h2", null, this.board.store.name, !this.board.open && h("span", { class: "sub" }, ` ${t("queue.shut")}`)),
      h("div", { class: "wall-classes" }, this.board.classes.map((c) => h("section", { key: c.id, class: "wall-class" },
        h("h3", null, h("span", null, c.code), h("span", { class: "sub" }, partyText(c))),
        h("div", { class: "wall-calling" }, c.calling.length === 0
          ? h("p", { class: "sub" }, t("queue.nobody"))
          : c.calling.slice(0, 3).map((ticket) => h("p", { key: ticket.id, class: `wall-number${performance.now() - this.seen.get(ticket.id) < 6000 ? " fresh" : ""}` }, ticket.number))),
        h("p", { class: "wall-foot" }, t("queue.waiting", { n: c.waiting }), " · ", t("queue.wait", { n: c.estimatedWaitMinutes }))))));
  }
}

const STAFF = {
  CALL: { label: "queue.call", document: ops.CALL_TICKET },
  SEAT: { label: "queue.seat", document: ops.SEAT_TICKET, main: true },
  SKIP: { label: "queue.skip", document: ops.SKIP_TICKET },
  REQUEUE: { label: "queue.requeue", document: ops.REQUEUE_TICKET },
  CANCEL: { label: "queue.cancel", document: ops.CANCEL_TICKET, quiet: true },
};

export class HostScreen extends Component {
  constructor(root, context) {
    super(root, context);
    this.stores = null;
    this.store = null;
    this.board = null;
    this.skipped = new Map();
    this.calls = new Map();
    this.party = 2;
    this.update();
    this.start();
  }

  start() {
    return this.run("start", async () => {
      const { myStores } = await this.client.request(ops.MY_STORES);
      this.stores = myStores;
      const store = myStores.find((s) => s.id === (this.context.store ?? this.context.sandbox?.store)) ?? myStores[0];
      if (store) this.watch(store.id);
    });
  }

  watch(store) {
    this.stopBoard?.();
    this.store = store;
    this.board = null;
    this.skipped = new Map();
    this.stopBoard = this.follow(ops.QUEUE_BOARD_STAFF, { store }, (update) => (this.board = update.board));
    this.context.chosen?.(store);
    this.update();
  }

  act(document, ticket) {
    return this.run(ticket.id, async () => {
      const after = await this.client.act(document, { ticket: ticket.id });
      // The board shows who waits and who is called; those skipped stay at hand here until they come back.
      if (document === ops.SKIP_TICKET) this.skipped.set(ticket.id, { ...ticket, state: after.state, availableActions: ["REQUEUE"] });
      else this.skipped.delete(ticket.id);
    });
  }

  callNext(queueClass) {
    // The same key until there is an answer: who taps again because none came calls the same party.
    const key = this.calls.get(queueClass.id) ?? freshKey();
    this.calls.set(queueClass.id, key);
    return this.run(`next:${queueClass.id}`, async () => {
      await this.client.act(ops.CALL_NEXT, { store: this.store, class: queueClass.id, key });
      this.calls.delete(queueClass.id);
    });
  }

  takeAtDoor(party = this.party) {
    return this.run("door", () => this.client.act(ops.TAKE_QUEUE_NUMBER, { store: this.store, partySize: party, phone: null, key: freshKey() }));
  }

  setOpen(open) {
    return this.run("open", () => this.client.act(ops.SET_QUEUE_OPEN, { store: this.store, open }));
  }

  view() {
    if (!this.stores) return this.busy("start") ? empty(t("loading")) : h("div", { class: "empty" }, h("button", { type: "button", onclick: () => this.start() }, t("retry")));
    if (!this.store) return empty(t("board.noStore"));
    const { board } = this;
    return [
      h("div", { class: "subbar" },
        this.stores.length > 1 && h("select", { class: "grow", "aria-label": t("board.store"), value: this.store, onchange: (event) => this.watch(event.target.value) },
          this.stores.map((s) => h("option", { key: s.id, value: s.id }, s.name))),
        h("button", {
          class: "switch end", type: "button", role: "switch", "aria-checked": String(Boolean(board?.open)), disabled: !board || this.busy("open"), onclick: () => this.setOpen(!board.open),
        }, h("span", { class: "knob" }), h("span", null, board?.open === false ? t("queue.shut") : t("queue.opened")))),
      h("div", { class: "subbar door" },
        h("div", { class: "party", role: "group", "aria-label": t("queue.party") }, [1, 2, 3, 4, 6, 8].map((n) => h("button", {
          key: n, type: "button", class: "tag", "aria-pressed": String(this.party === n), onclick: () => { this.party = n; this.update(); },
        }, n))),
        h("button", { class: "end", type: "button", disabled: !board?.open || this.busy("door"), onclick: () => this.takeAtDoor() }, t("queue.doorTake"))),
      !board ? empty(t("loading")) : h("div", { class: "host", key: "host" }, board.classes.map((c) => this.classView(c))),
    ];
  }

  classView(c) {
    const skipped = [...this.skipped.values()].filter((ticket) => ticket.partySize >= c.minParty && ticket.partySize <= c.maxParty);
    return h("section", { key: c.id, class: "host-class" },
      h("header", null, h("h3", null, c.code, " ", h("span", { class: "sub" }, partyText(c))),
        h("span", { class: "sub end" }, t("queue.wait", { n: c.estimatedWaitMinutes })),
        h("button", { class: "primary small", type: "button", disabled: c.waiting === 0 || this.busy(`next:${c.id}`), onclick: () => this.callNext(c) }, t("queue.callNext"))),
      h("ul", { class: "rows" },
        c.calling.map((ticket) => this.ticketRow(ticket, "called")),
        c.next.map((ticket) => this.ticketRow(ticket, "")),
        skipped.map((ticket) => this.ticketRow(ticket, "faded"))),
      c.calling.length + c.next.length + skipped.length === 0 && empty(t("queue.noWait")));
  }

  ticketRow(ticket, kind) {
    const actions = Object.entries(STAFF).filter(([action]) => ticket.availableActions.includes(action));
    return h("li", { key: ticket.id, class: `item host-ticket ${kind}` },
      h("strong", { class: "number" }, ticket.number),
      h("span", { class: "sub" }, t("queue.persons", { n: ticket.partySize }), ` · ${time(ticket.takenAt)}`),
      ticket.state !== "WAITING" && chip("ticket", ticket.state),
      h("span", { class: "end buttons tight" }, actions.map(([action, { label, document, main, quiet }]) => h("button", {
        key: action, type: "button", class: `small${main && ticket.state === "CALLED" ? " primary" : quiet ? " quiet" : ""}`, disabled: this.busy(ticket.id), onclick: () => this.act(document, ticket),
      }, t(label)))));
  }
}

function partyText(c) {
  return t("queue.class", { min: c.minParty, max: c.maxParty });
}
