// The map: pan, zoom, and where you stand. Titles are in maplabels.js.

import { ask } from "./api.js";
import { byId, el, folded, plural, problem, svg, table, words } from "./dom.js";
import { drawLabels, forgetLabels, textWidth } from "./maplabels.js";
import { offer } from "./rating.js";
import { onPosition } from "./recommendations.js";
import { likeThis, similar } from "./similar.js";
import { onRatings, person, ratings } from "./state.js";

const CLOSEST = 24;
const view = { x: 0, y: 0, zoom: 1 }; // the middle of what is shown, in units of the map
let all = { x: 0, y: 0, across: 1, up: 1 }; // the middle and the reach of all points
let points = [], picture = null, layers = null, size = { width: 0, height: 0 }, planned = 0, pointed = null;

/** Asks for the map and draws it. */
export async function showMap() {
  const box = byId("map-view");
  if (!picture) box.replaceChildren(el("p", { class: "quiet" }, "Loading …"));
  try {
    const { data } = await ask("/map");
    points = data.items;
  } catch (error) {
    withoutMap(problem(error, showMap));
    return;
  }
  if (!points.length) {
    withoutMap(el("p", { class: "empty" }, "There is no map: there is no model yet, or it has fewer than two factors."));
    return;
  }
  const most = Math.max(...points.map((point) => point.ratings), 1);
  fit();
  for (const point of points) point.radius = 1.6 + 6.5 * Math.sqrt(point.ratings / most);
  build();
}

/** Nothing to draw: nothing to move either. */
function withoutMap(why) {
  picture = layers = null;
  byId("map-view").replaceChildren(why);
  byId("map-moves").hidden = byId("map-table").hidden = true;
}

/** All points, with some room for titles; a few that are far out do not make the others small. */
function fit() {
  const [x, y] = ["x", "y"].map((axis) => {
    const sorted = points.map((point) => point[axis]).sort((a, b) => a - b);
    const low = sorted[Math.floor(sorted.length * 0.002)], high = sorted[Math.ceil(sorted.length * 0.998) - 1];
    return [(low + high) / 2, Math.max((high - low) / 2, 0.1)];
  });
  all = { x: x[0], y: y[0], across: x[1] * 1.12, up: y[1] * 1.1 };
  Object.assign(view, { x: all.x, y: all.y, zoom: 1 });
}

function build() {
  forgetLabels();
  byId("map-moves").hidden = false;
  layers = { dots: svg("g", { "aria-hidden": "true" }), labels: svg("g"), pointed: svg("g", { class: "pointed", "aria-hidden": "true" }), you: svg("g", { class: "you", "aria-hidden": "true" }) };
  layers.you.append(svg("circle", { r: 9 }), svg("text", { x: 14, y: 5 }, "You"));
  picture = svg("svg", { tabindex: "0", role: "group", "aria-label": `Map of ${words.many}`, "aria-describedby": "map-keys" },
    layers.dots, layers.labels, layers.pointed, layers.you);
  for (const point of points) layers.dots.append(point.dot = svg("circle", { class: "dot" }));
  byId("map-view").replaceChildren(picture, el("p", { id: "map-keys", class: "unseen" },
    "Arrow keys move the map, plus and minus zoom, 0 shows all of it. With Tab you come to the titles shown; Enter opens one. A table of it is below."));
  const old = byId("map-table");
  const fresh = folded("The map as a table", tableOfMap);
  fresh.id = "map-table";
  old.replaceWith(fresh);
  listen();
  mark();
}

function tableOfMap() {
  const here = person.position;
  const rows = points.map((point) => ({ ...point, far: here ? Math.hypot(point.x - here[0], point.y - here[1]) : null }));
  if (here) rows.sort((a, b) => a.far - b.far);
  return table(here ? `The 100 ${words.many} nearest to you on the map` : `The 100 ${words.many} rated most, and their places on the map`, [
    [words.one[0].toUpperCase() + words.one.slice(1), (point) => point.title],
    ["Ratings", (point) => String(point.ratings), true],
    ["Across", (point) => point.x.toFixed(2), true],
    ["Up", (point) => point.y.toFixed(2), true],
    ...(here ? [["From you", (point) => point.far.toFixed(2), true]] : []),
  ], rows.slice(0, 100));
}

