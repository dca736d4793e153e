// The bar every page has, the light that tells whether a socket is live, and the gate in front of a terminal.

import { DomainClock } from "./clock.js";
import { Component } from "./component.js";
import { h, render, toast } from "./dom.js";
import { explain, language, onLanguage, setLanguage, t } from "./i18n.js";
import { REQUEST_OTP, SIGN_IN } from "./operations.js";
import { Client } from "./graphql.js";
import { DeviceTerminal, sandbox, Terminal } from "./session.js";

const PAGES = [
  ["city", "./"],
  ["terminals", "terminals.html"],
  ["consumer", "consumer.html"],
  ["merchant", "merchant.html"],
  ["rider", "rider.html"],
  ["queue", "queue.html"],
  ["device", "device.html"],
];

/** Fill the page's bar; `extra()` may give more descriptions for its right side. Returns its redraw function. */
export function bar(page, extra = () => []) {
  const root = document.getElementById("bar");
  const draw = () => {
    document.title = `${t(`nav.${page}`)} · ${t("brand")}`;
    render(
      root,
      h("a", { class: "skip", href: "#main" }, t("nav.skip")),
      h("a", { class: "brand", href: "./" }, mark(), h("span", null, t("brand"))),
      h("nav", { "aria-label": t("nav.label") }, PAGES.map(([name, href]) =>
        h("a", { key: name, href, "aria-current": name === page ? "page" : null }, t(`nav.${name}`)))),
      h("div", { class: "bar-side" }, extra(), h("button", {
        class: "quiet", type: "button", "aria-label": t("language.switch"),
        onclick: () => setLanguage(language() === "en" ? "zh-CN" : "en"),
      }, t("language.other"))),
    );
  };
  onLanguage(draw);
  draw();
  return draw;
}

function mark() {
  return h("svg", { class: "mark", viewBox: "0 0 24 24", "aria-hidden": "true" },
    h("path", { d: "M3 21V9.5L12 3l9 6.5V21h-5.2v-7.2a3.8 3.8 0 0 0-7.6 0V21Z" }));
}

/** The state of a client's socket as a dot with words. */
export function light(status) {
  return h("span", { class: `light light-${status}`, title: t(`link.${status}`) }, h("span", { class: "light-word" }, t(`link.${status}`)));
}

/** Phone and code. Calls `done(session)`. */
class SignIn extends Component {
  constructor(root, view, done) {
    super(root, { client: new Client({ language }) });
    this.viewName = view;
    this.done = done;
    this.phone = "";
    this.code = "";
    this.sent = null;
    this.update();
  }

  async send() {
    const sent = await this.run("send", () => this.client.act(REQUEST_OTP, { phone: this.phone.trim(), view: this.viewName }));
    if (!sent) return;
    this.sent = { until: performance.now() + sent.resendAfterSeconds * 1000 };
    this.update();
    queueMicrotask(() => this.root.querySelector("[name=code]")?.focus());
  }

  async enter() {
    const session = await this.run("enter", () =>
      this.client.act(SIGN_IN, { phone: this.phone.trim(), code: this.code.trim(), view: this.viewName }));
    if (session) this.done(session);
  }

  view() {
    const wait = this.sent ? Math.ceil((this.sent.until - performance.now()) / 1000) : 0;
    return h("form", {
      class: "sign card", novalidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        if (this.sent) this.enter();
        else this.send();
      },
    },
      h("h2", null, t(`sign.title.${this.viewName}`)),
      h("label", { class: "field" }, t("sign.phone"), h("input", {
        name: "phone", type: "tel", inputmode: "tel", autocomplete: "tel", required: true, value: this.phone, disabled: Boolean(this.sent),
        oninput: (event) => { this.phone = event.target.value; this.update(); },
      })),
      this.sent && h("label", { class: "field" }, t("sign.code"), h("input", {
        name: "code", inputmode: "numeric", autocomplete: "one-time-code", value: this.code,
        oninput: (event) => { this.code = event.target.value; this.update(); },
      })),
      this.sent
        ? h("button", { key: "enter", class: "primary", disabled: this.busy("enter") || !this.code.trim() }, t("sign.enter"))
        : h("button", { key: "send", class: "primary", disabled: this.busy("send") || !this.phone.trim() }, t("sign.send")),
      this.sent && (wait > 0
        ? h("p", { class: "hint" }, t("sign.sent", { n: wait }))
        : h("button", { class: "quiet", type: "button", onclick: () => this.send() }, t("sign.send"))),
      this.sent && h("button", { class: "quiet", type: "button", onclick: () => { this.sent = null; this.code = ""; this.update(); } }, t("sign.other")),
    );
  }
}

