// Which view is shown, what the service is, and the key.

import { ask, heldKey, onKeyWanted, useKey } from "./api.js";
import { byId, el, plural, problem, words } from "./dom.js";
import { drawMap, showMap, startMap } from "./map.js";
import { leaveOperations, showOperations } from "./operations.js";
import { showQuality } from "./quality.js";
import { showName, startRating } from "./rating.js";
import { refresh, startRecommendations } from "./recommendations.js";
import { startSimilar } from "./similar.js";
import { setSteps } from "./stars.js";
import { person, restore } from "./state.js";

const VIEWS = {
  films: ["What will you like?", () => `Rate a few ${words.many}. The list beside them is made anew with every star.`],
  map: ["The map", () => `Each dot is one of the ${words.many} rated most, larger the more ratings it has.`],
  quality: ["How good is it?", () => "What was measured when the model was made, on ratings held back from it."],
  operations: ["Operations", () => "For those who run the service: models, trainings, and how busy it is."],
};
let service = null, shown = null;

function show() {
  const hash = location.hash.slice(1);
  // Other hashes, such as that of the skip link, leave the view as it is.
  const view = Object.hasOwn(VIEWS, hash) ? hash : shown && hash ? shown : "films";
  if (view === shown) return;
  const first = shown === null;
  shown = view;
  document.body.dataset.view = view;
  const board = view === "films" || view === "map";
  byId("films").hidden = !board;
  byId("rate").hidden = byId("recommended").hidden = view === "map";
  byId("quality").hidden = view !== "quality";
  byId("operations").hidden = view !== "operations";
  byId("title").textContent = VIEWS[view][0];
  byId("lead").textContent = VIEWS[view][1]();
  document.title = `${VIEWS[view][0]} – cofactor`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!first) {
    byId("title").focus({ preventScroll: true }); // so that a screen reader says where one is now
    scrollTo(0, 0);
  }
  leaveOperations();
  if (board) drawMap();
  if (view === "quality") showQuality(service?.model?.rank);
  if (view === "operations") showOperations(changedModel);
}

function tellService() {
  const { model } = service;
  byId("about").textContent = model ? `${model.kind}, ${plural(model.rank, "factor", "factors")}, ${plural(model.items)}` : "No model yet";
}

/** Another model answers now: everything that was shown of the old one is asked for again. */
async function changedModel() {
  Object.assign(service, (await ask("/service")).data);
  tellService();
  showMap();
  refresh();
}

async function start() {
  byId("trouble").replaceChildren();
  try {
    service = (await ask("/service")).data;
  } catch (error) {
    byId("found").replaceChildren();
    byId("trouble").replaceChildren(problem(error, start));
    return;
  }
  if (!service.demo) Object.assign(words, { one: "item", many: "items" });
  for (const part of document.querySelectorAll("[data-word]")) {
    part.textContent = part.dataset.word === "Many" ? words.many[0].toUpperCase() + words.many.slice(1) : words.many;
  }
  byId("credit").replaceChildren(`cofactor ${service.version}. The service itself: `, el("a", { href: "/openapi.json" }, "its description"), ". ",
    service.demo ? "Ratings, titles and genres: MovieLens latest-small, GroupLens Research, University of Minnesota; used under its terms, which allow no commercial use without permission." : "");
  tellService();
  setSteps(service);
  if (service.keys_required && !heldKey()) {
    wantKey("This service asks for a key.");
    byId("found").replaceChildren(el("li", { class: "quiet" }, "Enter a key above to begin."));
    byId("told").textContent = "Enter a key above to begin.";
    show();
    return;
  }
  byId("key-forget").hidden = !heldKey();
  startSimilar();
  startMap();
  startRecommendations(service);
  startRating();
  // A failed load is no loss: what is stored stays stored, and is asked for again.
  const load = () => restore(service.scale).then(showName).catch((error) => byId("trouble").replaceChildren(
    problem({ message: `The ratings of “${person.user}” could not be loaded. ${error.message}` }, () => {
      byId("trouble").replaceChildren();
      load();
    })));
  load();
  showMap();
  show();
}

function wantKey(why) {
  byId("key-form").hidden = false;
  byId("key-problem").textContent = why;
  byId("key-forget").hidden = !heldKey();
}

onKeyWanted(wantKey);
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  location.reload();
});
byId("key-forget").addEventListener("click", () => {
  useKey(null);
  location.reload();
});
addEventListener("hashchange", show);
start();
