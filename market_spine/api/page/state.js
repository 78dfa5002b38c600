// What the page shows, as its address says it: ?symbol=ACME&start=2026-03-04&end=2026-03-12&session=2026-03-05
// Belongs here: reading and writing that. Does not belong here: defaults, which need the API.

import { isDay } from "./dom.js";

export const SYMBOL = /^[A-Za-z0-9][A-Za-z0-9./-]{0,14}$/;

export function read() {
  const query = new URLSearchParams(location.search);
  const day = (name) => (isDay(query.get(name)) ? query.get(name) : "");
  const symbol = query.get("symbol") ?? "";
  return { symbol: SYMBOL.test(symbol) ? symbol : "", start: day("start"), end: day("end"), session: day("session") };
}

/** Write it; `replace` where nobody wants to come back to what was there before. */
export function write(state, { replace = false } = {}) {
  const query = new URLSearchParams(Object.entries(state).filter(([, value]) => value));
  const address = `${location.pathname}${query.size ? `?${query}` : ""}`;
  if (`${location.pathname}${location.search}` === address) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
}
