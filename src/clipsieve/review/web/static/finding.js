// Images that are found: by words, by being like another one, and as a group that one decision is about.

import { ApiError, call } from "./api.js";
import { indexWords } from "./dialogs.js";
import { notify, plural, say } from "./dom.js";
import { View } from "./views.js";

const N_FOUND = 96;
const AGAIN_MS = 3000;

export class Finding {
  constructor(review) {
    this.review = review;
    this.coming = null; // the image of a queue of groups whose group is on its way
    this.timer = 0;
  }

  async found(kind, about, path, body) {
    if (!this.canFind()) return;
    const { base } = this.review;
    try {
      const answer = await call(path, { ...body, is_blind: this.review.isBlind });
      if (this.review.base !== base) return; // another queue was begun meanwhile, which may be a blind one
      this.review.push(new View(kind, { ...about, elapsedS: answer.elapsed_s }, answer.items));
      say(`${plural(answer.items.length, "image")} found`);
      this.review.grid.focus();
    } catch (error) {
      this.review.fail(error);
    }
  }

  search(text) { return this.found("search", { text }, "/api/search", { text, n: N_FOUND }); }

  similar() {
    const item = this.review.view.current;
    return item && this.found("similar", { item }, "/api/similar", { row: item.row, n: N_FOUND });
  }

  canFind() {
    if (this.review.state.index.is_ready) return true;
    notify(indexWords(this.review.state.index));
    return false;
  }

  /** Near-duplicates of this image, all marked; pressed again it closes. */
  async group() {
    const { review } = this;
    if (review.view.kind === "group") {
      review.back();
      return;
    }
    const item = review.view.current;
    if (!item || !this.canFind()) return;
    const view = await this.groupOf(item);
    if (view && review.view.current === item) review.push(view);
  }

  /** The group of a queue of groups: every decision waits for it, and so it is asked for until it is there. */
  async groupOfQueue() {
    const { review } = this;
    const { base } = review;
    const item = base.current;
    if (!item || this.coming === item) return;
    clearTimeout(this.timer);
    this.coming = item;
    const view = review.state.index.is_ready ? await this.groupOf(item, { isQuiet: true }) : null;
    if (this.coming === item) this.coming = null;
    if (review.view !== base || base.current !== item) return;
    if (view) review.push(view);
    else this.timer = setTimeout(() => { if (review.view === base) review.arrive(); }, AGAIN_MS);
  }

  /** A view of the group, at the likeness that the review began with; null if it did not come. */
  async groupOf(item, { isQuiet = false } = {}) {
    const view = new View("group", { item, minSimilarity: this.review.state.min_similarity }, [item]);
    view.go(0);
    return (await this.regroup(view, { isQuiet })) ? view : null;
  }

  /** Ask again with another similarity; what was left out stays out. Says whether there was an answer. */
  async regroup(view, { isQuiet = false } = {}) {
    const { item, minSimilarity } = view.about;
    const before = view.items;
    const left = new Set(before.filter(({ row }) => before.length > 1 && !view.marked.has(row)).map(({ row }) => row));
    try {
      const answer = await call("/api/group", { row: item.row, min_similarity: minSimilarity, is_blind: this.review.isBlind });
      if (view.about.minSimilarity !== minSimilarity) return true; // a later question is on its way
      view.items = answer.items.map((found) => this.review.asTaken(found));
      view.go(Math.min(view.at, view.items.length - 1));
      const isNew = view.items.some((each) => !each.mine);
      // What has a verdict already is not decided anew by the way, unless nothing else is there.
      view.marked = new Set(view.items.filter((each) => !left.has(each.row) && !(isNew && each.mine)).map(({ row }) => row));
      return true;
    } catch (error) {
      if (!isQuiet || !(error instanceof ApiError) || !error.isPassing) this.review.fail(error);
      return false;
    }
  }
}
