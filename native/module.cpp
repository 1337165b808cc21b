// Bindings: arrays in, arrays out. No mathematics here, and no checks: kernels/__init__.py is the
// only caller and has checked every shape and index.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "group.hpp"
#include "neighbours.hpp"
#include "ordinal.hpp"
#include "ranking.hpp"
#include "sharing.hpp"

namespace nb = nanobind;
using namespace cofactor;

namespace {

template <class T, int N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Out = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

template <class Array>
std::int64_t length(const Array& array, int axis = 0) {
  return static_cast<std::int64_t>(array.shape(axis));
}

// Runs tasks with the interpreter lock released; raises KeyboardInterrupt on Ctrl-C.
struct Run {
  template <class Task>
  void operator()(std::int64_t tasks, int threads, Task&& task) const {
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
};

template <class T>
std::int64_t solve_rows(In<std::int64_t, 1> indptr, In<std::int32_t, 1> indices, In<float, 1> values, In<T, 2> fixed,
                        In<T, 1> fixed_bias, In<double, 1> reg, double mean, int biases, int solver, int cg_steps,
                        In<T, 2> noise, double noise_scale, Out<T, 2> out, Out<T, 1> out_bias,
                        Out<double, 1> squared_error, int threads) {
  const bool biased = static_cast<Biases>(biases) != Biases::none;
  const RowProblem<T> problem{indptr.data(),
                              indices.data(),
                              values.data(),
                              fixed.data(),
                              biased ? fixed_bias.data() : nullptr,
                              reg.data(),
                              mean,
                              length(fixed, 1),
                              length(fixed, 1),
                              static_cast<Biases>(biases),
                              static_cast<Solver>(solver),
                              cg_steps,
                              out.data(),
                              biased ? out_bias.data() : nullptr,
                              squared_error.data(),
                              length(noise) > 0 ? noise.data() : nullptr,
                              noise_scale};
  return solve_all_rows(problem, length(reg), length(fixed), threads, Run{});
}

template <class T>
void predict(In<std::int32_t, 1> users, In<std::int32_t, 1> items, In<T, 2> user_factors, In<T, 1> user_bias,
             In<T, 2> item_factors, In<T, 1> item_bias, double mean, Out<T, 1> out, int threads) {
  predict_all_pairs(users.data(), items.data(), length(users), user_factors.data(), user_bias.data(),
                    item_factors.data(), item_bias.data(), mean, length(user_factors, 1), out.data(), threads, Run{});
}

template <class T>
void topk(In<T, 2> queries, In<T, 2> items, In<T, 1> bias, In<std::int64_t, 1> skip_indptr,
          In<std::int32_t, 1> skip_indices, Out<std::int32_t, 2> out_items, Out<T, 2> out_scores, int threads) {
  const TopkProblem<T> problem{queries.data(),      items.data(),   bias.data(),        skip_indptr.data(),
                               skip_indices.data(), length(queries), length(items),     length(queries, 1),
                               length(out_items, 1)};
  topk_all_queries(problem, out_items.data(), out_scores.data(), threads, Run{});
}

template <class T>
double descend(In<std::int32_t, 1> users, In<std::int32_t, 1> items, In<T, 1> values, In<std::int64_t, 1> starts,
               In<std::int32_t, 1> rounds, In<T, 1> user_shrink, In<T, 1> item_shrink, In<T, 1> user_bias_shrink,
               In<T, 1> item_bias_shrink, double rate, Out<T, 2> user_factors, Out<T, 1> user_bias,
               Out<T, 2> item_factors, Out<T, 1> item_bias, int threads) {
  const std::int64_t rank = length(user_factors, 1);
  auto user_rows = descent_rows(user_bias.data(), user_bias_shrink.data(), user_shrink.data(), length(user_bias));
  auto item_rows = descent_rows(item_bias.data(), item_bias_shrink.data(), item_shrink.data(), length(item_bias));
  const DescentProblem<T> problem{users.data(),
                                  items.data(),
                                  values.data(),
                                  static_cast<T>(rate),
                                  rank,
                                  user_factors.data(),
                                  item_factors.data(),
                                  user_rows.data(),
                                  item_rows.data()};
  const double error = descend_all_blocks(problem, starts.data(), rounds.data(), length(rounds), threads, Run{});
  finish_descent(user_rows, user_factors.data(), rank, user_bias.data());
  finish_descent(item_rows, item_factors.data(), rank, item_bias.data());
  return error;
}

template <class T>
void draw_weights(In<std::int64_t, 1> indptr, In<std::int32_t, 1> indices, In<float, 1> values, In<T, 2> reg,
                  In<T, 2> noise, Out<T, 2> weights, Out<T, 2> residual, int threads) {
  const WeightProblem<T> problem{{indptr.data(), indices.data(), values.data()},
                                 length(residual),
                                 length(weights),
                                 length(weights, 1),
                                 reg.data(),
                                 noise.data(),
                                 weights.data(),
                                 residual.data()};
  draw_all_weights(problem, threads, Run{});
}

template <class T>
void apply_weights(In<std::int64_t, 1> indptr, In<std::int32_t, 1> indices, In<float, 1> values, In<T, 2> weights,
                   Out<T, 2> out, int threads) {
  const Entries x{indptr.data(), indices.data(), values.data()};
  apply_all_weights(x, length(out), weights.data(), length(weights, 1), out.data(), threads, Run{});
}

template <class T>
void add_item_sums(In<std::int64_t, 1> indptr, In<std::int32_t, 1> users, In<float, 1> values, In<T, 2> user_factors,
                   In<T, 1> user_bias, double mean, bool biased, Out<double, 2> sums, int threads) {
  const Biases biases = biased ? Biases::joint : Biases::none;
  const std::int64_t rank = length(user_factors, 1);
  const RowProblem<T> problem{indptr.data(),
                              users.data(),
                              values.data(),
                              user_factors.data(),
                              biased ? user_bias.data() : nullptr,
                              nullptr,
                              mean,
                              rank,
                              rank,
                              biases,
                              Solver::primal,
                              0,
                              nullptr,
                              nullptr,
                              nullptr};
  add_all_item_sums(problem, length(indptr) - 1, length(user_factors), sums.data(), threads, Run{});
}

template <class T>
std::int64_t solve_item_sums(In<double, 2> sums, In<std::int64_t, 1> indptr, In<double, 1> reg, bool biased,
                             Out<T, 2> out, Out<T, 1> out_bias, int threads) {
  const std::int64_t rank = length(out, 1);
  const RowProblem<T> problem{indptr.data(), nullptr,       nullptr,    nullptr,
                              nullptr,       reg.data(),    0,          rank,
                              rank,          biased ? Biases::joint : Biases::none,
                              Solver::primal, 0,            out.data(), biased ? out_bias.data() : nullptr,
                              nullptr};
  return solve_all_item_sums(problem, length(reg), sums.data(), threads, Run{});
}

void transpose_ratings(In<std::int64_t, 1> indptr, In<std::int32_t, 1> indices, In<float, 1> values,
                       Out<std::int64_t, 1> column_indptr, Out<std::int32_t, 1> rows, Out<float, 1> row_values) {
  nb::gil_scoped_release release;
  transpose(indptr.data(), indices.data(), values.data(), length(indptr) - 1, length(column_indptr) - 1,
            column_indptr.data(), rows.data(), row_values.data());
}

void group_keys(In<std::int32_t, 1> keys, Out<std::int64_t, 1> indptr, Out<std::int64_t, 1> order) {
  nb::gil_scoped_release release;
  group(keys.data(), length(keys), length(indptr) - 1, indptr.data(), order.data());
}

SimilarityProblem similarity_problem(const In<std::int64_t, 1>& indptr, const In<std::int32_t, 1>& columns,
                                     const In<float, 1>& values, const In<std::int64_t, 1>& column_indptr,
                                     const In<std::int32_t, 1>& rows, const In<float, 1>& row_values,
                                     std::int64_t n_rows, bool pearson, double shrinkage, std::int64_t min_overlap) {
  return {{indptr.data(), columns.data(), values.data()},
          {column_indptr.data(), rows.data(), row_values.data()},
          length(indptr) - 1,
          n_rows,
          pearson,
          shrinkage,
          min_overlap};
}

void similarity_rows(In<std::int64_t, 1> indptr, In<std::int32_t, 1> columns, In<float, 1> values,
                     In<std::int64_t, 1> column_indptr, In<std::int32_t, 1> rows, In<float, 1> row_values, bool pearson,
                     double shrinkage, std::int64_t min_overlap, Out<float, 2> out, int threads) {
  const SimilarityProblem problem = similarity_problem(indptr, columns, values, column_indptr, rows, row_values,
                                                       length(out, 1), pearson, shrinkage, min_overlap);
  if (pearson)
    similarities<true>(problem, out.data(), threads, Run{});
  else
    similarities<false>(problem, out.data(), threads, Run{});
}

void neighbour_pairs(In<std::int64_t, 1> indptr, In<std::int32_t, 1> columns, In<float, 1> values,
                     In<std::int64_t, 1> column_indptr, In<std::int32_t, 1> rows, In<float, 1> row_values,
                     std::int64_t n_rows, bool pearson, double shrinkage, std::int64_t min_overlap,
                     In<std::int32_t, 1> itself, In<std::int64_t, 1> pair_indptr, In<std::int32_t, 1> pair_list,
                     In<std::int64_t, 1> list_indptr, In<std::int32_t, 1> list_rows, In<float, 1> list_values,
                     std::int64_t k, double damping, Out<float, 1> mean, Out<float, 1> weight, int threads) {
  const SimilarityProblem problem = similarity_problem(indptr, columns, values, column_indptr, rows, row_values, n_rows,
                                                       pearson, shrinkage, min_overlap);
  const PairProblem pairs{itself.data(), pair_indptr.data(), pair_list.data(),
                          {list_indptr.data(), list_rows.data(), list_values.data()}, k, damping};
  if (pearson)
    predict_pairs<true>(problem, pairs, mean.data(), weight.data(), threads, Run{});
  else
    predict_pairs<false>(problem, pairs, mean.data(), weight.data(), threads, Run{});
}

void neighbour_rows(In<float, 2> similarity, In<std::int32_t, 1> own, In<float, 1> values, std::int64_t k,
                    double damping, Out<float, 1> mean, Out<float, 1> weight, int threads) {
  predict_all_rows(similarity.data(), own.data(), values.data(), length(own), length(mean), k, damping, mean.data(),
                   weight.data(), threads, Run{});
}

void draw_latent(In<float, 1> scores, In<std::uint8_t, 1> classes, In<double, 1> thresholds, In<float, 1> uniform,
                 Out<float, 1> out, int threads) {
  draw_all_latent(scores.data(), classes.data(), thresholds.data(), uniform.data(), length(scores), out.data(), threads,
                  Run{});
}

double log_likelihood(In<float, 1> scores, double low, double high, int threads) {
  return log_likelihood_between(scores.data(), length(scores), low, high, threads, Run{});
}

void add_interpolated(In<float, 1> scores, In<float, 1> points, double begin, double step, Out<float, 1> out,
                      int threads) {
  add_all_interpolated(scores.data(), length(scores), points.data(), length(points), begin, step, out.data(), threads,
                       Run{});
}

void class_probabilities(In<float, 2> scores, In<double, 2> thresholds, Out<float, 2> out, int threads) {
  all_class_probabilities(scores.data(), thresholds.data(), length(scores), length(scores, 1), length(out, 1),
                          out.data(), threads, Run{});
}

// Without implicit conversion: an array of another dtype would be copied, and what is written to it lost.
template <class Result, class... Args>
void define(nb::module_& m, const char* name, Result (*function)(Args...)) {
  m.def(name, function, ((void)sizeof(Args), nb::arg().noconvert())...);
}

template <class T>
void bind(nb::module_& m) {
  define(m, "solve_rows", &solve_rows<T>);
  define(m, "predict", &predict<T>);
  define(m, "topk", &topk<T>);
  define(m, "descend", &descend<T>);
  define(m, "draw_weights", &draw_weights<T>);
  define(m, "apply_weights", &apply_weights<T>);
  define(m, "add_item_sums", &add_item_sums<T>);
  define(m, "solve_item_sums", &solve_item_sums<T>);
}

}  // namespace

NB_MODULE(_native, m) {
  define(m, "group", &group_keys);
  define(m, "transpose", &transpose_ratings);
  m.attr("descent_multiple") = descent_multiple;
  m.attr("descent_stretches") = descent_stretches;
  define(m, "similarities", &similarity_rows);
  define(m, "neighbour_pairs", &neighbour_pairs);
  define(m, "neighbour_rows", &neighbour_rows);
  define(m, "draw_latent", &draw_latent);
  define(m, "log_likelihood", &log_likelihood);
  define(m, "add_interpolated", &add_interpolated);
  define(m, "class_probabilities", &class_probabilities);
  bind<float>(m);
  bind<double>(m);
  m.def("instruction_set", [] { return nb::make_tuple(instruction_set().name, instruction_set().vector_bits); });
}
