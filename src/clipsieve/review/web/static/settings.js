// How one person wants to look at pictures; it stays in their browser.

import { $, $$, kept } from "./dom.js";

const WHERE = "clipsieve.settings";

export const DEFAULTS = {
  blur: 18, // of the cover, 6 to 60; the style sheet makes it fit the size of each picture
  grey: true,
  greyShown: false,
  size: "small", // of what is shown while the key is held
  grow: false, // to large after a second
  rest: false, // shown while the pointer rests on it
  sound: false,
  breakEvery: 45, // minutes; 0 for never
  still: false, // without motion
};

export class Settings extends EventTarget {
  constructor() {
    super();
    const stored = kept.get(WHERE) ?? {};
    this.values = { ...DEFAULTS };
    for (const [name, value] of Object.entries(DEFAULTS)) {
      if (typeof stored[name] === typeof value) this.values[name] = stored[name];
    }
    this.apply();
  }

  get(name) { return this.values[name]; }

  set(name, value) {
    this.values[name] = value;
    kept.set(WHERE, this.values);
    this.apply();
    this.dispatchEvent(new Event("change"));
  }

  /** The cover itself stands in the style sheet; here it is only made thicker, thinner or coloured. */
  apply() {
    const root = document.documentElement;
    const { blur, grey, greyShown, still } = this.values;
    const thick = Math.min(60, Math.max(6, Number(blur) || DEFAULTS.blur));
    root.style.setProperty("--blur", thick);
    root.style.setProperty("--grey", grey ? "1" : "0");
    root.style.setProperty("--grey-shown", greyShown ? "1" : "0");
    root.classList.toggle("is-still", still);
  }

  /** Tie the fields of the dialog to the values. */
  bind(form) {
    for (const field of $$("[name]", form)) {
      const value = this.values[field.name];
      if (field.type === "checkbox") field.checked = value;
      else if (field.type === "radio") field.checked = field.value === value;
      else field.value = value;
      field.addEventListener("input", () => this.read(field, form));
    }
    this.describe(form);
  }

  read(field, form) {
    if (field.type === "checkbox") this.set(field.name, field.checked);
    else if (field.type === "radio") this.set(field.name, field.value);
    else if (Number.isFinite(field.valueAsNumber)) this.set(field.name, field.valueAsNumber);
    this.describe(form);
  }

  describe(form) {
    $("#blur-words", form).textContent = this.values.blur;
  }
}

const IDLE_MS = 120000;
const BREAK_MS = 300000; // so long without a key or a press is a break
const TICK_MS = 15000;

/** Counts the minutes in which somebody looked at pictures, and says when it is time to stop for a while. */
export class BreakClock extends EventTarget {
  constructor(settings) {
    super();
    this.settings = settings;
    this.workedMs = 0;
    this.snoozedMs = 0;
    this.last = Date.now();
    for (const kind of ["keydown", "pointerdown"]) window.addEventListener(kind, () => { this.last = Date.now(); }, { passive: true });
    setInterval(() => this.tick(), TICK_MS);
  }

  get minutes() { return Math.round(this.workedMs / 60000); }

  tick(elapsed = TICK_MS) {
    const idleMs = Date.now() - this.last;
    if (idleMs >= BREAK_MS) this.reset();
    if (document.hidden || idleMs > IDLE_MS) return;
    this.workedMs += elapsed;
    const every = this.settings.get("breakEvery");
    if (every > 0 && this.workedMs >= every * 60000 + this.snoozedMs) this.dispatchEvent(new Event("due"));
  }

  snooze(minutes) { this.snoozedMs = this.workedMs + minutes * 60000 - this.settings.get("breakEvery") * 60000; }

  reset() { this.workedMs = 0; this.snoozedMs = 0; }
}

/** A soft tick, made on the spot. */
export function tick() {
  const Sound = window.AudioContext;
  if (!Sound) return;
  tick.context ??= new Sound();
  const { currentTime } = tick.context;
  const tone = tick.context.createOscillator();
  const volume = tick.context.createGain();
  tone.frequency.value = 420;
  volume.gain.setValueAtTime(0.06, currentTime);
  volume.gain.exponentialRampToValueAtTime(0.0001, currentTime + 0.09);
  tone.connect(volume).connect(tick.context.destination);
  tone.start(currentTime);
  tone.stop(currentTime + 0.1);
}
