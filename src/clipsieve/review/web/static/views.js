// What a person has before them: a list of images, a place in it, and marks. Pure: it knows no page and no server.

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
    this.marked = new Set();
    this.anchor = null;
    this.nLeft = null;
    this.message = null;
    this.taking = null;
    this.isOver = false;
    this.add(items);
  }

  get current() { return this.items[this.at] ?? null; }
  get page() { return Math.floor(this.at / PAGE); }
  get nPages() { return Math.max(1, Math.ceil(this.items.length / PAGE)); }
  get shown() { return this.items.slice(this.page * PAGE, (this.page + 1) * PAGE); }
  get open() { return this.items.filter((item) => !item.mine); }

  add(items) {
    const known = new Set(this.items.map((item) => item.row));
    this.items.push(...items.filter((item) => !known.has(item.row)));
  }

  find(row) { return this.items.findIndex((item) => item.row === row); }

  go(at) {
    this.at = Math.min(Math.max(at, 0), Math.max(this.items.length - 1, 0));
    this.anchor = null;
  }

  /** Go to the next image without a decision, onwards first and then from the start; false if there is none. */
  goOn() {
    const open = [...this.items.keys()].filter((place) => !this.items[place].mine);
    const next = open.find((place) => place > this.at) ?? open.find((place) => place !== this.at);
    if (next === undefined) return false;
    this.go(next);
    return true;
  }

  toggle(at = this.at) {
    const row = this.items[at]?.row;
    if (row === undefined) return;
    if (!this.marked.delete(row)) this.marked.add(row);
    this.anchor = at;
  }

  /** Mark from where the range began to here. */
  stretch(to) {
    const last = Math.min(Math.max(to, 0), this.items.length - 1);
    const from = this.anchor ?? this.at;
    for (let place = Math.min(from, this.at); place <= Math.max(from, this.at); place += 1) {
      if (this.anchor !== null) this.marked.delete(this.items[place].row);
    }
    for (let place = Math.min(from, last); place <= Math.max(from, last); place += 1) this.marked.add(this.items[place].row);
    this.at = last;
    this.anchor = from;
  }

  unmark() {
    this.marked.clear();
    this.anchor = null;
  }

  /** The images that a decision is about: all that are marked, or else the one that is shown. */
  chosen() {
    if (this.marked.size) return this.items.filter((item) => this.marked.has(item.row));
    return this.current ? [this.current] : [];
  }

  /** An image comes back to the front: where it is in the list, or right here. */
  bringBack(item) {
    const place = this.find(item.row);
    if (place >= 0) this.items[place].mine = item.mine;
    else this.items.splice(this.at, 0, item);
    this.go(place >= 0 ? place : this.at);
  }
}

let latest = 0;

/** A random UUID; without https browsers offer only the random bytes. */
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** The time of a decision; never the same twice, so that the later one counts. */
function now() {
  latest = Math.max(Date.now(), latest + 1);
  return new Date(latest).toISOString();
}

/** Decisions as they are sent, one for each image. */
export function verdictsOf(items, choice, { voice, concepts, note, scores, queue, elapsedS }) {
  const group = items.length > 1 ? uuid() : null;
  return items.map((item) => ({
    verdict_id: uuid(),
    row: item.row,
    image_id: item.image_id,
    choice,
    voice,
    undoes: null,
    concepts,
    note,
    made: now(),
    classifier: scores,
    score: item.score,
    duration_s: Math.round((1000 * elapsedS) / items.length) / 1000, // one look decided them all: each has its share
    queue,
    group_id: group,
  }));
}

/** What takes decisions back. */
export function undoOf(verdicts) {
  return verdicts.map((verdict) => ({
    ...verdict, verdict_id: uuid(), choice: "undo", undoes: verdict.verdict_id, concepts: [], note: "", made: now(), duration_s: null,
  }));
}

const WORDS = { keep: "kept", remove: "removed", unsure: "unsure" };
export const said = (choice) => WORDS[choice] ?? "not decided";
