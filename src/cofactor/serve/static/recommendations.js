// The middle: what is recommended, and why; made anew after each rating.

import { ask, path } from "./api.js";
import { byId, el, keepFocus, problem, words } from "./dom.js";
import { offer } from "./rating.js";
import { reasons } from "./reasons.js";
import { likeThis, similar } from "./similar.js";
import { inScale, onRatings, person, ratings, settled, unsent } from "./state.js";

const STEP = 10, MOST = 100, SHARE = 0.8;
const moved = [], opened = new Set();
let asked = null, length = STEP, service = null;

/** Calls a function whenever the person's place on the map may have changed. */
export function onPosition(listener) {
  moved.push(listener);
}

export function startRecommendations(about) {
  service = about;
  byId("category").append(...service.categories.map((name) => el("option", { value: name }, name)));
  const anew = () => {
    length = STEP;
    refresh();
  };
  byId("category").addEventListener("change", anew);
  byId("diversity").addEventListener("input", () => {
    byId("diversity-told").textContent = byId("diversity").value;
    anew();
  });
  byId("more").addEventListener("click", () => {
    length = Math.min(length + STEP, MOST);
    refresh();
  });
  onRatings(refresh);
}

/** Asks anew; an answer to an older question is no longer waited for. */
export async function refresh() {
  asked?.abort();
  const mine = asked = new AbortController();
  byId("list").setAttribute("aria-busy", "true");
  if (!byId("list").children.length) byId("told").textContent = "Loading …";
  try {
    await settled(); // the service must have heard of the rating first
    if (mine.signal.aborted) return;
    const wish = { n: length, category: byId("category").value || null, diversity: Number(byId("diversity").value), interval: SHARE };
    // What could not be stored counts all the same: then the ratings are sent along, as for the anonymous.
    show(await (person.user && !unsent.size ? named(wish, mine.signal) : anonymous(wish, mine.signal)));
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("told").textContent = "";
    byId("source").textContent = error.status === 404 && !service.model ? source({}) : "";
    byId("source").hidden = !byId("source").textContent;
    byId("more").hidden = true;
    byId("list").replaceChildren(el("li", {}, error.status === 404 ? nothing(error) : problem(error, refresh)));
  }
  byId("list").removeAttribute("aria-busy");
}

function anonymous(wish, signal) {
  return ask("/recommendations", { method: "POST", body: { ratings: inScale(), ...wish, explain: true, position: true }, signal });
}

function named({ n, category, diversity, interval }, signal) {
  const query = new URLSearchParams({ n, diversity, interval, explain: true, position: true });
  if (category) query.set("category", category);
  return ask(`${path("users", person.user, "recommendations")}?${query}`, { signal });
}

/** An empty list is no mistake: all of it was rated, or nothing is of this category. */
function nothing(error) {
  const category = byId("category");
  return el("div", { class: "empty" }, el("p", {}, error.message), category.value
    ? el("button", { type: "button", onclick: () => {
      category.value = "";
      refresh();
      category.focus();
    } }, "Show all categories") : null);
}

function source(data) {
  if (!service.model) return `There is no model yet: nothing can be predicted, only the ${words.many} rated most can be listed. Under Operations a model can be trained.`;
  if (data.source !== "popular") return "";
  return ratings.size ? `The model knows none of the ${words.many} you rated. These are the ones rated most.`
    : `Rate one ${words.one}, and this list becomes yours. Until then: the ${words.many} rated most.`;
}

function show({ data, server, roundTrip }) {
  byId("source").textContent = source(data);
  byId("source").hidden = !byId("source").textContent;
  const time = server === null ? `${roundTrip.toFixed(0)} ms` : `${roundTrip.toFixed(0)} ms, of which ${server.toFixed(1)} ms on the service`;
  const made = data.source === "popular" ? `The ${words.many} rated most` : "Made from your ratings";
  const bars = data.items.some((one) => typeof one.low === "number") ? " A bar shows where four of five ratings are expected." : "";
  byId("told").textContent = `${made}, in ${time}.${bars}`;
  const list = byId("list");
  const before = list.querySelectorAll(":scope > .film").length, pressed = document.activeElement === byId("more");
  keepFocus(list, () => list.replaceChildren(...data.items.map((one) => card(one, data.recommendation_id))));
  // After "Show more" one goes on with the first of the new ones.
  if (pressed && before && before < data.items.length) list.children[before].querySelector("summary, button").focus();
  byId("more").hidden = data.items.length < length || length >= MOST;
  person.position = data.position ?? null;
  for (const listener of moved) listener();
}

function score(one) {
  if (one.score === null || one.score === undefined) return el("p", { class: "score quiet" }, "not rated yet");
  return el("p", { class: "score" }, el("span", { class: "unseen" }, "Predicted rating "), el("b", {}, one.score.toFixed(2)));
}

/** Where four of five ratings are expected, on the scale of the ratings; nothing where that is not known. */
function spread(one) {
  if (one.low === null || one.low === undefined || !service.scale) return null;
  const [lowest, highest] = service.scale, share = (value) => 100 * (value - lowest) / (highest - lowest || 1);
  const told = `${SHARE * 100} % of ratings are expected from ${one.low.toFixed(1)} to ${one.high.toFixed(1)}.`;
  const range = el("i"), mark = el("b");
  range.style.left = `${share(one.low)}%`;
  range.style.right = `${100 - share(one.high)}%`;
  mark.style.left = `${share(Math.min(Math.max(one.score, lowest), highest))}%`;
  return el("p", { class: "spread", title: told }, el("span", { class: "unseen" }, told), range, mark);
}

function card(one, answer) {
  const why = one.explanation ? reasons(one, opened.has(one.item), (open) => (open ? opened.add(one.item) : opened.delete(one.item))) : null;
  const like = el("button", { type: "button", class: "small", "data-key": `like ${one.item}`, "aria-label": `${likeThis()}: ${one.title}`, onclick: () => similar(one, answer, like) }, likeThis());
  return el("li", { class: "film" },
    el("div", { class: "head" }, el("h3", {}, one.title), one.new ? el("span", { class: "new", title: "Nobody has rated it yet: it is listed for what it is." }, "new") : null, score(one)),
    spread(one),
    one.categories.length ? el("p", { class: "quiet" }, one.categories.join(", ")) : null,
    why,
    el("div", { class: "acts" }, like,
      el("button", { type: "button", class: "small", "data-key": `rate ${one.item}`, "aria-label": `Rate ${one.title}`, onclick: () => offer(one) }, "Rate it")));
}
