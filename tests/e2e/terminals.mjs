// Terminals of a city on the reference client: one process, one client per terminal.
//
// Standard input tells it what to do, one JSON object per line:
//   {"open": name, "url", "token", "query", "variables", "field"}   subscribe and stay subscribed
//   {"cut": name}                                                   lose the connection without a farewell
// Standard output tells what the terminals see: {"name", "opened" | "value" | "ended" | "cut"}.
import { createInterface } from 'node:readline';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';

const terminals = new Map();
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

function open({ open: name, url, token, query, variables, field }) {
  const terminal = { cursor: null, socket: null };
  const client = createClient({
    url,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 20,
    retryWait: async () => {},
    shouldRetry: () => true,
    on: { connected: (socket) => { terminal.socket = socket; } },
  });
  const payload = {
    query,
    // Read by the client at each subscribe, the ones after a lost connection included.
    get variables() {
      return terminal.cursor === null ? variables : { ...variables, after: terminal.cursor };
    },
  };
  client.on('connected', () => tell({ name, opened: true }));
  client.subscribe(payload, {
    next: (answer) => {
      if (answer.errors) {
        tell({ name, ended: answer.errors });
        return;
      }
      terminal.cursor = answer.data[field].cursor;
      tell({ name, value: answer.data[field] });
    },
    error: (error) => tell({ name, ended: Array.isArray(error) ? error : String(error.reason ?? error) }),
    complete: () => tell({ name, ended: 'complete' }),
  });
  terminals.set(name, terminal);
}

function cut({ cut: name }) {
  terminals.get(name).socket.terminate();
  tell({ name, cut: true });
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line);
    if ('open' in order) open(order);
    else cut(order);
  })
  .on('close', () => process.exit(0));
