// The covered images that follow: a list box that the arrow keys walk through.

import { $, bdi, h, icon, percent } from "./dom.js";
import { covered, Peeking } from "./picture.js";
import { PAGE } from "./views.js";
import { label } from "./words.js";

export class Grid {
  /** @param {(place: number, event: Event) => void} onPick called when a person picks an image by hand */
  constructor(element, onPick) {
    this.element = element;
    this.tiles = new Map();
    this.peeking = new Peeking(element);
    element.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile && !this.peeking.wasLook()) onPick(Number(tile.dataset.place), event);
    });
  }

  /** How many stand in one row just now. */
  get nColumns() {
    return getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
  }

  render(view) {
    const first = view.page * PAGE;
    const hadFocus = this.element.contains(document.activeElement);
    const tiles = view.shown.map((item, i) => this.tile(item, first + i, view));
    const stands = [...this.element.children];
    if (stands.length !== tiles.length || tiles.some((tile, i) => tile !== stands[i])) this.element.replaceChildren(...tiles);
    this.tiles = new Map(view.shown.map((item, i) => [item, tiles[i]]));
    this.element.classList.toggle("is-empty", !tiles.length);
    if (hadFocus || document.activeElement === document.body) this.focus();
  }

  focus() {
    $("[tabindex='0']", this.element)?.focus({ preventScroll: !matchMedia("(min-width: 60rem)").matches });
  }

  tile(item, place, view) {
    const tile = this.tiles.get(item) ?? made(item);
    const isCurrent = place === view.at && !view.isIdle;
    const isMarked = view.marked.has(item.row);
    tile.dataset.place = place;
    tile.className = `tile${isCurrent ? " is-current" : ""}${isMarked ? " is-marked" : ""}${item.mine ? ` is-decided is-${item.mine}` : ""}`;
    tile.tabIndex = place === view.at ? 0 : -1;
    tile.setAttribute("aria-selected", String(isMarked));
    if (isCurrent) tile.setAttribute("aria-current", "true");
    else tile.removeAttribute("aria-current");
    tile.setAttribute("aria-label", label(item, place + 1, view.items.length, { isMarked, isCurrent }));
    const badge = $(".badge", tile);
    if (badge.dataset.choice !== (item.mine ?? "")) {
      badge.dataset.choice = item.mine ?? "";
      badge.replaceChildren(...(item.mine ? [icon(item.mine)] : []));
    }
    return tile;
  }
}

function made(item) {
  const number = item.similarity ?? item.score;
  const isScore = item.similarity === null || item.similarity === undefined;
  const words = item.label ?? item.concept ?? item.name;
  return h("div", { class: "tile", role: "option", data: { row: item.row } },
    h("span", { class: "thumb" }, covered(item, "small"), h("span", { class: "mark" }, icon("check")), h("span", { class: "badge" }),
      item.n_like_it > 1 ? h("span", { class: "like" }, `${item.n_like_it}×`) : null),
    h("span", { class: "under" }, h("span", { class: "word" }, bdi(words)),
      number === null || number === undefined ? null
        : h("span", { class: `number${item.is_flagged && isScore ? " is-flagged" : ""}` }, isScore ? percent(number) : number.toFixed(2))));
}
