// Where images come from: they are taken a page ahead, kept while somebody has them before them, and given back.

import { ApiError, call } from "./api.js";
import { prefetch } from "./picture.js";
import { PAGE } from "./views.js";

const MAX_SKIP = 1000;
const MAX_RENEW = 200;
const RENEW_MS = 120000;
const FIRST_MS = 1000;
const LONGEST_MS = 30000;

export class Supply {
  constructor(review) {
    this.review = review;
    this.failures = 0;
    this.timer = 0;
    this.renewed = Date.now();
    window.addEventListener("online", () => this.hurry());
    window.addEventListener("pagehide", () => this.release(true));
    setInterval(() => this.renew(), RENEW_MS);
    // In a tab that was put aside clocks stand still: look at once when somebody is back.
    document.addEventListener("visibilitychange", () => { if (!document.hidden && Date.now() - this.renewed > RENEW_MS) this.renew(); });
  }

  /** Take more images before the person runs out of them. */
  async fill(view) {
    if (view?.kind !== "queue") return;
    if (!view.taking) {
      const ahead = view.items.slice(view.at + 1).filter((item) => !item.mine).length;
      const isEnough = ahead >= PAGE || (view.isOver && (view.isSure || view.open.length > 0));
      if (isEnough || view.problem) return;
      view.taking = this.take(view);
    }
    await view.taking;
  }

  async take(view) {
    const { review } = this;
    const { name, value } = view.about.queue;
    const [nWaiting, nMade] = [review.outbox.n, review.nMade];
    const waiting = review.outbox.all().map((verdict) => verdict.row);
    const skip = [...new Set([...view.open.map((item) => item.row), ...waiting])].slice(-MAX_SKIP);
    try {
      const answer = await call("/api/take", { queue: { name, value }, n: PAGE, skip });
      if (review.base !== view) { // the person has gone on to another queue meanwhile
        this.giveBack(answer.items);
        return;
      }
      const before = view.items.length;
      // What is to be settled is open, whatever the person said of it as a reviewer; that stands among the voices.
      view.add(name === "disagreements" ? answer.items.map((item) => ({ ...item, mine: null })) : answer.items);
      view.isOver = view.items.length === before;
      view.isSure = skip.length === 0; // nothing came, though nothing was passed over
      view.message = answer.message;
      this.failures = 0;
      // The server's count is taken over when nothing was on its way that it may or may not have counted.
      if (view.nLeft === null || (nWaiting === 0 && nMade === review.nMade)) [view.nLeft, view.nSince] = [answer.n_left, 0];
      prefetch(answer.items, "small");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.putOff(view, error);
    } finally {
      view.taking = null;
    }
    this.show(view);
  }

  /** Show what came; somebody who waited for it goes on. */
  show(view) {
    const { review } = this;
    const wasIdle = view.isIdle;
    if (wasIdle) view.goOn();
    if (review.view !== view) return;
    if (wasIdle && !view.isIdle) review.arrive();
    else review.render();
    if (view.isIdle && view.isOver && !view.isSure && review.outbox.n === 0) this.fill(view);
  }

  /** What passes is tried again by itself, and told where the images would be; all else is for the person to see. */
  putOff(view, error) {
    view.problem = error;
    if (!error.isPassing) {
      this.review.fail(error);
      return;
    }
    this.failures += 1;
    const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** (this.failures - 1)) * (0.8 + Math.random() / 2.5);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.hurry(), Math.max(wait, error.retryAfterS * 1000));
  }

  /** Try again now. */
  hurry() {
    clearTimeout(this.timer);
    const { base } = this.review;
    if (!base) return;
    if (base.problem) base.problem = null;
    this.fill(base);
  }

  /** Look again whether there are images: somebody may have given some back. */
  lookAgain() {
    const { base } = this.review;
    Object.assign(base, { isOver: false, isSure: false, problem: null });
    this.fill(base);
    this.review.render();
  }

  /** Tell the server that the images are still before somebody; what others hold by now leaves the list. */
  async renew() {
    const { base } = this.review;
    const rows = base?.kind === "queue" ? base.open.map((item) => item.row).slice(0, MAX_RENEW) : [];
    this.renewed = Date.now();
    if (!rows.length) return;
    try {
      const { lost } = await call("/api/renew", { rows });
      if (!lost.length || this.review.base !== base) return;
      base.drop(lost);
      this.review.arrive();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401) this.review.fail(error);
    }
  }

  /** Give back what was taken and not decided. */
  release(keepalive = false) {
    const { base } = this.review;
    if (base?.kind === "queue") this.giveBack(base.open, keepalive);
  }

  giveBack(items, keepalive = false) {
    const rows = items.map((item) => item.row).slice(0, MAX_SKIP);
    if (rows.length) call("/api/release", { rows }, { keepalive }).catch(() => {}); // their lease ends by itself, too
  }
}
