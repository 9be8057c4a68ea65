// Images that are found: by words, by being like another one, and as a group that one decision is about.

import { call } from "./api.js";
import { indexWords } from "./dialogs.js";
import { $, notify, plural, say } from "./dom.js";
import { View } from "./views.js";

const N_FOUND = 96;

export class Finding {
  constructor(review) {
    this.review = review;
  }

  async found(kind, about, path, body) {
    if (!this.canFind()) return;
    try {
      const answer = await call(path, body);
      this.review.push(new View(kind, { ...about, elapsedS: answer.elapsed_s }, this.blind(answer.items)));
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
    if (this.review.view.kind === "group") {
      this.review.back();
      return;
    }
    const item = this.review.view.current;
    if (!item || !this.canFind()) return;
    const view = new View("group", { item, minSimilarity: Number($("#min-similarity").value) }, [item]);
    await this.regroup(view);
    if (this.review.view.current === item && view.items.length) this.review.push(view);
  }

  /** Ask again with another similarity; what was left out stays out. */
  async regroup(view) {
    const left = new Set(view.items.filter((item) => view.items.length > 1 && !view.marked.has(item.row)).map((item) => item.row));
    try {
      const answer = await call("/api/group", { row: view.about.item.row, min_similarity: view.about.minSimilarity });
      view.items = this.blind(answer.items);
      view.at = Math.min(view.at, answer.items.length - 1);
      view.marked = new Set(answer.items.map((item) => item.row).filter((row) => !left.has(row)));
    } catch (error) {
      this.review.fail(error);
      view.items = [];
    }
  }

  /** In a random audit nothing that would sway is shown, whichever way an image comes up. */
  blind(items) {
    if (this.review.queueName !== "audit") return items;
    return items.map((item) => ({ ...item, score: null, is_flagged: null, concept: null }));
  }
}
