// How the page speaks to its server: JSON there and back, and every fault in words.

import { $ } from "./dom.js";
import { hearTime } from "./stamp.js";
import { page } from "./tab.js";

/** What went wrong: `status` 0 means that the server was not reached. */
export class ApiError extends Error {
  constructor(status, what, hint = null, retryAfterS = 0) {
    super(what);
    Object.assign(this, { status, hint, retryAfterS });
  }

  /** Whether the same request may do later. */
  get isPassing() { return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500; }

  /** Whether somebody must log in first. */
  get isLoggedOut() { return this.status === 401 || this.status === 403; }
}

const csrf = { value: $("meta[name=csrf]")?.content ?? "" };
const NOT_REACHED = "The server cannot be reached";

export async function call(path, body = null, { keepalive = false, timeoutS = 30 } = {}) {
  const options = { headers: { Accept: "application/json" }, credentials: "same-origin", cache: "no-store", keepalive };
  if (page.id) options.headers["X-Page"] = page.id;
  if (!keepalive) options.signal = AbortSignal.timeout(timeoutS * 1000);
  if (body !== null) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.headers["X-CSRF-Token"] = csrf.value;
    options.body = JSON.stringify(body);
  }
  const asked = Date.now();
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new ApiError(0, NOT_REACHED, "It is tried again.");
  }
  const isJson = (answer.headers.get("content-type") ?? "").includes("json");
  let found = null;
  try {
    found = isJson ? await answer.json() : null;
  } catch {
    throw new ApiError(0, NOT_REACHED, "Its answer was cut off; it is tried again.");
  }
  if (found?.now) hearTime(found.now, asked, Date.now());
  if (answer.ok && found !== null) return found;
  const wait = Number(answer.headers.get("retry-after")) || 0;
  throw new ApiError(answer.ok ? 502 : answer.status, found?.error ?? `The server answered ${answer.status}`, found?.hint ?? null, wait);
}

/** After a new login in another window: take over its key. Says who is logged in now, or null. */
export async function renew() {
  try {
    const answer = await fetch("/", { credentials: "same-origin", cache: "no-store", headers: { Accept: "text/html" } });
    if (!answer.ok || new URL(answer.url).pathname !== "/") return null;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.querySelector("meta[name=csrf]")?.content;
    const annotator = page.querySelector("meta[name=annotator]")?.content;
    if (!found || !annotator) return null;
    return { annotator, use: () => { csrf.value = found; } };
  } catch {
    return null;
  }
}
