// A terminal's screen: state in fields, `view()` describes it, `update()` shows it.

import { render, toast } from "./dom.js";
import { explain, onLanguage } from "./i18n.js";

export class Component {
  /** `root`: element to fill. `context`: {client, clock, sandbox, observe?}. */
  constructor(root, context) {
    this.root = root;
    this.context = context;
    this.client = context.client;
    this.clock = context.clock;
    this.pending = new Set();
    this.stops = [onLanguage(() => this.update())];
    this.scheduled = false;
    const tick = setInterval(() => this.tick(), 1000);
    this.stops.push(() => clearInterval(tick));
  }

  /** Once a second: ages and countdowns. */
  tick() {
    this.update();
  }

  update() {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      render(this.root, this.view());
    });
  }

  busy(key) {
    return this.pending.has(key);
  }

  /** Run an action once at a time per key; a failure becomes a toast. Resolves to its value, or undefined. */
  async run(key, action) {
    if (this.pending.has(key)) return undefined;
    this.pending.add(key);
    this.update();
    try {
      return await action();
    } catch (error) {
      toast(explain(error));
      return undefined;
    } finally {
      this.pending.delete(key);
      this.update();
    }
  }

  /** Follow a subscription for the life of this screen; returns its stopper. */
  follow(query, variables, next, ended = () => {}) {
    const stop = this.client.subscribe(query, variables, {
      next: (value) => {
        next(value);
        this.update();
      },
      error: (error) => {
        if (error.code !== "ACCESS_ENDED") toast(explain(error)); // the thing itself shows what happened
        ended();
        this.update();
      },
      complete: () => {
        ended();
        this.update();
      },
    });
    this.stops.push(stop);
    return stop;
  }

  dispose() {
    for (const stop of this.stops) stop();
    this.stops = [];
  }
}
