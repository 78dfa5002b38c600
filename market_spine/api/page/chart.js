// The chart: close, both vwaps, the band from low to high and volume by session, restated days marked.
// Belongs here: how it is drawn with plotly. Does not belong here: the numbers (main asks for them), the table of them.

import { h, longDay, plural, shortDay, tickDay, words } from "./dom.js";
import { DRAWN, isRestated } from "./model.js";

const LIBRARY_SECONDS = 60;
const PX_PER_TICK = 74;
const PRICES = ["close_price", "vwap", "vwap_all", "high_price", "low_price"];
const FEW = 40; // sessions, up to which each point is drawn

export const KEYS = [
  ["close", "Close"], ["vwap", "VWAP"], ["vwap_all", "VWAP of all trades"], ["band", "Low to high"],
  ["volume", "Volume"], ["restated", "Restated"],
];

/** The library, when the browser has it. */
function library() {
  const script = document.getElementById("library");
  return new Promise((resolve, reject) => {
    const fail = () => reject(new Error("The chart library could not be loaded; the figures below have every number."));
    if (window.Plotly) resolve(window.Plotly);
    script.addEventListener("load", () => (window.Plotly ? resolve(window.Plotly) : fail()));
    script.addEventListener("error", fail);
    setTimeout(fail, LIBRARY_SECONDS * 1000);
  });
}

export const legend = () => h("ul", { class: "legend", "aria-hidden": "true" },
  KEYS.map(([key, label]) => h("li", {}, h("i", { class: `key key-${key}` }), label)));

/** Draw rows of the daily metrics; `choose` gets the day that is clicked. */
export async function draw(place, rows, restated, { symbol, selected, choose }) {
  const Plotly = await library();
  if (!place.isConnected) return; // another choice was made meanwhile
  const colour = colours();
  const isNarrow = place.clientWidth < 560;
  const days = rows.map((row) => row.trade_date);
  const marks = marked(rows, restated);
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", described(symbol, rows, marks));
  await Plotly.react(place, traces(rows, marks, colour), layout(rows, colour, { isNarrow, selected, width: place.clientWidth }), {
    displayModeBar: false, responsive: true, doubleClick: "reset", showTips: false,
  });
  place.removeAllListeners("plotly_click");
  place.on("plotly_click", (event) => choose(event.points[0].x));
}

/** Let go of what plotly keeps of a chart that goes away. */
export const forget = (place) => window.Plotly?.purge(place);

function marked(rows, restated) {
  return rows.filter((row) => isRestated(restated.get(row.trade_date))).map((row) => {
    const changes = restated.get(row.trade_date).changes.filter((one) => !one.follows);
    const drawn = changes.filter((one) => DRAWN.includes(one.name));
    const lines = drawn.slice(0, 4).map((one) => `${words(one.name)} ${one.before ?? "none"} → ${one.after ?? "none"}`);
    const more = changes.length - lines.length;
    if (restated.get(row.trade_date).isWithdrawn) lines.unshift("withdrawn");
    if (more > 0) lines.push(lines.length ? `and ${plural(more, "more change")}` : plural(more, "change"));
    return { day: row.trade_date, price: row.close_price ?? row.vwap ?? row.vwap_all, text: lines.join("<br>") };
  });
}

function described(symbol, rows, marks) {
  const there = rows.filter((row) => row.revision !== null).length;
  const range = rows.length ? `, ${longDay(rows[0].trade_date)} to ${longDay(rows.at(-1).trade_date)}` : "";
  return `Chart of ${symbol}${range}: close, vwap, vwap of all trades, low to high and volume of ${plural(there, "session")}, `
    + `${marks.length} of them restated. The figures below it have the same numbers.`;
}

