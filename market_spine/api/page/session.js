// One session: what each table has of it, what was restated of the symbol, its files, its checks, ways into Dagster.
// Belongs here: showing that. Does not belong here: asking for it (main), judging it (model).

import { exactly, h, plural, shortDay, shortMoment, words } from "./dom.js";
import { ASSETS, STATES } from "./model.js";

const BAD = new Set(["failed", "blocked"]);
const FILES = { live: "live", superseded: "superseded", voided: "taken back", rejected: "refused" };

/** Addresses in the Dagster UI; null where nobody knows where it is. */
export const dagster = (ui) => ({
  asset: (name, day) => ui && `${ui}/assets/${name}?view=partitions&partition=${day}`,
  run: (id) => ui && `${ui}/runs/${id}`,
});

/** Everything of a session: its entry of the model, the day of the quality route or null, its revisions. */
export function details({ session, quality, history, symbol, inventory, ui, ask }) {
  const links = dagster(ui);
  return h("div", {},
    h("p", { class: "chips" },
      h("span", { class: `chip state-${session.state}` }, h("span", { "aria-hidden": "true" }, `${STATES[session.state].glyph} `), STATES[session.state].label),
      session.restated && session.state !== "restated" && h("span", { class: "chip state-restated" }, "◆ Restated")),
    troubles(session, inventory, links),
    tables(session, links),
    history && restated(symbol, history),
    files(session.day, quality, ask),
    checks(quality));
}

const heading = (text) => h("h3", {}, text);

/** Why it is as it is, each reason once, with its run; and the commands that mend it. */
function troubles({ day, items }, inventory, links) {
  const reasons = new Map(items.filter((item) => item.reason).map((item) => [item.reason, item]));
  const own = (inventory?.problems ?? []).filter((one) => one.first <= day && day <= one.last);
  const commands = [...new Set(own.map((one) => one.command))];
  const run = ({ status, execution: id }) => id && links.run(id) && h("p", {},
    h("a", { href: links.run(id), rel: "noreferrer" }, `${BAD.has(status) ? "Failed run" : "Run"} ${id.slice(0, 8)} in Dagster`));
  return [[...reasons].map(([reason, item]) => h("div", { class: "why" }, h("p", {}, reason), run(item))),
    commands.length > 0 && h("p", { class: "mend" }, "What mends it:", commands.map((command) => h("code", {}, command)))];
}

function tables(session, links) {
  const row = (asset) => {
    const item = session.items.find((one) => one.asset === asset);
    const address = links.asset(asset, session.day);
    const label = `${asset} of ${shortDay(session.day)} in Dagster`;
    return h("li", { class: "line" },
      address ? h("a", { href: address, rel: "noreferrer", "aria-label": label }, asset) : h("span", {}, asset),
      h("span", { class: `status status-${item?.status ?? "none"}` }, item?.status ?? "not known"));
  };
  return [heading("Tables"), h("ul", { class: "plain" }, ASSETS.map(row))];
}

/** Each revision behind the first, the newest first, with what it changed. */
function restated(symbol, { revisions, changes, isWithdrawn }) {
  const last = revisions.at(-1);
  const first = `First published ${shortMoment(revisions[0].known_from)}.`;
  const steps = revisions.slice(1).toReversed().map((one) => ({ one, own: changes.filter((change) => change.revision === one.revision) }));
  const following = steps.filter(({ own }) => own.every((change) => change.follows));
  const rest = steps.filter((made) => !following.includes(made));
  const table = ({ one, own }) => step(symbol, one, own);
  return [heading(`${symbol} on this day`),
    isWithdrawn && h("p", {}, `Withdrawn ${shortMoment(last.known_to)}: no trade of it counts any more.`),
    rest.map(table),
    following.length > 0 && h("details", { class: "step" },
      h("summary", {}, `${plural(following.length, "revision")} of averages or the previous close alone, which follow other days`),
      following.map(table)),
    h("p", {}, first, steps.length ? null : " Not changed since.")];
}

