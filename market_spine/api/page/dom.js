// Small helpers: elements, dates and exact numbers as people read them.
// Belongs here: what several modules build with. Does not belong here: anything that knows the API.

/** An element. Properties that begin with "on" are listeners; null and false children are left out. */
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const byId = (id) => document.getElementById(id);

const inUtc = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const LONG = inUtc({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const SHORT = inUtc({ day: "numeric", month: "short", year: "numeric" });
const TICK = inUtc({ day: "numeric", month: "short" });
const MONTH = inUtc({ month: "long", year: "numeric" });
const moment = (day) => new Date(`${day}T00:00:00Z`);

export const longDay = (day) => LONG.format(moment(day)).replace(",", "");
export const shortDay = (day) => SHORT.format(moment(day));
export const tickDay = (day) => TICK.format(moment(day));
export const monthName = (day) => MONTH.format(moment(day));
/** 1 for Monday to 7 for Sunday. */
export const weekday = (day) => moment(day).getUTCDay() || 7;
export const isDay = (text) => /^\d{4}-\d{2}-\d{2}$/.test(text ?? "") && !Number.isNaN(moment(text).getTime());

export function daysLater(day, days) {
  const at = moment(day);
  at.setUTCDate(at.getUTCDate() + days);
  return at.toISOString().slice(0, 10);
}

/** The same day some months earlier, or the last one of that month where it has fewer days; then the day after. */
export function monthsBefore(day, months) {
  const [year, month, date] = day.split("-").map(Number);
  const last = new Date(Date.UTC(year, month - months, 0)).getUTCDate();
  const at = new Date(Date.UTC(year, month - 1 - months, Math.min(date, last)));
  return daysLater(at.toISOString().slice(0, 10), 1);
}

/** A moment of the API to the second: 2026-03-05 22:00:04 UTC. */
export const shortMoment = (text) => text.replace("T", " ").replace(/\.\d+/, "").replace(/\+00:00$|Z$/, " UTC");

/**
 * A number of the API with every digit it came with: the text is what was delivered, also when it is copied. Groups of
 * thousands are set apart and zeros at the end are toned down by style alone.
 */
export function exactly(text) {
  if (text === null || text === undefined) return h("span", { class: "none" }, "–");
  const [, sign, whole, fraction = ""] = /^(-?)(\d+)(\.\d+)?$/.exec(text) ?? [];
  // A moment, which may break before its time; a word; a double with an exponent.
  if (whole === undefined) return h("span", { class: "word" }, text.split(/(?<=\dT)/).flatMap((part) => [part, h("wbr")]));
  const digits = fraction.replace(/\.?0+$/, "");
  const zeros = fraction.slice(digits.length);
  return h("span", { class: "number" }, sign, groupsOf(whole), digits, zeros && h("span", { class: "zeros" }, zeros));
}

function groupsOf(whole) {
  return whole.split(/(?=(?:\d{3})+$)/).map((group) => h("span", { class: "group" }, group));
}

export const plural = (count, word) => `${count.toLocaleString("en-GB")} ${word}${count === 1 ? "" : "s"}`;
/** Codes as people read them: bad_price is "bad price". */
export const words = (code) => code.replaceAll("_", " ");
