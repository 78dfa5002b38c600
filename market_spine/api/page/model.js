// What answers of the API mean: what became of each session, which days were restated and how.
// Belongs here: judging, on plain values. Does not belong here: asking, showing.

/** What the chart draws; a day is restated when one of these changed after it was first published. */
export const DRAWN = ["close_price", "vwap", "vwap_all", "high_price", "low_price", "total_volume"];
/** Averages and the previous close follow other days: a change of theirs alone restates nothing of this day. */
const FOLLOWING = new Set(["adv5", "adv20", "adv60", "rel_volume", "prev_close", "return_cc"]);
const ABOUT = new Set([
  "symbol", "trade_date", "revision", "input_rows", "rules_version", "computed_at", "known_from", "known_to", "run_id",
]);

export const STATES = {
  complete: { label: "Complete", glyph: "✓" },
  restated: { label: "Restated", glyph: "◆" },
  missing: { label: "Missing", glyph: "–" },
  failed: { label: "Failed", glyph: "✕" },
  waiting: { label: "Not there yet", glyph: "…" },
};
export const ASSETS = ["otc_trades_raw", "otc_trades", "otc_metrics_daily"];
const METRICS = ASSETS[2];

/** Revisions by day, with what each changed: Map of day to {revisions, changes, isWithdrawn}. */
export function restatements(rows) {
  const found = new Map();
  for (const row of rows) {
    if (!found.has(row.trade_date)) found.set(row.trade_date, { revisions: [], changes: [] });
    const day = found.get(row.trade_date);
    const before = day.revisions.at(-1);
    if (before) day.changes.push(...changed(before, row));
    day.revisions.push(row);
  }
  for (const day of found.values()) day.isWithdrawn = day.revisions.at(-1).known_to !== null;
  return found;
}

/** What differs between two revisions: [{name, before, after, revision, at}]. */
export function changed(before, after) {
  return Object.keys(after)
    .filter((name) => !ABOUT.has(name) && before[name] !== after[name])
    .map((name) => ({
      name, before: before[name], after: after[name], revision: after.revision, at: after.known_from,
      follows: FOLLOWING.has(name),
    }));
}

export const isRestated = (day) => Boolean(day && (day.isWithdrawn || day.changes.some((one) => !one.follows)));

/**
 * Sessions with their states.
 *
 * days: the sessions; inventory: the API's, or null where Dagster does not answer; computed: days with metrics, asked
 * only then; restated: as `restatements` made it.
 */
export function sessions(days, { inventory, computed, restated }) {
  const items = new Map();
  for (const item of inventory?.sessions ?? []) {
    if (!items.has(item.session)) items.set(item.session, []);
    items.get(item.session).push(item);
  }
  return days.map((day) => {
    const own = items.get(day) ?? [];
    const state = inventory ? stateOf(own) : computed.has(day) ? "complete" : "missing";
    const wasRestated = isRestated(restated.get(day));
    return { day, items: own, restated: wasRestated, state: state === "complete" && wasRestated ? "restated" : state };
  });
}

function stateOf(items) {
  if (items.some((item) => ["failed", "blocked"].includes(item.status))) return "failed";
  const metrics = items.find((item) => item.asset === METRICS);
  if (!metrics) return "waiting"; // today, or later
  if (metrics.status === "missing") return "missing";
  return metrics.is_there ? "complete" : "waiting";
}

/** Days shown at first: up to a week behind the last session there is anything of, so that what is missing shows. */
export function lastShown(inventory, daysLater) {
  const last = inventory.last;
  const open = inventory.problems.find(
    (one) => one.asset === METRICS && one.status === "missing" && one.last === last,
  );
  const shown = open ? daysLater(open.first, 6) : last;
  return shown < last ? shown : last;
}
