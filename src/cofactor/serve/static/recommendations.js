// The right side: what is recommended, why, and what is like it.

import { ask, path } from "./api.js";
import { byId, el, problem, signed, table } from "./dom.js";
import { onRatings, person, ratings } from "./state.js";

const LENGTH = 10;
const moved = [];
let asked = null;

/** Calls a function whenever the person's place on the map has changed. */
export function onPosition(listener) {
  moved.push(listener);
}

export function startRecommendations(service) {
  byId("category").append(...service.categories.map((name) => el("option", { value: name }, name)));
  byId("category").addEventListener("change", refresh);
  byId("diversity").addEventListener("input", refresh);
  onRatings(refresh);
  refresh();
}

/** Asks anew; an answer to an older question is no longer waited for. */
export async function refresh() {
  asked?.abort();
  asked = new AbortController();
  const category = byId("category").value || null;
  const diversity = Number(byId("diversity").value);
  try {
    const found = await (person.user ? named(category, diversity) : anonymous(category, diversity));
    show(found);
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("told").textContent = "";
    byId("list").replaceChildren(el("li", {}, problem(error, error.status === 404 ? null : refresh)));
  }
}

function anonymous(category, diversity) {
  const own = [...ratings].map(([item, one]) => ({ item, rating: one.rating }));
  const body = { ratings: own, n: LENGTH, category, diversity, explain: true, position: true };
  return ask("/recommendations", { method: "POST", body, signal: asked.signal });
}

function named(category, diversity) {
  const query = new URLSearchParams({ n: LENGTH, diversity, explain: true, position: true });
  if (category) query.set("category", category);
  return ask(`${path("users", person.user, "recommendations")}?${query}`, { signal: asked.signal });
}

const SOURCES = {
  popular: "Rate something: these are the films rated most",
  fold_in: "Made from your ratings",
  model: "Made from your ratings",
};

function show({ data, server, roundTrip }) {
  const here = server === null ? "" : ` in ${server.toFixed(1)} ms on the service,`;
  byId("told").textContent = `${SOURCES[data.source]},${here} ${roundTrip.toFixed(0)} ms with the way there and back. Model ${data.model_version ?? "none"}.`;
  byId("list").replaceChildren(...data.items.map((one) => film(one, data.recommendation_id)));
  person.position = data.position ?? null;
  for (const listener of moved) listener();
}

function film(one, answer) {
  const score = one.score === null ? "" : one.score.toFixed(2);
  return el("li", { class: "film" },
    el("div", { class: "head" }, el("h3", {}, one.title), el("span", { class: "score" }, score ? el("span", { class: "quiet" }, "predicted ") : null, score)),
    el("p", { class: "quiet" }, one.categories.join(", ")),
    one.explanation ? reasons(one) : null,
    el("div", { class: "acts" }, el("button", { type: "button", "aria-label": `Films similar to ${one.title}`, onclick: () => similar(one, answer) }, "Similar films")));
}

/** score = mean + you + film + what each rating adds, as bars and numbers. */
function reasons(one) {
  const { mean, user_adds: you, item_adds: item, parts } = one.explanation;
  const best = parts.filter((part) => part.adds > 0)[0];
  const rows = [
    ["All ratings, on average", null, mean],
    ["You rate higher or lower than others", null, you],
    ["This film is rated higher or lower", null, item],
    ...parts.map((part) => [part.title, part.rating, part.adds]),
  ];
  const widest = Math.max(...rows.slice(1).map(([, , adds]) => Math.abs(adds)), 1e-9);
  const bar = ([, , adds], at) => {
    const box = el("td", { class: "bar", "aria-hidden": "true" });
    if (at === 0) return box; // the mean is no difference: a bar of its own would dwarf all others
    const line = el("i", { class: adds < 0 ? "minus" : null });
    line.style.width = `${(Math.abs(adds) / widest) * 50}%`;
    line.style.left = adds < 0 ? `${50 - (Math.abs(adds) / widest) * 50}%` : "50%";
    box.append(line);
    return box;
  };
  const summary = best ? `Because you rated ${best.title}` : "Why";
  return el("details", {}, el("summary", {}, summary),
    table(`What the predicted rating of ${one.title} is made of`, [
      ["Part", (row) => row[0]],
      ["You gave", (row) => (row[1] === null ? "" : String(row[1])), true],
      ["Adds", (row) => signed(row[2]), true],
      ["", (row) => bar(row, rows.indexOf(row))],
    ], rows),
    el("p", { class: "quiet" }, `Together: ${one.score.toFixed(3)}`));
}

export async function similar(one, answer = null) {
  const box = byId("similar"), list = byId("similar-list");
  box.hidden = false;
  byId("similar-title").textContent = `Similar to ${one.title}`;
  byId("similar-title").focus();
  if (answer) ask("/events", { method: "POST", body: { recommendation_id: answer, item: one.item, kind: "click" } }).catch(() => {});
  try {
    const { data } = await ask(`${path("items", one.item, "similar")}?n=8`);
    list.replaceChildren(...data.items.map((other) => el("li", { class: "film" },
      el("div", { class: "head" }, el("h3", {}, other.title), el("span", { class: "score" }, el("span", { class: "quiet" }, "cosine "), other.score.toFixed(2))),
      el("p", { class: "quiet" }, other.categories.join(", ")),
      el("div", { class: "acts" }, el("button", { type: "button", "aria-label": `Films similar to ${other.title}`, onclick: () => similar(other, data.recommendation_id) }, "Similar films")))));
  } catch (error) {
    list.replaceChildren(el("li", {}, problem(error, () => similar(one))));
  }
}