function traces(rows, marks, colour) {
  const x = rows.map((row) => row.trade_date);
  const line = (name, field, style) => ({
    type: "scatter", mode: "lines+markers", name, x, y: rows.map((row) => number(row[field])), connectgaps: false,
    customdata: rows.map((row) => row[field]), hovertemplate: "%{customdata}", line: { width: 2, ...style },
    marker: { size: dots(rows.map((row) => row[field])), opacity: 1, color: style.color, line: { width: 0 } },
  });
  const [low, high] = ["low_price", "high_price"].map((name) => rows.map((row) => number(row[name])));
  const volumes = rows.map((row) => number(row.total_volume));
  const ofPrice = marks.filter((mark) => mark.price !== null);
  const others = marks.filter((mark) => mark.price === null);
  const mark = (some, y, axis) => ({
    type: "scatter", mode: "markers", name: "Restated", x: some.map((one) => one.day), y, yaxis: axis,
    customdata: some.map((one) => one.text), hovertemplate: "%{customdata}",
    marker: { symbol: "diamond", size: 11, color: colour.restated, line: { width: 2, color: colour.surface } },
  });
  return [
    {
      // A bar a session, as wide as it: a band that has gaps where there was no trade.
      type: "bar", name: "Low to high", x, base: low, y: high.map((top, at) => (top === null ? null : top - low[at])), width: 1,
      customdata: rows.map((row) => [row.low_price, row.high_price]), hovertemplate: "%{customdata[0]} to %{customdata[1]}",
      marker: { color: colour.band, line: { width: 1, color: colour.band } },
    },
    line("VWAP of all trades", "vwap_all", { color: colour.vwapAll, dash: "dot" }),
    line("VWAP", "vwap", { color: colour.vwap }),
    line("Close", "close_price", { color: colour.close }),
    {
      type: "bar", name: "Volume", x, y: volumes, yaxis: "y2", customdata: rows.map((row) => row.total_volume),
      hovertemplate: "%{customdata}", marker: { color: colour.volume },
    },
    mark(ofPrice, ofPrice.map((one) => number(one.price)), "y"),
    mark(others, others.map(() => 0), "y2"),
  ];
}

/** Every point where there are few; of many only those without a neighbour, to which no line leads. */
const dots = (values) => values.map((value, at) => {
  const alone = (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null;
  return value !== null && (alone || values.length < FEW) ? 5 : 0;
});

const number = (text) => (text === null || text === undefined ? null : Number(text));

/** From the lowest to the highest price with some air; plotly's own range would begin at zero because of the bars. */
function reach(rows) {
  const prices = rows.flatMap((row) => PRICES.map((name) => number(row[name]))).filter((price) => price !== null);
  if (!prices.length) return undefined;
  const [low, high] = [Math.min(...prices), Math.max(...prices)];
  const air = (high - low || Math.abs(high) * 0.1 || 1) * 0.07;
  return [low - air, high + air];
}

function layout(rows, colour, { isNarrow, selected, width }) {
  const days = rows.map((row) => row.trade_date);
  const step = Math.max(1, Math.ceil(days.length / Math.max(2, Math.floor(width / PX_PER_TICK))));
  const ticks = days.filter((_, at) => at % step === 0);
  const axis = {
    gridcolor: colour.grid, zeroline: false, linecolor: colour.grid, fixedrange: true, automargin: true,
    tickfont: { size: 12 }, exponentformat: "none", separatethousands: true,
  };
  return {
    autosize: true, height: isNarrow ? 340 : 430, margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif", color: colour.text, size: 13 },
    hovermode: "x unified", hoversubplots: "axis",
    hoverlabel: { bgcolor: colour.surface, bordercolor: colour.grid, font: { color: colour.text, size: 12 } },
    // A finger that moves over the chart scrolls the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: {
      ...axis, type: "category", categoryorder: "array", categoryarray: days, fixedrange: false, showgrid: false,
      range: [-0.6, days.length - 0.4], tickvals: ticks, ticktext: ticks.map(tickDay), anchor: "y2", tickangle: 0,
      spikethickness: 1, spikedash: "solid", spikecolor: colour.text,
    },
    yaxis: { ...axis, domain: [0.3, 1], nticks: 7, range: reach(rows) },
    yaxis2: { ...axis, domain: [0, 0.22], nticks: 3, rangemode: "tozero", tickformat: ".3~s" },
    shapes: days.includes(selected) ? [{
      type: "rect", xref: "x", yref: "paper", x0: days.indexOf(selected) - 0.5, x1: days.indexOf(selected) + 0.5, y0: 0,
      y1: 1, line: { width: 0 }, fillcolor: colour.selected, layer: "below",
    }] : [],
    bargap: 0.35, barmode: "overlay",
  };
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: of("muted"), grid: of("line"), surface: of("surface"), close: of("ink"), vwap: of("blue"),
    vwapAll: of("orange"), band: of("band"), volume: of("bar"), restated: of("restated"), selected: of("selected"),
  };
}

/** The strip above the chart: the last session that has metrics, digit by digit. */
export function latest(rows, exactly) {
  const row = rows.findLast((one) => one.revision !== null);
  if (!row) return null;
  const facts = [["Close", row.close_price], ["VWAP", row.vwap], ["Low", row.low_price], ["High", row.high_price], ["Volume", row.total_volume]];
  return h("dl", { class: "facts", "aria-label": `Figures of ${longDay(row.trade_date)}` },
    h("div", {}, h("dt", {}, "Last in range"), h("dd", {}, shortDay(row.trade_date))),
    facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, exactly(value)))));
}
