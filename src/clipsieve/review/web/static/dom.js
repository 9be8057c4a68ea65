// Small words for making elements. Texts go in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (selector, inside = document) => inside.querySelector(selector);
export const $$ = (selector, inside = document) => [...inside.querySelectorAll(selector)];

/** Make an element: attributes by name, `on` for listeners, `data` for data attributes; falsy children are left out. */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (name === "data") Object.assign(made.dataset, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A name from the data: it cannot turn the text around it. */
export const bdi = (text) => h("bdi", {}, String(text));

export function icon(name) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("class", "icon");
  made.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  made.append(use);
  return made;
}

const counts = new Intl.NumberFormat("en");
export const count = (n) => counts.format(n ?? 0);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** A probability in whole percent that never claims certainty: 0.9996 is "> 99 %". */
export function percent(share) {
  const rounded = Math.round(share * 100);
  if (rounded === 100 && share < 1) return "> 99 %";
  if (rounded === 0 && share > 0) return "< 1 %";
  return `${rounded} %`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const live = { polite: null, timer: 0 };

/** Tell a screen reader, without moving anything. */
export function say(text) {
  live.polite ??= $("#spoken");
  clearTimeout(live.timer);
  live.polite.textContent = "";
  live.timer = setTimeout(() => { live.polite.textContent = text; }, 40);
}

/** Show a sentence at the foot of the page for a while; `hint` says what to do. */
export function notify(text, { hint = null, kind = "info", action = null } = {}) {
  const close = h("button", { type: "button", class: "plain", "aria-label": "Close this message" }, icon("close"));
  const note = h("div", { class: `notice is-${kind}`, role: kind === "error" ? "alert" : "status" },
    h("p", {}, h("strong", {}, text), hint ? ` ${hint}` : null), action, close);
  const shown = $("#notices");
  const words = hint ? `${text} ${hint}` : text;
  [...shown.children].find((each) => $("p", each).textContent === words)?.remove(); // the same again stands there once
  while (shown.children.length > 2) shown.firstElementChild.remove();
  shown.append(note);
  const timer = setTimeout(() => note.remove(), kind === "error" ? 15000 : 6000);
  close.addEventListener("click", () => { clearTimeout(timer); note.remove(); });
  return note;
}

/** What the browser keeps; `null` where it keeps nothing (private windows, a full disk). */
const keeper = (storage) => ({
  get(key) {
    try { return JSON.parse(storage().getItem(key)); } catch { return null; }
  },
  set(key, value) {
    try { storage().setItem(key, JSON.stringify(value)); return true; } catch { return false; }
  },
  remove(key) {
    try { storage().removeItem(key); } catch { /* it keeps nothing anyway */ }
  },
  keys(prefix) {
    try { return Object.keys(storage()).filter((key) => key.startsWith(prefix)); } catch { return []; }
  },
});

export const kept = keeper(() => localStorage);
export const keptForTab = keeper(() => sessionStorage);
