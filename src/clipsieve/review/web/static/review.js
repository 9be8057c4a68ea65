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
import { PAGE, said, undoOf, verdictsOf, View } from "./views.js";

const MAX_SKIP = 1000;
const MAX_HISTORY = 40;
const MAX_LOOK_S = 3600;

export class Review {
  constructor(state) {
    this.state = state;
    this.settings = new Settings();
    this.keys = new Keys();
    this.outbox = new Outbox(state.run.key ?? state.run.name, state.annotator);
    this.saved = new Saved(this.outbox, state.annotator, () => this.refresh());
    this.stage = new Stage($("#picture"), this.settings);
    this.grid = new Grid($("#images"), (place, event) => this.pick(place, event));
    this.clock = new BreakClock(this.settings);
    this.screen = new Screen(this);
    this.finding = new Finding(this);
    this.views = [];
    this.concepts = [];
    this.note = "";
    this.looked = { row: null, since: 0 };
    this.closedGroups = new Set();
    this.historyKey = `clipsieve.history/${state.run.name}/${state.annotator}`;
    this.history = keptForTab.get(this.historyKey) ?? [];
  }

  get view() { return this.views.at(-1); }
  get base() { return this.views[0]; }

  // ---- queues

  /** Begin a queue: what was taken and not decided goes back to the others. */
  async choose(queue) {
    this.release();
    keptForTab.set("clipsieve.queue", { name: queue.name, value: queue.value });
    this.views = [new View("queue", { queue })];
    this.closedGroups.clear();
    this.render();
    await this.fill(this.base);
    this.base.go(0);
    this.arrive();
  }

  /** Take more images before the person runs out of them. */
  async fill(view) {
    if (view.taking) await view.taking; // whoever has nothing left waits for what is on its way
    if (view.kind !== "queue" || view.taking || view.isOver) return;
    const ahead = view.items.slice(view.at + 1).filter((item) => !item.mine).length;
    if (view.items.length && ahead >= PAGE) return;
    view.taking = this.take(view);
    await view.taking;
  }

  async take(view) {
    const { name, value } = view.about.queue;
    const waiting = this.outbox.all().map((verdict) => verdict.row);
    const skip = [...new Set([...view.open.map((item) => item.row), ...waiting])].slice(-MAX_SKIP);
    try {
      const answer = await call("/api/take", { queue: { name, value }, n: PAGE, skip });
      const before = view.items.length;
      view.add(answer.items);
      view.isOver = view.items.length === before;
      view.message = answer.message;
      view.nLeft = answer.n_left;
      view.nSince = this.outbox.n;
      prefetch(answer.items, "small");
    } catch (error) {
      this.fail(error);
    } finally {
      view.taking = null;
    }
    if (this.view === view) this.render();
  }

  /** Look again whether there are images: somebody may have given some back. */
  async lookAgain() {
    this.view.isOver = false;
    await this.fill(this.view);
    this.view.goOn();
    this.arrive();
  }

  release(keepalive = false) {
    const rows = this.base?.kind === "queue" ? this.base.open.map((item) => item.row).slice(0, 1000) : [];
    if (rows.length) call("/api/release", { rows }, { keepalive }).catch(() => {});
  }

  // ---- places

  push(view) {
    this.views.push(view);
    this.arrive();
  }

  back() {
    if (this.views.length < 2) return;
    const left = this.views.pop();
    if (left.kind === "group") this.closedGroups.add(left.about.item.row);
    this.arrive();
  }

  pick(place, event) {
    if (event.shiftKey) this.view.stretch(place);
    else this.view.go(place);
    this.arrive();
  }

  async step(by) {
    const { view } = this;
    if (by > 0 && view.at + by >= view.items.length) await this.fill(view);
    view.go(view.at + by);
    this.arrive();
  }

  /** After a decision: the next image that has none. */
  async goOn() {
    const { view } = this;
    const hasMore = view.items.slice(view.at + 1).some((item) => !item.mine);
    if (!hasMore && view.kind === "queue" && !view.isOver) await this.fill(view);
    view.goOn();
    if (this.view === view) this.arrive();
  }

  /** Show where the person is now, and get ready what comes next. */
  arrive() {
    const { view } = this;
    const row = view.current?.row ?? null;
    if (row !== this.looked.row) this.looked = { row, since: performance.now() };
    this.render();
    prefetch(view.items.slice(view.at + 1, view.at + 5), "medium");
    this.fill(view);
    const isGroupQueue = view.kind === "queue" && view.about.queue.name === "duplicates";
    if (isGroupQueue && view.current && !view.current.mine && !this.closedGroups.has(row)) this.finding.group();
  }

  // ---- decisions

  get queueName() {
    const origin = this.views.findLast((view) => view.kind !== "group");
    return origin.kind === "queue" ? origin.about.queue.name : origin.kind;
  }

  get voice() { return this.queueName === "disagreements" && this.state.can_adjudicate ? "adjudication" : "review"; }

  decide(choice) {
    const { view } = this;
    const items = view.chosen();
    if (!items.length) return;
    const elapsedS = Math.min((performance.now() - this.looked.since) / 1000, MAX_LOOK_S);
    const verdicts = verdictsOf(items, choice, {
      voice: this.voice, concepts: this.concepts, note: this.note, scores: this.state.run.scores, queue: this.queueName, elapsedS,
    });
    this.outbox.add(verdicts);
    this.remember({ verdicts, items: items.map((item) => ({ ...item })) });
    items.forEach((item) => this.setMine(item.row, choice));
    this.concepts = [];
    this.note = "";
    this.looked.row = null;
    view.unmark();
    if (this.settings.get("sound")) tick();
    say(items.length > 1 ? `${items.length} ${said(choice)}` : said(choice));
    this.checkBreak();
    if (view.kind === "group") {
      this.closedGroups.add(view.about.item.row);
      this.views.pop();
    }
    this.goOn();
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
    this.history = this.history.slice(0, -1);
    keptForTab.set(this.historyKey, this.history);
    while (this.view.kind === "group") this.views.pop();
    last.items.forEach((item) => {
      this.setMine(item.row, item.mine);
      this.closedGroups.delete(item.row);
    });
    this.view.unmark();
    const here = last.items.find((item) => this.view.find(item.row) >= 0) ?? last.items[0];
    this.view.bringBack({ ...here });
    say(last.items.length > 1 ? `${last.items.length} decisions taken back` : `${said(last.verdicts[0].choice)}, taken back`);
    this.looked.row = null;
    this.arrive();
  }

  async learn() {
    await this.outbox.send();
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

async function begin() {
  const review = new Review(JSON.parse($("#boot").textContent));
  listen(review);
  const last = keptForTab.get("clipsieve.queue");
  const { queues } = review.state;
  const first = (last && queues.find((queue) => queue.name === last.name && queue.value === last.value)) ?? queues.find((queue) => queue.n > queue.n_done) ?? queues[0];
  review.outbox.hurry();
  if (first) await review.choose(first);
  document.documentElement.classList.add("is-ready");
}

begin();
