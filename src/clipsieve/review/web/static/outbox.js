// Verdicts on their way to the server. Each lies in the browser's storage under its own key from the moment a person
// decides until the server has said that it is durable: a reload, a crash or a lost connection takes nothing away, two
// windows do not overwrite each other, and what is sent twice is one row by its id.

import { ApiError, call } from "./api.js";
import { kept } from "./dom.js";

const BATCH = 50;
const PAUSE_MS = 400;
const LONGEST_MS = 30000;
const KEEPALIVE_BYTES = 60000; // browsers send no more than 64 KiB after a page is gone

export class Outbox extends EventTarget {
  constructor(run, annotator) {
    super();
    const whose = `${encodeURIComponent(run)}/${encodeURIComponent(annotator)}`;
    this.prefix = `clipsieve.outbox/${whose}/`;
    this.refusedPrefix = `clipsieve.refused/${whose}/`;
    this.memory = new Map(); // only what the storage did not take
    this.hasStorage = true;
    this.state = "saved"; // saved, sending, waiting, logged-out
    this.problem = null;
    this.failures = 0;
    this.timer = 0;
    this.sending = null;
    window.addEventListener("online", () => this.hurry());
    window.addEventListener("pagehide", () => this.sendLast());
    document.addEventListener("visibilitychange", () => document.hidden && this.sendLast());
    window.addEventListener("storage", (event) => {
      if (event.key?.startsWith(this.prefix)) this.tell(this.n ? this.state : "saved");
    });
    window.addEventListener("beforeunload", (event) => {
      if (this.memory.size) event.preventDefault(); // all else is safe where it lies
    });
  }

  get keys() { return kept.keys(this.prefix); }
  get n() { return this.keys.length + this.memory.size; }

  /** Keep verdicts before anything else happens; they are sent soon. */
  add(verdicts) {
    verdicts.forEach((verdict, place) => {
      const entry = { at: Date.now() + place / 1000, verdict };
      if (!kept.set(this.prefix + verdict.verdict_id, entry)) {
        this.hasStorage = false;
        this.memory.set(verdict.verdict_id, entry);
      }
    });
    this.tell(this.state === "saved" ? "sending" : this.state);
    this.schedule(PAUSE_MS);
  }

  /** What is not yet durable, the oldest first. */
  all() {
    const stored = this.keys.map((key) => kept.get(key)).filter((entry) => entry?.verdict?.verdict_id);
    return [...stored, ...this.memory.values()].sort((a, b) => a.at - b.at).map((entry) => entry.verdict);
  }

  refused() {
    return kept.keys(this.refusedPrefix).map((key) => kept.get(key)).filter(Boolean);
  }

  /** Send again what was refused: the server may know better by now. */
  retryRefused() {
    const again = this.refused().map((each) => each.verdict);
    this.forgetRefused();
    this.add(again);
  }

  forgetRefused() {
    kept.keys(this.refusedPrefix).forEach((key) => kept.remove(key));
  }

  hurry() {
    this.failures = 0;
    this.schedule(0);
  }

  schedule(delay) {
    if (this.timer && delay > 0 && this.failures === 0) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.timer = 0; this.send(); }, delay);
  }

  /** Send what waits; while that is under way, whoever asks waits for the same. */
  send() {
    this.sending ??= this.trySending().finally(() => { this.sending = null; });
    return this.sending;
  }

  /** Wait until all is durable; throws if that must wait for something else. */
  async drain() {
    while (this.n) {
      await this.send();
      if (this.n && this.problem) throw new ApiError(0, "Not all verdicts have arrived yet", "They are sent by themselves as soon as that is possible: try again then.");
    }
  }

  async trySending() {
    if (this.n === 0) return;
    try {
      await (navigator.locks ? navigator.locks.request(this.prefix, () => this.sendAll()) : this.sendAll());
      this.failures = 0;
      this.problem = null;
      this.tell("saved");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.failures += 1;
      this.problem = error;
      const wait = Math.min(LONGEST_MS, 1000 * 2 ** (this.failures - 1));
      this.tell(error.isLoggedOut ? "logged-out" : "waiting");
      this.schedule(Math.max(wait * (0.8 + Math.random() / 2.5), error.retryAfterS * 1000));
    } finally {
      if (this.n && !this.timer) this.schedule(PAUSE_MS);
    }
  }

  async sendAll() {
    for (let batch = this.all().slice(0, BATCH); batch.length; batch = this.all().slice(0, BATCH)) {
      const answer = await this.deliver(batch);
      const settled = [...answer.accepted, ...answer.refused.map((each) => each.verdict_id)];
      if (!settled.length) throw new ApiError(502, "The server took none of the verdicts");
      this.settle(batch, answer);
    }
  }

  /** Send a batch; one that the server cannot read at all is sent one by one, so that it holds up no other. */
  async deliver(batch) {
    try {
      return await call("/api/verdicts", { verdicts: batch });
    } catch (error) {
      if (![400, 413, 422].includes(error.status)) throw error;
      if (batch.length > 1) return this.deliver([batch[0]]);
      return { accepted: [], refused: [{ verdict_id: batch[0].verdict_id, why: error.message }], progress: null };
    }
  }

  settle(batch, { accepted, refused, progress }) {
    const sent = new Map(batch.map((verdict) => [verdict.verdict_id, verdict]));
    const why = refused.filter((each) => sent.has(each.verdict_id));
    for (const each of why) kept.set(this.refusedPrefix + each.verdict_id, { verdict: sent.get(each.verdict_id), why: each.why });
    for (const id of [...accepted, ...why.map((each) => each.verdict_id)]) {
      kept.remove(this.prefix + id);
      this.memory.delete(id);
    }
    this.dispatchEvent(new CustomEvent("settled", { detail: { progress, refused: why.map((each) => ({ ...each, verdict: sent.get(each.verdict_id) })) } }));
    this.tell(this.n ? "sending" : "saved");
  }

  /** The page goes away: hand over what can be handed over; the rest stays where it is. */
  sendLast() {
    const batch = [];
    let size = 0;
    for (const verdict of this.all().slice(0, BATCH)) {
      size += 3 * JSON.stringify(verdict).length;
      if (size > KEEPALIVE_BYTES) break;
      batch.push(verdict);
    }
    if (!batch.length) return;
    call("/api/verdicts", { verdicts: batch }, { keepalive: true }).then((answer) => this.settle(batch, answer)).catch(() => {});
  }

  tell(state) {
    this.state = this.n ? state : "saved";
    if (this.n && state === "saved") this.state = "sending";
    this.dispatchEvent(new Event("change"));
  }
}
