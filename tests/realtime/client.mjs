// The reference client of the protocol, driven by test_npm_client.py: one JSON line in, JSON lines out.
//   node client.mjs '{"url": "ws://…", "tokens": ["…"], "operations": [{"id", "query", "variables", "resume"}]}'
// An operation with "resume" writes the last cursor of its answers into the variable `after`, in the payload object
// that the client sends again after each reconnect.
import { createRequire } from 'node:module';

const load = createRequire(new URL('../node/package.json', import.meta.url));
const { createClient } = load('graphql-ws');
const WebSocket = load('ws');

const { url, tokens = [], operations } = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
let connections = 0;

const client = createClient({
  url,
  webSocketImpl: WebSocket,
  lazy: true,
  retryAttempts: 100,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 20)),
  connectionParams: () => {
    const token = tokens[Math.min(connections++, tokens.length - 1)];
    return token === undefined ? undefined : { authorization: `Bearer ${token}` };
  },
  on: {
    connected: () => say({ on: 'connected' }),
    closed: (event) => say({ on: 'closed', code: event.code, reason: event.reason }),
    ping: (received) => received && say({ on: 'ping' }),
  },
});

await Promise.all(
  operations.map(({ id, query, variables = {}, extensions, resume }) => {
    const payload = { query, variables, extensions };
    return new Promise((done) =>
      client.subscribe(payload, {
        next: (answer) => {
          if (resume) payload.variables.after = Object.values(answer.data)[0].cursor;
          say({ on: 'next', id, answer });
        },
        error: (error) => {
          const closed = error && typeof error.code === 'number';
          say({ on: 'error', id, error: closed ? { code: error.code, reason: error.reason } : error });
          done();
        },
        complete: () => {
          say({ on: 'complete', id });
          done();
        },
      }),
    );
  }),
);
await client.dispose();
