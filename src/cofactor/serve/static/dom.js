// Elements without strings of HTML: titles and ids come from strangers.

/** An element. Attributes that are functions listen ("onclick"), false and null are left out. */
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
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** A table; columns are [heading, cell, isNumber], where cell(row) is text or an element. */
export function table(caption, columns, rows) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {},
      el("thead", {}, el("tr", {}, ...columns.map(([heading, , number]) => heading ? el("th", { scope: "col", class: number ? "number" : null }, heading) : el("td")))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...columns.map(([, cell, number]) => {
        const content = cell(row);
        return content instanceof Node && content.nodeName === "TD" ? content : el("td", { class: number ? "number" : null }, content);
      }))))));
}

export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);

/** What went wrong, and a way to try again. */
export function problem(error, again) {
  return el("div", { class: "problem", role: "alert" }, el("p", {}, error.message),
    again ? el("button", { type: "button", onclick: again }, "Try again") : null);
}
