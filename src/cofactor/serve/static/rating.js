// The left side: find films, rate them, see what was rated.

import { ask } from "./api.js";
import { byId, el, problem } from "./dom.js";
import { become, onRatings, person, ratings } from "./state.js";
import { stars } from "./stars.js";

const ENOUGH = 5;
let asked = null, waiting = 0;

function failed(error) {
  byId("mine").prepend(problem(error));
}

function film(one) {
  return el("div", { class: "film" }, stars(one, failed),
    el("p", { class: "quiet" }, [one.categories?.join(", "), one.ratings ? `${one.ratings.toLocaleString("en")} ratings` : ""].filter(Boolean).join(" · ")));
}

async function find() {
  const words = byId("search").value.trim();
  asked?.abort();
  asked = new AbortController();
  try {
    const query = words ? `?search=${encodeURIComponent(words)}&limit=12` : "?limit=24";
    const { data } = await ask("/items" + query, { signal: asked.signal });
    // Without a search: well-known films that are not rated yet.
    const shown = words ? data.items : data.items.filter((one) => !ratings.has(one.item)).slice(0, 12);
    byId("found").replaceChildren(...shown.map(film));
    byId("search-told").textContent = words
      ? shown.length ? `${shown.length}${data.next ? " and more" : ""} found.` : "No title has all these words."
      : "Well-known films, to begin with:";
  } catch (error) {
    if (error.name !== "AbortError") byId("found").replaceChildren(problem(error, find));
  }
}

function showMine() {
  const count = ratings.size;
  byId("progress").value = Math.min(count, ENOUGH);
  byId("progress-text").textContent = count >= ENOUGH ? `${count} rated: the more, the better.` : `${count} of ${ENOUGH} to begin with`;
  // A list that has the focus is left alone: its buttons would go from under the fingers.
  if (byId("mine").contains(document.activeElement) && byId("mine").querySelectorAll("fieldset").length === count) return;
  byId("mine").replaceChildren(...(count ? [...ratings].reverse().map(([item, one]) => film({ item, title: one.title })) : [el("p", { class: "quiet" }, "None yet.")]));
}

function showPerson() {
  byId("user").value = person.user;
  byId("forget").hidden = !person.user;
  byId("user-told").textContent = person.user ? `Ratings are stored under “${person.user}”.` : "";
}

async function name(user) {
  try {
    await become(user);
    showPerson();
    find();
  } catch (error) {
    byId("user-told").textContent = error.message;
  }
}

export function startRating() {
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(find, 150);
  });
  byId("user-form").addEventListener("submit", (event) => {
    event.preventDefault();
    name(byId("user").value.trim());
  });
  byId("forget").addEventListener("click", () => name(""));
  onRatings(showMine);
  showMine();
  showPerson();
  find();
}
