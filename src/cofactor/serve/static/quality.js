// How K was chosen, and how good the model is: what was measured when it was registered.

import { ask } from "./api.js";
import { agreement, bars, card, intervals, line } from "./charts.js";
import { byId, count, el, plural, problem } from "./dom.js";

let asked = null;

/** Shows the active model, or one of the others that may be chosen. */
export async function showQuality(rank, version = null) {
  const box = byId("quality-view");
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked;
  if (!box.children.length) box.replaceChildren(el("p", { class: "quiet" }, "Loading …"));
  try {
    const { data: { active, models } } = await ask("/models", { signal });
    if (!models.length) {
      box.replaceChildren(el("p", { class: "empty" }, "There is no model yet, so nothing was measured. Under Operations a model can be trained."));
      return;
    }
    const wanted = version ?? active ?? models[0].version;
    const { data } = await ask(`/models/${wanted}/quality`, { signal });
    const model = models.find((one) => one.version === wanted);
    const chosen = model?.params?.rank ?? rank;
    const held = box.contains(document.activeElement);
    box.replaceChildren(choice(models, wanted, rank), el("p", {}, data.reason ?? ""), ...pictures(data, chosen));
    if (held) byId("quality-model")?.focus();
  } catch (error) {
    if (error.name !== "AbortError") box.replaceChildren(problem(error, () => showQuality(rank, version)));
  }
}

function choice(models, wanted, rank) {
  if (models.length === 1) return el("p", { class: "quiet" }, `Model ${wanted}, ${models[0].kind}.`);
  const select = el("select", { id: "quality-model", onchange: () => showQuality(rank, Number(select.value)) },
    models.map((one) => el("option", { value: one.version, selected: one.version === wanted }, `${one.version}, ${one.kind}${one.active ? ", active" : ""}`)));
  return el("p", { class: "field" }, el("label", { for: "quality-model" }, "Model"), select);
}

function pictures(data, chosen) {
  const found = [byRank(data, chosen), errors(data), calibration(data), objective(data)].filter(Boolean);
  return found.length ? [el("div", { class: "charts" }, found)] : [el("p", { class: "empty" }, "Nothing was measured of this model.")];
}

const number = (value) => typeof value === "number" && Number.isFinite(value);

function byRank({ by_rank: ranks }, chosen) {
  if (!ranks?.length) return null;
  const points = ranks.map((one) => ({ label: String(one.rank), value: one.rmse, low: one.low ?? one.rmse, high: one.high ?? one.rmse, chosen: one.rank === chosen }));
  const least = ranks.reduce((best, one) => (one.rmse < best.rmse ? one : best));
  const used = points.find((point) => point.chosen);
  const within = used && used.value <= (least.high ?? least.rmse);
  const sentence = `With K numbers for each user and item, the error on ratings left out is least at K = ${least.rank}.`
    + (!used || chosen === least.rank ? (used ? " That one is used." : "") : ` K = ${chosen} is used${within ? ", which is as good within the bars" : ""}.`)
    + " The bars show a standard error to either side."
    + (ranks.some((one) => one.low === one.high) ? " A dot without bars was given up early, far behind." : "");
  return card("How K was chosen", sentence, (width) => intervals(width, "Error by K", sentence, points, "K, the number of factors", "RMSE"),
    [["K", (one) => String(one.rank)], ["RMSE", (one) => one.rmse.toFixed(4), true], ["From", (one) => (one.low ?? one.rmse).toFixed(4), true], ["To", (one) => (one.high ?? one.rmse).toFixed(4), true]], ranks);
}

function errors({ rmse, baseline_rmse: baseline, mean_rmse: mean, held_out: held }) {
  if (!number(rmse)) return null;
  const values = [["This model", rmse, true], ["Mean and biases alone", baseline], ["The mean alone", mean]].filter(([, value]) => number(value));
  const better = number(baseline) ? ` Without the factors it is ${baseline.toFixed(2)}.` : "";
  const sentence = `On ${plural(held ?? 0, "rating", "ratings")} that it had not seen, the model is off by ${rmse.toFixed(2)} (root mean square).${better} Shorter is better.`;
  return card("How far off predictions are", sentence, (width) => bars(width, "Error on ratings held back", sentence, values),
    [["What predicts", ([name]) => name], ["RMSE", ([, value]) => value.toFixed(4), true]], values);
}

function calibration({ calibration: bins }) {
  if (!bins?.length) return null;
  const off = Math.max(...bins.filter((bin) => bin.count >= 50).map((bin) => Math.abs(bin.predicted - bin.rated)), 0);
  const sentence = `When it predicts 4, do people give 4? On the dashed line they do, on average${off ? `; where there are many ratings it is at most ${off.toFixed(2)} away` : ""}. Larger dots stand for more ratings.`;
  return card("Whether it means what it says", sentence, (width) => agreement(width, "Predicted and given ratings", sentence, bins.map((bin) => [bin.predicted, bin.rated, bin.count]), "predicted", "given"),
    [["Predicted", (bin) => bin.predicted.toFixed(2)], ["Given", (bin) => bin.rated.toFixed(2), true], ["Ratings", (bin) => count(bin.count), true]], bins);
}

function objective({ objective: values }) {
  if (!values || values.length < 2) return null;
  const share = (1 - values.at(-1) / values[0]) * 100;
  const falls = values.every((value, k) => k === 0 || value <= values[k - 1] * (1 + 1e-9));
  const sentence = `The objective J, which the fit makes small, ${falls ? "falls with every sweep" : "falls"}: by ${share.toFixed(share < 10 ? 1 : 0)}% over ${values.length} sweeps.`;
  const rows = values.map((value, k) => [k + 1, value]);
  return card("How it learnt", sentence, (width) => line(width, "Objective after each sweep", sentence, rows, "sweep", "J"),
    [["Sweep", ([sweep]) => String(sweep)], ["J", ([, value]) => value.toFixed(1), true]], rows);
}
