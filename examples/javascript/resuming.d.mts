import type { Client, ClientOptions, Sink, SubscribePayload } from "graphql-ws";

export interface Token {
  accessToken: string;
  /** RFC 3339; a token without it is not renewed. */
  expiresAt?: string;
}

export type Told =
  | { on: "connected" }
  | { on: "renewed"; expiresAt: string }
  | { on: "behind"; id: string }
  | { on: "closed"; code: number; reason: string };

export type ResumingOptions = Omit<
  ClientOptions,
  "connectionParams" | "generateID" | "on" | "shouldRetry"
> & {
  token?: () => Promise<Token | null>;
  told?: (event: Told) => void;
};

/** A registered document is called by its id. */
export type Payload = SubscribePayload | (Omit<SubscribePayload, "query"> & { documentId: string });

export interface Resuming {
  subscribe<Data = Record<string, unknown>>(payload: Payload, sink: Sink<{ data?: Data | null }>): () => void;
  dispose(): void | Promise<void>;
}

export function resuming(createClient: (options: ClientOptions) => Client, options: ResumingOptions): Resuming;
