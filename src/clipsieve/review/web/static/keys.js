// Which key does what: a person may choose, and it works on keyboards of any script.

import { kept } from "./dom.js";

const WHERE = "clipsieve.keys";

/** Every action: its name, what it is called, its keys, and whether holding the key repeats it. */
export const ACTIONS = [
  { name: "keep", title: "Keep", keys: ["k"] },
  { name: "remove", title: "Remove", keys: ["r"] },
  { name: "unsure", title: "Unsure", keys: ["u"] },
  { name: "undo", title: "Take my last verdict back", keys: ["z"] },
  { name: "reveal", title: "Show while held", keys: ["Space"] },
  { name: "large", title: "Show large while held", keys: ["Shift+Space"] },
  { name: "next", title: "Next image", keys: ["ArrowRight", "n"], repeats: true },
  { name: "previous", title: "Previous image", keys: ["ArrowLeft", "p"], repeats: true },
  { name: "mark", title: "Mark or unmark", keys: ["x"] },
  { name: "range", title: "Mark a range onwards", keys: ["Shift+ArrowRight"], repeats: true },
  { name: "range-back", title: "Mark a range backwards", keys: ["Shift+ArrowLeft"], repeats: true },
  { name: "group", title: "Group of near-duplicates", keys: ["g"] },
  { name: "similar", title: "More like this", keys: ["m"] },
  { name: "search", title: "Find by words", keys: ["/"] },
  { name: "concepts", title: "Say what it shows", keys: ["c"] },
  { name: "note", title: "Write a note", keys: ["e"] },
  { name: "queues", title: "Choose a queue", keys: ["q"] },
  { name: "learn", title: "Learn from the verdicts", keys: ["l"] },
  { name: "settings", title: "Settings", keys: ["s"] },
  { name: "help", title: "Help with keys", keys: ["?"] },
];

const RESERVED = new Set(["Tab", "Enter", "Escape", "Shift", "Control", "Alt", "Meta", "CapsLock", "Dead", "Process", "Unidentified", "AltGraph", "ContextMenu"]);
const SIGNS = { Slash: ["/", "?"], Period: [".", ">"], Comma: [",", "<"], Semicolon: [";", ":"], Minus: ["-", "_"], Equal: ["=", "+"] };
const SHOWN = { ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", Shift: "⇧", Backspace: "⌫", Delete: "Del" };

/** The name of the key of an event, such as `k`, `Shift+ArrowRight`, `Space`, `?`; null for what is none of ours. */
export function keyOf(event) {
  if (event.ctrlKey || event.metaKey || (event.altKey && !event.getModifierState?.("AltGraph"))) return null;
  if (event.isComposing || RESERVED.has(event.key)) return RESERVED.has(event.key) && event.code ? byPlace(event, event.key) : null;
  if (event.key === " ") return event.shiftKey ? "Shift+Space" : "Space";
  if (event.key.length > 1) return event.shiftKey ? `Shift+${event.key}` : event.key;
  if (event.key >= "!" && event.key <= "~") {
    const letter = event.key.toLowerCase();
    return /[a-z]/.test(letter) && event.shiftKey ? `Shift+${letter}` : letter;
  }
  return byPlace(event, null);
}

/** Where the keyboard writes another script, the place of the key says which Latin letter is meant. */
function byPlace(event, name) {
  if (name !== null && name !== "Dead" && name !== "Process" && name !== "Unidentified") return null;
  const found = /^(?:Key([A-Z])|Digit(\d))$/.exec(event.code ?? "");
  if (found) return (event.shiftKey && found[1] ? "Shift+" : "") + (found[1] ?? found[2]).toLowerCase();
  return SIGNS[event.code]?.[event.shiftKey ? 1 : 0] ?? null;
}

const USABLE = /^(?:[!-~]|Shift\+[a-z]|(?:Shift\+)?(?:Space|ArrowLeft|ArrowRight|Backspace|Delete|Insert))$/;

/** Whether an action can have this key: all others belong to the page, to the list of images, or to the browser. */
export const isUsable = (key) => USABLE.test(key) && !/^[A-Z]$/.test(key);

export const shown = (key) => key.split("+").map((part) => SHOWN[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join(" ") || key;

/** What a browser calls these keys for a screen reader. */
export const asShortcuts = (keys) => keys.map((key) => (key === "+" ? "Plus" : key)).join(" ");

export class Keys extends EventTarget {
  constructor() {
    super();
    const stored = kept.get(WHERE);
    const pairs = stored && typeof stored === "object" && !Array.isArray(stored) ? Object.entries(stored) : [];
    this.chosen = Object.fromEntries(pairs.filter(([, key]) => typeof key === "string" && isUsable(key)));
  }

  of(name) {
    const chosen = this.chosen[name];
    return typeof chosen === "string" ? [chosen] : ACTIONS.find((action) => action.name === name).keys;
  }

  find(key) {
    return ACTIONS.find((action) => this.of(action.name).includes(key)) ?? null;
  }

  /** Give an action another key; returns the sentence that says why not, or null. */
  change(name, key) {
    if (!isUsable(key)) return `${shown(key)} is needed for the page itself. Choose another.`;
    const other = this.find(key);
    if (other && other.name !== name) return `${shown(key)} is already “${other.title}”. Nothing was changed.`;
    this.chosen = { ...this.chosen, [name]: key };
    this.save();
    return null;
  }

  reset() {
    this.chosen = {};
    this.save();
  }

  save() {
    kept.set(WHERE, this.chosen);
    this.dispatchEvent(new Event("change"));
  }
}

/** Whether a person is writing just now, so that letters are letters. */
export function isWriting(target) {
  if (!(target instanceof Element)) return false;
  if (target.closest("[contenteditable]:not([contenteditable=false])")) return true;
  const field = target.closest("input, textarea, select");
  return field !== null && !["checkbox", "radio", "button", "submit", "range"].includes(field.type);
}
