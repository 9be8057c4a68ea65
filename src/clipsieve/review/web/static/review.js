// The review page: what a person sees, decides, and takes back. Nothing that they decide waits for the server.

import { ApiError, call } from "./api.js";
import * as dialogs from "./dialogs.js";
import { $, keptForTab, notify, plural, say } from "./dom.js";
import { Finding } from "./finding.js";
import { Grid } from "./grid.js";
import { Keys } from "./keys.js";
import { listen } from "./listen.js";
import { Outbox } from "./outbox.js";
import { prefetch, Stage } from "./picture.js";
import { Saved } from "./saved.js";
import { Screen } from "./screen.js";
import { BreakClock, Settings, tick } from "./settings.js";
import { hearTime } from "./stamp.js";
import { Supply } from "./supply.js";
import { claim } from "./tab.js";
import { said, undoOf, verdictsOf, View } from "./views.js";

const MAX_HISTORY = 40;
const MAX_LOOK_S = 3600;

export class Review {
  constructor(state) {
    this.state = state;
    this.settings = new Settings();
    this.keys = new Keys();
    this.outbox = new Outbox(state.run.key, state.annotator);
    this.saved = new Saved(this.outbox, state.annotator, () => { this.refresh(); this.supply.hurry(); });
    this.stage = new Stage($("#picture"), this.settings);
    this.grid = new Grid($("#images"), (place, event) => this.pick(place, event));
    this.clock = new BreakClock(this.settings);
    this.screen = new Screen(this);
    this.finding = new Finding(this);
    this.supply = new Supply(this);
    this.views = [];
    this.concepts = [];
    this.note = "";
    this.nMade = 0; // decisions since the page was loaded
    this.looked = { row: null, since: 0 };
    this.historyKey = `clipsieve.history/${state.run.key}/${state.annotator}`;
    this.history = keptForTab.get(this.historyKey) ?? [];
  }

  get view() { return this.views.at(-1); }
  get base() { return this.views[0]; }

  isQueue(name) { return this.views.some((view) => view.about.queue?.name === name); }

  /** Whether nothing may be shown that would sway: below all that was opened lies the random audit. */
  get isBlind() { return this.isQueue("audit"); }

  /** Whether the queue is one of groups: then every decision on it is about the group that is shown. */
  get isOfGroups() { return this.isQueue("duplicates"); }

  /** Whether the group that is shown is the queue's own, which is never closed. */
  get isGroupOfQueue() { return this.isOfGroups && this.views.length === 2 && this.view.kind === "group"; }

  // ---- places

  /** Begin a queue: what was taken and not decided goes back to the others. */
  async choose(queue) {
    this.supply.release();
    keptForTab.set("clipsieve.queue", { name: queue.name, value: queue.value });
    this.views = [new View("queue", { queue })];
    const filled = this.supply.fill(this.base);
    this.arrive();
    await filled;
  }

  push(view) {
    this.views.push(view);
    this.arrive();
  }

  back() {
    if (this.views.length < 2) return;
    if (this.isGroupOfQueue) {
      say("In this queue the group stays open");
      return;
    }
    this.views.pop();
    this.arrive();
  }

  pick(place, event) {
    if (event.shiftKey) this.view.stretch(place);
    else this.view.go(place);
    this.arrive();
  }

  async step(by) {
    const { view } = this;
    if (by > 0 && view.at + by >= view.items.length) await this.supply.fill(view);
    if (this.view !== view) return;
    view.move(by);
    this.arrive();
  }

  /** In a queue of groups: leave this one open, and go to another. */
  async stepGroup(by) {
    if (!this.isGroupOfQueue) return;
    this.views.pop();
    await this.step(by);
  }

  /** Show where the person is now, and get ready what comes next. */
  arrive() {
    const { view, base } = this;
    const row = view.current?.row ?? null;
    if (row !== this.looked.row) this.looked = { row, since: performance.now() };
    if (this.isOfGroups && view === base) this.finding.groupOfQueue();
    this.render();
    prefetch(view.items.slice(view.at + 1, view.at + 5), "medium");
    if (view === base || this.isGroupOfQueue) this.supply.fill(base);
  }

  // ---- decisions

  /** In which order an image came up: what was found beside the audit's own sample is none of it. */
  queueNameOf(item) {
    const origin = this.views.findLast((view) => view.kind !== "group");
    if (origin.kind !== "queue") return origin.kind;
    const { name } = origin.about.queue;
    const isBeside = name === "audit" && this.view.kind === "group" && item.row !== this.view.about.item.row;
    return isBeside ? "similar" : name;
  }

  /** Only what reviewers differ about is settled; all else that an adjudicator decides is one voice among others. */
  voiceOf(item) {
    const isSettled = this.queueNameOf(item) === "disagreements" && this.state.can_adjudicate && item.voices?.length > 0;
    return isSettled ? "adjudication" : "review";
  }

  /** An image that was found, with what is known about it if it was taken from the disagreements before. */
  asTaken(found) {
    const taken = this.isQueue("disagreements") && this.base.items.find((item) => item.row === found.row);
    return taken ? { ...found, voices: taken.voices, mine: taken.mine } : found;
  }

