// Says of each case on standard input whether the example takes it, for test_webhooks.py.
import { readFileSync } from "node:fs";
import { NotOurs, verified } from "../../examples/webhooks/webhooks.mjs";

const cases = JSON.parse(readFileSync(0, "utf8"));
const answers = cases.map(({ secret, headers, body, now }) => {
  try {
    return verified(secret, headers, Buffer.from(body, "base64"), now);
  } catch (error) {
    if (error instanceof NotOurs) return null;
    throw error;
  }
});
process.stdout.write(JSON.stringify(answers));
