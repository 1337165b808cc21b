// Normal equations that are gathered group by group of users, for items whose ratings are never together in memory.
//
//   A_j = Σ_i z_i z_iᵀ    y_j = Σ_i t_ij z_i    z_i = [u_i, 1] (or u_i without biases),  t_ij = r_ij − μ − b_i
//
// They lie packed, sums_of_item numbers an item: the upper half of A_j row by row, then y_j. A group adds its sums,
// taken in single precision and short runs, to the running ones, which are double.
#include "ridge.hpp"

namespace cofactor::COFACTOR_ISA {

template <class T>
static void add_item_sums(const RowProblem<T>& p, std::int64_t begin, std::int64_t end, std::int64_t longest_row,
                          double* sums, void* scratch) {
  const std::int64_t size = sums_of_item(p.rank, p.biases);
  RowSolver<T> solver(p, longest_row, scratch);
  solver.expect_rows_to(end);
  for (std::int64_t j = begin; j < end; ++j)
    if (p.indptr[j + 1] > p.indptr[j]) solver.add_packed_sums(j, sums + j * size);
}

template <class T>
static std::int64_t solve_item_sums(const RowProblem<T>& p, std::int64_t begin, std::int64_t end, const double* sums,
                                    void* scratch) {
  const std::int64_t size = sums_of_item(p.rank, p.biases);
  RowSolver<T> solver(p, 0, scratch);
  for (std::int64_t j = begin; j < end; ++j)
    if (!solver.solve_packed_sums(j, sums + j * size)) return j;
  return -1;
}

template <class T>
void stream_kernels(Kernels<T>& to) {
  to.add_item_sums = add_item_sums<T>;
  to.solve_item_sums = solve_item_sums<T>;
}
template void stream_kernels(Kernels<float>&);
template void stream_kernels(Kernels<double>&);

}  // namespace cofactor::COFACTOR_ISA
