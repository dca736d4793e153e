// Two languages, one dictionary; and how money, times and distances are written in each.

import { MESSAGES } from "./messages.js";

const STORED = "hutong.language";
const listeners = new Set();

function initial() {
  const stored = safeStorage()?.getItem(STORED);
  if (stored === "zh-CN" || stored === "en") return stored;
  return (navigator.languages ?? [navigator.language]).some((l) => l?.toLowerCase().startsWith("zh")) ? "zh-CN" : "en";
}

function safeStorage() {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
}

let current = initial();
document.documentElement.lang = current;

export function language() {
  return current;
}

export function setLanguage(next) {
  current = next;
  document.documentElement.lang = next;
  safeStorage()?.setItem(STORED, next);
  for (const listener of listeners) listener(next);
}

/** Call `listener` on each change of language; returns its remover. */
export function onLanguage(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The phrase `key` in the current language, `{name}` replaced from `values`. An unknown key is shown as it is. */
export function t(key, values = {}) {
  const pair = MESSAGES[key];
  if (!pair) return key;
  return pair[current === "en" ? 1 : 0].replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** An error in words for people: the server's own message, or ours for a failure of the way. */
export function explain(error) {
  if (error?.code === "NETWORK") return t("error.network");
  if (error?.code === "SOCKET" || error?.code === "HTTP") return t("error.server", { detail: error.message });
  if (error?.code === "NO_PICTURE") return t("error.picture");
  if (error?.code === "UNAUTHENTICATED") return t("error.session");
  return error?.message || t("error.unknown");
}

const formats = new Map();
function format(kind, key, make) {
  const name = `${kind}|${current}|${key}`;
  if (!formats.has(name)) formats.set(name, make());
  return formats.get(name);
}

/** Money {amount, currency}, amount in minor units. */
export function money(value) {
  if (!value) return "–";
  const style = format("money", value.currency, () =>
    new Intl.NumberFormat(current, { style: "currency", currency: value.currency, currencyDisplay: "narrowSymbol" }),
  );
  return style.format(Number(value.amount) / 10 ** style.resolvedOptions().maximumFractionDigits);
}

/** Money rounded to whole units, for figures read at a glance. */
export function wholeMoney(value) {
  if (!value) return "–";
  const digits = format("digits", value.currency, () => new Intl.NumberFormat("en", { style: "currency", currency: value.currency }))
    .resolvedOptions().maximumFractionDigits;
  return format("whole", value.currency, () =>
    new Intl.NumberFormat(current, { style: "currency", currency: value.currency, currencyDisplay: "narrowSymbol", maximumFractionDigits: 0 }),
  ).format(Number(value.amount) / 10 ** digits);
}

/** What people call an order at the counter; one that is not paid has the end of its number only. */
export function called({ pickupNumber, number }) {
  return `#${pickupNumber ?? number.slice(-4)}`;
}

export function number(value) {
  return value === null || value === undefined ? "–" : format("number", "", () => new Intl.NumberFormat(current)).format(value);
}

export function metres(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1000) return `${Math.round(value / 10) * 10} m`;
  return `${(value / 1000).toFixed(1)} km`;
}

let zone;

/** Write times in this IANA zone from now on: the city's, wherever the browser is. */
export function setZone(name) {
  zone = name;
}

/** Clock time of an RFC 3339 string or milliseconds. */
export function time(value, seconds = false) {
  if (value === null || value === undefined) return "–";
  return format("time", `${zone}|${seconds}`, () =>
    new Intl.DateTimeFormat(current, { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, hour12: false, timeZone: zone }),
  ).format(new Date(value));
}

export function day(value) {
  return format("day", zone, () => new Intl.DateTimeFormat(current, { month: "short", day: "numeric", weekday: "short", timeZone: zone })).format(new Date(value));
}

/** Seconds as m:ss (or h:mm:ss). */
export function countdown(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const rest = `${String(Math.floor(whole / 60) % 60).padStart(whole >= 3600 ? 2 : 1, "0")}:${String(whole % 60).padStart(2, "0")}`;
  return whole >= 3600 ? `${Math.floor(whole / 3600)}:${rest}` : rest;
}

/** Seconds as minutes, for figures. */
export function minutes(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return t("minutes", { n: seconds < 600 ? (seconds / 60).toFixed(1) : Math.round(seconds / 60) });
}