/** Pixels to a unit of the map. A wide picture is stretched a little, to be used. */
function units() {
  const across = size.width / (2 * all.across), up = size.height / (2 * all.up);
  return { across: Math.min(across, up * 1.6) * view.zoom, up: Math.min(up, across * 1.6) * view.zoom };
}

function toScreen(x, y, { across, up } = units()) {
  return [size.width / 2 + (x - view.x) * across, size.height / 2 - (y - view.y) * up];
}

/** Draws in the next frame, once, however often it is asked. */
export function drawMap() {
  planned ||= requestAnimationFrame(() => {
    planned = 0;
    draw();
  });
}

function draw() {
  if (!picture || !picture.isConnected || byId("films").hidden) return;
  size = { width: picture.clientWidth, height: picture.clientHeight };
  if (!size.width) return;
  view.x = Math.max(all.x - all.across, Math.min(all.x + all.across, view.x));
  view.y = Math.max(all.y - all.up, Math.min(all.y + all.up, view.y));
  const scale = units(), grown = Math.min(Math.sqrt(view.zoom), 2.5) * (size.width < 500 ? 0.75 : 1);
  for (const point of points) {
    [point.left, point.top] = toScreen(point.x, point.y, scale);
    point.shown = point.radius * grown;
    point.dot.setAttribute("cx", point.left.toFixed(1));
    point.dot.setAttribute("cy", point.top.toFixed(1));
    point.dot.setAttribute("r", point.shown.toFixed(1));
  }
  const you = person.position ? toScreen(...person.position, scale) : null;
  layers.you.toggleAttribute("hidden", !you);
  if (you) { // never out of sight: at the edge it says where to go
    you[0] = Math.max(12, Math.min(size.width - 48, you[0]));
    you[1] = Math.max(12, Math.min(size.height - 12, you[1]));
  }
  if (you) layers.you.style.transform = `translate(${you[0].toFixed(1)}px, ${you[1].toFixed(1)}px)`;
  drawLabels(layers.labels, points, size, you, tell);
  drawPointed();
}

/** The title of the dot under the pointer, over everything else. */
function drawPointed() {
  layers.pointed.replaceChildren();
  if (!pointed) return;
  const wide = textWidth(pointed.title, 13);
  const left = Math.max(4, Math.min(pointed.left + pointed.shown + 5, size.width - wide - 8));
  layers.pointed.append(svg("circle", { cx: pointed.left, cy: pointed.top, r: pointed.shown + 2 }),
    svg("rect", { x: left - 4, y: pointed.top - 12, width: wide + 8, height: 22, rx: 5 }),
    svg("text", { x: left, y: pointed.top + 4 }, pointed.title));
}

function mark() {
  for (const point of points) point.dot?.classList.toggle("rated", ratings.has(point.item));
  drawMap();
}

function tell(point) {
  byId("map-told").textContent = `${point.title}: ${point.categories.join(", ") || "no category"}, ${plural(point.ratings, "rating", "ratings")}.`;
  const like = el("button", { type: "button", class: "small", "data-key": "map like", onclick: () => similar(point, null, like) }, likeThis());
  byId("map-acts").replaceChildren(like, el("button", { type: "button", class: "small", onclick: () => offer(point) }, "Rate it"));
}

function nearest(event) {
  const box = picture.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, least = 14;
  for (const point of points) {
    const far = Math.hypot(point.left - x, point.top - y) - Math.min(point.shown, 8);
    if (far < least) [best, least] = [point, far];
  }
  return best;
}

