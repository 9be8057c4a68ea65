// What an image is said to be, in words, before anybody looks at it.

import { bdi, h, icon, percent } from "./dom.js";
import { said } from "./views.js";

/** The words about the current image. */
export function describe(item, state) {
  return [score(item, state), facts(item), voices(item)].filter(Boolean);
}

function score(item, { run }) {
  if (item.score === null || item.score === undefined) {
    const why = item.is_flagged === null || item.is_flagged === undefined ? "No score is shown here, so that it does not sway you." : "No score.";
    return h("p", { class: "score is-none" }, why);
  }
  const isOfNow = item.classifier === run.scores; // after learning the threshold is another, until the images are taken anew
  const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("span", { class: "fill" }), isOfNow ? h("span", { class: "tick" }) : "");
  bar.style.setProperty("--share", item.score);
  bar.style.setProperty("--threshold", run.threshold);
  const words = item.is_flagged ? "flagged:" : "not flagged: below";
  const rule = isOfNow ? `${words} ${percent(run.threshold)}${item.is_flagged ? " or more" : ""}` : words.replace(/:.*/, "");
  return h("p", { class: `score${item.is_flagged ? " is-flagged" : ""}` },
    h("span", { class: "figure" }, percent(item.score)), h("span", { class: "what" }, "unwanted", h("span", { class: "sr" }, ",")),
    bar, h("span", { class: "soft" }, rule));
}

function facts(item) {
  const lines = [
    ["Concept", item.concept, "concept"], ["Class", item.label, "label"], ["Caption", item.caption, "caption"], ["File", item.name, "file"],
  ].filter(([, text]) => text);
  if (item.similarity !== null && item.similarity !== undefined) lines.unshift(["Similarity", item.similarity.toFixed(3), "similarity"]);
  if (item.n_like_it > 1) lines.unshift(["Group", `${item.n_like_it} images look alike`, "like"]);
  return h("dl", { class: "facts" }, lines.map(([term, text, name]) => h("div", { class: `is-${name}` }, h("dt", {}, term), h("dd", {}, bdi(text)))));
}

function voices(item) {
  if (!item.voices?.length) return null;
  return h("div", { class: "voices" }, h("h3", {}, "What the reviewers said"),
    h("ul", {}, item.voices.map(([who, choice, note]) => h("li", { class: `is-${choice}` },
      icon(choice), h("span", {}, h("strong", {}, bdi(who)), ` ${said(choice)}`), note ? h("q", {}, bdi(note)) : null))));
}

/** The same in one line, for a screen reader. */
export function label(item, place, n, { isMarked, isCurrent }) {
  const parts = [`image ${place} of ${n}`];
  if (isCurrent) parts.push("shown large");
  if (item.label) parts.push(`class ${item.label}`);
  if (item.concept) parts.push(item.concept);
  if (!item.label && !item.concept) parts.push(item.name);
  if (item.score !== null && item.score !== undefined) parts.push(`unwanted ${percent(item.score)}`);
  parts.push(said(item.mine));
  if (isMarked) parts.push("marked");
  if (!item.picture) parts.push("no picture");
  return parts.join(", ");
}
