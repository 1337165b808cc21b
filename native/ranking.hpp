// The best items of many queries: how the work is shared out, and which of it can be left undone.
//
// As |u·v| ≤ ‖u‖ ‖v‖, no score of query q exceeds  bias_j + ‖query_q‖ ‖item_j‖.  Scoring the few items
// where that is highest first gives every query a bar, its n-th best so far; then only items whose bound
// exceeds the bar are scored. Norms are rounded up so far that nothing is lost by it.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "sharing.hpp"

namespace cofactor {

// Runs the task's items for the queries `order`: out_* are (n_queries, n), best first, filled up with item −1.
template <class T, class Run>
void topk_in_order(const TopkProblem<T>& problem, const std::vector<std::int32_t>& order, const TopkTask<T>& all,
                   std::int32_t* out_items, T* out_scores, int threads, Run&& run) {
  const std::int64_t blocks = (problem.n_queries + topk_block - 1) / topk_block, n = problem.n;
  // Few queries: the items are shared out as well, and the best of all parts taken at the end. The order
  // of scores and items is total, so the parts do not show in the result.
  constexpr std::int64_t smallest_part = 1 << 13;
  const std::int64_t wanted = (8 * threads + blocks - 1) / blocks;
  const std::int64_t parts = std::max<std::int64_t>(1, std::min(wanted, all.item_end / smallest_part));
  const std::int64_t part_items = (all.item_end + parts - 1) / parts, part_size = problem.n_queries * n;
  threads = static_cast<int>(std::min<std::int64_t>(threads, blocks * parts));
  const auto& kernel = kernels<T>();
  const Scratch scratch(threads, kernel.topk_scratch(problem));
  std::vector<std::int32_t> part_best(parts > 1 ? parts * part_size : 0);
  std::vector<T> part_scores(part_best.size());
  run(blocks * parts, threads, [&](std::int64_t t, int worker) {
    const std::int64_t first = t / parts * topk_block, part = t % parts;
    TopkTask<T> task = all;
    task.queries = order.data() + first;
    task.n_queries = std::min(topk_block, problem.n_queries - first);
    task.item_begin = std::min(part * part_items, all.item_end);
    task.item_end = std::min(task.item_begin + part_items, all.item_end);
    std::int32_t* items = parts > 1 ? part_best.data() + part * part_size : out_items;
    T* scores = parts > 1 ? part_scores.data() + part * part_size : out_scores;
    kernel.topk(problem, task, items, scores, scratch.of(worker));
  });
  if (parts == 1) return;
  std::vector<std::pair<T, std::int32_t>> merged;
  for (std::int64_t q = 0; q < problem.n_queries; ++q) {
    merged.clear();
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t at = part * part_size + q * n;
      for (std::int64_t r = at; r < at + n && part_best[r] >= 0; ++r) merged.emplace_back(-part_scores[r], part_best[r]);
    }
    std::sort(merged.begin(), merged.end());  // best score first, then the lower item
    for (std::int64_t r = 0; r < n; ++r) {
      const bool have = r < static_cast<std::int64_t>(merged.size());
      out_items[q * n + r] = have ? merged[r].second : -1;
      out_scores[q * n + r] = have ? -merged[r].first : -std::numeric_limits<T>::infinity();
    }
  }
}

// ‖row‖ of all rows, rounded up (see TopkTask).
template <class T, class Run>
void topk_all_norms(const T* rows, std::int64_t n, std::int64_t rank, T* norms, int threads, Run&& run) {
  constexpr std::int64_t share = 1 << 13;
  run((n + share - 1) / share, threads, [&](std::int64_t t, int) {
    kernels<T>().topk_norms(rows, t * share, std::min(n, (t + 1) * share), rank, norms);
  });
}

// The best n items of all queries: out_* are (n_queries, n), best first, filled up with item −1.
template <class T, class Run>
void topk_all_queries(const TopkProblem<T>& problem, std::int32_t* out_items, T* out_scores, int threads, Run&& run) {
  const std::int64_t n_queries = problem.n_queries, n_items = problem.n_items, rank = problem.rank, n = problem.n;
  if (n_queries == 0) return;
  std::vector<std::int32_t> order(n_queries);
  std::iota(order.begin(), order.end(), 0);
  TopkTask<T> task{};
  task.item_end = n_items;
  // What it takes to leave items out: a pass over all items for their norms, the scores of the first ones, and some
  // operations for each item and query.
  const std::int64_t first = std::max(8 * n, std::clamp<std::int64_t>(n_items / 256, 256, 4096));
  if (n_queries < 128 || rank < 16 || n_items < 8 * first)
    return topk_in_order(problem, order, task, out_items, out_scores, threads, run);

  std::vector<T> item_norms(n_items), query_norms(n_queries);
  topk_all_norms(problem.items, n_items, rank, item_norms.data(), threads, run);
  topk_all_norms(problem.queries, n_queries, rank, query_norms.data(), threads, run);
  const double typical = std::accumulate(query_norms.begin(), query_norms.end(), 0.0) / n_queries;
  const auto bound = [&](T query_norm, std::int64_t j) { return problem.bias[j] + query_norm * item_norms[j]; };

  // The `first` items of the highest bound, about: above that bound in a sample that so many exceed.
  std::vector<std::int64_t> sample;
  for (std::int64_t j = 0, step = (n_items + 4095) / 4096; j < n_items; j += step) sample.push_back(j);
  std::vector<T> bounds;
  for (std::int64_t j : sample) bounds.push_back(std::max(std::numeric_limits<T>::lowest(), bound(typical, j)));  // no NaN
  const auto limit = bounds.begin() + first * static_cast<std::int64_t>(sample.size()) / n_items;
  std::nth_element(bounds.begin(), limit, bounds.end(), std::greater<T>());
  const auto promising = std::make_unique_for_overwrite<std::int32_t[]>(n_items);

  std::vector<std::int32_t> first_items(n_queries * n);
  std::vector<T> first_scores(n_queries * n), bars(n_queries);
  TopkTask<T> first_task = task;
  first_task.items = promising.get();
  first_task.item_end = std::min(  // of many that are alike, some are enough
      4 * first, kernels<T>().topk_promising(problem, item_norms.data(), 0, n_items, typical, *limit, promising.get()));
  topk_in_order(problem, order, first_task, first_items.data(), first_scores.data(), threads, run);
  // A little less than the n-th best, so that this one, and its equals, are found again.
  for (std::int64_t q = 0; q < n_queries; ++q)
    bars[q] = std::nextafter(first_scores[q * n + n - 1], -std::numeric_limits<T>::infinity());

  // Queries that many items may concern go together: what one of a panel needs is scored for all.
  std::vector<std::int64_t> concerned(n_queries);
  for (std::int64_t q = 0; q < n_queries; ++q)
    for (std::size_t s = 0; s < sample.size(); s += 16) concerned[q] += bound(query_norms[q], sample[s]) > bars[q];
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return concerned[a] > concerned[b]; });

  task.bars = bars.data(), task.query_norms = query_norms.data(), task.item_norms = item_norms.data();
  topk_in_order(problem, order, task, out_items, out_scores, threads, run);
}

}  // namespace cofactor