/** Closer (above 1) or farther, about a place of the picture or its middle. */
function zoom(factor, x = size.width / 2, y = size.height / 2) {
  const before = units(), to = Math.max(1, Math.min(CLOSEST, view.zoom * factor));
  if (to === view.zoom) return false;
  const by = to / view.zoom, dx = x - size.width / 2, dy = y - size.height / 2;
  view.x += (dx / before.across) * (1 - 1 / by);
  view.y -= (dy / before.up) * (1 - 1 / by);
  view.zoom = to;
  drawMap();
  return true;
}

function pan(dx, dy) {
  const { across, up } = units();
  view.x -= dx / across;
  view.y += dy / up;
  drawMap();
}

const MOVES = {
  in: () => zoom(1.5), out: () => zoom(1 / 1.5),
  left: () => pan(size.width / 6, 0), right: () => pan(-size.width / 6, 0),
  up: () => pan(0, size.height / 6), down: () => pan(0, -size.height / 6),
  all: () => { Object.assign(view, { x: all.x, y: all.y, zoom: 1 }); drawMap(); },
  you: () => { if (person.position) { [view.x, view.y] = person.position; view.zoom = Math.max(view.zoom, 4); drawMap(); } },
};
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "in", "=": "in", "-": "out", 0: "all" };

function listen() {
  picture.addEventListener("keydown", (event) => {
    if (!Object.hasOwn(KEYS, event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    MOVES[KEYS[event.key]]();
    draw(); // at once: a key that is held must not wait
  });
  picture.addEventListener("wheel", (event) => {
    const box = picture.getBoundingClientRect();
    // Where there is no farther out, the page scrolls: nobody is caught in the map.
    if (zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top)) event.preventDefault();
  }, { passive: false });
  const down = new Map(); // pointers that are held: one moves the map, two zoom it
  let far = 0;
  picture.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    down.set(event.pointerId, [event.clientX, event.clientY]);
    if (down.size === 1) far = 0;
  });
  picture.addEventListener("pointermove", (event) => {
    const last = down.get(event.pointerId);
    if (!last) {
      const found = nearest(event);
      if (found !== pointed) {
        pointed = found;
        drawPointed();
      }
      return;
    }
    const dx = event.clientX - last[0], dy = event.clientY - last[1];
    far += Math.abs(dx) + Math.abs(dy);
    if (far > 6 && !picture.hasPointerCapture(event.pointerId)) picture.setPointerCapture(event.pointerId);
    if (down.size === 2) {
      const [id, other] = [...down].find(([one]) => one !== event.pointerId);
      const before = Math.hypot(last[0] - other[0], last[1] - other[1]), now = Math.hypot(event.clientX - other[0], event.clientY - other[1]);
      const box = picture.getBoundingClientRect();
      if (id !== undefined && before > 5) zoom(now / before, (event.clientX + other[0]) / 2 - box.left, (event.clientY + other[1]) / 2 - box.top);
    } else pan(dx, dy);
    down.set(event.pointerId, [event.clientX, event.clientY]);
  });
  const up = (event) => down.delete(event.pointerId);
  picture.addEventListener("pointerup", (event) => {
    up(event);
    const found = far < 6 ? nearest(event) : null;
    if (found) tell(found);
  });
  picture.addEventListener("pointercancel", up);
  picture.addEventListener("pointerleave", () => { pointed = null; drawPointed(); });
}

export function startMap() {
  for (const button of document.querySelectorAll("[data-move]")) button.addEventListener("click", () => {
    MOVES[button.dataset.move]();
    draw();
  });
  new ResizeObserver(drawMap).observe(byId("map-view"));
  onRatings(mark);
  let ends = 0;
  onPosition(() => {
    document.querySelector('[data-move="you"]').hidden = !person.position;
    if (!layers) return;
    // Only a new taste glides; when the map itself moves, you move with it.
    layers.you.classList.add("glide");
    clearTimeout(ends);
    ends = setTimeout(() => layers.you.classList.remove("glide"), 900);
    drawMap();
  });
}
