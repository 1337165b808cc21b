// Small pictures, each with a sentence that says what one sees and a table behind it.

import { el, svg, table } from "./dom.js";

const WIDTH = 420, HEIGHT = 240, LEFT = 54, RIGHT = 16, TOP = 18, BOTTOM = 34;

/** A card: heading, sentence, picture, table. */
export function card(title, sentence, picture, columns, rows) {
  return el("section", { class: "chart" }, el("h2", {}, title), el("p", {}, sentence), picture,
    columns ? el("details", {}, el("summary", {}, "As a table"), table(title, columns, rows)) : null);
}

function frame(title, description) {
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}. ${description}` });
}

const along = (value, [low, high], from, to) => from + ((value - low) / (high - low || 1)) * (to - from);
const across = (value, range) => along(value, range, LEFT, WIDTH - RIGHT);
const upwards = (value, range) => along(value, range, HEIGHT - BOTTOM, TOP);

/** Round values that cover a range. */
export function ticks(low, high, count = 4) {
  const rough = (high - low || Math.abs(high) || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function axes(picture, horizontal, vertical, names, nameX) {
  const digits = Math.max(...vertical.ticks.map((at) => (String(at).split(".")[1] ?? "").length));
  for (const at of vertical.ticks) {
    const y = upwards(at, vertical.range);
    picture.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
      svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, at >= 1e5 ? at.toExponential(1) : at.toFixed(digits)));
  }
  for (const [at, name] of names) picture.append(svg("text", { x: across(at, horizontal), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, name));
  picture.append(svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, nameX));
}

function spread(values, share = 0.1) {
  const low = Math.min(...values), high = Math.max(...values), room = (high - low || Math.abs(high) || 1) * share;
  return [low - room, high + room];
}

/** Errors by a setting, with intervals; one of them was chosen. points: {label, value, low, high, chosen}. */
export function intervals(title, description, points, nameX) {
  const picture = frame(title, description);
  const range = spread(points.flatMap((point) => [point.low, point.high]));
  const horizontal = [-0.5, points.length - 0.5];
  axes(picture, horizontal, { range, ticks: ticks(...range) }, points.map((point, k) => [k, point.label]), nameX);
  points.forEach((point, k) => {
    const x = across(k, horizontal);
    picture.append(svg("line", { class: "rod", x1: x, x2: x, y1: upwards(point.low, range), y2: upwards(point.high, range) }),
      svg("circle", { class: point.chosen ? "mark chosen" : "mark", cx: x, cy: upwards(point.value, range), r: point.chosen ? 7 : 4.5 }));
    if (point.chosen) picture.append(svg("text", { class: "strong", x, y: upwards(point.high, range) - 7, "text-anchor": "middle" }, "chosen"));
  });
  return picture;
}

/** A few values side by side, from zero. */
export function columns(title, description, values) {
  const picture = frame(title, description);
  const range = [0, Math.max(...values.map(([, value]) => value)) * 1.12], horizontal = [-0.5, values.length - 0.5];
  axes(picture, horizontal, { range, ticks: ticks(...range) }, values.map(([name], k) => [k, name]), "");
  values.forEach(([, value, chosen], k) => {
    const x = across(k, horizontal), y = upwards(value, range), half = Math.min(34, 130 / values.length);
    picture.append(svg("rect", { class: chosen ? "mark" : "mark other", "fill-opacity": chosen ? 1 : 0.45, x: x - half, width: 2 * half, y, height: upwards(0, range) - y, rx: 3 }));
    if (values.length <= 6) picture.append(svg("text", { class: "strong", x, y: y - 5, "text-anchor": "middle" }, value.toFixed(3)));
  });
  return picture;
}

/** A line through points [x, y]; with `ideal`, the line on which both are the same. */
export function line(title, description, points, nameX, { ideal = false, dots = false } = {}) {
  const picture = frame(title, description);
  const horizontal = spread(points.map(([x]) => x), 0.04), range = ideal ? horizontal : spread(points.map(([, y]) => y));
  axes(picture, horizontal, { range, ticks: ticks(...range) }, ticks(...horizontal, 6).map((at) => [at, String(at)]), nameX);
  if (ideal) picture.append(svg("line", { class: "ideal", x1: across(horizontal[0], horizontal), y1: upwards(horizontal[0], range), x2: across(horizontal[1], horizontal), y2: upwards(horizontal[1], range) }));
  picture.append(svg("polyline", { class: "curve", points: points.map(([x, y]) => `${across(x, horizontal).toFixed(1)},${upwards(y, range).toFixed(1)}`).join(" ") }));
  if (dots) picture.append(...points.map(([x, y]) => svg("circle", { class: "mark", cx: across(x, horizontal), cy: upwards(y, range), r: 4 })));
  return picture;
}

/** Many thin columns, such as a number for each of the last minutes. */
export function minutes(title, description, values) {
  const picture = frame(title, description);
  const range = [0, Math.max(...values, 1) * 1.1], horizontal = [-0.5, values.length - 0.5];
  axes(picture, horizontal, { range, ticks: ticks(...range).filter(Number.isInteger) }, [[0, "an hour ago"], [values.length - 1, "now"]], "");
  values.forEach((value, k) => {
    const y = upwards(value, range);
    picture.append(svg("rect", { class: "mark", x: across(k - 0.4, horizontal), width: across(0.8, [0, values.length]) - LEFT, y, height: upwards(0, range) - y }));
  });
  return picture;
}
