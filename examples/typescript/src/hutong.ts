// A client whose operations are the generated documents: each is called by its id, and types its variables and answer.
import { createClient, type ClientOptions } from "graphql-ws";
import { resuming, type Token } from "../../javascript/resuming.mjs";
import type { TypedDocumentString } from "./generated/graphql.js";

export type { Token };

export interface GraphQLError {
  message: string;
  extensions?: { code?: string; [fact: string]: unknown };
}

/** The answer has errors; what a mutation refuses is not one, but a member of its result. */
export class GraphQLFailed extends Error {
  constructor(
    readonly errors: readonly GraphQLError[],
    readonly status?: number,
  ) {
    super(errors.map((error) => error.message).join("; "));
  }

  get codes(): string[] {
    return this.errors.map((error) => error.extensions?.code ?? "");
  }
}

export interface Options {
  /** Of the endpoint, `https://…/graphql`; its socket is at the same place. */
  url: string;
  /** Resolves to a token that has just been got, or to null for anonymous callers. */
  token?: () => Promise<Token | null>;
  /** In Node.js before 22, `ws`. */
  webSocketImpl?: ClientOptions["webSocketImpl"];
}

/** Part of a token's life that is left when the next one is asked for. */
const SPARE = 0.5;

export function connect({ url, token = async () => null, webSocketImpl }: Options) {
  const { fresh, current } = keeper(token);
  const socket = resuming(createClient, { url: url.replace(/^http/, "ws"), token: fresh, webSocketImpl });

  /** Runs a query or mutation. Throws GraphQLFailed, and TypeError when there is no answer: send it again then. */
  async function request<Data, Variables>(
    document: TypedDocumentString<Data, Variables>,
    variables: NoInfer<Variables>,
  ): Promise<Data> {
    const given = await current();
    const response = await fetch(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/graphql-response+json, application/json;q=0.9",
        ...(given && { authorization: `Bearer ${given.accessToken}` }),
      },
      body: JSON.stringify({ documentId: idOf(document), variables }),
    });
    const answer = (await response.json()) as { data?: Data; errors?: GraphQLError[] };
    if (answer.errors || !answer.data) throw new GraphQLFailed(answer.errors ?? [], response.status);
    return answer.data;
  }

  /** The updates of a subscription, over any number of connections. Throws GraphQLFailed when the server ends it. */
  async function* subscribe<Data, Variables extends Record<string, unknown>>(
    document: TypedDocumentString<Data, Variables>,
    variables: NoInfer<Variables>,
  ): AsyncGenerator<Data, void, void> {
    const waiting: Data[] = [];
    let ended: (() => void) | undefined;
    let wake = () => {};
    const stop = socket.subscribe<Data>(
      { documentId: idOf(document), variables },
      {
        next: ({ data }) => {
          if (data) waiting.push(data);
          wake();
        },
        error: (error) => {
          ended = () => {
            throw Array.isArray(error) ? new GraphQLFailed(error as GraphQLError[]) : error;
          };
          wake();
        },
        complete: () => {
          ended ??= () => {};
          wake();
        },
      },
    );
    try {
      for (;;) {
        const data = waiting.shift();
        if (data !== undefined) yield data;
        else if (ended) return ended();
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      stop();
    }
  }

  return { request, subscribe, dispose: () => socket.dispose() };
}

function idOf(document: TypedDocumentString<unknown, never>): string {
  return document.__meta__!["hash"] as string;
}

/** Keeps the newest token, and asks for one at a time: a refresh token is good for one use. */
function keeper(ask: () => Promise<Token | null>) {
  let asking: Promise<Token | null> | undefined;
  let held: Token | null = null;
  let until = 0;

  function fresh(): Promise<Token | null> {
    asking ??= (async () => {
      try {
        held = await ask();
        const left = held?.expiresAt ? Date.parse(held.expiresAt) - Date.now() : 0;
        until = Date.now() + left * SPARE;
        return held;
      } finally {
        asking = undefined;
      }
    })();
    return asking;
  }

  return { fresh, current: async () => (Date.now() < until ? held : fresh()) };
}
