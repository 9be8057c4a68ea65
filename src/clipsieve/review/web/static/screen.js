// What the page shows of a review at this moment.

import { $, $$, bdi, count, duration, h, icon, plural, say } from "./dom.js";
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
    $(".stage").classList.toggle("is-idle", !item);
    review.stage.show(item);
    $("#said").replaceChildren(...(item ? describe(item, review.state) : []));
    $("#hint").hidden = !item?.picture;
    review.grid.render(view);
    this.choices();
    this.message();
    this.likeness();
    $("#pages").textContent = view.nPages > 1 ? `Page ${view.page + 1} of ${view.nPages}` : "";
    $("#group-steps").hidden = !review.isGroupOfQueue;
  }

  likeness() {
    const { view } = this.review;
    $("#likeness").hidden = view.kind !== "group";
    if (view.kind !== "group") return;
    $("#min-similarity").value = view.about.minSimilarity;
    $("#min-similarity-words").textContent = view.about.minSimilarity.toFixed(3);
  }

  way() {
    const { review } = this;
    const { view } = review;
    if (!view) return;
    $("#back").hidden = review.views.length < 2 || review.isGroupOfQueue;
    const [title, about] = this.titles(view);
    $("#view-title").replaceChildren(...title);
    $("#view-about").replaceChildren(...about);
    const { n, done, where } = this.progress(view);
    const bar = $("#progress");
    bar.style.setProperty("--share", n ? done / n : 0);
    bar.setAttribute("aria-valuenow", String(n ? Math.round((100 * done) / n) : 0));
    bar.setAttribute("aria-valuetext", `${count(done)} of ${count(n)} ${where}`);
    const { mine, mine_today_s: today } = review.state.progress;
    $("#progress-words").textContent = [`${count(done)} of ${count(n)} ${where}`, `${count(mine)} by you`, today >= 60 ? `${duration(today)} today` : null].filter(Boolean).join(" · ");
  }

  /** How far the person is with what they see: the queue, also while a group of it is shown, or what was found. */
  progress(view) {
    const { base } = this.review;
    if (["search", "similar"].includes(view.kind)) return { n: view.items.length, done: view.items.length - view.open.length, where: "found here" };
    const { n, n_done: nDone } = base.about.queue;
    const left = base.nLeft === null ? n - nDone : Math.max(0, base.nLeft - (base.nSince ?? 0));
    return { n, done: Math.max(0, n - left), where: "in this queue" };
  }

  titles(view) {
    const { queue, text, item, elapsedS } = view.about;
    const found = `${plural(view.items.length, "image")} of the whole run, the most alike first${elapsedS === undefined ? "" : `, in ${elapsedS.toFixed(2)} s`}`;
    if (view.kind === "search") return [["“", bdi(text), "”"], [found]];
    if (view.kind === "similar") return [["More like ", bdi(item.label ?? item.name)], [found]];
    const isOne = view.kind === "group" && view.items.length === 1;
    if (isOne) return [["No other image is this alike"], ["Move the slider to the left to find more."]];
    if (view.kind === "group") return [[`${count(view.items.length)} images that look alike`], ["One verdict for all that are marked. Unmark those that do not belong."]];
    if (this.review.isOfGroups && view.current) return [[bdi(queue.title)], ["The images that look alike are coming…"]];
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
      button.disabled = review.whyNot !== null || view.chosen().length === 0;
      button.classList.toggle("is-mine", n === 0 && view.current?.mine === choice);
    }
    $("#marks").hidden = n === 0 && view.kind !== "group";
    $("#marks-words").textContent = `${count(n)} marked`;
    const attached = [...review.concepts.map((concept) => h("span", { class: "chip" }, icon("concepts"), bdi(concept))),
      review.note ? h("span", { class: "chip" }, icon("note"), bdi(review.note.length > 60 ? `${review.note.slice(0, 59)}…` : review.note)) : null].filter(Boolean);
    $("#attached").hidden = attached.length === 0;
    $("#attached").replaceChildren(...(attached.length ? [h("span", { class: "soft" }, "Goes with your verdict: "), ...attached] : []));
  }

  /** Where no image is left to decide, the reason stands in its place. */
  message() {
    const { review } = this;
    const { view } = review;
    const message = $("#message");
    const was = message.hidden ? "" : message.textContent;
    message.hidden = view.current !== null;
    if (!message.hidden) message.replaceChildren(...this.why(view));
    if (!message.hidden && message.textContent !== was) say($("p", message).textContent);
  }

  why(view) {
    const { review } = this;
    const button = (text, kind, listener) => h("button", { type: "button", class: kind, on: { click: listener } }, text);
    const said = (name, title, about, ...buttons) => [icon(name), h("p", { class: "lead" }, title), about ? h("p", { class: "soft" }, about) : "", h("p", { class: "buttons" }, buttons)];
    const back = button("Back", "primary", () => review.back());
    if (view.kind !== "queue") return said("check", view.items.length ? "Everything here is decided." : "Nothing was found.", null, back);
    const again = button("Look again", "", () => review.supply.lookAgain());
    const another = button("Choose another queue", "primary", () => review.openQueues());
    const { problem } = view;
    if (problem?.isPassing) return said("wait", problem.status ? "The server is busy" : "You are offline", "More images come by themselves. What you decided is kept here until it is sent.", again);
    if (problem) return said("help", problem.message, problem.hint, again, another);
    if (view.taking || !view.isOver || !view.isSure) return said("wait", "Waiting for images…", review.outbox.n ? "What you decided is being saved." : null, another);
    return said("check", view.message ?? (view.items.length ? "This queue is done." : "This queue is empty."), "Others may give images back: look again later, or go on elsewhere.", again, another);
  }

  keys() {
    const { review } = this;
    for (const element of $$("[data-keys]")) element.textContent = shown(review.keys.of(element.dataset.keys)[0]);
    for (const element of $$("[data-action]")) element.setAttribute("aria-keyshortcuts", asShortcuts(review.keys.of(element.dataset.action)));
  }
}
