// The standard `graphql-ws` client, made to resume by itself.
//
//   import { createClient } from "graphql-ws";
//   import { resuming } from "./resuming.mjs";
//
//   const client = resuming(createClient, { url: "wss://…/graphql", token: async () => ({ accessToken, expiresAt }) });
//   const stop = client.subscribe({ query, variables: { order } }, { next, error, complete });
//
// What it adds:
// - It keeps the cursor of the last update of each subscription and writes it into the variable `after`. `graphql-ws`
//   sends the same payload object again after each reconnect, so that is all that resuming takes. The document must
//   declare `$after: String`, pass it on, and select `cursor kind reset { reason }`.
// - An update whose cursor it had last is not told twice. One with `reset` replaces everything told before.
// - It asks `token()` for a new access token before the old one ends and sends it by a `ping`; subscriptions go on.
// - The server's pings carry the newest cursor of each subscription's feed. Who is behind at two of them, without an
//   update in between, has lost something: the connection is given up, and the next one resumes.

/** Part of a token's life after which the next one is asked for. */
const RENEW_AT = 0.7;
const SHORTEST_RENEWAL = 1_000;
const RETRIES = 1_000;
const FIRST_WAIT = 250;
const LONGEST_WAIT = 15_000;

/**
 * `token()` resolves to `{ accessToken, expiresAt }` of a token that has just been got, or to null for anonymous
 * callers; `told(event)` hears of "connected", "renewed", "behind" and "closed". Other options are those of
 * `createClient`, but for the ones that are needed here.
 */
export function resuming(createClient, { token = async () => null, told = () => {}, ...options }) {
  const subscriptions = new Map();
  let socket = null;
  let timer = null;
  let next = 1;
  let starting = null;

  const client = createClient({
    retryAttempts: RETRIES,
    // Full jitter: after a restart of the server its clients must not all come back in the same moment.
    retryWait: (retries) => sleep(Math.random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(retries, 10))),
    ...options,
    shouldRetry: (event) => event?.reason !== "session revoked",
    generateID: () => starting,
    connectionParams: async () => {
      let given = null;
      try {
        given = await token();
      } catch {
        client.terminate(); // without a token this would be another caller; the next connection asks again
      }
      renewLater(given);
      return given ? { authorization: `Bearer ${given.accessToken}` } : {};
    },
    on: {
      opened: (opened) => (socket = opened),
      connected: () => told({ on: "connected" }),
      ping: (received, payload) => received && payload?.cursors && compare(payload.cursors),
      pong: (received, payload) => received && payload?.expiresAt && told({ on: "renewed", ...payload }),
      closed: ({ code, reason }) => {
        clearTimeout(timer);
        told({ on: "closed", code, reason });
      },
    },
  });

  function renewLater(given) {
    clearTimeout(timer);
    if (!given?.expiresAt) return;
    const left = new Date(given.expiresAt) - Date.now();
    timer = setTimeout(renew, Math.max(left * RENEW_AT, SHORTEST_RENEWAL));
  }

  async function renew() {
    const on = socket;
    try {
      const given = await token();
      if (on !== socket || on.readyState !== 1) return;
      on.send(JSON.stringify({ type: "ping", payload: { authorization: `Bearer ${given.accessToken}` } }));
      renewLater(given);
    } catch {
      timer = setTimeout(renew, SHORTEST_RENEWAL); // the server closes the socket when the old one ends
    }
  }

  function compare(cursors) {
    for (const [id, cursor] of Object.entries(cursors)) {
      const subscription = subscriptions.get(id);
      if (!subscription?.cursor || cursor === subscription.cursor || cursor === subscription.nothingUpTo) continue;
      if (cursor !== subscription.behind) {
        subscription.behind = cursor;
        continue;
      }
      // When resuming brings nothing either, what lies between is not for this caller.
      subscription.nothingUpTo = cursor;
      told({ on: "behind", id });
      client.terminate();
      return;
    }
  }

  function subscribe(payload, sink) {
    const id = String(next++);
    const state = { cursor: null, behind: null, nothingUpTo: null };
    subscriptions.set(id, state);
    // `graphql-ws` sends nothing without a text; an empty one beside a documentId is none.
    const own = { query: "", ...payload, variables: { ...payload.variables } };
    const finish = (tell) => (value) => {
      subscriptions.delete(id);
      tell?.(value);
    };
    starting = id;
    const stop = client.subscribe(own, {
      next: (answer) => {
        const update = answer.data && Object.values(answer.data)[0];
        if (update?.cursor) {
          if (update.cursor === state.cursor && update.kind === "EVENT") return;
          state.cursor = own.variables.after = update.cursor;
          state.behind = null;
        }
        sink.next(answer);
      },
      error: finish(sink.error),
      complete: finish(sink.complete),
    });
    return () => {
      subscriptions.delete(id);
      stop();
    };
  }

  return {
    subscribe,
    dispose() {
      clearTimeout(timer);
      return client.dispose();
    },
  };
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
