// How the work of one kernel call is shared out among threads. Every row, query and pair is computed
// whole by one thread, whichever it is, so no bit of a result depends on the number of threads.
#pragma once

#include <algorithm>
#include <iterator>
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

// Rows of `factors` (rows, rank) as the kernels want them: each begins at a multiple of 64 bytes and is zero from
// `rank` on. A copy is made only where they do not lie so already.
template <class T>
class AlignedRows {
 public:
  AlignedRows(const T* factors, std::int64_t rows, std::int64_t rank) : data(factors), stride(rank) {
    constexpr std::int64_t line = 64 / sizeof(T);
    if (rank % line == 0 && reinterpret_cast<std::uintptr_t>(factors) % 64 == 0) return;
    stride = (rank + line - 1) / line * line;
    copy_ = std::make_unique<T[]>(rows * stride + line);
    const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(copy_.get()) + 63) / 64 * 64;
    T* to = reinterpret_cast<T*>(begin);
    for (std::int64_t i = 0; i < rows; ++i) std::copy_n(factors + i * rank, rank, to + i * stride);
    data = to;
  }

  const T* data;
  std::int64_t stride;

 private:
  std::unique_ptr<T[]> copy_;
};

// The lowest of what several threads find; −1 is nothing.
inline void note_first(std::atomic<std::int64_t>& first, std::int64_t found) {
  std::int64_t so_far = first.load();
  while (found >= 0 && found < so_far && !first.compare_exchange_weak(so_far, found)) {
  }
}

// Solves all rows. `run(tasks, threads, task)` runs the tasks. Returns the first row whose system is
// singular, or −1.
template <class T, class Run>
std::int64_t solve_all_rows(RowProblem<T> problem, std::int64_t rows, std::int64_t fixed_rows, int threads, Run&& run) {
  const AlignedRows<T> fixed(problem.fixed, fixed_rows, problem.rank);
  problem.fixed = fixed.data;
  problem.stride = fixed.stride;
  const auto& kernel = kernels<T>();
  const auto length = [&](std::int64_t i) { return problem.indptr[i + 1] - problem.indptr[i]; };

  // A very long row could keep one thread busy after all others are done: it is cut into pieces. What is a giant,
  // and where it is cut, goes by its own ratings alone.
  constexpr std::int64_t smallest_giant = 1 << 20, piece_ratings = 1 << 17;
  const bool by_sums = problem.solver != Solver::cg && problem.solver != Solver::dual;
  struct Piece {
    std::int64_t row, begin, end;
  };
  std::vector<Piece> pieces;
  // All others go in runs of rows with about `share` ratings, enough to be worth a visit to the counter.
  constexpr std::int64_t share = 2048;
  std::vector<std::pair<std::int64_t, std::int64_t>> runs;
  std::int64_t longest = 0;
  for (std::int64_t i = 0, begun = -1, some = 0; i < rows; ++i) {
    if (by_sums && length(i) >= smallest_giant) {
      longest = std::max(longest, piece_ratings);
      for (std::int64_t at = 0; at < length(i); at += piece_ratings)
        pieces.push_back({i, at, std::min(at + piece_ratings, length(i))});
      begun = -1;
      continue;
    }
    if (begun < 0 || some >= share) runs.push_back({i, i}), begun = i, some = 0;
    runs.back().second = i + 1;
    some += length(i) + 1;
    longest = std::max(longest, length(i));
  }
  const std::int64_t n_pieces = std::ssize(pieces), tasks = n_pieces + std::ssize(runs);
  threads = static_cast<int>(std::min<std::int64_t>(threads, tasks));
  const Scratch scratch(threads, kernel.row_scratch(problem, longest));
  const std::int64_t size = kernel.sums_size(problem);
  std::vector<double> sums(n_pieces * size);
  std::atomic<std::int64_t> singular{rows};
  run(tasks, threads, [&](std::int64_t t, int worker) {
    if (t < n_pieces) {
      const Piece& piece = pieces[t];
      kernel.take_sums(problem, piece.row, piece.begin, piece.end, longest, &sums[t * size], scratch.of(worker));
      return;
    }
    const auto [begin, end] = runs[t - n_pieces];
    note_first(singular, kernel.solve_rows(problem, begin, end, longest, scratch.of(worker)));
  });
  for (std::int64_t t = 0; t < n_pieces;) {
    const std::int64_t row = pieces[t].row;
    double* total = &sums[t * size];
    for (++t; t < n_pieces && pieces[t].row == row; ++t)
      for (std::int64_t k = 0; k < size; ++k) total[k] += sums[t * size + k];
    if (!kernel.solve_sums(problem, row, total, longest, scratch.of(0))) note_first(singular, row);
  }
  return singular < rows ? singular.load() : -1;
}

// Adds the packed sums of all rows, or solves them all; a thread takes some rows at a time. `size` numbers a row.
constexpr std::int64_t rows_at_once = 64;
template <class T, class Run>
void add_all_item_sums(RowProblem<T> problem, std::int64_t rows, std::int64_t fixed_rows, double* sums, int threads,
                       Run&& run) {
  const AlignedRows<T> fixed(problem.fixed, fixed_rows, problem.rank);
  problem.fixed = fixed.data;
  problem.stride = fixed.stride;
  std::int64_t longest = 0;
  for (std::int64_t j = 0; j < rows; ++j) longest = std::max(longest, problem.indptr[j + 1] - problem.indptr[j]);
  const Scratch scratch(threads, kernels<T>().row_scratch(problem, longest));
  run((rows + rows_at_once - 1) / rows_at_once, threads, [&](std::int64_t t, int worker) {
    const std::int64_t begin = t * rows_at_once, end = std::min(begin + rows_at_once, rows);
    kernels<T>().add_item_sums(problem, begin, end, longest, sums, scratch.of(worker));
  });
}
template <class T, class Run>
std::int64_t solve_all_item_sums(const RowProblem<T>& problem, std::int64_t rows, const double* sums, int threads,
                                 Run&& run) {
  const Scratch scratch(threads, kernels<T>().row_scratch(problem, 0));
  std::atomic<std::int64_t> singular{rows};
  run((rows + rows_at_once - 1) / rows_at_once, threads, [&](std::int64_t t, int worker) {
    const std::int64_t begin = t * rows_at_once, end = std::min(begin + rows_at_once, rows);
    note_first(singular, kernels<T>().solve_item_sums(problem, begin, end, sums, scratch.of(worker)));
  });
  return singular < rows ? singular.load() : -1;
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

// Draws all weights, a cache line of columns a task; or applies them, some rows a task.
template <class T, class Run>
void draw_all_weights(const WeightProblem<T>& problem, int threads, Run&& run) {
  constexpr std::int64_t line = 64 / sizeof(T);
  const std::int64_t slabs = (problem.columns + line - 1) / line;
  threads = static_cast<int>(std::min<std::int64_t>(threads, slabs));
  const Scratch scratch(threads, kernels<T>().weight_scratch(problem));
  run(slabs, threads,
      [&](std::int64_t t, int worker) { kernels<T>().draw_weights(problem, t, scratch.of(worker)); });
}
template <class T, class Run>
void apply_all_weights(const Entries& x, std::int64_t rows, const T* weights, std::int64_t columns, T* out,
                       int threads, Run&& run) {
  run((rows + rows_at_once - 1) / rows_at_once, threads, [&](std::int64_t t, int) {
    const std::int64_t begin = t * rows_at_once;
    kernels<T>().apply_weights(x, weights, columns, begin, std::min(begin + rows_at_once, rows), out);
  });
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
