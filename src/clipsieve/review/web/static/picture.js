// Pictures, covered. A picture is clear only while a person holds a key or the pointer, and never by itself.

import { $, h } from "./dom.js";

const GROW_MS = 1000;
const REST_MS = 600;
const HOLD_MS = 250;

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
    figure.addEventListener("contextmenu", (event) => event.preventDefault());
    figure.addEventListener("pointerdown", (event) => this.press(event));
    for (const kind of ["pointerup", "pointercancel", "pointerleave"]) figure.addEventListener(kind, () => this.cover());
    figure.addEventListener("pointerenter", (event) => this.rest(event));
    window.addEventListener("blur", () => this.cover());
    document.addEventListener("visibilitychange", () => this.cover());
    window.addEventListener("keyup", (event) => this.lift(event));
  }

  show(item) {
    if (this.item === item && this.figure.childElementCount) return;
    this.cover();
    this.item = item;
    const frame = h("div", { class: "frame" });
    if (item) frame.append(covered(item, "medium", "covered"));
    this.figure.replaceChildren(frame);
  }

  press(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.uncover(event.shiftKey ? "large" : this.settings.get("size"));
  }

  rest(event) {
    if (event.pointerType !== "mouse" || !this.settings.get("rest")) return;
    this.later(REST_MS, () => this.uncover(this.settings.get("size")));
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
    grid.addEventListener("contextmenu", (event) => event.preventDefault());
    grid.addEventListener("pointerdown", (event) => this.press(event));
    for (const kind of ["pointerup", "pointercancel", "pointerleave"]) grid.addEventListener(kind, () => this.cover());
    window.addEventListener("blur", () => this.cover());
  }

  press(event) {
    const tile = event.target.closest(".tile");
    if (!tile || event.button !== 0 || event.shiftKey) return;
    this.isHeld = false;
    this.timer = setTimeout(() => {
      this.isHeld = true;
      tile.classList.add("is-peeked");
    }, HOLD_MS);
  }

  cover() {
    clearTimeout(this.timer);
    for (const tile of this.grid.querySelectorAll(".is-peeked")) tile.classList.remove("is-peeked");
  }

  /** Whether the click that ends now was a look, and no choice. */
  wasLook() {
    const was = this.isHeld;
    this.isHeld = false;
    return was;
  }
}