/** A pairing code. Calls `done()`. */
class Pair extends Component {
  constructor(root, terminal, done) {
    super(root, { client: terminal.client });
    this.terminal = terminal;
    this.done = done;
    this.code = "";
    this.update();
  }

  async enter() {
    const paired = await this.run("pair", () => this.terminal.pair(this.code.trim()));
    if (paired) this.done();
    else if (paired === false) toast(t("pair.refused"));
  }

  view() {
    return h("form", { class: "sign card", novalidate: true, onsubmit: (event) => { event.preventDefault(); this.enter(); } },
      h("h2", null, t("pair.title")),
      h("label", { class: "field" }, t("pair.code"), h("input", {
        name: "code", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", value: this.code,
        oninput: (event) => { this.code = event.target.value; this.update(); },
      })),
      h("button", { class: "primary", disabled: this.busy("pair") || !this.code.trim() }, t("pair.enter")),
      h("p", { class: "hint" }, t("pair.hint")));
  }
}

/**
 * Put a terminal of `view` into `root`: its screen when somebody is signed in, else the sign-in form.
 * `mount(root, context)` makes the screen; `changed()` is called when status or identity change.
 */
export class Gate {
  constructor(root, view, mount, changed = () => {}) {
    this.root = root;
    this.view = view;
    this.mount = mount;
    this.changed = changed;
    this.clock = new DomainClock();
    this.screen = null;
    this.identify();
  }

  /** Begin as nobody in particular. */
  identify() {
    this.terminal = this.view === "DEVICE" ? new DeviceTerminal(this.view) : new Terminal(this.view);
    this.status = "idle";
    this.terminal.client.watch((status) => {
      this.status = status;
      if (status === "failed") this.lost();
      this.changed();
    });
  }

  async open() {
    render(this.root, h("p", { class: "empty" }, t("loading")));
    if (await this.terminal.open()) return this.enter();
    this.ask();
    return null;
  }

  async enter() {
    const tokens = await sandbox();
    const city = tokens?.city;
    await this.clock.sync(this.terminal.client, city);
    this.resync ??= setInterval(() => this.clock.sync(this.terminal.client, city), 60_000);
    this.replace((root) => this.mount(root, { client: this.terminal.client, clock: this.clock, sandbox: tokens }));
    this.changed();
    return this.screen;
  }

  ask() {
    this.replace((root) => this.view === "DEVICE"
      ? new Pair(root, this.terminal, () => this.enter())
      : new SignIn(root, this.view, (session) => {
        this.terminal.signedIn(session);
        this.enter();
      }));
    this.terminal.client.disconnect(); // the next socket is the next caller's
    this.changed();
  }

  replace(make) {
    this.screen?.dispose();
    render(this.root);
    const inner = document.createElement("div");
    inner.className = "screen";
    this.root.append(inner);
    this.screen = make(inner);
  }

  lost() {
    toast(t("error.session"));
    if (!this.terminal.demo) this.ask();
  }

  signOut() {
    this.terminal.signOut();
    this.terminal.client.dispose();
    this.identify();
    this.open().catch((error) => toast(explain(error)));
  }

  /** Identity and status, for a pane's or a page's head. */
  badge() {
    return [
      this.terminal.session && light(this.status),
      this.terminal.demo
        ? h("button", { class: "quiet small", type: "button", onclick: () => this.ask() }, t("sign.demo"))
        : this.terminal.session && h("button", { class: "quiet small", type: "button", onclick: () => this.signOut() }, t("sign.out")),
    ];
  }
}

/** Pieces many screens use. */
export function chip(kind, state) {
  return h("span", { class: `chip s-${state}` }, t(`${kind}.${state}`));
}

export function empty(text) {
  return h("p", { class: "empty" }, text);
}
