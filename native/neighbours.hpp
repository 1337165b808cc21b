// Rows that are alike, and predictions from them. Rows are items or users, columns the other side.
//
//   s(a, b) = Σ v_a v_b / √(Σ v_a² Σ v_b²) · n / (n + shrinkage)      sums over the n columns that both have
//   pearson: the same of  v_a − (mean of v_a there)  and  v_b − (mean of v_b there)
//
// No table of rows × rows is ever made. All sums of one row a with every other grow together while its
// columns go by: for each column that a has, the values of all rows in it. That is as many additions as
// there are pairs of values in common, and one record for each row and thread. Sums run over ascending
// columns, and products of two floats are exact in double: s(a, b) and s(b, a) are the same to the bit.
//
// Compiled once, for the plain processor: the additions wait for scattered memory, not for arithmetic.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

namespace cofactor {

// Values by row: those of row i are `columns` and `values` [indptr[i], indptr[i + 1]), columns ascending.
struct Rows {
  const std::int64_t* indptr;
  const std::int32_t* columns;
  const float* values;
};

struct SimilarityProblem {
  Rows queries;         // the rows a
  Rows by_column;       // of each column, the rows b in it
  std::int64_t n_queries, n_rows;
  bool pearson;
  double shrinkage;
  std::int64_t min_overlap;  // with fewer columns in common s is 0
};

// Two sums that grow at once.
typedef double Pair __attribute__((vector_size(16)));

template <bool pearson>
struct CommonSums;
template <>
struct CommonSums<false> {
  Pair ab_aa{}, bb_n{};
};
template <>
struct CommonSums<true> {
  Pair ab_aa{}, bb_n{}, a_b{};
};

// The similarities of one row at a time with all rows.
template <bool pearson>
class Comparison {
 public:
  explicit Comparison(const SimilarityProblem& problem) : problem_(problem), sums_(problem.n_rows) {}

  void start(std::int64_t query) {
    std::fill(sums_.begin(), sums_.end(), CommonSums<pearson>{});
    const Rows &own = problem_.queries, &all = problem_.by_column;
    for (std::int64_t p = own.indptr[query]; p < own.indptr[query + 1]; ++p) {
      const double a = own.values[p];
      const Pair a_aa{a, a * a};
      const std::int64_t end = all.indptr[own.columns[p] + 1];
      for (std::int64_t q = all.indptr[own.columns[p]]; q < end; ++q) {
        CommonSums<pearson>& sums = sums_[all.columns[q]];
        const Pair b_1{all.values[q], 1};
        sums.ab_aa += a_aa * b_1;
        sums.bb_n += b_1 * b_1;
        if constexpr (pearson) sums.a_b += Pair{a, b_1[0]};
      }
    }
  }

  float with(std::int64_t row) const {
    const CommonSums<pearson>& sums = sums_[row];
    const double n = sums.bb_n[1];
    if (n < static_cast<double>(problem_.min_overlap) || n == 0) return 0;
    double ab = sums.ab_aa[0], aa = sums.ab_aa[1], bb = sums.bb_n[0];
    if constexpr (pearson) {
      const double a = sums.a_b[0], b = sums.a_b[1];
      ab -= a * b / n;
      aa -= a * a / n;
      bb -= b * b / n;
      // What is left of equal values is rounding: a side that does not vary there is like nothing.
      if (aa <= 1e-10 * sums.ab_aa[1] || bb <= 1e-10 * sums.bb_n[0]) return 0;
    }
    const double length = std::sqrt(aa * bb);
    if (!(length > 0)) return 0;
    const double cosine = std::clamp(ab / length, -1.0, 1.0);
    return static_cast<float>(cosine * n / (n + problem_.shrinkage));
  }

 private:
  SimilarityProblem problem_;
  std::vector<CommonSums<pearson>> sums_;
};

// Of candidates offered in ascending order, the k with the highest positive similarity (ties: the first), and
//   Σ s v / (Σ s + damping)   over them, in that order;  0 where there is none.
class Nearest {
 public:
  explicit Nearest(std::int64_t k) : k_(k) {}

  void offer(float similarity, float value) {
    if (!(similarity > least_)) return;  // of equal ones the first stays
    kept_.push_back({similarity, value});
    if (kept_.size() >= 2 * k_) keep_best();
  }

  // Writes the mean and Σ s, and is empty again.
  void finish(double damping, float& mean, float& weight) {
    if (kept_.size() > k_) keep_best();
    double total = 0, weights = 0;
    for (const Candidate& c : kept_) total += static_cast<double>(c.similarity) * c.value, weights += c.similarity;
    mean = static_cast<float>(weights > 0 ? total / (weights + damping) : 0.0);
    weight = static_cast<float>(weights);
    kept_.clear();
    least_ = 0;
  }

 private:
  struct Candidate {
    float similarity, value;
  };

