// A small GraphQL client: queries and mutations over HTTP, subscriptions over one lazy `graphql-transport-ws` socket.
//
// Subscriptions survive the socket. Each one keeps the cursor of the last update it was given and passes it as
// `after` when it subscribes again, so the server continues exactly where this terminal stopped.

const PROTOCOL = "graphql-transport-ws";
const ACK_TIMEOUT = 10_000;
const PING_EVERY = 25_000;
const PONG_TIMEOUT = 10_000;
const IDLE_CLOSE = 3_000;
const RETRY_BASE = 400;
const RETRY_CAP = 15_000;
const STABLE_AFTER = 5_000;
/** Close codes after which the same socket would only be refused again. */
const FATAL = new Set([4400, 4406, 4409, 4429]);
/** Close codes that mean the token was not taken. */
const UNAUTHORISED = new Set([4401, 4403]);

/** The request could not be answered: network, HTTP status, or `errors` of the response. */
export class RequestError extends Error {
  constructor(message, code = "NETWORK") {
    super(message);
    this.code = code;
  }
}

/** The business said no: a member of a result union that implements `UserError`. */
export class Refusal extends Error {
  constructor(value) {
    super(value.message);
    this.code = value.errorCode;
    this.facts = value;
  }
}

/** A key for `idempotencyKey`: random, also where `crypto.randomUUID` is missing (plain-HTTP origins). */
export function freshKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

export class Client {
  /**
   * `token()` gives the access token or null (may be a promise); `renew()` tries to get a new one and tells
   * whether it did; `language()` is sent as Accept-Language.
   */
  constructor({ url = "/graphql", token = () => null, renew = async () => false, language = () => "en" } = {}) {
    this.url = url;
    this.token = token;
    this.renew = renew;
    this.language = language;
    this.status = "idle";
    this.listeners = new Set();
    this.subscriptions = new Map();
    this.socket = null;
    this.attempt = 0;
    this.refusals = 0;
    this.nextId = 1;
    this.timers = {};
    this.onOnline = () => this.retryNow();
    globalThis.addEventListener?.("online", this.onOnline);
  }

