// Says at all times whether what a person decided is safe, and gets them back in when their login has ended.

import { renew } from "./api.js";
import { $, h, notify, plural } from "./dom.js";
import * as dialogs from "./dialogs.js";

export class Saved {
  constructor(outbox, annotator, onBack) {
    this.outbox = outbox;
    this.annotator = annotator;
    this.onBack = onBack;
    this.was = "saved";
    this.isAsked = false;
    this.refused = h("button", { type: "button", class: "plain refused-chip", id: "refused" });
    this.refused.addEventListener("click", () => dialogs.refused(outbox));
    $("#saved").after(this.refused);
    outbox.addEventListener("change", () => this.render());
    outbox.addEventListener("settled", ({ detail }) => this.tellRefused(detail.refused));
    window.addEventListener("focus", () => this.isOut && this.comeBack(false));
    $("#login-again").addEventListener("click", () => this.comeBack(true));
    this.render();
  }

  get isOut() { return this.isAsked || this.outbox.state === "logged-out"; }

  render() {
    const { state, n } = this.outbox;
    const words = this.words();
    $("#saved").dataset.state = this.outbox.hasStorage || !this.outbox.memory.size ? state : "waiting";
    if ($("#saved-words").textContent !== words) $("#saved-words").textContent = words;
    const nRefused = this.outbox.refused().length;
    this.refused.hidden = nRefused === 0;
    this.refused.textContent = `${nRefused} not taken`;
    const isTrouble = ["waiting", "logged-out"].includes(state);
    if (isTrouble !== ["waiting", "logged-out"].includes(this.was) && (isTrouble || n === 0)) $("#saved-spoken").textContent = words;
    if (isTrouble || n === 0) this.was = state;
    if (state === "logged-out") this.ask();
  }

  words() {
    const { state, n, problem, memory } = this.outbox;
    if (!n) return "All saved";
    if (memory.size) return `${plural(n, "verdict")} waiting – keep this page open: the browser stores nothing`;
    if (state === "waiting") return `${n} waiting – ${problem?.status ? "the server is busy" : "offline"}, nothing is lost`;
    if (state === "logged-out") return `${n} waiting – log in again, nothing is lost`;
    return `Saving ${n}`;
  }

  /** Ask to log in, once; whoever closes the dialog can go on deciding, and is asked again by the button. */
  ask() {
    if (this.isAsked) return;
    const dialog = dialogs.open("login");
    if (!dialog) return;
    this.isAsked = true;
    const { n } = this.outbox;
    $("#login-words").textContent = n ? `${plural(n, "verdict")} ${n === 1 ? "waits" : "wait"} in this browser.` : "your place is kept.";
  }

  async comeBack(isLoud) {
    const found = await renew();
    if (!found) {
      if (isLoud) notify("You are not logged in yet", { hint: "Log in in the other tab first." });
      return;
    }
    if (found.annotator !== this.annotator) {
      notify(`Somebody else is logged in now`, { kind: "error", hint: `What waits here was decided by ${this.annotator}. Log in as ${this.annotator} to send it, or load the page again to go on as ${found.annotator}.` });
      return;
    }
    found.use();
    this.isAsked = false;
    if ($("#login-dialog").open) $("#login-dialog").close();
    this.outbox.hurry();
    this.onBack();
  }

  tellRefused(refused) {
    if (!refused.length) return;
    const look = h("button", { type: "button" }, "Look");
    look.addEventListener("click", () => dialogs.refused(this.outbox));
    notify(refused.length === 1 ? `A verdict was not taken: ${refused[0].why}` : `${refused.length} verdicts were not taken: ${refused[0].why}`, { kind: "error", action: look });
    this.render();
  }
}
