// Terminals on the reference client: one client, so one connection, per user; any number of subscriptions on it.
//
// Standard input tells what to do, one JSON object per line:
//   {"open": name, "user", "url", "token", "query", "variables", "example"}   subscribe and stay subscribed; with
//                                                    "example" by the client in examples/, else by the bare one
//   {"close": name}                                                 unsubscribe
//   {"token", "user"}                                               use this token from the next connection on
// Standard output: {"name", "value"}, {"name", "ended"}, {"user", "connected"}, {"user", "closed": code}.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

import { resuming } from '../../examples/javascript/resuming.mjs';

const load = createRequire(new URL('../node/package.json', import.meta.url));
const { createClient } = load('graphql-ws');
const { WebSocket } = load('ws');

const users = new Map();
const subscriptions = new Map();
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

function connect(user, url, token, example) {
  const known = users.get(user);
  if (known) return known;
  const made = { token };
  users.set(user, made);
  if (example) {
    made.client = resuming(createClient, {
      url,
      webSocketImpl: WebSocket,
      token: async () => ({ accessToken: made.token, expiresAt: null }),
      told: (event) => {
        if (event.on === 'connected') tell({ user, connected: true });
        if (event.on === 'closed') tell({ user, closed: event.code });
      },
    });
    return made;
  }
  made.client = createClient({
    url,
    webSocketImpl: WebSocket,
    connectionParams: () => ({ authorization: `Bearer ${made.token}` }),
    retryAttempts: Infinity,
    // A connection that is refused or reset before it is open is an error without a close code.
    shouldRetry: () => true,
    retryWait: () => new Promise((done) => setTimeout(done, 50 + Math.random() * 300)),
    on: {
      connected: () => tell({ user, connected: true }),
      closed: (event) => tell({ user, closed: event.code }),
    },
  });
  return made;
}

function open({ open: name, user, url, token, query, variables, example }) {
  // The client sends the same object again after a lost connection: the newest cursor is kept in its variables.
  const payload = { query, variables };
  const stop = connect(user, url, token, example).client.subscribe(payload, {
    next: (answer) => {
      if (answer.errors) return tell({ name, ended: answer.errors });
      const value = Object.values(answer.data)[0];
      payload.variables.after = value.cursor;
      return tell({ name, value });
    },
    error: (error) => tell({ name, ended: error.code ? `${error.code} ${error.reason}` : error }),
    complete: () => subscriptions.has(name) && tell({ name, ended: 'complete' }),
  });
  subscriptions.set(name, stop);
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line);
    if ('open' in order) open(order);
    else if ('close' in order) {
      const stop = subscriptions.get(order.close);
      subscriptions.delete(order.close);
      stop();
    } else users.get(order.user).token = order.token;
  })
  .on('close', () => process.exit(0));
