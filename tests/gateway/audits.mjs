// Runs the audits of graphql-http against argv[2] and prints one JSON line: [{id, name, status, reason}].
import { createRequire } from "node:module";
const { auditServer } = createRequire(new URL("../node/package.json", import.meta.url))("graphql-http");
const results = await auditServer({ url: process.argv[2] });
console.log(JSON.stringify(results.map(({ id, name, status, reason }) => ({ id, name, status, reason }))));
