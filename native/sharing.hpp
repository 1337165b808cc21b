// How the work of one kernel call is shared out among threads. Every row, query and pair is computed
// whole by one thread, whichever it is, so no bit of a result depends on the number of threads.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "parallel.hpp"

namespace cofactor {

template <class T>
const Kernels<T>& kernels();
template <>
inline const Kernels<float>& kernels<float>() {
  return instruction_set().f32;
}
template <>
inline const Kernels<double>& kernels<double>() {
  return instruction_set().f64;
}

// Working memory of each thread, zeroed.
class Scratch {
 public:
  Scratch(int threads, std::size_t bytes) {
    for (int t = 0; t < threads; ++t) memory_.push_back(std::make_unique<char[]>(bytes));
  }
  void* of(int worker) const { return memory_[worker].get(); }

 private:
  std::vector<std::unique_ptr<char[]>> memory_;
};

// Solves all rows. `run(tasks, threads, task)` runs the tasks. Returns the first row whose system is
// singular, or −1.
template <class T, class Run>
std::int64_t solve_all_rows(const RowProblem<T>& problem, std::int64_t rows, int threads, Run&& run) {
  std::int64_t longest = 0;
  for (std::int64_t i = 0; i < rows; ++i) longest = std::max(longest, problem.indptr[i + 1] - problem.indptr[i]);
  // A task is a run of rows with about `share` ratings: enough to be worth a visit to the counter.
  constexpr std::int64_t share = 2048;
  std::vector<std::int64_t> starts;
  for (std::int64_t i = 0, begun = -share; i < rows; ++i)
    if (problem.indptr[i] + i - begun >= share) starts.push_back(i), begun = problem.indptr[i] + i;
  starts.push_back(rows);
  const std::int64_t tasks = static_cast<std::int64_t>(starts.size()) - 1;
  threads = static_cast<int>(std::min<std::int64_t>(threads, tasks));
  const auto& kernel = kernels<T>();
  const Scratch scratch(threads, kernel.row_scratch(problem, longest));
  std::atomic<std::int64_t> singular{rows};
  run(tasks, threads, [&](std::int64_t t, int worker) {
    const std::int64_t bad = kernel.solve_rows(problem, starts[t], starts[t + 1], longest, scratch.of(worker));
    if (bad < 0) return;
    std::int64_t first = singular.load();  // the lowest such row, whoever finds it
    while (bad < first && !singular.compare_exchange_weak(first, bad)) {
    }
  });
  return singular < rows ? singular.load() : -1;
}

// The best n items of all queries: out_* are (n_queries, n), best first, filled up with item −1.
template <class T, class Run>
void topk_all_queries(const TopkProblem<T>& problem, std::int32_t* out_items, T* out_scores, int threads, Run&& run) {
  const std::int64_t blocks = (problem.n_queries + topk_block - 1) / topk_block, width = problem.n;
  if (blocks == 0) return;
  // Few queries: the items are shared out as well, and the best of all parts taken at the end. The order
  // of scores and items is total, so the parts do not show in the result.
  constexpr std::int64_t smallest_part = 1 << 13;
  const std::int64_t wanted = (4 * threads + blocks - 1) / blocks;
  const std::int64_t parts = std::max<std::int64_t>(1, std::min(wanted, problem.n_items / smallest_part));
  const std::int64_t part_items = (problem.n_items + parts - 1) / parts;
  threads = static_cast<int>(std::min<std::int64_t>(threads, blocks * parts));
  const auto& kernel = kernels<T>();
  const Scratch scratch(threads, kernel.topk_scratch(problem));
  std::vector<std::int32_t> part_best(parts > 1 ? problem.n_queries * parts * width : 0);
  std::vector<T> part_scores(part_best.size());

  // Where the best of a part begin: block by block, in it part by part, in it query by query.
  const auto place = [&](std::int64_t q, std::int64_t part) {
    const std::int64_t q0 = q / topk_block * topk_block, q1 = std::min(q0 + topk_block, problem.n_queries);
    return (q0 * parts + part * (q1 - q0) + (q - q0)) * width;
  };
  run(blocks * parts, threads, [&](std::int64_t t, int worker) {
    const std::int64_t q0 = t / parts * topk_block, part = t % parts;
    const std::int64_t q1 = std::min(q0 + topk_block, problem.n_queries);
    const std::int64_t j0 = std::min(part * part_items, problem.n_items);
    const std::int64_t j1 = std::min(j0 + part_items, problem.n_items);
    std::int32_t* items = parts > 1 ? part_best.data() : out_items;
    T* scores = parts > 1 ? part_scores.data() : out_scores;
    kernel.topk(problem, q0, q1, j0, j1, items + place(q0, part), scores + place(q0, part), scratch.of(worker));
  });
  if (parts == 1) return;
  std::vector<std::pair<T, std::int32_t>> merged;
  for (std::int64_t q = 0; q < problem.n_queries; ++q) {
    merged.clear();
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t at = place(q, part);
      for (std::int64_t r = at; r < at + width && part_best[r] >= 0; ++r)
        merged.emplace_back(-part_scores[r], part_best[r]);
    }
    std::sort(merged.begin(), merged.end());  // best score first, then the lower item
    for (std::int64_t r = 0; r < width; ++r) {
      const bool have = r < static_cast<std::int64_t>(merged.size());
      out_items[q * width + r] = have ? merged[r].second : -1;
      out_scores[q * width + r] = have ? -merged[r].first : -std::numeric_limits<T>::infinity();
    }
  }
}

