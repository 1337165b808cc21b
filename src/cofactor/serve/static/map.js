// The map of films: pan, zoom, and where you stand.

import { ask } from "./api.js";
import { byId, el, problem, svg, table } from "./dom.js";
import { onPosition, similar } from "./recommendations.js";
import { onRatings, person, ratings } from "./state.js";

const ALL = { x: -1.25, y: -1.25, size: 2.5 };
let view = { ...ALL }, films = [], dots = [], picture = null, layers = {}, loaded = null;

/** Draws the map once it is first looked at, and again where another model answers. */
export async function showMap(version) {
  if (loaded === version && films.length) return;
  try {
    const { data } = await ask("/map");
    films = data.items;
    loaded = version;
  } catch (error) {
    byId("map-view").replaceChildren(problem(error, () => showMap(version)));
    return;
  }
  if (!films.length) {
    byId("map-view").replaceChildren(el("p", { class: "notice" }, "There is no map: the model has fewer than two factors, or there is none yet."));
    return;
  }
  build();
}

function build() {
  layers = { dots: svg("g"), you: svg("g"), names: svg("g", { "aria-hidden": "true" }) };
  picture = svg("svg", { tabindex: "0", role: "img", "aria-label": "Map of films. Arrow keys move it, plus and minus zoom. A table of it is below." },
    layers.dots, layers.names, layers.you);
  const most = Math.max(...films.map((film) => film.ratings), 1);
  dots = films.map((film) => {
    const dot = svg("circle", { class: "dot" }, svg("title", {}, `${film.title}: ${film.ratings} ratings`));
    dot.addEventListener("click", () => tell(film));
    film.radius = 2 + 6 * Math.sqrt(film.ratings / most);
    return dot;
  });
  layers.dots.append(...dots);
  byId("map-view").replaceChildren(picture);
  byId("map-table").replaceChildren(el("details", {}, el("summary", {}, "The map as a table"),
    table("Films and their places on the map", [
      ["Film", (film) => film.title],
      ["Ratings", (film) => film.ratings, true],
      ["Across", (film) => film.x.toFixed(2), true],
      ["Up", (film) => film.y.toFixed(2), true],
    ], films.slice(0, 100))));
  listen();
  draw();
}

function tell(film) {
  byId("map-told").replaceChildren(`${film.title}: ${film.ratings} ratings. `, el("button", { type: "button", onclick: () => {
    location.hash = "#films";
    similar(film);
  } }, "Similar films"));
}

const scale = () => {
  const box = picture.getBoundingClientRect();
  return { box, unit: Math.max(Math.min(box.width, box.height), 1) / view.size };
};

function place(x, y, { box, unit }) {
  const middle = { x: view.x + view.size / 2, y: view.y + view.size / 2 };
  return [box.width / 2 + (x - middle.x) * unit, box.height / 2 - (y - middle.y) * unit];
}

function draw() {
  if (!picture || byId("map").hidden) return;
  const at = scale(), grown = Math.sqrt(ALL.size / view.size);
  films.forEach((film, k) => {
    [film.left, film.top] = place(film.x, film.y, at);
    dots[k].setAttribute("cx", film.left.toFixed(1));
    dots[k].setAttribute("cy", film.top.toFixed(1));
    dots[k].setAttribute("r", (film.radius * Math.min(grown, 2.5)).toFixed(1));
    dots[k].classList.toggle("rated", ratings.has(film.item));
  });
  names(at.box);
  you(at);
}

/** Titles, the best known first, each where it hides no other. */
function names(box) {
  const taken = [], shown = [];
  const most = box.width < 500 ? 18 : 45;
  for (const film of films) {
    if (shown.length >= most) break;
    if (film.left < 0 || film.top < 12 || film.left > box.width || film.top > box.height) continue;
    const text = film.title.length > 28 ? film.title.slice(0, 27) + "…" : film.title;
    const width = text.length * 6.6 + 8, right = film.left + film.radius + 3;
    const left = right + width > box.width ? film.left - film.radius - 3 - width : right;
    const mine = [left, film.top - 9, left + width, film.top + 9];
    if (left < 0 || taken.some((other) => mine[0] < other[2] && mine[2] > other[0] && mine[1] < other[3] && mine[3] > other[1])) continue;
    taken.push(mine);
    shown.push(svg("text", { x: left.toFixed(0), y: (film.top + 4).toFixed(0), "font-size": 12 }, text));
  }
  layers.names.replaceChildren(...shown);
}

function you(at) {
  if (!person.position) {
    layers.you.replaceChildren();
    return;
  }
  const [x, y] = place(...person.position, at);
  if (!layers.you.firstChild) {
    layers.you.append(svg("circle", { class: "you", r: 9 }, svg("title", {}, "You")), svg("text", { class: "you-label", "font-size": 14, "font-weight": 700, x: 13, y: 5 }, "You"));
  }
  for (const part of layers.you.children) part.style.transform = `translate(${x}px, ${y}px)`;
}

function move(how) {
  const step = view.size / 6;
  if (how === "all") view = { ...ALL };
  if (how === "in") zoom(0.7);
  if (how === "out") zoom(1 / 0.7);
  if (how === "left") view.x -= step;
  if (how === "right") view.x += step;
  if (how === "up") view.y += step;
  if (how === "down") view.y -= step;
  draw();
}

/** Closer (below 1) or farther, about a point of the map or its middle. */
function zoom(factor, about = { x: view.x + view.size / 2, y: view.y + view.size / 2 }) {
  const size = Math.min(Math.max(view.size * factor, 0.05), 4);
  const by = size / view.size;
  view = { x: about.x - (about.x - view.x) * by, y: about.y - (about.y - view.y) * by, size };
}

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "in", "=": "in", "-": "out", 0: "all" };

function listen() {
  picture.addEventListener("keydown", (event) => {
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    move(KEYS[event.key]);
  });
  picture.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { box, unit } = scale();
    const x = view.x + view.size / 2 + (event.clientX - box.left - box.width / 2) / unit;
    const y = view.y + view.size / 2 - (event.clientY - box.top - box.height / 2) / unit;
    zoom(Math.exp(event.deltaY / 500), { x, y });
    draw();
  }, { passive: false });
  let held = null;
  picture.addEventListener("pointerdown", (event) => { held = { x: event.clientX, y: event.clientY }; });
  picture.addEventListener("pointermove", (event) => {
    if (!held || !event.buttons) return;
    const { unit } = scale();
    view.x -= (event.clientX - held.x) / unit;
    view.y += (event.clientY - held.y) / unit;
    held = { x: event.clientX, y: event.clientY };
    draw();
  });
  addEventListener("pointerup", () => { held = null; });
}

export function startMap() {
  for (const button of document.querySelectorAll("[data-move]")) button.addEventListener("click", () => move(button.dataset.move));
  addEventListener("resize", draw);
  onPosition(draw);
  onRatings(draw);
}

export { draw as redrawMap };
