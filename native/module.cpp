// Bindings: arrays in, arrays out. No mathematics here, and no checks: kernels/__init__.py is the
// only caller and has checked every shape and index.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <memory>

#include "kernels.hpp"
#include "parallel.hpp"

namespace nb = nanobind;
using namespace cofactor;

namespace {

template <class T, int N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Out = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

template <class T>
const Kernels<T>& kernels();
template <>
const Kernels<float>& kernels<float>() {
  return instruction_set().f32;
}
template <>
const Kernels<double>& kernels<double>() {
  return instruction_set().f64;
}

// Runs the tasks with the interpreter lock released; raises KeyboardInterrupt on Ctrl-C.
template <class Task>
void run(std::int64_t tasks, int threads, Task&& task) {
  bool done;
  {
    nb::gil_scoped_release release;
    done = parallel_for(tasks, threads, task, [] {
      nb::gil_scoped_acquire acquire;
      return PyErr_CheckSignals() != 0;
    });
  }
  if (!done) throw nb::python_error();
}

using Scratch = std::vector<std::unique_ptr<char[]>>;

Scratch make_scratch(int threads, std::size_t bytes) {
  Scratch scratch;
  for (int t = 0; t < threads; ++t) scratch.push_back(std::make_unique<char[]>(bytes));  // zeroed
  return scratch;
}

template <class T>
std::int64_t solve_rows(In<std::int64_t, 1> indptr, In<std::int32_t, 1> indices, In<float, 1> values, In<T, 2> fixed,
                        In<T, 1> fixed_bias, In<double, 1> reg, double mean, int biases, int solver, int cg_steps,
                        Out<T, 2> out, Out<T, 1> out_bias, Out<double, 1> squared_error, int threads) {
  const bool biased = static_cast<Biases>(biases) != Biases::none;
  const RowProblem<T> problem{indptr.data(),
                              indices.data(),
                              values.data(),
                              fixed.data(),
                              biased ? fixed_bias.data() : nullptr,
                              reg.data(),
                              mean,
                              static_cast<std::int64_t>(fixed.shape(1)),
                              static_cast<Biases>(biases),
                              static_cast<Solver>(solver),
                              cg_steps,
                              out.data(),
                              biased ? out_bias.data() : nullptr,
                              squared_error.data()};
  const std::int64_t rows = static_cast<std::int64_t>(reg.shape(0));
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
  Scratch scratch = make_scratch(threads, kernel.row_scratch(problem, longest));
  std::atomic<std::int64_t> singular{rows};
  run(tasks, threads, [&](std::int64_t t, int worker) {
    const std::int64_t bad = kernel.solve_rows(problem, starts[t], starts[t + 1], longest, scratch[worker].get());
    if (bad < 0) return;
    std::int64_t first = singular.load();  // the lowest such row, whoever finds it
    while (bad < first && !singular.compare_exchange_weak(first, bad)) {
    }
  });
  return singular < rows ? singular.load() : -1;
}

template <class T>
void predict(In<std::int32_t, 1> users, In<std::int32_t, 1> items, In<T, 2> user_factors, In<T, 1> user_bias,
             In<T, 2> item_factors, In<T, 1> item_bias, double mean, Out<T, 1> out, int threads) {
  constexpr std::int64_t share = 1 << 15;
  const std::int64_t n = static_cast<std::int64_t>(users.shape(0));
  run((n + share - 1) / share, threads, [&](std::int64_t t, int) {
    const std::int64_t begin = t * share;
    kernels<T>().predict(users.data() + begin, items.data() + begin, std::min(share, n - begin), user_factors.data(),
                         user_bias.data(), item_factors.data(), item_bias.data(), mean,
                         static_cast<std::int64_t>(user_factors.shape(1)), out.data() + begin);
  });
}

template <class T>
void topk(In<T, 2> queries, In<T, 2> items, In<T, 1> bias, In<std::int64_t, 1> skip_indptr,
          In<std::int32_t, 1> skip_indices, Out<std::int32_t, 2> out_items, Out<T, 2> out_scores, int threads) {
  const TopkProblem<T> problem{queries.data(),
                               items.data(),
                               bias.data(),
                               skip_indptr.data(),
                               skip_indices.data(),
                               static_cast<std::int64_t>(queries.shape(0)),
                               static_cast<std::int64_t>(items.shape(0)),
                               static_cast<std::int64_t>(queries.shape(1)),
                               static_cast<std::int64_t>(out_items.shape(1))};
  const std::int64_t blocks = (problem.n_queries + topk_block - 1) / topk_block;
  if (blocks == 0) return;
  // Few queries: the items are shared out as well, and the best of all parts taken at the end.
  constexpr std::int64_t smallest_part = 1 << 13;
  const std::int64_t wanted = (4 * threads + blocks - 1) / blocks;
  const std::int64_t parts =
      std::max<std::int64_t>(1, std::min(wanted, problem.n_items / smallest_part));
  const std::int64_t part_items = (problem.n_items + parts - 1) / parts;
  const std::int64_t width = problem.n;
  threads = static_cast<int>(std::min<std::int64_t>(threads, blocks * parts));
  const auto& kernel = kernels<T>();
  Scratch scratch = make_scratch(threads, kernel.topk_scratch(problem));
  std::vector<std::int32_t> part_best;
  std::vector<T> part_scores;
  if (parts > 1) {
    part_best.resize(problem.n_queries * parts * width);
    part_scores.resize(problem.n_queries * parts * width);
  }
  run(blocks * parts, threads, [&](std::int64_t t, int worker) {
    const std::int64_t block = t / parts, part = t % parts;
    const std::int64_t q0 = block * topk_block, q1 = std::min(q0 + topk_block, problem.n_queries);
    const std::int64_t at = parts > 1 ? (q0 * parts + part * (q1 - q0)) * width : q0 * width;
    kernel.topk(problem, q0, q1, part * part_items, std::min((part + 1) * part_items, problem.n_items),
                parts > 1 ? part_best.data() + at : out_items.data() + at,
                parts > 1 ? part_scores.data() + at : out_scores.data() + at, scratch[worker].get());
  });
  if (parts == 1) return;
  std::vector<std::pair<T, std::int32_t>> merged;
  for (std::int64_t q = 0; q < problem.n_queries; ++q) {
    const std::int64_t q0 = q / topk_block * topk_block, q1 = std::min(q0 + topk_block, problem.n_queries);
    merged.clear();
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t at = (q0 * parts + part * (q1 - q0) + (q - q0)) * width;
      for (std::int64_t r = 0; r < width && part_best[at + r] >= 0; ++r)
        merged.emplace_back(-part_scores[at + r], part_best[at + r]);
    }
    std::sort(merged.begin(), merged.end());  // best score first, then the lower item
    for (std::int64_t r = 0; r < width; ++r) {
      const bool have = r < static_cast<std::int64_t>(merged.size());
      out_items.data()[q * width + r] = have ? merged[r].second : -1;
      out_scores.data()[q * width + r] = have ? -merged[r].first : -std::numeric_limits<T>::infinity();
    }
  }
}

