// What the page shows of a review at this moment.

import { $, $$, bdi, count, duration, h, icon, plural } from "./dom.js";
import { ACTIONS, asShortcuts, shown } from "./keys.js";
import { describe } from "./words.js";

export class Screen {
  constructor(review) {
    this.review = review;
  }

  render() {
    const { review } = this;
    const { view } = review;
    const item = view.current;
    this.way();
    review.stage.show(item);
    $("#said").replaceChildren(...(item ? describe(item, review.state) : []));
    $("#hint").hidden = !item?.picture;
    review.grid.render(view);
    this.choices();
    this.message();
    $("#pages").textContent = view.nPages > 1 ? `Page ${view.page + 1} of ${view.nPages}` : "";
    $("#likeness").hidden = view.kind !== "group";
  }

  way() {
    const { review } = this;
    const { view, base } = review;
    if (!view) return;
    $("#back").hidden = review.views.length < 2;
    const [title, about] = this.titles(view);
    $("#view-title").replaceChildren(...title);
    $("#view-about").replaceChildren(...about);
    const n = base.about.queue.n;
    const left = base.nLeft === null ? n - base.about.queue.n_done : Math.max(0, base.nLeft - (base.nSince ?? 0));
    const done = Math.max(0, n - left);
    const bar = $("#progress");
    bar.style.setProperty("--share", n ? done / n : 0);
    bar.setAttribute("aria-valuenow", String(n ? Math.round((100 * done) / n) : 0));
    bar.setAttribute("aria-valuetext", `${count(done)} of ${count(n)}`);
    const { mine, mine_today_s: today } = review.state.progress;
    $("#progress-words").textContent = [`${count(done)} of ${count(n)} in this queue`, `${count(mine)} by you`, today >= 60 ? `${duration(today)} today` : null].filter(Boolean).join(" · ");
  }

  titles(view) {
    const { queue, text, item, elapsedS } = view.about;
    const found = `${plural(view.items.length, "image")} of the whole run, the most alike first${elapsedS === undefined ? "" : `, in ${elapsedS.toFixed(2)} s`}`;
    if (view.kind === "search") return [["“", bdi(text), "”"], [found]];
    if (view.kind === "similar") return [["More like ", bdi(item.label ?? item.name)], [found]];
    if (view.kind === "group" && view.items.length === 1) return [["No other image is this alike"], ["Move the slider to the left to find more."]];
    if (view.kind === "group") return [[`${count(view.items.length)} images that look alike`], ["One decision for all that are marked. Unmark those that do not belong."]];
    const kind = { class: "Class ", concept: "Concept " }[queue.name];
    return [kind ? [kind, bdi(queue.title)] : [bdi(queue.title)], [bdi(queue.about ?? "")]];
  }

  choices() {
    const { review } = this;
    const { view } = review;
    const n = view.marked.size;
    for (const choice of ["keep", "remove", "unsure"]) {
      const button = $(`[data-action=${choice}]`);
      const title = ACTIONS.find((action) => action.name === choice).title;
      $(".words", button).textContent = n > 1 ? `${title} ${n}` : title;
      button.disabled = !view.current;
      button.classList.toggle("is-mine", n === 0 && view.current?.mine === choice);
    }
    $("#marks").hidden = n === 0 && view.kind !== "group";
    $("#marks-words").textContent = `${count(n)} marked`;
    const attached = [...review.concepts.map((concept) => h("span", { class: "chip" }, icon("concepts"), bdi(concept))),
      review.note ? h("span", { class: "chip" }, icon("note"), bdi(review.note.length > 60 ? `${review.note.slice(0, 59)}…` : review.note)) : null].filter(Boolean);
    $("#attached").hidden = attached.length === 0;
    $("#attached").replaceChildren(...(attached.length ? [h("span", { class: "soft" }, "Goes with your decision: "), ...attached] : []));
  }

  message() {
    const { review } = this;
    const { view } = review;
    const isDone = view.open.length === 0 && !view.taking && (view.kind !== "queue" || view.isOver);
    const message = $("#message");
    message.hidden = !isDone;
    if (!isDone) return;
    const words = view.items.length ? "Everything here is decided." : { queue: "This queue is empty.", search: "Nothing was found." }[view.kind] ?? "There is nothing here.";
    const button = (text, kind, listener) => h("button", { type: "button", class: kind, on: { click: listener } }, text);
    message.replaceChildren(icon("check"), h("p", {}, view.message ?? words),
      h("p", { class: "buttons" }, view.kind === "queue"
        ? [button("Look again", "", () => review.lookAgain()), button("Choose another queue", "primary", () => review.openQueues())]
        : button("Back", "primary", () => review.back())));
  }

  keys() {
    const { review } = this;
    for (const element of $$("[data-keys]")) element.textContent = shown(review.keys.of(element.dataset.keys)[0]);
    for (const element of $$("[data-action]")) element.setAttribute("aria-keyshortcuts", asShortcuts(review.keys.of(element.dataset.action)));
  }
}
