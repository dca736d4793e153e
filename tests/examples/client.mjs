// Drives examples/javascript/resuming.mjs for test_resuming.py: JSON of what to do in, JSON lines of what it was told out.
import { createRequire } from "node:module";
import { resuming } from "../../examples/javascript/resuming.mjs";

const load = createRequire(new URL("../node/package.json", import.meta.url));
const { createClient } = load("graphql-ws");
const { url, refresh, query, variables, hurry } = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const REFRESH = `mutation ($refresh: String!) { refreshSession(refreshToken: $refresh) {
  ... on Session { accessToken refreshToken expiresAt } } }`;
let held = refresh;

async function token() {
  const response = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query: REFRESH, variables: { refresh: held } }),
  });
  const session = (await response.json()).data.refreshSession;
  held = session.refreshToken ?? held;
  return hurry ? { ...session, expiresAt: new Date(Date.now() + hurry).toISOString() } : session;
}

const client = resuming(createClient, {
  url: `${url.replace("http", "ws")}/graphql`,
  token,
  told: say,
  webSocketImpl: load("ws"),
});
client.subscribe(
  { query, variables },
  {
    next: (answer) => say({ on: "next", update: Object.values(answer.data)[0] }),
    error: (error) => {
      say({ on: "error", error: Array.isArray(error) ? error[0].extensions : { reason: error.reason } });
      client.dispose();
    },
    complete: () => {
      say({ on: "complete" });
      client.dispose();
    },
  },
);
