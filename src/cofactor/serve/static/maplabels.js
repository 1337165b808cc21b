// Titles on the map: those rated most first, each where it covers no other; more as one comes closer.

import { svg } from "./dom.js";

const LONGEST = 32;
const shown = new Map(); // item -> its label: kept between drawings, so that the focus stays
let pen = null;

export function textWidth(text, height) {
  pen ??= document.createElement("canvas").getContext("2d");
  pen.font = `${height}px system-ui, sans-serif`;
  return pen.measureText(text).width;
}

/** Another map: none of the labels is of use. */
export function forgetLabels() {
  shown.clear();
}

const crosses = (a, b) => a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1];

/** Draws the titles that have room; `you` is kept free; `chosen` is called with the point of a title. */
export function drawLabels(layer, points, size, you, chosen) {
  const most = Math.max(6, Math.min(40, Math.round((size.width * size.height) / 14000)));
  const taken = you ? [[you[0] - 10, you[1] - 11, you[0] + 46, you[1] + 11]] : [];
  const focused = document.activeElement?.dataset?.item;
  const wanted = new Map();
  const first = focused === undefined ? [] : points.filter((point) => point.item === focused);
  for (const point of [...first, ...points]) {
    if (wanted.size >= most) break;
    if (wanted.has(point.item) || point.left < 0 || point.top < 10 || point.left > size.width || point.top > size.height - 8) continue;
    const text = point.title.length > LONGEST ? point.title.slice(0, LONGEST - 1) + "…" : point.title;
    point.wide ??= textWidth(text, 12);
    const gap = point.shown + 4;
    // To the right, else to the left, else below, of those the first that is free.
    const found = [point.left + gap, point.left - gap - point.wide].map((left) => [left, point.top - 8, left + point.wide, point.top + 8])
      .concat([[point.left - point.wide / 2, point.top + gap, point.left + point.wide / 2, point.top + gap + 16]])
      .find((box) => box[0] >= 2 && box[2] <= size.width - 2 && box[3] <= size.height && !taken.some((other) => crosses(box, other)));
    if (!found) continue;
    taken.push(found);
    wanted.set(point.item, { point, text, box: found });
  }
  for (const [item, node] of shown) if (!wanted.has(item)) {
    if (node === document.activeElement) layer.ownerSVGElement.focus({ preventScroll: true }); // it went out of sight
    node.remove();
    shown.delete(item);
  }
  for (const [item, { point, text, box }] of wanted) {
    let node = shown.get(item);
    if (!node) {
      node = svg("g", { class: "label", tabindex: "0", role: "button", "data-item": item, "aria-label": point.title }, svg("circle", {}), svg("text", {}, text));
      const choose = (event) => {
        if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        chosen(point);
      };
      node.addEventListener("keydown", choose);
      node.addEventListener("click", choose);
      shown.set(item, node);
      layer.append(node);
    }
    const [dot, title] = node.children;
    dot.setAttribute("cx", point.left.toFixed(1));
    dot.setAttribute("cy", point.top.toFixed(1));
    dot.setAttribute("r", (point.shown + 3).toFixed(1));
    title.setAttribute("x", box[0].toFixed(1));
    title.setAttribute("y", (box[1] + 12).toFixed(1));
  }
}
