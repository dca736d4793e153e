// Who this terminal is. A sign-in with a phone wins; else, in a sandbox, the demo account of the view.

import { Client } from "./graphql.js";
import { language } from "./i18n.js";
import { REFRESH_SESSION } from "./operations.js";

const EARLY = 30_000;
const memory = new Map();

function store() {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
}

function read(view) {
  const text = store()?.getItem(`hutong.session.${view}`) ?? memory.get(view);
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function write(view, session) {
  const text = session && JSON.stringify(session);
  if (session) memory.set(view, text);
  else memory.delete(view);
  try {
    if (session) store()?.setItem(`hutong.session.${view}`, text);
    else store()?.removeItem(`hutong.session.${view}`);
  } catch {
    // Storage is full or forbidden: the session lives as long as the page.
  }
}

let asked = null;

/** The sandbox's demo tokens and places, or null where there is no sandbox. */
export function sandbox() {
  asked ??= fetch("/sandbox/tokens", { headers: { accept: "application/json" } })
    .then((response) => (response.ok ? response.json() : null))
    .catch(() => null);
  return asked;
}

/** Ask again: demo tokens run out too. */
async function renewSandbox() {
  asked = null;
  return sandbox();
}

/** One terminal's identity in one view, and its client. */
export class Terminal {
  constructor(view) {
    this.view = view;
    this.session = null;
    this.demo = false;
    this.renewing = null;
    this.client = new Client({ token: () => this.token(), renew: () => this.renew(), language });
  }

  /** Take the stored sign-in or the demo account; true when there is one. */
  async open() {
    this.session = read(this.view);
    if (this.session) return true;
    const tokens = await sandbox();
    const token = tokens?.[this.view.toLowerCase()];
    this.demo = Boolean(token);
    this.session = token ? { accessToken: token } : null;
    return this.demo;
  }

  signedIn(session) {
    this.session = session;
    this.demo = false;
    write(this.view, session);
  }

  signOut() {
    write(this.view, null);
    this.session = null;
  }

  async token() {
    const session = this.session;
    if (session?.refreshToken && session.expiresAt && Date.parse(session.expiresAt) - Date.now() < EARLY) await this.renew();
    return this.session?.accessToken ?? null;
  }

  /** Get a new access token; one attempt at a time. */
  renew() {
    this.renewing ??= this.refresh().finally(() => (this.renewing = null));
    return this.renewing;
  }

  async refresh() {
    if (this.demo) {
      const before = this.session?.accessToken;
      const tokens = await renewSandbox();
      const token = tokens?.[this.view.toLowerCase()];
      if (!token || token === before) return false;
      this.session = { accessToken: token };
      return true;
    }
    const refreshToken = this.session?.refreshToken;
    if (!refreshToken) return false;
    try {
      // Without the old token: an expired one would only be refused.
      const anonymous = new Client({ url: this.client.url, language });
      const session = await anonymous.act(REFRESH_SESSION, { refreshToken });
      anonymous.dispose();
      this.signedIn(session);
      return true;
    } catch {
      return false;
    }
  }
}

/** A device's identity: credentials got by pairing, exchanged for tokens; else, in a sandbox, the demo device. */
export class DeviceTerminal extends Terminal {
  async open() {
    this.credentials = read(this.view);
    if (this.credentials) return this.renew();
    return super.open();
  }

  /** Exchange a pairing code for credentials; false when the code is none. */
  async pair(code) {
    const response = await fetch("/oauth/register", { method: "POST", headers: { authorization: `Bearer ${code}` } });
    if (!response.ok) return false;
    const { client_id, client_secret } = await response.json();
    this.credentials = { client_id, client_secret };
    write(this.view, this.credentials);
    this.demo = false;
    return this.renew();
  }

  signOut() {
    super.signOut();
    this.credentials = null;
  }

  async token() {
    const session = this.session;
    if (this.credentials && session && session.ends - Date.now() < EARLY) await this.renew();
    return this.session?.accessToken ?? null;
  }

  async refresh() {
    if (!this.credentials) return super.refresh();
    const body = new URLSearchParams({ grant_type: "client_credentials", ...this.credentials });
    const response = await fetch("/oauth/token", { method: "POST", body }).catch(() => null);
    if (response?.status === 401) this.signOut();
    if (!response?.ok) return false;
    const { access_token, expires_in } = await response.json();
    this.session = { accessToken: access_token, ends: Date.now() + expires_in * 1000 };
    return true;
  }
}