  // Finds the k-th highest similarity, and keeps what is above it, and of what equals it the first.
  void keep_best() {
    ranked_.clear();
    for (const Candidate& c : kept_) ranked_.push_back(c.similarity);
    const auto last = ranked_.begin() + (k_ - 1);
    std::nth_element(ranked_.begin(), last, ranked_.end(), std::greater<>());
    least_ = *last;
    auto equal = 1 + std::count(ranked_.begin(), last, least_);
    std::size_t n = 0;
    for (const Candidate& c : kept_)
      if (c.similarity > least_ || (c.similarity == least_ && equal-- > 0)) kept_[n++] = c;
    kept_.resize(n);
  }

  std::size_t k_;
  float least_ = 0;              // what a candidate must exceed
  std::vector<Candidate> kept_;  // the k best so far, and fewer than k that came since
  std::vector<float> ranked_;
};

// out (n_queries, n_rows): all similarities of each query.
template <bool pearson, class Run>
void similarities(const SimilarityProblem& problem, float* out, int threads, Run&& run) {
  threads = static_cast<int>(std::min<std::int64_t>(threads, problem.n_queries));
  std::vector<Comparison<pearson>> comparisons(threads, Comparison<pearson>(problem));
  run(problem.n_queries, threads, [&](std::int64_t query, int worker) {
    Comparison<pearson>& comparison = comparisons[worker];
    comparison.start(query);
    for (std::int64_t row = 0; row < problem.n_rows; ++row)
      out[query * problem.n_rows + row] = comparison.with(row);
  });
}

// Pairs of a query and a list of rows with values: from the rows of the list nearest to the query.
struct PairProblem {
  const std::int32_t* itself;       // (n_queries,) the row that is the query itself, or −1: no neighbour
  const std::int64_t* pair_indptr;  // (n_queries + 1,)
  const std::int32_t* pair_list;    // (pairs,) the list of each pair
  Rows lists;                       // rows in ascending order, as `columns`
  std::int64_t k;
  double damping;
};

template <bool pearson, class Run>
void predict_pairs(const SimilarityProblem& problem, const PairProblem& pairs, float* mean, float* weight, int threads,
                   Run&& run) {
  struct Work {
    Comparison<pearson> comparison;
    std::vector<float> similarity;
    Nearest nearest;
  };
  threads = static_cast<int>(std::min<std::int64_t>(threads, problem.n_queries));
  std::vector<Work> works(threads, Work{Comparison<pearson>(problem), std::vector<float>(problem.n_rows), Nearest(pairs.k)});
  run(problem.n_queries, threads, [&](std::int64_t query, int worker) {
    Work& work = works[worker];
    work.comparison.start(query);
    const Rows& lists = pairs.lists;
    const std::int64_t begin = pairs.pair_indptr[query], end = pairs.pair_indptr[query + 1];
    std::int64_t candidates = 0;
    for (std::int64_t p = begin; p < end; ++p)
      candidates += lists.indptr[pairs.pair_list[p] + 1] - lists.indptr[pairs.pair_list[p]];
    const bool each_once = candidates > problem.n_rows;  // rather than again for each list it is in
    if (each_once)
      for (std::int64_t row = 0; row < problem.n_rows; ++row) work.similarity[row] = work.comparison.with(row);
    for (std::int64_t p = begin; p < end; ++p) {
      for (std::int64_t q = lists.indptr[pairs.pair_list[p]]; q < lists.indptr[pairs.pair_list[p] + 1]; ++q) {
        const std::int32_t row = lists.columns[q];
        if (row == pairs.itself[query]) continue;
        work.nearest.offer(each_once ? work.similarity[row] : work.comparison.with(row), lists.values[q]);
      }
      work.nearest.finish(pairs.damping, mean[p], weight[p]);
    }
  });
}

// For every row, from the nearest of n_own rows, whose similarities with all rows are (n_own, n_rows).
template <class Run>
void predict_all_rows(const float* similarity, const std::int32_t* own, const float* values, std::int64_t n_own,
                      std::int64_t n_rows, std::int64_t k, double damping, float* mean, float* weight, int threads,
                      Run&& run) {
  constexpr std::int64_t share = 256;
  const std::int64_t tasks = (n_rows + share - 1) / share;
  threads = static_cast<int>(std::min<std::int64_t>(threads, tasks));
  std::vector<Nearest> nearests(threads, Nearest(k));
  run(tasks, threads, [&](std::int64_t t, int worker) {
    Nearest& nearest = nearests[worker];
    for (std::int64_t row = t * share; row < std::min(n_rows, (t + 1) * share); ++row) {
      for (std::int64_t j = 0; j < n_own; ++j)
        if (own[j] != row) nearest.offer(similarity[j * n_rows + row], values[j]);
      nearest.finish(damping, mean[row], weight[row]);
    }
  });
}

}  // namespace cofactor
