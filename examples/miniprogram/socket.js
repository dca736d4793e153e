// A WebSocket for the npm package `graphql-ws` in WeChat mini-programs, where there are only `wx.connectSocket` and its
// SocketTasks. It has what that client uses: the four states, send, close, and onopen, onmessage, onclose.

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

const NORMAL = 1000;
const LOST = 1006;
/** Milliseconds to wait for WeChat's word that a socket is closed, which does not always come. */
const FAREWELL = 2_000;

/**
 * The class to give to `createClient` as `webSocketImpl`. `abandonAll(reason)` of it ends the sockets that are open, for
 * when nobody has said that they are dead. `timeout` (milliseconds) is that of `wx.connectSocket`.
 *
 * Every failure is one close event. WeChat tells some by onError alone, some by both events and some by the callback of
 * a call, differently on iOS, Android and in the simulator.
 */
export function webSocketOf(wx, { timeout = 15_000 } = {}) {
  const living = new Set();

  return class WxWebSocket {
    static CONNECTING = CONNECTING;
    static OPEN = OPEN;
    static CLOSING = CLOSING;
    static CLOSED = CLOSED;

    static abandonAll(reason) {
      for (const socket of [...living]) socket.#lose(reason);
    }

    readyState = CONNECTING;
    onopen = null;
    onmessage = null;
    onclose = null;
    /** Never called, see above. */
    onerror = null;
    #task = null;
    #farewell = null;

    constructor(url, protocol) {
      living.add(this);
      const lose = ({ errMsg } = {}) => this.#lose(errMsg);
      // The token goes into connection_init: not every version of WeChat sends headers with a handshake.
      const task = wx.connectSocket({ url, protocols: [protocol], timeout, fail: (error) => setTimeout(lose, 0, error) });
      if (!task) {
        setTimeout(lose); // after whoever constructs this has set its handlers
        return;
      }
      this.#task = task;
      // At once: what happens before somebody listens is not told again.
      task.onOpen(() => {
        if (this.readyState === CLOSING) this.#hangUp(NORMAL);
        if (this.readyState !== CONNECTING) return;
        this.readyState = OPEN;
        this.onopen?.({});
      });
      task.onMessage(({ data }) => {
        if (this.readyState === OPEN) this.onmessage?.({ data });
      });
      task.onError(lose);
      task.onClose(({ code, reason } = {}) => {
        // A mini-program that was put into the background is told 1000 "interrupted". For `graphql-ws` 1000 is what was
        // meant to happen, and it would connect again without a pause. Only this side means a 1000 to happen.
        const meant = this.readyState === CLOSING;
        this.#end(!meant && (code ?? NORMAL) === NORMAL ? LOST : (code ?? NORMAL), reason ?? "");
      });
    }

    /** What cannot be sent is lost without a word: the connection ends, and the next one asks for it again. */
    send(data) {
      if (this.readyState !== OPEN) return;
      this.#task.send({ data, fail: ({ errMsg } = {}) => this.#lose(errMsg) });
    }

    close(code = NORMAL, reason = "") {
      if (this.readyState >= CLOSING) return;
      const opened = this.readyState === OPEN;
      this.readyState = CLOSING;
      this.#farewell = setTimeout(() => this.#end(code, reason), FAREWELL);
      if (opened) this.#hangUp(code, reason);
    }

    #hangUp(code, reason = "") {
      this.#task?.close({ code, reason, fail: () => this.#end(code, reason) });
    }

    #lose(reason = "") {
      if (this.readyState === CLOSED) return;
      this.#end(LOST, reason);
      // A mini-program has five sockets at most: one that is dead for us must not be one of them.
      this.#hangUp(NORMAL);
    }

    #end(code, reason) {
      if (this.readyState === CLOSED) return;
      this.readyState = CLOSED;
      living.delete(this);
      clearTimeout(this.#farewell);
      this.onclose?.({ code, reason, wasClean: code === NORMAL });
    }
  };
}
