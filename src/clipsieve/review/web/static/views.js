// What a person has before them: a list of images, a place in it, and marks. Pure: it knows no page and no server.

import { now, uuid } from "./stamp.js";

export const PAGE = 24;

/** One list of images: a queue, the results of a search, or a group of near-duplicates. */
export class View {
  /**
   * @param {string} kind queue, search, similar or group
   * @param {object} about what the list is of: `queue`, `text`, or the `item` that it began with
   */
  constructor(kind, about, items = []) {
    this.kind = kind;
    this.about = about;
    this.items = [];
    this.at = 0;
    this.isIdle = true; // whether there is no current image: all that is here has been decided
    this.isByHand = false; // whether the person went to the current image themselves
    this.marked = new Set();
    this.anchor = null;
    this.nLeft = null;
    this.message = null;
    this.taking = null;
    this.problem = null;
    this.isOver = false;
    this.add(items);
    this.goOn();
  }

  get current() { return this.isIdle ? null : this.items[this.at] ?? null; }
  get page() { return Math.floor(this.at / PAGE); }
  get nPages() { return Math.max(1, Math.ceil(this.items.length / PAGE)); }
  get shown() { return this.items.slice(this.page * PAGE, (this.page + 1) * PAGE); }
  get open() { return this.items.filter((item) => !item.mine); }

  add(items) {
    const known = new Set(this.items.map((item) => item.row));
    this.items.push(...items.filter((item) => !known.has(item.row)));
  }

  /** Others hold these by now: they leave the list, but for the one that the person is looking at. */
  drop(rows) {
    const gone = new Set(rows.filter((row) => row !== this.current?.row));
    const before = this.items.slice(0, this.at).filter((item) => gone.has(item.row)).length;
    this.items = this.items.filter((item) => !gone.has(item.row));
    this.at = Math.max(0, Math.min(this.at - before, this.items.length - 1));
    this.anchor = null;
    gone.forEach((row) => this.marked.delete(row));
  }

  find(row) { return this.items.findIndex((item) => item.row === row); }

  /** Go to a place, because the person wants to. */
  go(at) {
    this.at = Math.max(0, Math.min(at, this.items.length - 1));
    this.isIdle = this.items.length === 0;
    this.isByHand = true;
    this.anchor = null;
  }

  /** Go so many places on. Behind the last image that was decided stands nothing, and before that nothing that image. */
  move(by) {
    if (this.isIdle && by > 0 && Number.isFinite(by)) return;
    this.go(this.at + by + Number(this.isIdle));
  }

  /** Go to the next image without a verdict, onwards first and then from the start; where there is none, to none. */
  goOn() {
    const open = [...this.items.keys()].filter((place) => !this.items[place].mine);
    const next = (this.isIdle ? undefined : open.find((place) => place > this.at)) ?? open[0];
    if (next !== undefined) this.go(next);
    this.isIdle = next === undefined;
    this.isByHand = false;
  }

  toggle() {
    const row = this.current?.row;
    if (row === undefined) return;
    if (!this.marked.delete(row)) this.marked.add(row);
    this.anchor = this.at;
  }

  /** Mark from where the range began to here. */
  stretch(to) {
    if (!this.items.length) return;
    const last = Math.max(0, Math.min(to, this.items.length - 1));
    const from = this.anchor ?? this.at;
    for (let place = Math.min(from, this.at); place <= Math.max(from, this.at); place += 1) {
      if (this.anchor !== null) this.marked.delete(this.items[place].row);
    }
    for (let place = Math.min(from, last); place <= Math.max(from, last); place += 1) this.marked.add(this.items[place].row);
    this.go(last);
    this.anchor = from;
  }

  unmark() {
    this.marked.clear();
    this.anchor = null;
  }

  /** The images that a decision is about: all that are marked; in a group none else, elsewhere the one that is shown. */
  chosen() {
    if (this.marked.size) return this.items.filter((item) => this.marked.has(item.row));
    return this.current && this.kind !== "group" ? [this.current] : [];
  }

  /** An image comes back to the front: where it is in the list, or right here. */
  bringBack(item) {
    const place = this.find(item.row);
    if (place >= 0) this.items[place].mine = item.mine;
    else this.items.splice(this.at, 0, item);
    this.go(place >= 0 ? place : this.at);
  }
}

/** Verdicts as they are sent, one for each image; what differs from image to image is told by `of`. */
export function verdictsOf(items, choice, { concepts, note, elapsedS, of }) {
  const group = items.length > 1 ? uuid() : null;
  return items.map((item) => ({
    verdict_id: uuid(),
    row: item.row,
    image_id: item.image_id,
    sha256: item.sha256 ?? null,
    choice,
    undoes: null,
    concepts,
    note,
    made: now(),
    classifier: item.classifier ?? null,
    score: item.score ?? null,
    duration_s: Math.round((1000 * elapsedS) / items.length) / 1000, // one look decided them all: each has its share
    group_id: group,
    ...of(item),
  }));
}

/** What takes verdicts back. */
export function undoOf(verdicts) {
  return verdicts.map((verdict) => ({
    ...verdict, verdict_id: uuid(), choice: "undo", undoes: verdict.verdict_id, concepts: [], note: "", made: now(), duration_s: null,
  }));
}

const WORDS = { keep: "kept", remove: "removed", unsure: "unsure", undo: "taken back" };
export const said = (choice) => WORDS[choice] ?? "not decided";
