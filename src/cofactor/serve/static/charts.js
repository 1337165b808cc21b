// Small pictures, each with a sentence that says what one sees and a table behind it.

import { el, folded, svg, table } from "./dom.js";

const HEIGHT = 230, LEFT = 52, RIGHT = 14, TOP = 20, BOTTOM = 40;
let made = 0;

/** A card: heading, sentence, picture, table. The picture is drawn anew where its width changes, so that its letters
 *  are of one size on a telephone and on a wide screen. draw(width) returns it. */
export function card(title, sentence, draw, columns, rows) {
  const box = el("div", { class: "picture" });
  let last = 0;
  box.append(draw(Math.min(innerWidth - 64, 520))); // about right; the true width is known once it is on the page
  new ResizeObserver(() => {
    const width = Math.floor(box.clientWidth);
    if (!width || width === last) return;
    last = width;
    requestAnimationFrame(() => box.replaceChildren(draw(width))); // not while sizes are being told
  }).observe(box);
  return el("section", { class: "panel chart" }, el("h2", {}, title), el("p", {}, sentence), box,
    folded("As a table", () => table(title, columns, rows)));
}

/** Round values within a range. */
function ticks(low, high, most) {
  const rough = (high - low || Math.abs(high) || 1) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((one) => one >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  return String(value);
}

/** A range with some room around. */
function around(values, share = 0.1) {
  const low = Math.min(...values), high = Math.max(...values), room = (high - low || Math.abs(high) || 1) * share;
  return [low - room, high + room];
}

/** An empty picture with axes. x.names are [value, text]; without them round values are named. */
function frame(width, title, description, x, y) {
  const id = `picture-${made++}`;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-labelledby": `${id}-t ${id}-d` },
    svg("title", { id: `${id}-t` }, title), svg("desc", { id: `${id}-d` }, description));
  const across = (value) => LEFT + ((value - x.range[0]) / (x.range[1] - x.range[0] || 1)) * (width - LEFT - RIGHT);
  const up = (value) => HEIGHT - BOTTOM - ((value - y.range[0]) / (y.range[1] - y.range[0] || 1)) * (HEIGHT - BOTTOM - TOP);
  const marks = ticks(...y.range, 5).filter((value) => !y.whole || Number.isInteger(value));
  const digits = Math.max(0, ...marks.map((value) => (short(value).replace(/[kM]$/, "").split(".")[1] ?? "").length));
  for (const value of marks) {
    const text = Math.abs(value) < 1e4 ? value.toFixed(digits) : short(value);
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: up(value), y2: up(value) }),
      svg("text", { x: LEFT - 7, y: up(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [value, text, anchor] of x.names ?? ticks(...x.range, Math.max(3, Math.floor(width / 80))).map((value) => [value, short(value)])) {
    picture.append(svg("text", { x: across(value), y: HEIGHT - BOTTOM + 17, "text-anchor": anchor ?? "middle" }, text));
  }
  picture.append(svg("text", { x: width - RIGHT, y: HEIGHT - 5, "text-anchor": "end" }, x.name ?? ""), svg("text", { x: 2, y: 11 }, y.name ?? ""));
  return { picture, across, up };
}

/** Errors by a setting, with intervals; one of them was chosen. points: {label, value, low, high, chosen}. */
export function intervals(width, title, description, points, nameX, nameY) {
  const { picture, across, up } = frame(width, title, description,
    { range: [-0.5, points.length - 0.5], names: points.map((point, k) => [k, point.label]), name: nameX },
    { range: around(points.flatMap((point) => [point.low, point.high]), 0.15), name: nameY });
  picture.append(svg("polyline", { class: "thread", points: points.map((point, k) => `${across(k)},${up(point.value)}`).join(" ") }));
  points.forEach((point, k) => {
    const x = across(k), y = up(point.value), top = up(point.high), bottom = up(point.low);
    if (bottom - top > 0.5) picture.append(svg("path", { class: "rod", d: `M${x} ${top}V${bottom}M${x - 5} ${top}H${x + 5}M${x - 5} ${bottom}H${x + 5}` }));
    picture.append(svg("circle", { class: point.chosen ? "mark chosen" : "mark", cx: x, cy: y, r: point.chosen ? 7 : 4.5 }));
    if (point.chosen) picture.append(svg("text", { class: "strong", x, y: top - 9, "text-anchor": k === 0 ? "start" : k === points.length - 1 ? "end" : "middle" }, "chosen"));
  });
  return picture;
}

/** A few values as bars that lie, from zero. values: [name, value, isOurs]. */
export function bars(width, title, description, values) {
  const id = `picture-${made++}`, step = 58, height = step * values.length + 4;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-labelledby": `${id}-t ${id}-d` },
    svg("title", { id: `${id}-t` }, title), svg("desc", { id: `${id}-d` }, description));
  const most = Math.max(...values.map(([, value]) => value));
  values.forEach(([name, value, ours], k) => {
    const wide = (value / most) * (width - 4), y = k * step;
    picture.append(svg("text", { class: "strong", x: 0, y: y + 15 }, name), svg("text", { class: "strong", x: width, y: y + 15, "text-anchor": "end" }, value.toFixed(4)),
      svg("rect", { class: ours ? "bar" : "bar other", x: 0, y: y + 23, width: wide, height: 18, rx: 4 }));
  });
  return picture;
}

/** A line through points [x, y]. */
export function line(width, title, description, points, nameX, nameY) {
  const { picture, across, up } = frame(width, title, description,
    { range: around(points.map(([x]) => x), 0.03), name: nameX }, { range: around(points.map(([, y]) => y)), name: nameY });
  picture.append(svg("polyline", { class: "curve", points: points.map(([x, y]) => `${across(x).toFixed(1)},${up(y).toFixed(1)}`).join(" ") }),
    ...(points.length <= 60 ? points.map(([x, y]) => svg("circle", { class: "mark", cx: across(x), cy: up(y), r: 3 })) : []));
  return picture;
}

/** What was predicted beside what was given; on the dashed line both are the same. points: [x, y, weight]. */
export function agreement(width, title, description, points, nameX, nameY) {
  const range = around(points.flatMap(([x, y]) => [x, y]), 0.05);
  const { picture, across, up } = frame(width, title, description, { range, name: nameX }, { range, name: nameY });
  const most = Math.max(...points.map(([, , weight]) => weight), 1);
  picture.append(svg("line", { class: "ideal", x1: across(range[0]), y1: up(range[0]), x2: across(range[1]), y2: up(range[1]) }),
    ...points.map(([x, y, weight]) => svg("circle", { class: "mark soft", cx: across(x), cy: up(y), r: 3 + 6 * Math.sqrt(weight / most) })));
  return picture;
}

/** Many thin columns, such as a number for each of the last minutes. */
export function columns(width, title, description, values, from, to) {
  const { picture, across, up } = frame(width, title, description,
    { range: [-0.5, values.length - 0.5], names: [[-0.5, from, "start"], [values.length - 0.5, to, "end"]] },
    { range: [0, Math.max(...values, 1) * 1.1], whole: true });
  const wide = Math.max((across(1) - across(0)) * 0.75, 1);
  values.forEach((value, k) => {
    if (value) picture.append(svg("rect", { class: "bar", x: across(k) - wide / 2, width: wide, y: up(value), height: up(0) - up(value), rx: 1 }));
  });
  return picture;
}