// Stable counting sort of keys in [0, n): indptr (n + 1,) and the positions in order of key.
void group(In<std::int32_t, 1> keys, Out<std::int64_t, 1> indptr, Out<std::int64_t, 1> order) {
  nb::gil_scoped_release release;
  const std::int64_t n = static_cast<std::int64_t>(indptr.shape(0)) - 1;
  const std::int64_t count = static_cast<std::int64_t>(keys.shape(0));
  const std::int32_t* key = keys.data();
  std::int64_t* start = indptr.data();
  std::fill(start, start + n + 1, 0);
  for (std::int64_t r = 0; r < count; ++r) ++start[key[r] + 1];
  for (std::int64_t k = 0; k < n; ++k) start[k + 1] += start[k];
  std::vector<std::int64_t> next(start, start + n);
  for (std::int64_t r = 0; r < count; ++r) order.data()[next[key[r]]++] = r;
}

template <class T>
void bind(nb::module_& m) {
  m.def("solve_rows", &solve_rows<T>);
  m.def("predict", &predict<T>);
  m.def("topk", &topk<T>);
}

}  // namespace

NB_MODULE(_native, m) {
  m.def("group", &group);
  bind<float>(m);
  bind<double>(m);
  m.def("instruction_set", [] { return nb::make_tuple(instruction_set().name, instruction_set().vector_bits); });
}
