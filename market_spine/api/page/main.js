// Puts the page together: what its address says is asked of the API and shown; what is chosen goes into the address.
// Belongs here: the order of that, and what goes wrong on the way. Does not belong here: how anything looks.

import { Trouble, ask, askAll, load, token } from "./api.js";
import { calendar } from "./calendar.js";
import { draw, forget, latest, legend } from "./chart.js";
import { byId, daysLater, exactly, h, isDay, longDay, monthsBefore, plural, shortDay } from "./dom.js";
import { figures } from "./figures.js";
import { DRAWN, STATES, isRestated, lastShown, restatements, sessions } from "./model.js";
import { picker } from "./picker.js";
import { details } from "./session.js";
import * as address from "./state.js";

const MONTHS = 3;
const FIELDS = [...DRAWN, "open_price", "trade_count"].join(",");
const LARGEST = 10000; // rows of a page, the most the API gives
const QUALITY_PAGE = 31;
const REPORTS = 50;
const EARLIEST = "1990-01-01";
/** Sessions come with a symbol's rows; where there is no symbol yet, those of one that nobody has. */
const NOBODY = "0";

let state = address.read();
let shown = null; // what the answers said: {days, rows, restated, inventory, model, links, grid}
let request = new AbortController();
let sessionRequest = new AbortController();

const say = (text) => { byId("live").textContent = text; };

// --- what goes wrong

function failed(place, error, again) {
  if (error.isRefused) return needToken(error);
  const button = h("button", { type: "button", onclick: again }, "Try again");
  const id = error.requestId ? h("p", { class: "hint" }, `Request ${error.requestId}`) : null;
  place.replaceChildren(h("div", { class: "trouble", role: "alert" }, h("p", {}, error.message), id, button));
  return undefined;
}

function needToken(error) {
  const had = token.get() !== "";
  byId("access-why").textContent = had ? error.message : "This deployment shows its numbers to those who have a token.";
  byId("access").hidden = false;
  document.body.classList.add("locked");
  byId("forget").hidden = !had;
  byId("token").focus();
}

/** Do what fills a region; anything that is no answer of the API is a fault of the page and goes to the console. */
async function fill(places, doing, again) {
  for (const place of places) {
    place.setAttribute("aria-busy", "true");
    if (!place.querySelector(".filled")) place.replaceChildren(h("p", { class: "loading" }, "Loading …"));
  }
  try {
    await doing();
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    failed(places[0], error, again);
    for (const place of places.slice(1)) place.replaceChildren(h("p", { class: "empty" }, "Not known now."));
    say(error.message);
    if (!(error instanceof Trouble)) throw error;
    return false;
  } finally {
    for (const place of places) place.removeAttribute("aria-busy");
  }
}

// --- what is shown

async function defaults(signal) {
  const wanted = { ...state };
  const first = wanted.symbol ? null : (await ask("otc/symbols", { limit: 1 }, signal)).data[0];
  wanted.symbol ||= first?.symbol ?? "";
  if (wanted.start && wanted.end && wanted.start <= wanted.end) return wanted;
  const there = await extent(wanted.symbol, signal);
  wanted.end ||= there.last;
  const months = monthsBefore(wanted.end, MONTHS);
  wanted.start = there.first < wanted.end && there.first > months ? there.first : months;
  return wanted;
}

/** The first day there is anything of and the last one to show, as far as somebody knows them. */
async function extent(symbol, signal) {
  const { taken } = await takeInventory({}, signal);
  if (taken?.last) return { first: taken.first, last: lastShown(taken, daysLater) };
  const found = symbol ? await known(symbol, signal) : undefined;
  const today = new Date().toISOString().slice(0, 10);
  return { first: found?.first_date ?? "", last: found?.last_date ?? today };
}

const known = async (symbol, signal) =>
  (await ask("otc/symbols", { prefix: symbol, limit: 1 }, signal)).data.find((row) => row.symbol === symbol);

/** The inventory, or why there is none: it needs Dagster's database, which the numbers do not. */
async function takeInventory(parameters, signal) {
  try {
    return { taken: await ask("inventory", parameters, signal) };
  } catch (error) {
    if (error instanceof Trouble && error.status === 503) return { taken: null, why: error.message };
    throw error;
  }
}

