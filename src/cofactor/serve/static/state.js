// What this person has rated: in this browser, and with the service only under a name.

import { ask, path } from "./api.js";

const OWN = "cofactor-ratings"; // of nobody by name
const NAME = "cofactor-user";
const UNSENT = "cofactor-unsent"; // of somebody by name: given here, not stored there yet
const listeners = [];

export const ratings = new Map(); // item -> {title, rating}
export const unsent = new Map(); // item -> {title, rating}, rating null where it was taken back
export const person = { user: read(NAME, ""), position: null, trouble: null };
let scale = null, sending = null;

function read(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise; // storage is forbidden, or holds something else
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch { /* then they last until the page is left */ }
}

function load(map, pairs) {
  map.clear();
  if (Array.isArray(pairs)) for (const [item, one] of pairs) if (typeof item === "string" && one) map.set(item, one);
}

/** Ratings that the service can take: another one may have had another scale. */
export function inScale() {
  const found = [];
  for (const [item, { rating }] of ratings) {
    if (typeof rating === "number" && (!scale || (rating >= scale[0] && rating <= scale[1]))) found.push({ item, rating });
  }
  return found;
}

/** Calls a function whenever the ratings have changed, or what is stored of them. */
export function onRatings(listener) {
  listeners.push(listener);
}

function changed() {
  if (person.user) write(UNSENT, [...unsent]);
  else write(OWN, [...ratings]);
  for (const listener of listeners) listener();
}

/** Rates something, or takes the rating back (null). It counts here at once; with a name it is stored too. */
export function rate(item, title, rating) {
  if (rating === null) ratings.delete(item);
  else ratings.set(item, { title, rating });
  if (person.user) {
    unsent.set(item, { title, rating });
    send();
  }
  changed();
}

/** Stores what is not stored yet. One at a time, so that the last word about something arrives last. */
export function send() {
  sending ??= sendAll().finally(() => { sending = null; });
  return sending;
}

async function sendAll() {
  person.trouble = null;
  const tried = new Set();
  for (;;) {
    const next = [...unsent].find(([, one]) => !tried.has(one));
    if (!next) break;
    const [item, one] = next;
    tried.add(one);
    const where = path("ratings", person.user, item);
    try {
      await ask(where, one.rating === null ? { method: "DELETE" } : { method: "PUT", body: { rating: one.rating } });
    } catch (error) {
      if (!(one.rating === null && error.status === 404)) { // taken back before it was ever stored
        person.trouble = error;
        if (error.status === 0) break;
        continue;
      }
    }
    if (unsent.get(item) === one) unsent.delete(item); // else it was changed in the meantime
  }
  changed();
}

/** Resolves when nothing is on its way to the store any more. */
export async function settled() {
  while (sending) await sending;
}

/** What a user has stored, page by page. */
async function stored(user) {
  const found = [];
  let next = null;
  do {
    const { data } = await ask(`${path("users", user, "ratings")}?limit=1000${next ? `&cursor=${encodeURIComponent(next)}` : ""}`);
    for (const one of data.ratings) found.push([one.item, { title: one.title, rating: one.rating }]);
    next = data.next;
  } while (next);
  return found;
}

/** From now on this is somebody by name, or nobody (""). What was rated by nobody is kept for when they come back. */
export async function become(user, bring = false) {
  await settled();
  if (unsent.size) throw new Error("Some ratings are not stored yet. Try that again first.");
  const theirs = user ? await stored(user) : read(OWN, []); // asked first: if it fails, nothing has changed
  const here = [...ratings];
  load(ratings, theirs);
  person.user = user;
  person.trouble = null;
  write(NAME, user);
  if (user && bring) for (const [item, one] of here) {
    ratings.set(item, one);
    unsent.set(item, one);
  }
  if (unsent.size) send();
  changed();
}

/** Takes back everything that nobody by name has rated; returns a function that brings it back. */
export function clear() {
  const before = [...ratings];
  ratings.clear();
  changed();
  return () => {
    for (const [item, one] of before) if (!ratings.has(item)) ratings.set(item, one);
    changed();
  };
}

/** The ratings as they were when the page was left. */
export async function restore(ofService) {
  scale = ofService;
  if (!person.user) {
    load(ratings, read(OWN, []));
    changed();
    return;
  }
  load(unsent, read(UNSENT, []));
  try {
    load(ratings, await stored(person.user));
  } finally {
    for (const [item, one] of unsent) {
      if (one.rating === null) ratings.delete(item);
      else ratings.set(item, one);
    }
    if (unsent.size) send();
    changed();
  }
}