function step(symbol, revision, changes) {
  const rows = changes.map((one) => h("tr", {},
    h("th", { scope: "row" }, words(one.name), one.follows && h("span", { class: "tag" }, "follows other days")),
    h("td", { class: "right" }, exactly(one.before)), h("td", { class: "right" }, exactly(one.after))));
  return h("div", { class: "step" }, h("p", {}, h("b", {}, `Revision ${revision.revision}`), `, published ${shortMoment(revision.known_from)}`),
    h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `What revision ${revision.revision} of ${symbol} changed` },
      h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Changed"), ["Before", "After"].map((label) => h("th", { scope: "col", class: "right" }, label)))),
        h("tbody", {}, rows))));
}

const sum = (counts) => Object.values(counts ?? {}).reduce((total, count) => total + Number(count), 0);

function files(day, quality, ask) {
  if (!quality?.files.length) return [heading("Files"), h("p", { class: "hint" }, "No file has a report about this session.")];
  const own = quality.files.filter((file) => file.report_date === day);
  const other = quality.files.filter((file) => file.report_date !== day);
  return [heading("Files"), own.map((file) => card(file, ask)),
    other.length > 0 && h("h4", {}, "Of other days, with reports about this one"), other.map((file) => guest(file, ask))];
}

/** A file of another report date: only its reports about this day count here. */
function guest(file, ask) {
  const counts = Object.entries(file.exceptions ?? {}).map(([what, value]) => `${words(what)} ${value}`).join(", ");
  return h("article", { class: "file guest" },
    h("div", { class: "line" }, h("h5", { class: "path" }, file.path), h("span", {}, counts || "trades only")),
    quarantine(file, ask));
}

function quarantine(file, ask) {
  return sum(file.quarantined) > 0 && [
    h("ul", { class: "reasons", "aria-label": `Quarantined of ${file.path} by reason` },
      Object.entries(file.quarantined).map(([reason, value]) => h("li", {}, words(reason), " ", h("b", {}, value)))),
    reports(file, ask)];
}

function card(file, ask) {
  const quarantined = sum(file.quarantined);
  const more = Object.entries(file.exceptions ?? {}).filter(([what]) => what !== "quarantined");
  const accepted = Number(file.rows) - sum(file.exceptions);
  const count = (label, value, style) => h("div", { class: style }, h("dt", {}, label), h("dd", {}, exactly(String(value))));
  return h("article", { class: "file" },
    h("h4", { class: "path" }, file.path, h("span", { class: `tag tag-${file.status}` }, FILES[file.status])),
    file.problem && h("p", { class: "reason" }, file.problem),
    file.status !== "rejected" && h("dl", { class: "counts" },
      count("Rows", file.rows), file.status === "live" && count("Accepted", accepted),
      file.status === "live" && count("Quarantined", quarantined, quarantined ? "bad" : ""),
      more.map(([what, value]) => count(words(what), value))),
    quarantine(file, ask));
}

/** The reports themselves, asked for when somebody opens them. */
function reports(file, ask) {
  const place = h("div", {});
  const show = async () => {
    if (!box.open || place.hasChildNodes()) return;
    place.append(h("p", { class: "hint" }, "Loading …"));
    try {
      const rows = await ask(file.file_id);
      place.replaceChildren(h("ul", { class: "plain lines" }, rows.map((row) => h("li", {},
        h("div", { class: "line" }, h("b", {}, `Line ${row.line_no}`), h("span", {}, words(row.reason))),
        h("code", {}, Object.entries(row.report ?? {}).filter(([, text]) => text).map(([name, text]) => `${name}=${text}`).join(" "))))));
    } catch (error) {
      place.replaceChildren(h("p", { class: "reason" }, error.message));
    }
  };
  const box = h("details", { ontoggle: show }, h("summary", {}, "Show these reports"), place);
  return box;
}

function checks(quality) {
  if (!quality?.checks.length) return null;
  const bad = quality.checks.filter((one) => !one.passed);
  const figures = (details) => Object.entries(details ?? {}).filter(([, value]) => typeof value !== "object")
    .map(([name, value]) => `${words(name)} ${value}`).join(", ");
  return [heading("Checks"), h("p", {}, `${plural(quality.checks.length - bad.length, "check")} of ${quality.checks.length} passed.`),
    bad.length > 0 && h("ul", { class: "plain" }, bad.map((one) => h("li", {},
      h("div", { class: "line" }, h("span", {}, words(one.check)), h("span", { class: `status status-${one.blocking ? "failed" : "warned"}` }, one.blocking ? "failed" : "warned")),
      h("p", { class: "reason" }, figures(one.details)))))];
}
