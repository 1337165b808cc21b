// Stars: native radio buttons, so that keyboards and screen readers know them.

import { el } from "./dom.js";
import { onRatings, rate, ratings } from "./state.js";

let low = 0.5, high = 5, step = 0.5, made = 0;
const shown = new WeakMap(); // fieldset -> how to show what is rated now

export function setSteps(service) {
  [low, high] = service.scale;
  step = service.step;
}

// The same thing may stand in several places: each shows the rating that it has now.
onRatings(() => {
  for (const box of document.querySelectorAll("fieldset.stars")) shown.get(box)?.();
});

/** Stars are drawn for scales that people know as stars; other numbers are shown as numbers. */
function kind() {
  if (high > 10 || low <= 0 || !Number.isInteger(high)) return "numbers";
  if (step === 0.5 && Number.isInteger(low * 2)) return "halves";
  return step === 1 && low === 1 ? "whole" : "numbers";
}

function part(value, how) {
  if (how !== "halves") return how === "whole" ? "whole" : "";
  if (Number.isInteger(value)) return value - 0.5 < low ? "whole" : "right";
  return "left";
}

/** A thing to rate: its title as the legend, a radio for each step of the scale, and a way to take it back. */
export function stars(one) {
  const name = `stars-${made++}`, how = kind();
  const radios = el("span", { class: `radios ${how}` });
  for (let k = 0; low + k * step <= high + 1e-9; k++) {
    const value = Number((low + k * step).toFixed(3));
    const text = how === "numbers" ? String(value) : `${value} ${value === 1 ? "star" : "stars"}`;
    radios.append(el("label", { title: text, class: part(value, how) },
      el("input", { type: "radio", name, value, "aria-label": text, onchange: () => rate(one.item, one.title, value) }),
      how === "numbers" ? el("span", { "aria-hidden": "true" }, text) : null));
  }
  const remove = el("button", { type: "button", class: "small remove", "aria-label": `Take back the rating of ${one.title}`, onclick: () => {
    // The button goes, so the focus goes to where another rating is given; the list of ratings may move it on.
    radios.querySelector("input").focus({ preventScroll: true });
    rate(one.item, one.title, null);
  } }, "Take back");
  const box = el("fieldset", { class: "stars" }, el("legend", {}, one.title), el("span", { class: "line" }, radios, remove));
  const sync = () => {
    const now = ratings.get(one.item)?.rating;
    for (const radio of radios.querySelectorAll("input")) radio.checked = Number(radio.value) === now;
    remove.hidden = now === undefined;
  };
  sync();
  shown.set(box, sync);
  return box;
}
