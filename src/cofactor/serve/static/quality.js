// How K was chosen, and how good the model is: what was measured when it was registered.

import { ask } from "./api.js";
import { card, columns, intervals, line } from "./charts.js";
import { byId, el, problem } from "./dom.js";

export async function showQuality(version) {
  const box = byId("quality-view");
  if (!version) {
    box.replaceChildren(el("p", { class: "notice" }, "There is no model yet. Ratings can be given all the same; Operations begins a training."));
    return;
  }
  try {
    const { data } = await ask(`/models/${version}/quality`);
    const cards = [byRank(data), errors(data), calibration(data), objective(data)].filter(Boolean);
    const about = `Model ${version}. ${data.reason ?? ""}`;
    box.replaceChildren(el("p", { class: "lead" }, about), cards.length ? el("div", { class: "charts" }, ...cards) : el("p", {}, "Nothing was measured of this model."));
  } catch (error) {
    box.replaceChildren(problem(error, () => showQuality(version)));
  }
}

function byRank({ by_rank: ranks, params }) {
  if (!ranks?.length) return null;
  const points = ranks.map((one) => ({ label: String(one.rank), value: one.rmse, low: one.low, high: one.high, chosen: one.rank === params.rank }));
  const least = ranks.reduce((best, one) => (one.rmse < best.rmse ? one : best));
  const sentence = `Every rank K was fitted five times, each time on four fifths of the ratings, and measured on the others. The error is least at K = ${least.rank}; K = ${params.rank} is used. Bars are a standard error to either side; a rank without one was given up early, far behind.`;
  return card("How K was chosen", sentence, intervals("Error by rank", sentence, points, "rank K"),
    [["K", (one) => String(one.rank), true], ["RMSE", (one) => one.rmse.toFixed(4), true], ["from", (one) => one.low.toFixed(4), true], ["to", (one) => one.high.toFixed(4), true]], ranks);
}

function errors({ rmse, baseline_rmse: baseline, mean_rmse: mean, held_out: held }) {
  if (rmse === null || rmse === undefined) return null;
  const values = [["this model", rmse, true], ["means and biases", baseline], ["the mean alone", mean]].filter(([, value]) => value !== null && value !== undefined);
  const sentence = `On ${held.toLocaleString("en")} ratings that it had not seen, predictions were off by ${rmse.toFixed(2)} points (root mean square).`;
  return card("How far off predictions are", sentence, columns("Held-out error", sentence, values),
    [["What", ([name]) => name], ["RMSE", ([, value]) => value.toFixed(4), true]], values);
}

function calibration({ calibration: bins }) {
  if (!bins?.length) return null;
  const sentence = "Where it predicts 4, do people give 4? On the dashed line they do, on average.";
  return card("Whether it means what it says", sentence, line("Calibration", sentence, bins.map((bin) => [bin.predicted, bin.rated]), "predicted", { ideal: true, dots: true }),
    [["Predicted", (bin) => bin.predicted.toFixed(2), true], ["Given", (bin) => bin.rated.toFixed(2), true], ["Ratings", (bin) => String(bin.count), true]], bins);
}

function objective({ objective: values }) {
  if (!values?.length || values.length < 2) return null;
  const sentence = `The objective J falls with every sweep, and never rises: ${values.length} sweeps.`;
  const rows = values.map((value, k) => [k + 1, value]);
  return card("How it learnt", sentence, line("Objective after each sweep", sentence, rows, "sweep"),
    [["Sweep", ([sweep]) => String(sweep), true], ["J", ([, value]) => value.toFixed(1), true]], rows);
}
