// Whether a webhook is ours: for servers in JavaScript, with what Node.js, Deno and Bun have alone.
// The signature is that of https://www.standardwebhooks.com; its libraries do the same.
import { Buffer } from "node:buffer";
import { createHmac, timingSafeEqual } from "node:crypto";

/** Seconds that a request may be old, or that clocks may differ: an old one may be somebody's recording. */
const TOLERANCE = 300;

/** Answer with status 400 and do nothing. */
export class NotOurs extends Error {}

/**
 * The content of a webhook. `headers` by lower-case name; `body` as it came (a Buffer), not decoded and written again.
 * Throws NotOurs.
 */
export function verified(secret, headers, body, now = Date.now() / 1000) {
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`]);
  if (!id || !/^\d+$/.test(timestamp ?? "") || !signatures) throw new NotOurs("a header is missing or wrong");
  if (Math.abs(now - Number(timestamp)) > TOLERANCE) throw new NotOurs("it is too old, or a clock is wrong");
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // During a rotation there are two, separated by a space.
  for (const signature of signatures.split(" ")) {
    const [version, value] = signature.split(",");
    const given = Buffer.from(value ?? "", "base64");
    if (version === "v1" && given.length === expected.length && timingSafeEqual(given, expected)) {
      return JSON.parse(body.toString());
    }
  }
  throw new NotOurs("no signature is by this secret");
}
