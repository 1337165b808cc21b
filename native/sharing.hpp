// How the work of one kernel call is shared out among threads. Every row, query and pair is computed
// whole by one thread, whichever it is, so no bit of a result depends on the number of threads.
#pragma once

#include <algorithm>
#include <memory>
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
  run(blocks * blocks, static_cast<int>(std::min<std::int64_t>(threads, blocks)), [&](std::int64_t t, int) {
    const std::int64_t round = t / blocks, a = t % blocks, c = (a + rounds[round]) % blocks;
    // What is waited for was begun before, so it ends, even where no further task begins.
    while (users_done[a].load(std::memory_order_acquire) < round ||
           items_done[c].load(std::memory_order_acquire) < round)
      std::this_thread::yield();
    errors[t] = kernel.descend(problem, starts[a * blocks + c], starts[a * blocks + c + 1]);
    users_done[a].store(round + 1, std::memory_order_release);
    items_done[c].store(round + 1, std::memory_order_release);
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
