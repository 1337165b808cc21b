// For those who run the service: models, trainings, how busy it is. It looks every two seconds while it is looked at.

import { ask } from "./api.js";
import { card, columns } from "./charts.js";
import { byId, count, el, keepFocus, plural, problem, table, words } from "./dom.js";

const EVERY = 2000;
let timer = 0, looking = null, here = false, changed = () => {};
const drawn = new Map(); // part -> what it showed: a part that is the same is not drawn again

export function showOperations(onModel) {
  changed = onModel;
  here = true;
  look();
}

export function leaveOperations() {
  here = false;
  clearTimeout(timer);
  looking?.abort();
}

// Nobody looks at a tab in the background.
document.addEventListener("visibilitychange", () => {
  if (here && document.visibilityState === "visible") look();
  else clearTimeout(timer);
});

async function look() {
  clearTimeout(timer);
  looking?.abort();
  looking = new AbortController();
  const { signal } = looking;
  const box = byId("operations-view");
  if (!box.children.length) box.append(el("p", { class: "quiet" }, "Loading …"));
  try {
    const [busy, models, jobs] = await Promise.all(["/operations", "/models", "/jobs"].map((one) => ask(one, { signal })));
    build(box);
    part("busy", [busy.data.store, busy.data.requests_per_second, busy.data.latency_ms], () => facts(busy.data));
    part("minutes", busy.data.ratings_per_minute, () => minutes(busy.data.ratings_per_minute));
    part("jobs", jobs.data.jobs, () => trainings(jobs.data.jobs));
    part("models", models.data, () => modelTable(models.data.models));
    tellTraining(jobs.data.jobs);
    byId("operations-trouble").replaceChildren();
    if (here && document.visibilityState === "visible") timer = setTimeout(look, EVERY);
  } catch (error) {
    if (error.name === "AbortError") return;
    looking.abort(); // of three questions that were asked at once, the others
    // What was seen last stays in sight: it is still true enough to be of use.
    const trouble = byId("operations-trouble");
    if (trouble) trouble.replaceChildren(problem(error, look));
    else box.replaceChildren(problem(error, look));
    if (here && trouble && error.status !== 401 && error.status !== 403) timer = setTimeout(look, 5 * EVERY);
  }
}

/** The places of the parts, once. */
function build(box) {
  if (byId("operations-trouble")) return;
  drawn.clear();
  const panel = (title, id, button, extra = "") => el("section", { class: `panel ${extra}` },
    el("div", { class: "between" }, el("h2", {}, title), button), el("div", { id: `operations-${id}` }));
  box.replaceChildren(el("div", { id: "operations-trouble" }), el("p", { id: "operations-told", role: "status" }), el("div", { id: "operations-busy" }),
    el("div", { class: "pair" },
      panel("Trainings", "jobs", el("button", { type: "button", id: "train", class: "main", onclick: () => act("/jobs/train") }, "Train now")),
      el("div", { id: "operations-minutes" }),
      panel("Models", "models", el("button", { type: "button", id: "rollback", onclick: () => act("/models:rollback") }, "Roll back"), "all")));
}

function part(name, data, draw) {
  const text = JSON.stringify(data);
  if (drawn.get(name) === text) return;
  drawn.set(name, text);
  const box = byId(`operations-${name}`);
  const open = box.querySelector("details")?.open;
  keepFocus(box, () => box.replaceChildren(draw()));
  if (open) box.querySelector("details").open = true;
}

function facts({ store, requests_per_second: rate, latency_ms: latency }) {
  const ms = (value) => (typeof value === "number" ? `${value.toFixed(1)} ms` : "–");
  return el("dl", { class: "facts" }, [
    ["Ratings", count(store.ratings)],
    ["Users", count(store.users)],
    [words.many[0].toUpperCase() + words.many.slice(1), count(store.items)],
    ["Requests a second", rate.toFixed(1)],
    ["Half are answered within", ms(latency.p50)],
    ["99 of 100 within", ms(latency.p99)],
  ].map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

const clock = (text) => new Date(text).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const moment = (text) => (text ? new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "");

function minutes(rows) {
  const all = rows.reduce((sum, one) => sum + one.count, 0);
  const sentence = all ? `${plural(all, "rating", "ratings")} came in the last hour.` : "No rating came in the last hour.";
  return card("Ratings a minute", sentence, (width) => columns(width, "Ratings a minute", sentence, rows.map((one) => one.count), rows.length ? clock(rows[0].minute) : "", "now"),
    [["Minute", (one) => clock(one.minute)], ["Ratings", (one) => count(one.count), true]], [...rows].reverse());
}

function trainings(jobs) {
  if (!jobs.length) return el("p", { class: "quiet" }, "There was no training yet.");
  const going = (job) => job.status === "queued" || job.status === "running";
  const state = (job) => [el("span", { class: `badge ${job.status}` }, job.status),
    job.status === "running" ? el("span", { class: "going" }, el("progress", { max: 1, value: job.progress, "aria-label": `Progress of training ${job.id}` }), ` ${Math.round(job.progress * 100)}%, ${job.stage}`) : null];
  return table("Trainings", [
    ["No.", (job) => job.id],
    ["State", (job) => el("span", {}, state(job))],
    ["", (job) => (going(job) ? el("button", { type: "button", class: "small", "data-key": `cancel ${job.id}`, "aria-label": `Cancel training ${job.id}`, onclick: () => act(`/jobs/${encodeURIComponent(job.id)}`, "DELETE") }, "Cancel") : "")],
    ["Asked for", (job) => moment(job.created)],
    ["What came of it", (job) => el("span", { class: "wide" }, [job.message, job.model_version ? `Model ${job.model_version}.` : ""].filter(Boolean).join(" "))],
  ], jobs);
}

function modelTable(models) {
  if (!models.length) return el("p", { class: "quiet" }, "There is no model yet. Train one: it needs some ratings.");
  const settings = (model) => Object.entries(model.params ?? {}).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`).join(", ");
  return table("Models", [
    ["Version", (model) => String(model.version)],
    ["", (model) => (model.active ? el("span", { class: "badge done" }, "active")
      : el("button", { type: "button", class: "small", "data-key": `activate ${model.version}`, "aria-label": `Activate model ${model.version}`, onclick: () => act(`/models/${model.version}:activate`) }, "Activate"))],
    ["Kind", (model) => el("span", { title: settings(model) }, `${model.kind}${model.params?.rank ? `, K = ${model.params.rank}` : ""}`)],
    ["Made", (model) => moment(model.created)],
    ["Ratings", (model) => count(model.ratings), true],
    ["Why", (model) => el("span", { class: "wide" }, model.reason ?? "")],
  ], models);
}

const tell = (text) => {
  const box = byId("operations-told");
  if (box && box.textContent !== text) box.textContent = text;
};

let watched = null; // the training that was begun here: its end is told, and its model is shown everywhere

function tellTraining(jobs) {
  const job = jobs.find((one) => one.id === watched);
  if (!job || job.status === "queued" || job.status === "running") return;
  watched = null;
  tell(`Training ${job.id}: ${job.status}. ${job.message ?? ""}`);
  if (job.status === "done") changed().catch(() => {});
}

/** Does something and looks what came of it. */
async function act(path, method = "POST") {
  tell("One moment …");
  try {
    const { data } = await ask(path, { method });
    if (data.active) {
      tell(`Model ${data.active} answers now.`);
      changed().catch(() => {});
    } else {
      if (method === "POST") watched = data.id;
      tell(`Training ${data.id}: ${data.status}.`);
    }
  } catch (error) {
    tell(error.message);
  }
  if (here) look();
}
