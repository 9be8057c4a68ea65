// Names and times that go with what a person does: each name is its own, and times are the server's, never the same twice.

const GOOD_MS = 2000;
const OLD_MS = 600000;

/** A random UUID; without https browsers offer only the random bytes. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

const clock = { offsetMs: 0, tripMs: Infinity, heardMs: 0, latestMs: 0 };

/** Hear from the server what time it is; half of the way there and back is taken off, and a slow answer says little. */
export function hearTime(said, askedMs, answeredMs) {
  const theirs = Date.parse(said);
  const tripMs = Math.max(0, answeredMs - askedMs);
  if (!Number.isFinite(theirs)) return;
  if (tripMs > GOOD_MS && tripMs > clock.tripMs && answeredMs - clock.heardMs < OLD_MS) return;
  Object.assign(clock, { offsetMs: theirs - (askedMs + tripMs / 2), tripMs, heardMs: answeredMs });
}

/** The server's time now; never the same twice, so that the later of two verdicts counts. */
export function now() {
  clock.latestMs = Math.max(Math.round(Date.now() + clock.offsetMs), clock.latestMs + 1);
  return new Date(clock.latestMs).toISOString();
}
