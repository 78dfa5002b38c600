// The symbol picker: a text field with suggestions, by mouse and by keyboard (the combobox pattern of ARIA 1.2).
// Belongs here: typing, suggesting, choosing. Does not belong here: what a choice does.

import { ask } from "./api.js";
import { h, plural, shortDay } from "./dom.js";
import { SYMBOL } from "./state.js";

const MOST = 30;
const PAUSE = 120; // ms without a key before the API is asked

/** `choose` gets the symbol; `fail` gets what went wrong. Answers with {show}: what the field says when nobody types. */
export function picker(input, list, { choose, fail }) {
  let chosen = "";
  let options = [];
  let active = -1;
  let timer = 0;
  let request = new AbortController();

  function close() {
    clearTimeout(timer);
    request.abort();
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    active = -1;
  }

  function take(symbol) {
    close();
    input.value = symbol;
    if (symbol !== chosen) choose(symbol);
    chosen = symbol;
  }

  function activate(index) {
    active = options.length ? (index + options.length) % options.length : -1;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === active)));
    if (active < 0) return;
    input.setAttribute("aria-activedescendant", list.children[active].id);
    list.children[active].scrollIntoView({ block: "nearest" });
  }

  function offer(rows) {
    options = rows;
    const items = rows.map((row, at) => h("li", {
      id: `symbol-${at}`, role: "option", "aria-selected": "false",
      onpointerdown: (event) => event.preventDefault(), // the field keeps the focus
      onclick: () => take(row.symbol),
    }, h("b", {}, row.symbol), h("span", { class: "hint" }, `${plural(Number(row.days), "day")}, last ${shortDay(row.last_date)}`)));
    const none = h("li", { class: "hint", role: "option", "aria-disabled": "true", "aria-selected": "false" }, "No such symbol");
    list.replaceChildren(...(items.length ? items : [none]));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    active = -1;
    input.removeAttribute("aria-activedescendant");
  }

  /** Hand the symbols that begin so to `then`, as typed and in capitals, unless another key came meanwhile. */
  async function look(text, then) {
    clearTimeout(timer);
    request.abort();
    request = new AbortController();
    const { signal } = request;
    const prefixes = [...new Set([text, text.toUpperCase()])].filter((prefix) => !prefix || SYMBOL.test(prefix));
    try {
      const pages = await Promise.all(prefixes.map((prefix) => ask("otc/symbols", { prefix, limit: MOST }, signal)));
      if (!signal.aborted) then(pages.flatMap((page) => page.data).slice(0, MOST));
    } catch (error) {
      if (error.name !== "AbortError") {
        close();
        fail(error);
      }
    }
  }

  const suggest = (text) => look(text, offer);

  /** Take what was typed, however it was written; one that nobody knows too, so that the page says so. */
  const resolve = (typed) => look(typed, (rows) => {
    const named = (text) => rows.find((row) => row.symbol === text)?.symbol;
    take(named(typed) ?? named(typed.toUpperCase()) ?? typed);
  });

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => suggest(input.value.trim()), PAUSE);
  });
  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => list.hidden && suggest(""));
  input.addEventListener("blur", () => {
    close();
    input.value = chosen;
  });
  input.addEventListener("keydown", (event) => {
    const isOpen = !list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen) suggest(input.value === chosen ? "" : input.value.trim());
      else if (event.key === "ArrowDown") activate(active + 1);
      else activate(active < 0 ? -1 : active - 1);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const typed = input.value.trim();
      if (isOpen && options[active]) take(options[active].symbol);
      else if (SYMBOL.test(typed)) resolve(typed);
    } else if (event.key === "Escape" && isOpen) {
      event.preventDefault();
      input.value = chosen;
      close();
    }
  });

  return {
    show(symbol) {
      chosen = symbol;
      if (document.activeElement !== input || list.hidden) input.value = symbol;
    },
  };
}
