// The left side: find things, rate them, see what was rated, and under which name.

import { ask } from "./api.js";
import { byId, el, plural, problem, words } from "./dom.js";
import { become, clear, onRatings, person, ratings, send, unsent } from "./state.js";
import { stars } from "./stars.js";

const ENOUGH = 5;
const FIRST = 25; // of one's own ratings that are shown at once
let asked = null, waiting = 0, all = false;
const mine = new Map(); // item -> its line in "Your ratings"

function row(one) {
  const facts = [one.categories?.join(", "), one.ratings ? plural(one.ratings, "rating", "ratings") : ""].filter(Boolean).join(" · ");
  return el("li", { class: "row" }, stars(one), facts ? el("p", { class: "quiet" }, facts) : null);
}

async function find() {
  const wanted = byId("search").value.trim();
  asked?.abort();
  asked = new AbortController();
  byId("found").setAttribute("aria-busy", "true");
  try {
    const query = wanted ? `search=${encodeURIComponent(wanted)}&limit=12` : "limit=36";
    const { data } = await ask(`/items?${query}`, { signal: asked.signal });
    // Without a search: a dozen that most people know and this one has not rated.
    const shown = wanted ? data.items : data.items.filter((one) => !ratings.has(one.item)).slice(0, 12);
    byId("found").replaceChildren(...shown.map(row));
    byId("search-told").textContent = wanted
      ? shown.length ? `${shown.length}${data.next ? ", and more" : ""} found.` : "No title has all these words."
      : shown.length ? `Well-known ${words.many}, to begin with:` : "There is nothing to rate yet.";
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("search-told").textContent = "";
    byId("found").replaceChildren(el("li", {}, problem(error, find)));
  }
  byId("found").removeAttribute("aria-busy");
}

/** Puts something on top of what can be rated, and goes there. */
export function offer(one) {
  if (location.hash && location.hash !== "#films") location.hash = "#films";
  const line = row(one);
  byId("found").prepend(line);
  // After the change of view, which puts the focus elsewhere.
  setTimeout(() => {
    line.scrollIntoView({ block: "center" });
    line.querySelector("input").focus({ preventScroll: true });
  }, 60);
}

function showGoal() {
  const count = ratings.size;
  byId("progress").value = Math.min(count, ENOUGH);
  byId("progress-text").textContent = count >= ENOUGH ? `${count} rated: the more, the better.` : `${count} of ${ENOUGH} to begin with`;
}

/** Lines are kept, not drawn anew: the radio under the fingers must stay. */
function showMine() {
  const box = byId("mine"), focused = document.activeElement;
  const held = box.contains(focused) ? focused.closest("li") : null;
  for (const [item, line] of mine) if (!ratings.has(item)) {
    if (line === held) (line.nextElementSibling?.querySelector("input") ?? byId("mine-title")).focus();
    line.remove();
    mine.delete(item);
  }
  const newest = [...ratings].reverse().slice(0, all ? undefined : FIRST);
  for (const [item, one] of newest.toReversed?.() ?? [...newest].reverse()) if (!mine.has(item)) {
    const line = row({ item, title: one.title ?? item });
    mine.set(item, line);
    box.prepend(line);
  }
  box.querySelector(".none")?.remove();
  if (!ratings.size) box.append(el("li", { class: "quiet none" }, "None yet."));
  byId("mine-more").hidden = mine.size >= ratings.size;
  byId("mine-more").textContent = `Show all ${ratings.size}`;
  // Under a name this would take back what is stored, one by one: too much for one button.
  if (ratings.size) byId("clear").textContent = "Remove all";
  byId("clear").hidden = person.user || (!ratings.size && !back);
}

let back = null;

function clearOrBack() {
  if (back && !ratings.size) {
    back();
    back = null;
  } else {
    back = clear();
    byId("clear").textContent = "Bring them back";
    byId("clear").hidden = false;
  }
}

function showPerson() {
  const count = ratings.size;
  byId("forget").hidden = !person.user;
  byId("bring-line").hidden = Boolean(person.user) || !count;
  byId("bring-text").textContent = `Store the ${plural(count)} rated here under it too`;
  byId("unsent").replaceChildren(...(person.user && unsent.size && person.trouble
    ? [problem({ message: `${plural(unsent.size, "rating is", "ratings are")} not stored yet. ${person.trouble.message}` }, send)] : []));
}

async function name(user) {
  const told = byId("user-told");
  if (/^\.{1,2}$/.test(user)) { // an address cannot hold these
    told.textContent = "This id cannot be used. Choose another.";
    return;
  }
  told.textContent = "Loading …";
  try {
    await become(user, byId("bring").checked && !byId("bring-line").hidden);
    for (const line of mine.values()) line.remove();
    mine.clear();
    showMine();
    showName();
    find();
  } catch (error) {
    told.textContent = error.message;
  }
}

export function showName() {
  byId("user").value = person.user;
  byId("who").open ||= Boolean(person.user);
  byId("user-told").textContent = person.user ? `Ratings are stored under “${person.user}”. ${plural(ratings.size)} rated.` : "You are anonymous: nothing is stored.";
}

export function startRating() {
  const search = byId("search");
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(find, 150);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { // into the results, as in other searches
      event.preventDefault();
      byId("found").querySelector("input")?.focus();
    }
  });
  byId("user-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const user = byId("user").value.trim();
    if (user) name(user);
    else byId("user").focus();
  });
  byId("forget").addEventListener("click", () => {
    name("");
    byId("user").focus();
  });
  byId("clear").addEventListener("click", clearOrBack);
  byId("mine-more").addEventListener("click", () => {
    all = true;
    for (const line of mine.values()) line.remove();
    mine.clear();
    showMine();
    byId("mine-title").focus();
  });
  onRatings(() => {
    showGoal();
    showMine();
    showPerson();
  });
  showGoal();
  showMine();
  showPerson();
  find();
}
