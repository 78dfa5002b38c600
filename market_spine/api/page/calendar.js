// The heat map: a small calendar for each month, a cell for each session, walked with the arrow keys.
// Belongs here: those grids and their keys. Does not belong here: what a session's state is (model).

import { daysLater, h, longDay, monthName, weekday } from "./dom.js";
import { STATES } from "./model.js";

const WEEKDAYS = [["Mon", "Monday"], ["Tue", "Tuesday"], ["Wed", "Wednesday"], ["Thu", "Thursday"], ["Fri", "Friday"]];

/** A legend, and a grid a month. `choose` gets the day of the session that is pressed. */
export function calendar(sessions, { symbol, selected, choose }) {
  const buttons = new Map();
  const days = sessions.map((one) => one.day);
  const months = [...Map.groupBy(sessions, (one) => one.day.slice(0, 7)).values()];
  const grids = months.map((month) => grid(month, { symbol, selected, choose, buttons }));
  const box = h("div", { class: "months" }, grids);
  // One stop for the Tab key: the session that is shown, or the last one.
  (buttons.get(selected) ?? buttons.get(days.at(-1)))?.setAttribute("tabindex", "0");
  box.addEventListener("keydown", (event) => {
    const from = event.target.dataset?.day;
    const to = from && target(event.key, from, days);
    if (!to) return;
    event.preventDefault();
    focus(buttons, to);
  });
  return { element: h("div", {}, legend(sessions), box), select: (day) => select(buttons, day) };
}

function legend(sessions) {
  const counted = (state) => sessions.filter((one) => one.state === state).length;
  return h("ul", { class: "legend states" }, Object.entries(STATES).filter(([state]) => state !== "waiting" || counted(state))
    .map(([state, { label, glyph }]) => h("li", {},
      h("i", { class: `swatch state-${state}`, "aria-hidden": "true" }, glyph), label, " ", h("b", {}, String(counted(state))))));
}

function grid(month, { symbol, selected, choose, buttons }) {
  const name = monthName(month[0].day);
  const monday = (day) => daysLater(day, 1 - weekday(day));
  const weeks = [...Map.groupBy(month, (one) => monday(one.day)).values()];
  const cell = (session) => {
    if (!session) return h("td", { role: "gridcell" });
    const { label, glyph } = STATES[session.state];
    const isRestated = session.restated && session.state !== "restated";
    const says = `${longDay(session.day)}: ${label.toLowerCase()}${session.state === "restated" ? ` for ${symbol}` : ""}`
      + (isRestated ? `, restated for ${symbol}` : "");
    const button = h("button", {
      type: "button", class: `session state-${session.state}`, tabindex: "-1", "data-day": session.day, "aria-label": says,
      "aria-pressed": String(session.day === selected), title: says, onclick: () => choose(session.day),
    }, h("span", { class: "date" }, String(Number(session.day.slice(8)))), h("span", { class: "glyph", "aria-hidden": "true" }, glyph));
    buttons.set(session.day, button);
    return h("td", { role: "gridcell" }, button);
  };
  return h("table", { role: "grid", class: "month", "aria-label": `Sessions of ${name}` },
    h("caption", {}, name),
    h("thead", {}, h("tr", { role: "row" }, WEEKDAYS.map(([short, long]) => h("th", { scope: "col", role: "columnheader", abbr: long }, short)))),
    h("tbody", {}, weeks.map((week) => h("tr", { role: "row" },
      WEEKDAYS.map((_, at) => cell(week.find((session) => weekday(session.day) === at + 1)))))));
}

/** Where a key leads from a day: to the session before or after, a week or a month further, the first or last one. */
function target(key, from, days) {
  const at = days.indexOf(from);
  const near = (day) => days.findLast((one) => one <= day) ?? days[0];
  switch (key) {
    case "ArrowLeft": return days[at - 1];
    case "ArrowRight": return days[at + 1];
    case "ArrowUp": return at > 0 ? near(daysLater(from, -7)) : undefined;
    case "ArrowDown": return daysLater(from, 7) > days.at(-1) ? days.at(-1) : near(daysLater(from, 7));
    case "PageUp": return near(daysLater(from, -28));
    case "PageDown": return near(daysLater(from, 28));
    case "Home": return days[0];
    case "End": return days.at(-1);
    default: return undefined;
  }
}

function focus(buttons, day) {
  for (const button of buttons.values()) button.setAttribute("tabindex", "-1");
  buttons.get(day).setAttribute("tabindex", "0");
  buttons.get(day).focus();
}

function select(buttons, day) {
  for (const [own, button] of buttons) {
    button.setAttribute("aria-pressed", String(own === day));
    button.setAttribute("tabindex", own === day ? "0" : "-1");
  }
  if (!buttons.has(day)) [...buttons.values()].at(-1)?.setAttribute("tabindex", "0");
}
