// Which view is shown, and what the service is.

import { ask, onKeyWanted, useKey } from "./api.js";
import { byId, problem } from "./dom.js";
import { redrawMap, showMap, startMap } from "./map.js";
import { leaveOperations, showOperations } from "./operations.js";
import { showQuality } from "./quality.js";
import { startRating } from "./rating.js";
import { refresh, startRecommendations } from "./recommendations.js";
import { setScale } from "./stars.js";

const VIEWS = ["films", "map", "quality", "operations"];
let version = null, started = false;

function show(first = false) {
  const wanted = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "films";
  for (const view of VIEWS) byId(view).hidden = view !== wanted;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!first) byId("main").focus({ preventScroll: true });
  leaveOperations();
  if (wanted === "map") showMap(version).then(redrawMap);
  if (wanted === "quality") showQuality(version);
  if (wanted === "operations") showOperations((active) => { version = active; refresh(); });
}

async function start() {
  let service;
  try {
    service = (await ask("/service")).data;
  } catch (error) {
    byId("about").replaceChildren(problem(error, start));
    return;
  }
  version = service.model_version;
  const model = service.model;
  byId("about").textContent = model ? `${model.kind}, rank ${model.rank}, ${model.items.toLocaleString("en")} films` : "No model yet";
  byId("credit").textContent = service.demo
    ? "Ratings, titles and genres: MovieLens latest-small (2016), GroupLens Research, University of Minnesota; used under its terms, which allow no commercial use without permission."
    : "";
  setScale(service);
  if (!started) {
    started = true;
    startMap();
    startRecommendations(service);
    startRating();
    addEventListener("hashchange", () => show());
  }
  show(true);
}

onKeyWanted((detail) => {
  byId("key-form").hidden = false;
  byId("key-problem").textContent = detail ?? "";
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  location.reload();
});
start();