// The rows of one side for descent, from arrays (rows,); back into them, every scale multiplied in.
template <class T>
std::vector<DescentRow<T>> descent_rows(const T* bias, const T* bias_shrink, const T* shrink, std::int64_t rows) {
  std::vector<DescentRow<T>> result(rows);
  for (std::int64_t i = 0; i < rows; ++i) result[i] = {bias[i], bias_shrink[i], shrink[i], T(1)};
  return result;
}
template <class T>
void finish_descent(const std::vector<DescentRow<T>>& rows, T* factors, std::int64_t rank, T* bias) {
  for (const DescentRow<T>& row : rows) {
    *bias++ = row.bias;
    for (const T* end = factors + rank; factors < end; ++factors) *factors *= row.scale;
  }
}

// One sweep of descent over blocks × blocks parts of the ratings; part (a, c) has the users of block a and
// the items of block c, ratings [starts[a · blocks + c], starts[a · blocks + c + 1]). In a round, block a meets
// items a + rounds[round], so parts of a round share nobody; a part waits for those of the round before that have
// its users and its items, and so every step is the same whoever takes it. Returns Σ e² as met on the way.
template <class T, class Run>
double descend_all_blocks(const DescentProblem<T>& problem, const std::int64_t* starts, const std::int32_t* rounds,
                          std::int64_t blocks, int threads, Run&& run) {
  const auto& kernel = kernels<T>();
  std::vector<double> errors(blocks * blocks);
  std::vector<std::atomic<std::int64_t>> users_done(blocks), items_done(blocks);  // rounds
  std::vector<std::atomic<bool>> taken(blocks);                                   // users
  // Does one part that need not wait. There is one, or another thread is at what it waits for, which ends.
  run(blocks * blocks, static_cast<int>(std::min<std::int64_t>(threads, blocks)), [&](std::int64_t t, int) {
    for (std::int64_t look = t;; ++look) {
      const std::int64_t a = look % blocks;
      if (!taken[a].exchange(true, std::memory_order_acquire)) {
        const std::int64_t round = users_done[a].load(std::memory_order_relaxed);
        const std::int64_t c = round < blocks ? (a + rounds[round]) % blocks : 0;
        const bool ready = round < blocks && items_done[c].load(std::memory_order_acquire) == round;
        if (ready) {
          errors[round * blocks + a] = kernel.descend(problem, starts[a * blocks + c], starts[a * blocks + c + 1]);
          users_done[a].store(round + 1, std::memory_order_relaxed);
          items_done[c].store(round + 1, std::memory_order_release);
        }
        taken[a].store(false, std::memory_order_release);
        if (ready) return;
      }
      if (look - t >= blocks) std::this_thread::yield();
    }
  });
  double total = 0;
  for (double error : errors) total += error;
  return total;
}

// Predictions for n pairs of positions.
template <class T, class Run>
void predict_all_pairs(const std::int32_t* users, const std::int32_t* items, std::int64_t n, const T* user_factors,
                       const T* user_bias, const T* item_factors, const T* item_bias, double mean, std::int64_t rank,
                       T* out, int threads, Run&& run) {
  constexpr std::int64_t share = 1 << 15;
  run((n + share - 1) / share, threads, [&](std::int64_t t, int) {
    const std::int64_t begin = t * share;
    kernels<T>().predict(users + begin, items + begin, std::min(share, n - begin), user_factors, user_bias,
                         item_factors, item_bias, mean, rank, out + begin);
  });
}

}  // namespace cofactor
