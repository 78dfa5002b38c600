// The API as the page asks it: exact numbers, one error, the token of this tab.
// Belongs here: requests and what can go wrong with them. Does not belong here: what is asked for.

const BASE = "api/v1/";
const TOKEN = "market-spine-token";
const NUMBER = /("(?:[^"\\]|\\.)*")|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Something that cannot be shown, as one sentence; `isRefused` where a token is missing or unknown. */
export class Trouble extends Error {
  constructor(message, { status = 0, code = "", requestId = "" } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }

  get isRefused() {
    return this.status === 401;
  }
}

/** JSON with every number as its text: a double would round what the database has. */
export const exact = (text) => JSON.parse(text.replace(NUMBER, (number, quoted) => quoted ?? `"${number}"`));

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** One answer of the API; parameters without a value are left out. */
export const ask = (path, parameters, signal) => load(BASE + path, parameters, signal);

/** The rows of all pages. */
export async function askAll(path, parameters, signal) {
  const rows = [];
  let cursor = null;
  do {
    const page = await ask(path, { ...parameters, cursor }, signal);
    rows.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return rows;
}

export async function load(address, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") query.append(name, one);
  }
  const url = query.size ? `${address}?${query}` : address;
  const headers = { Accept: "application/json" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let answer, text;
  try {
    answer = await fetch(url, { headers, signal });
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The API does not answer. It may be restarting, or the connection is gone.");
  }
  if (answer.ok) return exact(text);
  throw problem(answer, text);
}

function problem(answer, text) {
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    // a proxy's own page: its status is all there is
  }
  const said = body.detail ? `${body.title}: ${body.detail}` : `The answer was ${answer.status} ${answer.statusText}`;
  return new Trouble(`${said.replace(/\.$/, "")}.`, {
    status: answer.status, code: body.code, requestId: body.request_id,
  });
}
