// Keys, buttons and clocks: from what a person does to what the page does.

import * as dialogs from "./dialogs.js";
import { $, $$, notify } from "./dom.js";
import { isWriting, keyOf } from "./keys.js";

const STATE_MS = 30000;
const PREPARING_MS = 2000;
const LIKENESS_MS = 250;

/** What each action does; `event` is there when a key did it. */
function actions(review) {
  const { stage } = review;
  const mark = (by) => { review.view.stretch(review.view.at + by); review.arrive(); };
  return {
    keep: () => review.decide("keep"),
    remove: () => review.decide("remove"),
    unsure: () => review.decide("unsure"),
    undo: () => review.undo(),
    reveal: (event) => stage.hold(event, review.settings.get("size")),
    large: (event) => stage.hold(event, "large"),
    next: () => review.step(1),
    previous: () => review.step(-1),
    mark: () => { review.view.toggle(); review.render(); },
    range: () => mark(1),
    "range-back": () => mark(-1),
    group: () => review.finding.group(),
    similar: () => review.finding.similar(),
    search: () => openSearch(review),
    concepts: () => dialogs.concepts(review.state, review.keys, review.concepts, (chosen) => { review.concepts = chosen; review.screen.choices(); }),
    note: () => openNote(review),
    queues: () => review.openQueues(),
    learn: () => openLearn(review),
    settings: () => dialogs.open("settings"),
    help: () => dialogs.help(review.keys),
  };
}

function openLearn(review) {
  if (review.state.can_adjudicate) dialogs.learn(review.state, { start: () => review.learn(), reorder: () => review.reorder() });
  else notify("Only an adjudicator lets the classifier learn", { hint: "It changes the order for everybody. Your verdicts are learned from, too." });
}

function openSearch(review) {
  if (!review.finding.canFind() || !dialogs.open("search")) return;
  $("#search-text").select();
}

function openNote(review) {
  if (!dialogs.open("note")) return;
  $("#note-text").value = review.note;
  $("#note-text").focus();
}

/** Tie the page to a review. */
export function listen(review) {
  const does = actions(review);
  review.screen.keys();
  review.keys.addEventListener("change", () => review.screen.keys());
  window.addEventListener("keydown", (event) => press(event, review, does));
  for (const button of $$("[data-action]")) {
    button.addEventListener("click", (event) => {
      does[button.dataset.action](event);
      if (event.detail > 0 && !$("dialog[open]")) review.grid.focus(); // a pointer leaves the keys where they work
    });
  }
  dialogs.bindClosing(() => { if (document.activeElement === document.body) review.grid.focus(); });
  bindFields(review);
  bindClocks(review);
}

const WALK = { ArrowDown: (n) => n, ArrowUp: (n) => -n };

function press(event, review, does) {
  if ($("dialog[open]") || event.defaultPrevented || !review.view || isWriting(event.target)) return;
  review.stage.grow(event);
  if (event.key === "Escape") review.back();
  if (review.isGroupOfQueue && ["PageDown", "PageUp"].includes(event.key)) {
    event.preventDefault();
    review.stepGroup(event.key === "PageDown" ? 1 : -1);
    return;
  }
  // Whoever holds Shift to see a picture large decides with the same keys.
  const key = review.stage.heldKey ? (keyOf(event)?.replace(/^Shift\+/, "") ?? null) : keyOf(event);
  if (key === null) return;
  const { target } = event;
  const isOnGrid = target instanceof Element && target.closest("[role=listbox]") !== null;
  const isOnControl = !isOnGrid && target instanceof Element && target.closest("button, a, summary, input, select") !== null;
  if (isOnControl && (/Space|Arrow|Home|End|Page/.test(key))) return;
  if (isOnGrid && walk(event, review)) return;
  const action = review.keys.find(key);
  if (!action) return;
  event.preventDefault();
  if (event.repeat && !action.repeats) return; // a key that is held decides once
  does[action.name](event);
}

/** What a list box does besides: rows and ends. */
function walk(event, review) {
  const by = WALK[event.key]?.(review.grid.nColumns) ?? { Home: -Infinity, End: Infinity }[event.key];
  if (by === undefined || event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return false;
  event.preventDefault();
  review.view.move(by);
  review.arrive();
  return true;
}

function bindFields(review) {
  review.settings.bind($("#settings-form"));
  $("#settings-form").addEventListener("submit", (event) => event.preventDefault());
  $("#back").addEventListener("click", () => review.back());
  $("#previous-group").addEventListener("click", () => review.stepGroup(-1));
  $("#next-group").addEventListener("click", () => review.stepGroup(1));
  $("#unmark").addEventListener("click", () => { review.view.unmark(); review.render(); });
  $("#mark-all").addEventListener("click", () => {
    const { view } = review;
    for (const item of view.kind === "group" ? view.items : view.shown) view.marked.add(item.row);
    review.render();
  });
  $("#search-form").addEventListener("submit", () => {
    const text = $("#search-text").value.trim();
    if (text) review.finding.search(text);
  });
  $("#note-form").addEventListener("submit", () => { review.note = $("#note-text").value.trim(); review.screen.choices(); });
  $("#note-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("#note-form").requestSubmit();
  });
  bindLikeness(review);
}

function bindLikeness(review) {
  const slider = $("#min-similarity");
  let timer = 0;
  slider.addEventListener("input", () => {
    const { view } = review;
    if (view.kind !== "group") return;
    view.about.minSimilarity = slider.valueAsNumber; // each group has its own
    review.screen.likeness();
    clearTimeout(timer);
    timer = setTimeout(async () => {
      await review.finding.regroup(view);
      if (review.view === view) review.render();
    }, LIKENESS_MS);
  });
}

function bindClocks(review) {
  review.clock.addEventListener("due", () => { review.isBreakDue = true; if (!$("dialog[open]") && !review.stage.size) review.checkBreak(); });
  $("#break-later").addEventListener("click", () => { review.clock.snooze(10); dialogs.close(); });
  $("#break-done").addEventListener("click", () => { review.clock.reset(); dialogs.close(); });
  $("#break-dialog").addEventListener("cancel", () => review.clock.snooze(10));
  review.outbox.addEventListener("settled", ({ detail }) => {
    if (detail.progress) review.state.progress = detail.progress;
    review.screen.way();
    if (review.base?.isIdle) review.supply.hurry(); // what is saved now is counted, and what is left can be told
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) review.looked.since = performance.now(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) review.reorder(); });
  const look = async () => {
    if (!document.hidden && !review.saved.isOut) await review.refresh();
    const { is_ready: isReady, problem } = review.state.index;
    setTimeout(look, isReady || problem ? STATE_MS : PREPARING_MS);
  };
  setTimeout(look, review.state.index.is_ready ? STATE_MS : PREPARING_MS);
}