  /** Why a key decides nothing just now, in words; null if it does. */
  get whyNot() {
    const { view } = this;
    if (this.isOfGroups && view === this.base) return view.current && "The images that look alike are coming";
    if (view.kind === "group" && !view.marked.size) return "No image is marked: mark those that you decide about";
    if (!view.marked.size && view.current?.mine && !view.isByHand) return "This image is decided: go to it again to change your mind";
    return null;
  }

  decide(choice) {
    const { view } = this;
    const why = this.whyNot;
    if (why) say(why);
    const items = why ? [] : view.chosen();
    if (!items.length) return;
    const elapsedS = Math.min((performance.now() - this.looked.since) / 1000, MAX_LOOK_S);
    const { concepts, note } = this;
    const of = (item) => ({ voice: this.voiceOf(item), queue: this.queueNameOf(item) });
    const verdicts = verdictsOf(items, choice, { concepts, note, elapsedS, of });
    this.outbox.add(verdicts);
    this.nMade += 1;
    this.remember({ verdicts, items: items.map((item) => ({ ...item })) });
    items.forEach((item) => this.setMine(item.row, choice));
    this.concepts = [];
    this.note = "";
    this.looked.row = null;
    view.unmark();
    if (this.settings.get("sound")) tick();
    say(items.length > 1 ? `${items.length} ${said(choice)}` : said(choice));
    this.checkBreak();
    if (view.kind === "group") this.views.pop();
    this.view.goOn();
    this.arrive();
  }

  setMine(row, choice) {
    for (const view of this.views) {
      for (const item of view.items) {
        if (item.row !== row) continue;
        if (view === this.base) view.nSince = (view.nSince ?? 0) + Number(!item.mine) - Number(!choice);
        item.mine = choice;
      }
    }
  }

  remember(decision) {
    this.history = [...this.history, decision].slice(-MAX_HISTORY);
    keptForTab.set(this.historyKey, this.history);
  }

  /** Take back my last decision, whether it was sent or not; its image comes back to the front. */
  undo() {
    const last = this.history.at(-1);
    if (!last) {
      notify("There is nothing to take back");
      return;
    }
    this.outbox.add(undoOf(last.verdicts));
    this.nMade += 1;
    this.history = this.history.slice(0, -1);
    keptForTab.set(this.historyKey, this.history);
    while (this.view.kind === "group") this.views.pop();
    last.items.forEach((item) => this.setMine(item.row, item.mine));
    this.view.unmark();
    const here = last.items.find((item) => this.view.find(item.row) >= 0) ?? last.items[0];
    this.view.bringBack({ ...here });
    say(last.items.length > 1 ? `${last.items.length} verdicts taken back` : `${said(last.verdicts[0].choice)}, taken back`);
    this.looked.row = null;
    this.arrive();
  }

  /** Learn when all that was decided has arrived, so that nothing of it is left out. */
  async learn() {
    await this.outbox.drain();
    const report = await call("/api/learn", {}, { timeoutS: 600 });
    await this.refresh();
    return report;
  }

  reorder() { return this.choose(this.queueOf(this.base.about.queue)); }

  queueOf({ name, value }) { return this.state.queues.find((queue) => queue.name === name && queue.value === value) ?? this.state.queues[0]; }

  // ---- the rest

  async refresh() {
    try {
      this.state = await call("/api/state");
      if (this.base) this.base.about.queue = this.queueOf(this.base.about.queue);
      this.screen.way();
    } catch (error) {
      if (error.isLoggedOut) this.fail(error);
    }
  }

  fail(error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) this.saved.ask();
    else notify(error.message, { kind: "error", hint: error.hint });
  }

  checkBreak() {
    if (!this.isBreakDue) return;
    this.isBreakDue = false;
    $("#break-words").textContent = `You have been looking at pictures for ${plural(this.clock.minutes, "minute")}.`;
    dialogs.open("break");
  }

  render() { this.screen.render(); }

  openQueues() {
    const draw = () => dialogs.queues(this.state, this.base?.about.queue, (queue) => this.choose(queue));
    draw();
    dialogs.open("queues");
    this.refresh().then(() => { // the newest counts, unless somebody is at work in the list already
      if (!$("#queues-dialog").open || !$("#queue-list .is-here:focus")) return;
      draw();
      $("#queue-list .is-here")?.focus();
    });
  }
}

/** When the server said what time it is in the page itself. */
function heardWithPage(said) {
  const [loaded] = performance.getEntriesByType("navigation");
  const begun = Date.now() - performance.now();
  if (loaded) hearTime(said, begun + loaded.requestStart, begun + loaded.responseEnd);
}

async function begin() {
  const state = JSON.parse($("#boot").textContent);
  heardWithPage(state.now);
  await claim();
  const review = new Review(state);
  listen(review);
  const last = keptForTab.get("clipsieve.queue");
  const { queues } = state;
  const first = (last && queues.find((queue) => queue.name === last.name && queue.value === last.value)) ?? queues.find((queue) => queue.n > queue.n_done) ?? queues[0];
  review.outbox.hurry();
  if (first) await review.choose(first);
  document.documentElement.classList.add("is-ready");
}

begin();
