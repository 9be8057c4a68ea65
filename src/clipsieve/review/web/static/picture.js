// Pictures, covered. A picture is clear only while a person holds a key or the pointer, and never by itself.

import { $, h } from "./dom.js";

const GROW_MS = 1000;
const REST_MS = 600;
const HOLD_MS = 250;
const TOUCH_MS = 200; // a finger that only scrolls has moved by then
const STILL_PX = 8;

/** Cover whatever is clear: the window is left, or something is opened above the pictures. */
export const coverAll = () => window.dispatchEvent(new Event("clipsieve-cover"));
window.addEventListener("blur", coverAll);
window.addEventListener("pagehide", coverAll);
document.addEventListener("visibilitychange", coverAll);

const isFar = (from, event) => Math.hypot(event.clientX - from.x, event.clientY - from.y) > STILL_PX;

/** An element with the covered picture of an item; the style sheet covers every picture that is not told otherwise. */
export function covered(item, size, alt = "") {
  if (!item.picture || !coverHolds()) {
    return h("span", { class: "no-picture" }, item.picture ? "The cover is missing, so no picture is shown" : (item.why_no_picture ?? "no picture"));
  }
  const picture = h("img", { class: "veil", src: `${item.picture}/${size}.webp`, alt, draggable: "false", decoding: "async" });
  picture.addEventListener("error", () => picture.replaceWith(h("span", { class: "no-picture" }, "The picture did not come")));
  return picture;
}

let holds = false;

/** Whether the style sheet is there: without it pictures would be clear. */
function coverHolds() {
  if (!holds) {
    const probe = h("span", { class: "veil", hidden: true });
    document.body.append(probe);
    holds = getComputedStyle(probe).filter.includes("blur");
    probe.remove();
  }
  return holds;
}

export function prefetch(items, size) {
  for (const item of items) if (item.picture) new Image().src = `${item.picture}/${size}.webp`;
}

/** The large picture of the current image, and all ways to see it clear. */
export class Stage {
  constructor(figure, settings) {
    this.figure = figure;
    this.settings = settings;
    this.item = null;
    this.heldKey = null;
    this.timer = 0;
    this.size = null;
    this.from = { x: 0, y: 0 };
    figure.addEventListener("contextmenu", (event) => event.preventDefault());
    figure.addEventListener("pointerdown", (event) => this.press(event));
    for (const kind of ["pointerup", "pointercancel", "pointerleave"]) figure.addEventListener(kind, () => this.cover());
    figure.addEventListener("pointermove", (event) => this.move(event));
    window.addEventListener("clipsieve-cover", () => this.cover());
    window.addEventListener("keyup", (event) => this.lift(event));
  }

  show(item) {
    const isSame = this.item?.row === item?.row && this.item?.picture === item?.picture;
    if (isSame && this.figure.childElementCount) return;
    this.cover();
    this.item = item;
    const frame = h("div", { class: "frame" });
    if (item) frame.append(covered(item, "medium", "covered"));
    this.figure.replaceChildren(frame);
  }

  press(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.from = { x: event.clientX, y: event.clientY };
    const show = () => this.uncover(event.shiftKey ? "large" : this.settings.get("size"));
    if (event.pointerType === "mouse") show();
    else this.later(TOUCH_MS, show);
  }

  /** A finger that moves scrolls; a mouse that comes to rest looks, if the person likes it so. */
  move(event) {
    if (event.pointerType !== "mouse") {
      if (isFar(this.from, event)) this.cover();
      return;
    }
    const isMoved = event.clientX !== this.from.x || event.clientY !== this.from.y; // browsers tell of moves when only the page has changed
    this.from = { x: event.clientX, y: event.clientY };
    if (isMoved && !this.size && this.settings.get("rest")) this.later(REST_MS, () => this.uncover(this.settings.get("size")));
  }

  hold(event, size) {
    if (this.heldKey && this.heldKey !== event.code) return;
    this.heldKey = event.code || event.key;
    this.uncover(size);
  }

  lift(event) {
    if (this.heldKey && (event.code || event.key) === this.heldKey) this.cover();
    else if (this.size === "large" && this.heldKey && event.key === "Shift") this.uncover(this.settings.get("size"));
  }

  grow(event) {
    if (event.key === "Shift" && this.size && this.size !== "large") this.uncover("large");
  }

  later(after, what) {
    clearTimeout(this.timer);
    this.timer = setTimeout(what, after);
  }

  /** Show the picture clear: small first, so that the eye can turn away. */
  uncover(size) {
    if (!this.item?.picture || this.size === size || $("dialog[open]")) return;
    this.size = size;
    const clear = h("img", { class: `clear is-${size}`, src: `${this.item.picture}/${size}.webp`, alt: "shown clear", draggable: "false" });
    $(".clear", this.figure)?.remove();
    this.figure.classList.add("is-open");
    $(".frame", this.figure).append(clear);
    if (size !== "large" && this.settings.get("grow")) this.later(GROW_MS, () => this.uncover("large"));
  }

  cover() {
    clearTimeout(this.timer);
    this.heldKey = null;
    this.size = null;
    this.figure.classList.remove("is-open");
    $(".clear", this.figure)?.remove();
  }
}

/** Small pictures: a press that lasts shows one clear, a short one is a click. */
export class Peeking {
  constructor(grid) {
    this.grid = grid;
    this.timer = 0;
    this.isHeld = false;
    this.tile = null;
    this.from = { x: 0, y: 0 };
    grid.addEventListener("contextmenu", (event) => event.preventDefault());
    grid.addEventListener("pointerdown", (event) => this.press(event));
    for (const kind of ["pointerup", "pointercancel", "pointerleave"]) grid.addEventListener(kind, () => this.cover());
    grid.addEventListener("pointermove", (event) => this.move(event));
    window.addEventListener("clipsieve-cover", () => this.cover());
  }

  press(event) {
    const tile = event.target.closest(".tile");
    this.isHeld = false;
    if (!tile || event.button !== 0 || event.shiftKey) return;
    this.tile = tile;
    this.from = { x: event.clientX, y: event.clientY };
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.isHeld = true;
      tile.classList.add("is-peeked");
    }, HOLD_MS);
  }

  /** Whoever moves on to another picture looks no more at this one. */
  move(event) {
    if (!this.tile) return;
    const isGone = document.elementFromPoint(event.clientX, event.clientY)?.closest(".tile") !== this.tile;
    if (isGone || (event.pointerType !== "mouse" && isFar(this.from, event))) this.cover();
  }

  cover() {
    clearTimeout(this.timer);
    this.tile = null;
    for (const tile of this.grid.querySelectorAll(".is-peeked")) tile.classList.remove("is-peeked");
  }

  /** Whether the click that ends now was a look, and no choice. */
  wasLook() {
    const was = this.isHeld;
    this.isHeld = false;
    return was;
  }
}