async function showAll() {
  request.abort();
  request = new AbortController();
  const { signal } = request;
  sessionRequest.abort();
  const isThere = await fill([byId("chart"), byId("sessions"), byId("session")], async () => {
    state = await defaults(signal);
    address.write(state, { replace: true });
    showChoice();
    const { symbol, start, end } = state;
    const of = { symbol, start, end };
    const [rows, revisions, inventory, links] = await Promise.all([
      askAll("otc/metrics/daily", { ...of, symbol: symbol || NOBODY, fill: "calendar", fields: FIELDS, limit: LARGEST }, signal),
      symbol ? askAll("otc/metrics/revisions", { ...of, fields: FIELDS, limit: LARGEST }, signal) : [],
      takeInventory({ since: start, sessions: true }, signal),
      load("page/links.json", {}, signal),
    ]);
    const computed = new Set(inventory.taken ? [] : await computedDays(of, signal));
    const restated = restatements(revisions);
    const days = rows.map((row) => row.trade_date);
    const model = sessions(days, { inventory: inventory.taken, computed, restated });
    byId("access").hidden = true;
    document.body.classList.remove("locked");
    state.session = chosen(model);
    address.write(state, { replace: true });
    shown = { rows: symbol ? rows : [], restated, inventory: inventory.taken, model, ui: links.dagster, grid: null };
    showLinks();
    showNotices(inventory);
    showSessions();
    await showChart(signal);
    say(summary());
  }, () => showAll());
  if (isThere) await showSession();
}

/** The session of the address; one that is not in the range gives way to the last one that anything is known of. */
function chosen(model) {
  if (model.some((one) => one.day === state.session)) return state.session;
  return (model.findLast((one) => !["missing", "waiting"].includes(one.state)) ?? model.at(-1))?.day ?? "";
}

async function computedDays({ start, end }, signal) {
  const days = await askAll("otc/quality", { start, end, limit: QUALITY_PAGE }, signal);
  return days.filter((one) => one.computed_at !== null).map((one) => one.day);
}

const summary = () => {
  const count = (wanted) => shown.model.filter((one) => one.state === wanted).length;
  const parts = Object.keys(STATES).filter(count).map((one) => `${count(one)} ${STATES[one].label.toLowerCase()}`);
  return `${state.symbol}, ${plural(shown.model.length, "session")}: ${parts.join(", ")}.`;
};

function showChoice() {
  complain("");
  symbols.show(state.symbol);
  byId("start").value = state.start;
  byId("end").value = state.end;
  document.title = state.symbol ? `${state.symbol} · Market Spine` : "Market Spine";
  for (const button of document.querySelectorAll("[data-months]")) {
    button.setAttribute("aria-pressed", String(state.start === monthsBefore(state.end, Number(button.dataset.months))));
  }
}

function showLinks() {
  byId("dagster").hidden = !shown.ui;
  if (shown.ui) byId("dagster").href = shown.ui;
  byId("forget").hidden = !token.get();
}

function showNotices({ taken, why }) {
  const notices = [];
  if (!taken) notices.push(h("p", { class: "notice" }, `Why a session is missing, and what failed, is not known now. ${why}`));
  const later = (taken?.problems ?? []).filter((one) => one.asset === "otc_metrics_daily" && one.last > state.end && one.status !== "disagreement");
  if (later.length) {
    const count = shown.inventory.sessions.filter((one) => one.asset === "otc_metrics_daily" && one.session > state.end && ["missing", "failed", "blocked"].includes(one.status)).length;
    const last = later.at(-1).last;
    notices.push(h("p", { class: "notice" }, `${plural(count, "later session")}, up to ${shortDay(last)}, ${count === 1 ? "is" : "are"} missing or failed. `,
      h("button", { type: "button", class: "link", onclick: () => go({ end: last, start: state.start }) }, "Show")));
  }
  byId("notices").replaceChildren(...notices);
}

async function showChart(signal) {
  const { rows, restated } = shown;
  const { symbol, session } = state;
  byId("chart-title").textContent = symbol || "Prices and volume";
  byId("chart-range").textContent = `${shortDay(state.start)} – ${shortDay(state.end)}`;
  const wasOpen = byId("chart").querySelector("details.figures")?.open ?? false;
  if (!rows.some((row) => row.revision !== null)) {
    byId("chart").replaceChildren(await nothing(signal));
    return;
  }
  const old = byId("chart").querySelector(".plot");
  const plot = old ?? h("div", { class: "plot" });
  byId("chart").replaceChildren(h("div", { class: "filled" }, latest(rows, exactly), legend(), plot,
    figures(symbol, rows, restated, { choose: (day) => go({ session: day }, { scroll: true }), isOpen: wasOpen })));
  try {
    await draw(plot, rows, restated, { symbol, selected: session, choose: (day) => go({ session: day }) });
  } catch (error) {
    plot.replaceChildren(h("p", { class: "trouble" }, error.message));
  }
}

