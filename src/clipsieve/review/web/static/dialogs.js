// The page's dialogs. Each is a <dialog> of the page; what is filled in here comes from the server or from the keys.

import { $, $$, bdi, count, h, icon, percent, plural } from "./dom.js";
import { ACTIONS, keyOf, shown } from "./keys.js";
import { coverAll } from "./picture.js";
import { said } from "./views.js";

export function open(name) {
  const dialog = $(`#${name}-dialog`);
  if ($("dialog[open]")) return null;
  coverAll();
  dialog.showModal();
  return dialog;
}

export const close = () => $$("dialog[open]").forEach((dialog) => dialog.close());

/** Buttons that close, and a press beside a dialog, do what Esc does. */
export function bindClosing(onClosed) {
  for (const dialog of $$("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
    dialog.addEventListener("close", onClosed);
  }
}

const SECTIONS = [["", "In order"], ["class", "By class"], ["concept", "By concept"]];
const FILTERED_FROM = 9;

/** The queues; classes and concepts have lists of their own, with a filter where they are long. */
export function queues(state, current, onChoose) {
  const line = (queue) => {
    const isHere = queue.name === current?.name && queue.value === current?.value;
    const bar = h("span", { class: "progress thin", "aria-hidden": "true" }, h("span", { class: "fill" }));
    bar.style.setProperty("--share", queue.n ? queue.n_done / queue.n : 0);
    const button = h("button", { type: "button", class: `queue${isHere ? " is-here" : ""}`, "aria-current": isHere ? "true" : null, autofocus: isHere, data: { queue: queue.name } },
      h("span", { class: "queue-title" }, bdi(queue.title)), h("span", { class: "queue-n" }, `${count(queue.n_done)} of ${count(queue.n)}`), bar,
      queue.about ? h("span", { class: "soft queue-about" }, bdi(queue.about)) : null);
    button.addEventListener("click", () => { close(); onChoose(queue); });
    return h("li", {}, button);
  };
  const sections = SECTIONS.map(([name, title]) => {
    const chosen = state.queues.filter((queue) => (name ? queue.name === name : !["class", "concept"].includes(queue.name)));
    if (!chosen.length) return null;
    const list = h("ul", { class: "queues" }, chosen.map(line));
    if (!name) return list;
    return h("details", { open: current?.name === name }, h("summary", {}, title, h("span", { class: "soft" }, ` ${count(chosen.length)}`)),
      chosen.length >= FILTERED_FROM ? filter(list, chosen, title) : null, list);
  });
  $("#queue-list").replaceChildren(...sections.filter(Boolean), ...(state.index.is_ready ? [] : [h("p", { class: "soft" }, indexWords(state.index))]));
}

function filter(list, chosen, title) {
  const field = h("input", { type: "search", "aria-label": `Filter: ${title}`, placeholder: "Filter", autocomplete: "off" });
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    [...list.children].forEach((child, i) => { child.hidden = !chosen[i].title.toLowerCase().includes(wanted); });
  });
  return field;
}

export function indexWords({ is_ready: isReady, share, problem }) {
  if (problem) return `Finding is not possible: ${problem}.`;
  return isReady ? "" : `The images are being prepared for finding: ${percent(share ?? 0)}. Everything else works already.`;
}

const LETTERS = "1234567890abcdefghijklmnopqrstuvwxyz";

/** Boxes to tick; each has its digit or letter, and the keys that opened the dialog close it. */
export function concepts(state, keys, chosen, onChange) {
  const closing = keys.of("concepts");
  const letters = [...LETTERS].filter((letter) => !closing.includes(letter));
  const lines = state.concepts.map((title, i) => {
    const box = h("input", { type: "checkbox", value: title, autofocus: i === 0 });
    box.checked = chosen.includes(title);
    box.addEventListener("change", () => onChange($$("input:checked", $("#concept-list")).map((each) => each.value)));
    return h("label", { class: "line" }, h("span", {}, letters[i] ? h("kbd", { "aria-hidden": "true" }, letters[i]) : null, " ", bdi(title)), box);
  });
  $("#concept-list").replaceChildren(...(lines.length ? lines : [h("p", {}, state.index.is_ready ? "This review has no concepts." : indexWords(state.index))]));
  const dialog = open("concepts");
  if (!dialog) return;
  dialog.onkeydown = (event) => {
    const key = keyOf(event);
    if (closing.includes(key) || event.key === "Enter") {
      event.preventDefault();
      dialog.close();
      return;
    }
    const box = $$("input", $("#concept-list"))[letters.indexOf(key)];
    if (box) { event.preventDefault(); box.click(); box.focus(); }
  };
}

const ALONE = new Set(["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Dead", "Process"]); // they come with another key

