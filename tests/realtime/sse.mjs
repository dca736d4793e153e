// The reference client of GraphQL over SSE, driven by test_npm_sse.py: one JSON line in, JSON lines out.
//   node sse.mjs '{"url": "http://…", "token": "…", "single": true, "operations": [{"query", "variables", "resume"}]}'
import { createRequire } from 'node:module';

const load = createRequire(new URL('../node/package.json', import.meta.url));
const { createClient } = load('graphql-sse');

const { url, token, single = false, operations } = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');

const client = createClient({
  url,
  singleConnection: single,
  retryAttempts: 100,
  retry: () => new Promise((resolve) => setTimeout(resolve, 20)),
  headers: () => (token ? { authorization: `Bearer ${token}` } : {}),
  on: { connected: () => say({ on: 'connected' }) },
});

await Promise.all(
  operations.map(({ id, query, variables = {}, extensions, resume, take }) => {
    const payload = { query, variables, extensions };
    let left = take ?? Infinity;
    return new Promise((done) => {
      const stop = client.subscribe(payload, {
        next: (answer) => {
          if (resume) payload.variables.after = Object.values(answer.data)[0].cursor;
          say({ on: 'next', id, answer });
          if (--left === 0) stop();
        },
        error: (error) => {
          say({ on: 'error', id, error: String(error) });
          done();
        },
        complete: () => {
          say({ on: 'complete', id });
          done();
        },
      });
    });
  }),
);
client.dispose();
