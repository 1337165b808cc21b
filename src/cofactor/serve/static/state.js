// What this person has rated. Kept in this browser, and with the service only under a name.

import { ask, path } from "./api.js";

const KEPT = "cofactor-ratings";
const NAME = "cofactor-user";
const listeners = [];

export const ratings = new Map(); // item -> {title, rating}
export const person = { user: localStorage.getItem(NAME) ?? "", position: null };

try {
  for (const [item, one] of JSON.parse(localStorage.getItem(KEPT) ?? "[]")) ratings.set(item, one);
} catch {
  localStorage.removeItem(KEPT);
}

/** Calls a function now and then, whenever the ratings have changed. */
export function onRatings(listener) {
  listeners.push(listener);
}

function changed() {
  localStorage.setItem(KEPT, JSON.stringify([...ratings]));
  for (const listener of listeners) listener();
}

/** Rates a film, or takes the rating back (null). With a name it is stored; the list is asked for after that. */
export async function rate(item, title, rating) {
  if (rating === null) ratings.delete(item);
  else ratings.set(item, { title, rating });
  if (person.user) {
    const where = path("ratings", person.user, item);
    await ask(where, rating === null ? { method: "DELETE" } : { method: "PUT", body: { rating } })
      .catch((error) => { if (error.status !== 404) throw error; })
      .finally(changed);
  } else changed();
}

/** From now on this is somebody by name: what the service has of them, and what was rated here, together. */
export async function become(user) {
  if (user) {
    const here = [...ratings];
    for (const [item, one] of here) await ask(path("ratings", user, item), { method: "PUT", body: { rating: one.rating } });
    let next = null;
    do {
      const page = await ask(path("users", user, "ratings") + "?limit=1000" + (next ? `&cursor=${encodeURIComponent(next)}` : ""));
      for (const one of page.data.ratings) ratings.set(one.item, { title: one.title, rating: one.rating });
      next = page.data.next;
    } while (next);
  } else if (person.user) ratings.clear();
  person.user = user;
  localStorage.setItem(NAME, user);
  changed();
}