  /** Run a query or mutation; resolves to `data`. Throws RequestError. */
  async request(query, variables = {}, { renewed = false } = {}) {
    const headers = {
      "content-type": "application/json",
      accept: "application/graphql-response+json, application/json",
      "accept-language": this.language(),
    };
    const token = await this.token();
    if (token) headers.authorization = `Bearer ${token}`;
    let response;
    try {
      response = await fetch(this.url, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
    } catch {
      throw new RequestError("offline", "NETWORK");
    }
    const body = await response.json().catch(() => null);
    const first = body?.errors?.[0];
    if (response.status === 401 || first?.extensions?.code === "UNAUTHENTICATED") {
      if (!renewed && (await this.renew())) return this.request(query, variables, { renewed: true });
    }
    if (first) throw new RequestError(first.message, first.extensions?.code ?? "GRAPHQL");
    if (!body?.data) throw new RequestError(`HTTP ${response.status}`, "HTTP");
    return body.data;
  }

  /** Run a mutation with one root field; resolves to its success value. Throws Refusal or RequestError. */
  async act(query, variables) {
    const value = Object.values(await this.request(query, variables))[0];
    if (value?.errorCode) throw new Refusal(value);
    return value;
  }

  /**
   * Follow a subscription. `next(value)` gets the root field of each update; `error(RequestError)` is final;
   * `complete()` when the server ended it. Returns a function that stops it.
   */
  subscribe(query, variables, { next, error = () => {}, complete = () => {} }) {
    const subscription = { id: null, query, variables, cursor: null, next, error, complete };
    const handle = Symbol("subscription");
    this.subscriptions.set(handle, subscription);
    clearTimeout(this.timers.idle);
    if (this.status === "live") this.send(subscription);
    else if (this.status === "idle" || this.status === "failed") this.connect();
    return () => {
      if (!this.subscriptions.delete(handle)) return;
      if (this.status === "live" && subscription.id) this.post({ id: subscription.id, type: "complete" });
      if (this.subscriptions.size === 0) this.timers.idle = setTimeout(() => this.disconnect(), IDLE_CLOSE);
    };
  }

  /** Call `listener(status)` on every change: idle, connecting, live, waiting, failed. Returns its remover. */
  watch(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Stop everything and forget the subscriptions. */
  dispose() {
    this.subscriptions.clear();
    globalThis.removeEventListener?.("online", this.onOnline);
    this.disconnect();
  }

  /** Connect at once when waiting for a retry. */
  retryNow() {
    if (this.status === "waiting") this.connect();
  }

  setStatus(status) {
    if (status === this.status) return;
    this.status = status;
    for (const listener of this.listeners) listener(status);
  }

  async connect() {
    clearTimeout(this.timers.retry);
    this.setStatus("connecting");
    const token = await this.token();
    if (this.status !== "connecting") return;
    const address = new URL(this.url, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address, PROTOCOL);
    this.socket = socket;
    this.timers.ack = setTimeout(() => this.drop(socket, 4408), ACK_TIMEOUT);
    socket.onopen = () => {
      const payload = { locale: this.language() };
      if (token) payload.authorization = `Bearer ${token}`;
      socket.send(JSON.stringify({ type: "connection_init", payload }));
    };
    socket.onmessage = (event) => this.receive(socket, JSON.parse(event.data));
    socket.onclose = (event) => this.closed(socket, event.code);
  }

  disconnect() {
    const socket = this.socket;
    this.socket = null;
    this.clearTimers();
    this.setStatus("idle");
    if (socket) {
      socket.onclose = socket.onmessage = null;
      socket.close(1000);
    }
  }

  /** Give up on a socket that no longer answers, without waiting for its close handshake. */
  drop(socket, code) {
    if (socket !== this.socket) return;
    socket.onclose = socket.onmessage = null;
    socket.close();
    this.closed(socket, code);
  }

  clearTimers() {
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    this.timers = {};
  }

  post(message) {
    this.socket.send(JSON.stringify(message));
  }

  send(subscription) {
    subscription.id = String(this.nextId++);
    const variables = { ...subscription.variables };
    if (subscription.cursor && subscription.query.includes("$after")) variables.after = subscription.cursor;
    this.post({ id: subscription.id, type: "subscribe", payload: { query: subscription.query, variables } });
  }

  find(id) {
    for (const [handle, subscription] of this.subscriptions) if (subscription.id === id) return [handle, subscription];
    return [null, null];
  }

  receive(socket, message) {
    if (socket !== this.socket) return;
    if (message.type === "connection_ack") {
      clearTimeout(this.timers.ack);
      this.timers.stable = setTimeout(() => (this.attempt = this.refusals = 0), STABLE_AFTER);
      this.schedulePing(socket);
      this.setStatus("live");
      for (const subscription of this.subscriptions.values()) this.send(subscription);
    } else if (message.type === "ping") {
      this.post({ type: "pong" });
    } else if (message.type === "pong") {
      clearTimeout(this.timers.pong);
    } else {
      this.deliver(message);
    }
  }

  deliver(message) {
    const [handle, subscription] = this.find(message.id);
    if (!subscription) return;
    if (message.type === "next") {
      const { data, errors } = message.payload;
      if (errors) {
        this.subscriptions.delete(handle);
        subscription.error(asRequestError(errors));
        return;
      }
      const value = Object.values(data)[0];
      if (value?.cursor) subscription.cursor = value.cursor;
      subscription.next(value);
    } else if (message.type === "error") {
      this.subscriptions.delete(handle);
      subscription.error(asRequestError(message.payload));
    } else if (message.type === "complete") {
      this.subscriptions.delete(handle);
      subscription.complete();
    }
  }

  schedulePing(socket) {
    this.timers.ping = setInterval(() => {
      this.post({ type: "ping" });
      clearTimeout(this.timers.pong);
      this.timers.pong = setTimeout(() => this.drop(socket, 4408), PONG_TIMEOUT);
    }, PING_EVERY);
  }

  async closed(socket, code) {
    if (socket !== this.socket) return;
    this.socket = null;
    this.clearTimers();
    for (const subscription of this.subscriptions.values()) subscription.id = null;
    if (this.subscriptions.size === 0) return this.setStatus("idle");
    if (FATAL.has(code)) return this.fail(code);
    if (UNAUTHORISED.has(code)) {
      this.setStatus("waiting");
      if (++this.refusals > 2 || !(await this.renew())) return this.fail(code);
    }
    // Full jitter: after a server restart the terminals must not all come back in the same instant.
    const ceiling = Math.min(RETRY_CAP, RETRY_BASE * 2 ** this.attempt++);
    this.timers.retry = setTimeout(() => this.connect(), RETRY_BASE / 2 + Math.random() * ceiling);
    this.setStatus("waiting");
  }

  fail(code) {
    const failed = [...this.subscriptions.values()];
    this.subscriptions.clear();
    this.setStatus("failed");
    const error = new RequestError(`socket closed (${code})`, UNAUTHORISED.has(code) ? "UNAUTHENTICATED" : "SOCKET");
    for (const subscription of failed) subscription.error(error);
  }
}

function asRequestError(errors) {
  const first = errors?.[0];
  return new RequestError(first?.message ?? "subscription failed", first?.extensions?.code ?? "GRAPHQL");
}
