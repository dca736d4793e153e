// A mini-program on the simulated `wx`, driven by test_miniprogram.py: a JSON command a line in, JSON lines out.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { simulatedWx } from "./wx.mjs";

const load = createRequire(new URL("../node/package.json", import.meta.url));
const phone = simulatedWx();
// Mini-programs have none of these.
for (const name of ["fetch", "WebSocket", "Blob", "URL", "TextEncoder", "TextDecoder", "AbortController", "Event", "EventTarget"])
  delete globalThis[name];
const { createClient } = load("graphql-ws/client");
const { resuming } = await import("../../examples/javascript/resuming.mjs");
const { connect } = await import("../../examples/miniprogram/hutong.js");

const { url, token, refresh, background } = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
let held = refresh;
let asked = 0;

async function renewed() {
  asked++;
  if (!refresh) return { accessToken: token };
  const query = `mutation ($refresh: String!) { refreshSession(refreshToken: $refresh) {
    ... on Session { accessToken refreshToken expiresAt } } }`;
  const answer = await new Promise((success, fail) =>
    phone.wx.request({ url, method: "POST", header: { "content-type": "application/json" }, data: { query, variables: { refresh: held } }, success, fail }),
  );
  const session = answer.data.data.refreshSession;
  if (!session.accessToken) throw new Error("the session is over");
  held = session.refreshToken;
  return session;
}

const client = connect({ wx: phone.wx, createClient, resuming, url, token: renewed, told: say, background });
const running = new Map();
const commands = {
  subscribe({ name, payload }) {
    const stop = client.subscribe(payload, {
      next: (answer) => say({ on: "next", name, update: Object.values(answer.data)[0] }),
      error: (error) => say({ on: "error", name, error: error[0]?.extensions ?? { reason: String(error.reason ?? error) } }),
      complete: () => say({ on: "complete", name }),
    });
    running.set(name, stop);
  },
  stop: ({ name }) => running.get(name)(),
  async request({ name, payload }) {
    try {
      say({ on: "answer", name, data: await client.request(payload) });
    } catch (error) {
      say({ on: "failed", name, kind: error.constructor.name, codes: error.codes ?? null, message: error.message });
    }
  },
  hide: () => phone.hide(),
  interrupt: ({ silent }) => phone.interrupt({ silent }),
  show: () => phone.show(),
  failSends: ({ number }) => phone.failSends(number),
  failConnects: ({ number }) => phone.failConnects(number),
  state: ({ name }) => say({ on: "state", name, asked, ...phone.state() }),
  dispose: () => client.dispose(),
};
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  commands[command](given);
}
await client.dispose();
