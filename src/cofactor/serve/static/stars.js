// Stars: native radio buttons, so that keyboards and screen readers know them.

import { el } from "./dom.js";
import { rate, ratings } from "./state.js";

let scale = [0.5, 5], step = 0.5, made = 0;

export function setScale(service) {
  scale = service.scale;
  step = service.step;
}

/** A film to rate: its title as the legend, a radio for each step of the scale, and a way to take it back. */
export function stars(film, failed) {
  const name = `stars-${made++}`;
  const current = ratings.get(film.item)?.rating;
  const radios = el("span", { class: step === 0.5 && scale[0] === 0.5 ? "radios halves" : "radios" });
  for (let k = 0; scale[0] + k * step <= scale[1] + 1e-9; k++) {
    const value = Number((scale[0] + k * step).toFixed(3));
    const text = scale[1] <= 10 ? `${value} ${value === 1 ? "star" : "stars"}` : String(value);
    radios.append(el("label", { title: text },
      el("input", { type: "radio", name, value, "aria-label": text, checked: value === current, onchange: () => give(value) })));
  }
  const remove = el("button", { type: "button", hidden: current === undefined, "aria-label": `Take back the rating of ${film.title}`, onclick: () => give(null) }, "Remove");
  const box = el("fieldset", { class: "stars" }, el("legend", {}, film.title), radios, remove);
  function give(value) {
    if (value === null) for (const radio of radios.querySelectorAll("input")) radio.checked = false;
    remove.hidden = value === null;
    rate(film.item, film.title, value).catch(failed);
  }
  return box;
}
