// The client of a WeChat mini-program: queries and mutations by `wx.request`, subscriptions by `wx.connectSocket` and the
// npm package `graphql-ws`. Subscriptions resume: after a lost line and after the mini-program was in the background.
//
//   import { createClient } from "graphql-ws";
//   import { resuming } from "./resuming";
//   import { connect } from "./hutong";
//
//   const client = connect({ wx, createClient, resuming, url: "https://…/graphql", token });
//   const { order } = await client.request({ documentId, variables: { id } });
//   const stop = client.subscribe({ documentId, variables: { order: id } }, { next, error, complete });
import { webSocketOf } from "./socket.js";

/** Milliseconds after which WeChat ends the connections of a mini-program in the background. */
const BACKGROUND = 5_000;
/** Part of a token's life that is left when the next one is asked for. */
const SPARE = 0.5;
const ATTEMPTS = 3;
const FIRST_WAIT = 250;
const LONGEST_WAIT = 15_000;

/** The answer has `errors`; `codes` are their `extensions.code`. */
export class GraphQLFailed extends Error {
  constructor(errors, status) {
    super(errors.map(({ message }) => message).join("; "));
    this.errors = errors;
    this.status = status;
    this.codes = errors.map(({ extensions }) => extensions?.code);
  }
}

/** There is no answer: whether the server has done it is not known. */
export class NoAnswer extends Error {}

/**
 * `token()` resolves to `{ accessToken, expiresAt }` of a token that has just been got, or to null for anonymous callers;
 * it is not called twice at once. Other options are those of `resuming`. Where `wx.onAppShow` is missing, call `shown()`
 * and `hidden()` of the client in the onShow and onHide of the App.
 */
export function connect({ wx, createClient, resuming, url, token = async () => null, background = BACKGROUND, timeout, ...options }) {
  const WxWebSocket = webSocketOf(wx, { timeout });
  const { fresh, current } = keeper(token);
  let hiddenAt = null;
  const toFront = [];

  const foreground = () => (hiddenAt === null ? Promise.resolve() : new Promise((resolve) => toFront.push(resolve)));
  // In the background every attempt fails, so there are none; back in front the first one is at once.
  const retryWait = async (retries) => {
    if (hiddenAt !== null) return foreground();
    await sleep(Math.random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(retries, 10)));
    await foreground();
  };
  const socket = resuming(createClient, {
    retryWait,
    ...options,
    url: url.replace(/^http/, "ws"),
    webSocketImpl: WxWebSocket,
    token: fresh,
  });

  function hidden() {
    hiddenAt ??= Date.now();
  }

  function shown() {
    if (hiddenAt === null) return;
    const away = Date.now() - hiddenAt;
    hiddenAt = null;
    // Nobody tells a program that was stopped that its connections are gone.
    if (away >= background) WxWebSocket.abandonAll("was in the background");
    for (const resolve of toFront.splice(0)) resolve();
  }

  wx.onAppHide?.(hidden);
  wx.onAppShow?.(shown);

  /**
   * The `data` of a query or mutation: `{ documentId, variables }` of a registered document, or `{ query, variables }`.
   * Without an answer it is sent again when the payload says `again: true`, which is right for queries and for mutations
   * with an idempotency key. Throws GraphQLFailed and NoAnswer.
   */
  async function request({ again = false, ...payload }) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await send(payload);
      } catch (error) {
        if (!again || !(error instanceof NoAnswer) || attempt === ATTEMPTS) throw error;
        await retryWait(attempt);
      }
    }
  }

  async function send(payload) {
    const given = await current();
    const header = {
      "content-type": "application/json",
      accept: "application/graphql-response+json, application/json;q=0.9",
      ...(given && { authorization: `Bearer ${given.accessToken}` }),
    };
    const { statusCode, data: answer } = await new Promise((success, failure) =>
      wx.request({
        url,
        method: "POST",
        header,
        data: payload,
        timeout,
        success,
        fail: ({ errMsg } = {}) => failure(new NoAnswer(errMsg)),
      }),
    );
    // WeChat hands on what is not JSON as text: something on the way has answered, not the server.
    if (answer === null || typeof answer !== "object") throw new NoAnswer(`status ${statusCode}`);
    if (answer.errors || !answer.data) throw new GraphQLFailed(answer.errors ?? [], statusCode);
    return answer.data;
  }

  function dispose() {
    wx.offAppHide?.(hidden);
    wx.offAppShow?.(shown);
    return socket.dispose();
  }

  return { request, subscribe: socket.subscribe, shown, hidden, dispose };
}

/** Keeps the newest token, and asks for one at a time: a refresh token is good for one use. */
function keeper(ask) {
  let asking = null;
  let held = null;
  let until = 0;

  function fresh() {
    asking ??= (async () => {
      try {
        held = await ask();
        until = held?.expiresAt ? Date.now() + (Date.parse(held.expiresAt) - Date.now()) * SPARE : 0;
        return held;
      } finally {
        asking = null;
      }
    })();
    return asking;
  }

  return { fresh, current: async () => (Date.now() < until ? held : fresh()) };
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