/** All keys, each with a button that takes another one. */
export function help(keys) {
  const problem = $("#keys-problem");
  let waiting = null;
  const draw = () => {
    $("#key-list").replaceChildren(...ACTIONS.map((action) => {
      const isWaiting = waiting === action.name;
      const now = keys.of(action.name).map(shown).join(" or ");
      const button = h("button", { type: "button", class: `key${isWaiting ? " is-waiting" : ""}`, "aria-label": `${action.title}: ${now}. Change`, data: { key: action.name } },
        isWaiting ? "Press a key" : keys.of(action.name).map((key) => h("kbd", {}, shown(key))));
      button.addEventListener("click", () => { waiting = isWaiting ? null : action.name; redraw(action.name); });
      return h("div", { class: "line" }, h("span", {}, action.title), button);
    }));
  };
  const redraw = (name) => { draw(); $(`[data-key="${name}"]`)?.focus(); };
  const tell = (text) => { problem.hidden = !text; problem.textContent = text ?? ""; };
  const dialog = open("help");
  if (!dialog) return;
  tell(null);
  draw();
  dialog.onkeydown = (event) => {
    if (!waiting) return;
    const key = keyOf(event);
    const name = waiting;
    if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); }
    else if (key === null) {
      if (!ALONE.has(event.key)) { event.preventDefault(); tell("This key cannot be used here. Choose another."); }
      return;
    } else {
      event.preventDefault();
      tell(keys.change(name, key));
    }
    waiting = null;
    redraw(name);
  };
  dialog.oncancel = (event) => { if (waiting) event.preventDefault(); };
  $("#keys-reset").onclick = () => { keys.reset(); waiting = null; tell(null); draw(); };
}

const MEASURES = [["accuracy", "Decided rightly"], ["roc_auc", "Ranked rightly (ROC AUC)"], ["average_precision", "Average precision"]];

/** Before and after, on verdicts that neither had seen. */
export function learn(state, { start, reorder }) {
  const button = h("button", { type: "button", class: "primary", id: "learn-start", autofocus: true }, icon("learn"), "Learn now");
  const body = $("#learn-body");
  body.replaceChildren(
    h("p", {}, "A classifier is tuned on the verdicts of all people, and the run is scored with it. No image is opened, and no verdict is changed."),
    h("p", { class: "soft" }, `${plural(state.progress.decided, "image")} decided so far. It takes 5 kept and 5 removed beside those of the random audit, which are held back to check thresholds by.`),
    h("footer", {}, button));
  if (!open("learn")) return;
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.replaceChildren("Learning…");
    try {
      const report = await start();
      body.replaceChildren(...learned(report, () => { close(); reorder(); }));
      $("#learn-dialog").scrollTop = 0;
      $("#learn-reorder").focus({ preventScroll: true });
    } catch (error) {
      body.replaceChildren(h("p", { class: "problem", role: "alert" }, error.message), error.hint ? h("p", {}, error.hint) : "",
        h("footer", {}, h("button", { type: "button", class: "primary", "data-close": true }, "Close")));
    }
  });
}

function learned(report, reorder) {
  const again = h("button", { type: "button", class: "primary", id: "learn-reorder" }, "Order the queue anew");
  again.addEventListener("click", reorder);
  const rows = MEASURES.filter(([name]) => report.before?.[name] && report.after?.[name]).map(([name, title]) => h("tr", {}, h("th", { scope: "row" }, title),
    h("td", { class: "n" }, figure(report.before[name])), h("td", { class: "n" }, figure(report.after[name]))));
  return [
    h("p", { class: "lead" }, asSentence(report.sentence ?? "")),
    rows.length ? h("table", {}, h("caption", {}, `On ${plural(report.n_held_out, "decided image")} that the classifier had not seen`),
      h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col", class: "n" }, "Before"), h("th", { scope: "col", class: "n" }, "After"))), h("tbody", {}, rows)) : "",
    report.n_flagged === undefined ? "" : h("p", {}, `${plural(report.n_flagged, "image")} ${report.n_flagged === 1 ? "is" : "are"} flagged now; it was ${count(report.n_flagged_before)}.`),
    report.notes?.length ? h("ul", { class: "soft" }, report.notes.map((note) => h("li", {}, asSentence(note)))) : "",
    h("p", { class: "soft" }, "Tuned on ", plural(report.n_train, "image"), ` in ${report.elapsed_s.toFixed(1)} s; the scores are called `, bdi(report.name), "."),
    h("footer", {}, h("button", { type: "button", "data-close": true }, "Stay here"), again),
  ];
}

const asSentence = (text) => text && `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

function figure(found) {
  const { value, low, high } = typeof found === "number" ? { value: found } : found;
  const range = low === undefined || low === null ? null : h("span", { class: "soft" }, ` ${Math.round(100 * low)}–${Math.round(100 * high)}`);
  return h("span", {}, h("strong", {}, `${(100 * value).toFixed(1)} %`), range);
}

export function refused(outbox) {
  const lines = outbox.refused().map(({ verdict, why }) => h("li", {}, h("strong", {}, bdi(verdict.image_id)), ` ${said(verdict.choice)}: ${why}`));
  $("#refused-list").replaceChildren(...lines);
  if (!open("refused")) return;
  $("#refused-forget").onclick = () => { outbox.forgetRefused(); outbox.tell(outbox.state); close(); };
  $("#refused-retry").onclick = () => { outbox.retryRefused(); close(); };
}
