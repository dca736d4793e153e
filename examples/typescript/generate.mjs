// Writes src/generated/ from the consumer's contract and the documents in src/operations/, with the client preset of
// GraphQL Code Generator. Its command line does the same from a codegen.ts, with four times as many packages.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { codegen } from "@graphql-codegen/core";
import { preset } from "@graphql-codegen/client-preset";
import { buildSchema, parse } from "graphql";

const CONTRACT = "../../schema/sdl/consumer.graphql";
const DOCUMENTS = "src/operations/";
const INTO = "src/generated/";

const sdl = readFileSync(CONTRACT, "utf8");
const sections = await preset.buildGeneratesSection({
  baseOutputDir: INTO,
  schema: parse(sdl),
  schemaAst: buildSchema(sdl),
  documents: readdirSync(DOCUMENTS)
    .sort()
    .map((name) => ({ location: DOCUMENTS + name, text: readFileSync(DOCUMENTS + name, "utf8") }))
    .map(({ location, text }) => ({ location, rawSDL: text, document: parse(text) })),
  config: {
    documentMode: "string",
    enumType: "string-literal",
    importExtension: ".js",
    strictScalars: true,
    useTypeImports: true,
    scalars: {
      ID: "string",
      DateTime: "string",
      Int64: { input: "number | string", output: "number" },
    },
  },
  presetConfig: { fragmentMasking: false, skipIndexFile: true, persistedDocuments: { hashAlgorithm: "sha256" } },
  plugins: [],
  pluginMap: {},
  documentTransforms: [],
});
// The documents are imported by name: the map of texts in gql.ts is for those that stand in the code.
const wanted = sections.filter(({ filename }) => !filename.endsWith("gql.ts"));
// All at once: the file of registered documents waits for the one that has the texts.
const files = await Promise.all(wanted.map(async (section) => [section.filename, await codegen(section)]));
rmSync(INTO, { recursive: true, force: true });
mkdirSync(INTO, { recursive: true });
for (const [name, text] of files) writeFileSync(name, text.endsWith("\n") ? text : `${text}\n`);
