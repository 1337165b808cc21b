// Elements without strings of HTML: titles and ids come from strangers.

/** What the things to rate are called. The demo has films; of other data nothing is known. */
export const words = { one: "film", many: "films" };

/** An element. Attributes that are functions listen ("onclick"); false, null and undefined are left out. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for pictures. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** A table; columns are [heading, cell, isNumber], where cell(row) is text or an element. */
export function table(caption, columns, rows) {
  const kind = (number) => (number ? "number" : null);
  // The box scrolls, so it must be reachable by keyboard.
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {},
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, columns.map(([heading, , number]) => el(heading ? "th" : "td", { scope: heading ? "col" : null, class: kind(number) }, heading)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, columns.map(([, cell, number], k) =>
        el(k === 0 ? "th" : "td", { scope: k === 0 ? "row" : null, class: kind(number) }, cell(row))))))));
}

/** A table that is built when it is first looked at: most never are. */
export function folded(summary, build) {
  const box = el("details");
  const fill = () => { if (box.children.length === 1) box.append(build()); };
  // At the click, not after it; and where something else opens it, such as a search in the page.
  box.append(el("summary", { onclick: fill }, summary));
  box.addEventListener("toggle", () => { if (box.open) fill(); });
  return box;
}

/** What went wrong, and a way to try again. */
export function problem(error, again) {
  return el("div", { class: "problem", role: "alert" }, el("p", {}, error.message),
    error.requestId ? el("p", { class: "quiet" }, `Request ${error.requestId}`) : null,
    again ? el("button", { type: "button", onclick: again }, "Try again") : null);
}

/** Draws a part anew. What has the focus and a data-key keeps it: else a keyboard would be thrown to the top. */
export function keepFocus(box, draw) {
  const key = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  draw();
  if (key) [...box.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)?.focus({ preventScroll: true });
}

export const signed = (value, digits = 3) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

export const count = (number) => number.toLocaleString("en");

/** "1 film", "2 films". */
export const plural = (number, one = words.one, many = words.many) => `${count(number)} ${number === 1 ? one : many}`;
