// For those who run it: models, trainings, how busy it is.

import { ask } from "./api.js";
import { card, minutes } from "./charts.js";
import { byId, el, problem, table } from "./dom.js";

const EVERY = 2000;
let timer = null, onActivated = () => {}, told = "";

/** Looks every two seconds while it is looked at. */
export function showOperations(activated) {
  onActivated = activated;
  clearTimeout(timer);
  look();
}

export function leaveOperations() {
  clearTimeout(timer);
}

async function look() {
  const box = byId("operations-view");
  try {
    const [busy, models, jobs] = await Promise.all([ask("/operations"), ask("/models"), ask("/jobs")]);
    // What has the focus is left where it is: drawn again, it would lose it.
    if (!box.contains(document.activeElement)) box.replaceChildren(...parts(busy.data, models.data, jobs.data.jobs));
    timer = setTimeout(look, EVERY);
  } catch (error) {
    box.replaceChildren(problem(error, look));
  }
}

async function act(path, method = "POST") {
  document.activeElement?.blur();
  try {
    const { data } = await ask(path, { method });
    told = data.active ? `Model ${data.active} answers now.` : `Training ${data.id}: ${data.status}.`;
    if (data.active) onActivated(data.active);
  } catch (error) {
    told = error.message;
  }
  clearTimeout(timer);
  look();
}

const time = (text) => (text ? new Date(text).toLocaleString() : "");

function parts(busy, models, jobs) {
  const counts = busy.ratings_per_minute.map((one) => one.count);
  const facts = [
    ["Ratings", busy.store.ratings.toLocaleString("en")],
    ["Users", busy.store.users.toLocaleString("en")],
    ["Films", busy.store.items.toLocaleString("en")],
    ["Requests a second", busy.requests_per_second.toFixed(1)],
    ["Half within", `${busy.latency_ms.p50.toFixed(1)} ms`],
    ["99 of 100 within", `${busy.latency_ms.p99.toFixed(1)} ms`],
  ];
  const sentence = `${counts.reduce((a, b) => a + b, 0).toLocaleString("en")} ratings came in the last hour.`;
  const button = (name, path, method) => el("button", { type: "button", onclick: () => act(path, method) }, name);
  return [
    el("p", { role: "status" }, told),
    el("dl", { class: "cards" }, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("div", { class: "charts" },
      card("Ratings a minute", sentence, minutes("Ratings a minute", sentence, counts), [["Minute", (one) => time(one.minute)], ["Ratings", (one) => String(one.count), true]], busy.ratings_per_minute),
      el("section", { class: "chart" }, el("h2", {}, "Trainings"), button("Train now", "/jobs/train"),
        jobs.length ? table("Trainings", [
          ["No.", (job) => job.id, true],
          ["State", (job) => el("span", {}, job.status, job.status === "running" ? el("span", {}, ` ${job.stage} `, el("progress", { max: 1, value: job.progress, "aria-label": `Training ${job.id}` })) : null)],
          ["What came of it", (job) => job.message],
          ["", (job) => (["queued", "running"].includes(job.status) ? button("Cancel", `/jobs/${job.id}`, "DELETE") : "")],
        ], jobs) : el("p", { class: "quiet" }, "None yet."))),
    el("section", {}, el("h2", {}, "Models"), button("Roll back", "/models:rollback"),
      table("Models", [
        ["Version", (model) => String(model.version), true],
        ["Kind", (model) => `${model.kind}${model.params.rank ? `, rank ${model.params.rank}` : ""}`],
        ["Ratings", (model) => model.ratings.toLocaleString("en"), true],
        ["Made", (model) => time(model.created)],
        ["Why", (model) => model.reason],
        ["", (model) => (model.active ? "active" : button("Activate", `/models/${model.version}:activate`))],
      ], models.models)),
  ];
}
