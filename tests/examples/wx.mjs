// A simulated `wx` of WeChat: what mini-programs have of the network, with its limits and its ways to fail.
//
// Callbacks come later than the call, never inside it. At most five sockets exist. In the background every call fails as
// interrupted, and what was open is closed with 1000 "interrupted", or dies without a word (`silent`), as on a phone
// that has stopped the whole program; what happens while the program is stopped it is never told.
import { request as httpRequest } from "node:http";
import { createRequire } from "node:module";

const WebSocket = createRequire(new URL("../node/package.json", import.meta.url))("ws");
const MOST_SOCKETS = 5;

export function simulatedWx() {
  const sockets = new Set();
  const listeners = { show: new Set(), hide: new Set() };
  const requests = new Set();
  let front = true;
  let sendsToFail = 0;
  let connectsToFail = 0;
  let mostSockets = 0;
  const count = { connects: 0, refusedInBackground: 0 };
  const later = (call, argument) => call && setTimeout(() => call(argument));

  function connectSocket({ url, protocols, success, fail }) {
    count.connects++;
    if (!front) {
      count.refusedInBackground++;
      return void later(fail, { errMsg: "connectSocket:fail interrupted" });
    }
    if (connectsToFail > 0) {
      connectsToFail--;
      return void later(fail, { errMsg: "connectSocket:fail" });
    }
    if (sockets.size >= MOST_SOCKETS) return void later(fail, { errMsg: "connectSocket:fail exceed max connections" });
    later(success, { errMsg: "connectSocket:ok" });
    return socketTask(new WebSocket(url, protocols));
  }

  function socketTask(ws) {
    const heard = { open: [], message: [], error: [], close: [] };
    const tell = (name, event) => {
      if (task.alive) setTimeout(() => task.alive && heard[name].forEach((listener) => listener(event)));
    };
    const task = {
      alive: true,
      /** The connection ends; the program is told of it with `event`, or not at all. */
      end(event) {
        if (!sockets.delete(task)) return;
        ws.terminate();
        if (event) setTimeout(() => heard.close.forEach((listener) => listener(event)));
        task.alive = false;
      },
      public: {
        onOpen: (listener) => heard.open.push(listener),
        onMessage: (listener) => heard.message.push(listener),
        onError: (listener) => heard.error.push(listener),
        onClose: (listener) => heard.close.push(listener),
        send({ data, success, fail }) {
          if (!front || ws.readyState !== WebSocket.OPEN || sendsToFail > 0) {
            if (sendsToFail > 0) sendsToFail--;
            return later(fail, { errMsg: "sendSocketMessage:fail" });
          }
          ws.send(data);
          later(success, { errMsg: "sendSocketMessage:ok" });
        },
        close({ code = 1000, reason = "", success, fail } = {}) {
          if (!sockets.has(task)) return later(fail, { errMsg: "closeSocket:fail" });
          ws.close(code, reason);
          later(success, { errMsg: "closeSocket:ok" });
        },
      },
    };
    sockets.add(task);
    mostSockets = Math.max(mostSockets, sockets.size);
    ws.on("open", () => tell("open", { header: {} }));
    ws.on("message", (data) => tell("message", { data: data.toString() }));
    ws.on("close", (code, reason) => task.end({ code, reason: reason.toString() }));
    // A connection that cannot be made is an error and nothing else.
    ws.on("error", ({ message }) => {
      tell("error", { errMsg: message });
      sockets.delete(task);
    });
    return task.public;
  }

  function request({ url, method = "GET", header = {}, data, success, fail }) {
    if (!front) return later(fail, { errMsg: "request:fail interrupted" });
    const sent = httpRequest(url, { method, headers: header }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => {
        if (!requests.delete(sent)) return;
        const text = Buffer.concat(parts).toString();
        let body = text;
        try {
          body = JSON.parse(text);
        } catch {
          // handed on as text
        }
        later(success, { data: body, statusCode: response.statusCode, header: response.headers });
      });
    });
    requests.add(sent);
    sent.on("error", ({ message }) => requests.delete(sent) && later(fail, { errMsg: `request:fail ${message}` }));
    sent.end(typeof data === "string" ? data : JSON.stringify(data));
  }

  return {
    wx: {
      connectSocket,
      request,
      onAppShow: (listener) => listeners.show.add(listener),
      onAppHide: (listener) => listeners.hide.add(listener),
      offAppShow: (listener) => listeners.show.delete(listener),
      offAppHide: (listener) => listeners.hide.delete(listener),
    },
    hide() {
      front = false;
      listeners.hide.forEach((listener) => listener());
    },
    /** What WeChat does to a program that is in the background for five seconds. */
    interrupt({ silent = false } = {}) {
      for (const task of [...sockets]) task.end(silent ? null : { code: 1000, reason: "interrupted" });
      for (const sent of [...requests]) sent.destroy(new Error("interrupted"));
    },
    show() {
      front = true;
      listeners.show.forEach((listener) => listener());
    },
    failSends: (number) => (sendsToFail = number),
    failConnects: (number) => (connectsToFail = number),
    state: () => ({ ...count, sockets: sockets.size, mostSockets }),
  };
}
