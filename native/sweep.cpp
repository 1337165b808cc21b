// Rows of a half-sweep, one after another, and predictions for pairs.
#include "ridge.hpp"

namespace cofactor::COFACTOR_ISA {

template <class T>
static std::size_t row_scratch(const RowProblem<T>& p, std::int64_t longest_row) {
  return RowSolver<T>::scratch_bytes(p, longest_row);
}

template <class T>
static std::int64_t solve_rows(const RowProblem<T>& p, std::int64_t begin, std::int64_t end, std::int64_t longest_row,
                               void* scratch) {
  RowSolver<T> solver(p, longest_row, scratch);
  solver.expect_rows_to(end);
  for (std::int64_t i = begin; i < end; ++i)
    if (!solver.solve(i)) return i;
  return -1;
}

template <class T>
static void take_sums(const RowProblem<T>& p, std::int64_t row, std::int64_t begin, std::int64_t end,
                      std::int64_t longest_row, double* sums, void* scratch) {
  RowSolver<T>(p, longest_row, scratch).take_sums(row, begin, end, sums);
}

template <class T>
static bool solve_sums(const RowProblem<T>& p, std::int64_t row, const double* sums, std::int64_t longest_row,
                       void* scratch) {
  return RowSolver<T>(p, longest_row, scratch).solve_sums(row, sums, longest_row);
}

// r̂ = mean + b_i + c_j + u_i · v_j; a position of −1 is unknown and adds nothing
template <class T>
static void predict(const std::int32_t* users, const std::int32_t* items, std::int64_t n, const T* user_factors,
                    const T* user_bias, const T* item_factors, const T* item_bias, double mean, std::int64_t rank,
                    T* out) {
  using S = Simd<T>;
  for (std::int64_t r = 0; r < n; ++r) {
    const std::int64_t i = users[r], j = items[r];
    T score = T(mean);
    if (i >= 0) score += user_bias[i];
    if (j >= 0) score += item_bias[j];
    if (i >= 0 && j >= 0) {
      const T* u = user_factors + i * rank;
      const T* v = item_factors + j * rank;
      typename S::vec sum = {};
      std::int64_t k = 0;
      for (; k + S::width <= rank; k += S::width) sum += S::load(u + k) * S::load(v + k);
      T rest = 0;
      for (; k < rank; ++k) rest += u[k] * v[k];
      score += S::sum(sum) + rest;
    }
    out[r] = score;
  }
}

template <class T>
void sweep_kernels(Kernels<T>& to) {
  to.row_scratch = row_scratch<T>;
  to.solve_rows = solve_rows<T>;
  to.sums_size = RowSolver<T>::sums_size;
  to.take_sums = take_sums<T>;
  to.solve_sums = solve_sums<T>;
  to.predict = predict<T>;
}
template void sweep_kernels(Kernels<float>&);
template void sweep_kernels(Kernels<double>&);

}  // namespace cofactor::COFACTOR_ISA
