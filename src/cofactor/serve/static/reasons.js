// Why something has its score: bars that begin where the one before ends, so that one sees them add up.

import { el, plural, signed, words } from "./dom.js";

/** [name, the rating that was given, what it adds]: all of these together are the score. */
function lines({ explanation: { mean, user_adds: user, item_adds: item, parts } }) {
  return [
    ["All ratings, on average", null, mean],
    [user < 0 ? "You give less than others" : "You give more than others", null, user],
    [`This ${words.one} is given ${item < 0 ? "less" : "more"} than others`, null, item],
    ...parts.map((part) => [part.title, part.rating, part.adds]),
  ];
}

/** What one reads before opening it: the rating that counts most for it. */
function headline(one) {
  const best = one.explanation.parts.find((part) => part.adds > 0);
  return best ? ["Because you rated ", el("b", {}, best.title), ` ${best.rating}`] : "Why this score";
}

function row([name, given, adds], bar) {
  return el("tr", {}, el("td", {}, name), el("td", { class: "number" }, given === null ? "" : String(given)),
    el("td", { class: "number" }, signed(adds)), el("td", { class: "bar", "aria-hidden": "true" }, bar));
}

/** The table, and in its last column the bars: the eye and a screen reader get the same numbers. */
function sum(one) {
  const rows = lines(one);
  // Where the bars end. The axis holds all ends, and leaves out the long way from 0 to the mean.
  let total = 0;
  const ends = rows.map(([, , adds]) => (total += adds));
  const low = Math.min(...ends), wide = Math.max(...ends) - low || 1;
  const at = (value) => ((value - low) / wide) * 100;
  const body = rows.map((line, k) => {
    // The mean is where the first bar begins: no bar of its own.
    const bar = k === 0 ? null : el("i", { class: line[2] < 0 ? "minus" : null });
    if (bar) {
      const [from, to] = [at(ends[k - 1]), at(ends[k])];
      bar.style.left = `${Math.min(from, to).toFixed(2)}%`;
      bar.style.width = `${Math.abs(to - from).toFixed(2)}%`;
    }
    return row(line, bar && el("span", {}, bar));
  });
  const name = `What the predicted rating of ${one.title} is made of`;
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name },
    el("table", { class: "parts" }, el("caption", { class: "unseen" }, name),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Part"), el("th", { scope: "col", class: "number" }, "You gave"), el("th", { scope: "col", class: "number" }, "Adds"), el("td", {}))),
      el("tbody", {}, body),
      el("tfoot", {}, el("tr", {}, el("td", {}, "Together"), el("td", {}), el("td", { class: "number" }, one.score.toFixed(3)), el("td", {})))));
}

/** The disclosure. It is filled when it is opened: ten lists of hundreds of parts are not drawn for nothing. */
export function reasons(one, open, toggled) {
  const box = el("details", { class: "why", open });
  const fill = () => {
    if (box.children.length > 1) return;
    const parts = one.explanation.parts.length;
    box.append(sum(one), el("p", { class: "quiet" }, `The mean, two biases and ${plural(parts, "part", "parts")} of your ratings add up to the score, exactly.`));
  };
  // At the click, not after it: the content is there before the box is open.
  box.append(el("summary", { "data-key": `why ${one.item}`, onclick: fill }, headline(one)));
  box.addEventListener("toggle", () => {
    if (box.open) fill();
    toggled(box.open);
  });
  if (open) fill();
  return box;
}
