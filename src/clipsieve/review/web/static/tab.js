// Which of a person's open pages this is: what they are handed in one tab is not handed to them in another.

import { keptForTab } from "./dom.js";
import { uuid } from "./stamp.js";

const WHERE = "clipsieve.page";
const N_TRIES = 4;
const PAUSE_MS = 100;

/** Goes with every question to the server. */
export const page = { id: "" };

const pause = () => new Promise((go) => { setTimeout(go, PAUSE_MS); });

/** Take the name that this tab had before it was loaded again; the copy of a tab has its name too, and gets another. */
export async function claim() {
  const before = keptForTab.get(WHERE);
  const isGood = typeof before === "string" && /^[0-9A-Za-z-]{1,40}$/.test(before);
  const hold = navigator.locks ? holdLock : holdChannel;
  const id = isGood && (await hold(before)) ? before : uuid();
  if (id !== before) await hold(id);
  keptForTab.set(WHERE, id);
  page.id = id;
}

/** Hold a name as long as the page is there; the page before a reload may need a moment to let go. */
async function holdLock(id) {
  for (let tried = 0; tried < N_TRIES; tried += 1) {
    if (tried) await pause();
    const isMine = await new Promise((say) => {
      navigator.locks.request(`${WHERE}/${id}`, { ifAvailable: true }, (lock) => {
        say(lock !== null);
        return lock && new Promise(() => {});
      });
    });
    if (isMine) return true;
  }
  return false;
}

/** The same without https, where browsers have no locks: whoever holds the name says so. */
async function holdChannel(id) {
  if (!window.BroadcastChannel) return true;
  const channel = new BroadcastChannel(`${WHERE}/${id}`);
  let isTaken = false;
  channel.onmessage = ({ data }) => { isTaken ||= data === "taken"; };
  channel.postMessage("who");
  await pause();
  if (isTaken) channel.close();
  else channel.onmessage = ({ data }) => { if (data === "who") channel.postMessage("taken"); };
  return !isTaken;
}
