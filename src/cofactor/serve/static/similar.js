// What is like something, beside the list from which one asked.

import { ask, path } from "./api.js";
import { byId, el, problem, words } from "./dom.js";
import { offer } from "./rating.js";

let opener = null, asked = null;

/** What its buttons are called: a name that begins with what is seen can be spoken, too. */
export const likeThis = () => `${words.many[0].toUpperCase()}${words.many.slice(1)} similar to this`;

/** Opens the panel. `answer` names the list in which it was clicked, which the service counts. */
export async function similar(one, answer = null, button = null) {
  opener = button ?? opener;
  byId("similar").hidden = false;
  byId("similar-title").textContent = `Similar to ${one.title}`;
  byId("similar-title").focus();
  const list = byId("similar-list");
  list.replaceChildren(el("li", { class: "quiet" }, "Loading …"));
  // Whether the click is counted makes no difference to who clicked.
  if (answer) ask("/events", { method: "POST", body: { recommendation_id: answer, item: one.item, kind: "click" } }).catch(() => {});
  asked?.abort();
  asked = new AbortController();
  try {
    const { data } = await ask(`${path("items", one.item, "similar")}?n=8`, { signal: asked.signal });
    list.replaceChildren(...data.items.map((other) => card(other, data.recommendation_id)));
    if (!data.items.length) list.append(el("li", { class: "quiet" }, `No other ${words.one} is known.`));
  } catch (error) {
    if (error.name !== "AbortError") list.replaceChildren(el("li", {}, problem(error, error.status === 404 ? null : () => similar(one))));
  }
}

function card(one, answer) {
  const share = Math.max(0, Math.min(1, one.score));
  const bar = el("span", { class: "likeness", "aria-hidden": "true" }, el("i"));
  bar.firstChild.style.width = `${share * 100}%`;
  return el("li", { class: "film" },
    el("div", { class: "head" }, el("h3", {}, one.title), el("p", { class: "score" }, el("span", { class: "quiet" }, "likeness "), one.score.toFixed(2))),
    bar,
    one.categories.length ? el("p", { class: "quiet" }, one.categories.join(", ")) : null,
    el("div", { class: "acts" },
      el("button", { type: "button", class: "small", "aria-label": `${likeThis()}: ${one.title}`, onclick: () => similar(one, answer) }, likeThis()),
      el("button", { type: "button", class: "small", "aria-label": `Rate ${one.title}`, onclick: () => offer(one) }, "Rate it")));
}

export function startSimilar() {
  byId("similar-close").addEventListener("click", () => {
    asked?.abort();
    byId("similar").hidden = true;
    // The list may have been drawn anew since: then its heading is the nearest place.
    const there = opener?.isConnected ? opener : document.querySelector(`[data-key="${CSS.escape(opener?.dataset.key ?? "")}"]`);
    (there?.checkVisibility?.() === false ? null : there ?? byId("list-title"))?.focus();
    opener = null;
  });
}
