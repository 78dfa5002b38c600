// The figures behind the chart as a table, with every digit the API delivered.
// Belongs here: that table. Does not belong here: the chart.

import { exactly, h, plural, shortDay } from "./dom.js";
import { isRestated } from "./model.js";

const COLUMNS = [
  ["close_price", "Close"], ["vwap", "VWAP"], ["vwap_all", "VWAP of all"], ["low_price", "Low"], ["high_price", "High"],
  ["total_volume", "Volume"], ["trade_count", "Trades"], ["revision", "Revision"],
];

/** Closed at first; made when it is opened, as a year has 250 rows. `choose` gets the day whose button is pressed. */
export function figures(symbol, rows, restated, { choose, isOpen }) {
  const there = rows.filter((row) => row.revision !== null);
  const box = h("details", { class: "figures", open: isOpen },
    h("summary", {}, `Figures of ${plural(there.length, "session")}`));
  const fill = () => {
    if (box.open && box.children.length === 1) box.append(table(symbol, there, restated, choose));
  };
  box.addEventListener("toggle", fill);
  fill();
  return box;
}

function table(symbol, rows, restated, choose) {
  const head = h("tr", {}, h("th", { scope: "col" }, "Session"), COLUMNS.map(([, label]) => h("th", { scope: "col", class: "right" }, label)));
  const body = rows.toReversed().map((row) => h("tr", {},
    h("th", { scope: "row" },
      h("button", { type: "button", class: "link", onclick: () => choose(row.trade_date) }, shortDay(row.trade_date)),
      isRestated(restated.get(row.trade_date)) && h("span", { class: "tag tag-restated" }, "restated")),
    COLUMNS.map(([name]) => h("td", { class: "right" }, exactly(row[name])))));
  return h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Figures of ${symbol}` },
    h("table", {}, h("thead", {}, head), h("tbody", {}, body)));
}