/** Why there is nothing to draw, and where there is something. */
async function nothing(signal) {
  if (!state.symbol) {
    return h("p", { class: "empty" }, "There are no metrics yet. ", h("code", {}, "spine demo"), " fills in the bundled sessions.");
  }
  const found = await known(state.symbol, signal);
  if (!found) return h("p", { class: "empty" }, `There are no metrics of ${state.symbol}. Choose another symbol.`);
  const { first_date: start, last_date: end } = found;
  return h("p", { class: "empty" }, `${state.symbol} has no metrics in this range. `,
    h("button", { type: "button", onclick: () => go({ start: monthsBefore(end, MONTHS) > start ? monthsBefore(end, MONTHS) : start, end }) },
      `Show up to ${shortDay(end)}`));
}

function showSessions() {
  const { model } = shown;
  const restatedCount = model.filter((one) => one.restated).length;
  byId("sessions-counts").textContent = `${plural(model.length, "session")}, ${restatedCount} restated for ${state.symbol || "no symbol"}`;
  if (!model.length) {
    byId("sessions").replaceChildren(h("p", { class: "empty" }, "There is no session in this range."));
    return;
  }
  const focused = byId("sessions").contains(document.activeElement);
  const grid = calendar(model, { symbol: state.symbol, selected: state.session, choose: (day) => go({ session: day }) });
  shown.grid = grid;
  grid.element.classList.add("filled");
  byId("sessions").replaceChildren(grid.element);
  if (focused) grid.element.querySelector("[tabindex='0']")?.focus();
}

async function showSession({ focus = false, scroll = false } = {}) {
  sessionRequest.abort();
  sessionRequest = new AbortController();
  const { signal } = sessionRequest;
  const { symbol, session: day } = state;
  const session = shown.model.find((one) => one.day === day);
  byId("session-title").textContent = day ? longDay(day) : "Session";
  if (!session) {
    byId("session").replaceChildren(h("p", { class: "empty" }, "There is no session in this range."));
    return;
  }
  // Beside the calendar it is in sight already.
  if (focus) byId("session-title").focus({ preventScroll: !scroll && matchMedia("(min-width: 900px)").matches });
  await fill([byId("session")], async () => {
    const of = { start: day, end: day };
    const [quality, revisions] = await Promise.all([
      ask("otc/quality", of, signal),
      symbol ? askAll("otc/metrics/revisions", { ...of, symbol, fields: "all", limit: LARGEST }, signal) : [],
    ]);
    byId("session").replaceChildren(details({
      session, symbol, quality: quality.data[0] ?? null, history: restatements(revisions).get(day) ?? null,
      inventory: shown.inventory, ui: shown.ui,
      ask: async (file) => (await ask("otc/quarantine", { ...of, file_id: file, limit: REPORTS })).data,
    }));
    const restated = isRestated(shown.restated.get(day)) && session.state !== "restated" ? ", restated" : "";
    say(`${longDay(day)}: ${STATES[session.state].label.toLowerCase()}${restated}.`);
  }, () => showSession());
}

// --- what is chosen

/** Go to another symbol, range or session; the address of what was there before stays in the history. */
function go(change, { scroll = false } = {}) {
  const before = state;
  state = { ...state, ...change };
  address.write(state);
  if (!shown || ["symbol", "start", "end"].some((name) => before[name] !== state[name])) {
    showAll();
    return;
  }
  shown.grid?.select(state.session);
  showChart(request.signal);
  showSession({ focus: "session" in change, scroll });
}

function complain(why) {
  byId("choice-error").textContent = why;
  byId("choice-error").hidden = !why;
}

function goRange() {
  const [start, end] = [byId("start").value, byId("end").value];
  // While a year is being typed it is 0002, then 0020.
  const usable = [start, end].every((day) => isDay(day) && day >= EARLIEST);
  const why = !usable ? `A range needs two days from ${EARLIEST.slice(0, 4)} on.` : end < start ? "The range ends before it begins." : "";
  complain(why);
  for (const id of ["start", "end"]) byId(id).setAttribute("aria-invalid", String(Boolean(why)));
  if (!why) go({ start, end });
}

const symbols = picker(byId("symbol"), byId("symbols"), {
  choose: (symbol) => go({ symbol }),
  fail: (error) => (error.isRefused ? needToken(error) : complain(error.message)),
});
byId("choice").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["start", "end"]) byId(id).addEventListener("change", goRange);
for (const button of document.querySelectorAll("[data-months]")) {
  button.addEventListener("click", () => state.end && go({ start: monthsBefore(state.end, Number(button.dataset.months)) }));
}
byId("access-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  byId("token").value = "";
  showAll();
});
byId("forget").addEventListener("click", () => {
  token.forget();
  location.reload();
});
window.addEventListener("popstate", () => {
  state = address.read();
  showAll();
});
const redraw = () => {
  const plot = document.querySelector(".plot");
  if (shown && plot) {
    forget(plot);
    showChart(request.signal);
  }
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
matchMedia("(max-width: 620px)").addEventListener("change", redraw);
showAll();
