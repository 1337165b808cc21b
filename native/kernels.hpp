// What the kernels take and give: plain structures of pointers and counts, the same for every
// instruction set. Nothing here checks an index: kernels/__init__.py has done so.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cofactor {

enum class Biases : int { none = 0, joint = 1, sequential = 2 };
// cholesky takes the cheaper of primal and dual for each row, automatic the cheapest of all three.
enum class Solver : int { automatic = 0, cholesky = 1, cg = 2, primal = 3, dual = 4 };

// One half-sweep: rows [begin, end) of
//   min over x_i, b_i of  Σ_j (r_ij − mean − c_j − b_i − x_i·f_j)² + reg_i (‖x_i‖² + b_i²)
template <class T>
struct RowProblem {
  const std::int64_t* indptr;   // (rows + 1,)
  const std::int32_t* indices;  // (ratings,) rows of `fixed`
  const float* values;          // (ratings,)
  const T* fixed;               // (fixed_rows, stride), the factors f_j of the other side, zero beyond rank
  const T* fixed_bias;          // (fixed_rows,) c_j, or null
  const double* reg;            // (rows,) λ_i
  double mean;
  std::int64_t rank, stride;
  Biases biases;
  Solver solver;
  int cg_steps;
  T* out;                // (rows, rank): start of the iterations of cg, and the result
  T* out_bias;           // (rows,), or null when biases is none
  double* squared_error; // (rows,) Σ_j residual² at the result
  const T* noise = nullptr;  // (rows, rank + joint) standard normal: the result is drawn, not the minimum; or null
  double noise_scale = 0;    // σ
};

// Numbers that a row's packed normal equations take: the upper half of the matrix, and the right side.
inline std::int64_t sums_of_item(std::int64_t rank, Biases biases) {
  const std::int64_t unknowns = rank + (biases == Biases::joint);
  return unknowns * (unknowns + 1) / 2 + unknowns;
}

// Exact top n of  score(q, j) = query_q · item_j + bias_j,  without the skipped items.
template <class T>
struct TopkProblem {
  const T* queries;               // (n_queries, rank)
  const T* items;                 // (n_items, rank)
  const T* bias;                  // (n_items,)
  const std::int64_t* skip_indptr;   // (n_queries + 1,)
  const std::int32_t* skip_indices;  // ascending within a query
  std::int64_t n_queries, n_items, rank, n;
};

// A share of it: some queries and some items, and what is known of them.
template <class T>
struct TopkTask {
  const std::int32_t* queries;  // (n_queries,) which, at most topk_block
  std::int64_t n_queries;
  const std::int32_t* items;  // (item_end,) which, ascending; null: all
  std::int64_t item_begin, item_end;
  const T* bars;         // by query: only scores above can be among the best; null: −∞ for all
  const T* query_norms;  // by query; null: nothing is known, and every item is scored
  const T* item_norms;   // by item
};

// What descent keeps of a user or item beside its factors, in one place for one access to memory.
template <class T>
struct DescentRow {
  T bias;
  T bias_shrink;  // t_i = 1 / (1 + η λ) of the bias
  T shrink;       // s_i, the same of the factors
  T scale;        // what the factors are still to be multiplied by
};

// A sweep of stochastic gradient descent; see descent.cpp for the step.
template <class T>
struct DescentProblem {
  const std::int32_t* users;  // (ratings,) block by block
  const std::int32_t* items;
  const T* values;    // (ratings,) less their mean
  T rate;             // η
  std::int64_t rank;  // a multiple of descent_multiple; the columns beyond the true rank are zero
  T *user_factors, *item_factors;
  DescentRow<T> *user_rows, *item_rows;
};

// Numbers of a sparse matrix, compressed.
struct Entries {
  const std::int64_t* indptr;   // (rows + 1,)
  const std::int32_t* indices;  // (entries,)
  const float* values;          // (entries,)
};

// Weights of the columns that describe the rows of one side; see gibbs.cpp.
template <class T>
struct WeightProblem {
  Entries x;  // of features: which rows
  std::int64_t rows, features, columns;
  const T* reg;    // (features, columns) λ
  const T* noise;  // (features, columns) standard normal
  T* weights;      // (features, columns) w, before and after
  T* residual;     // (rows, columns) e, before and after
};

inline constexpr std::int64_t descent_multiple = 32;  // two of the widest vectors of float

inline constexpr std::int64_t descent_stretches = 8;  // the ratings of a part are taken from so many places in turn

inline constexpr std::int64_t topk_block = 256;  // queries that share one pass over the items

// The kernels of one instruction set.
template <class T>
struct Kernels {
  std::size_t (*row_scratch)(const RowProblem<T>&, std::int64_t longest_row);
  // Returns the first row whose system is singular, or −1.
  std::int64_t (*solve_rows)(const RowProblem<T>&, std::int64_t begin, std::int64_t end, std::int64_t longest_row,
                             void* scratch);
  // Giant rows: the sums of a piece, sums_size numbers; and the solution from the total of all pieces.
  std::int64_t (*sums_size)(const RowProblem<T>&);
  void (*take_sums)(const RowProblem<T>&, std::int64_t row, std::int64_t begin, std::int64_t end,
                    std::int64_t longest_row, double* sums, void* scratch);
  bool (*solve_sums)(const RowProblem<T>&, std::int64_t row, const double* sums, std::int64_t longest_row,
                     void* scratch);
  // Packed normal equations (see stream.cpp) of rows [begin, end): to sums + row · sums_of_item is added what the row's
  // ratings give; and out, out_bias are their solution. Of the ratings, `indptr` alone is needed then: how many there
  // are. Returns the first row whose system is singular, or −1.
  void (*add_item_sums)(const RowProblem<T>&, std::int64_t begin, std::int64_t end, std::int64_t longest_row,
                        double* sums, void* scratch);
  std::int64_t (*solve_item_sums)(const RowProblem<T>&, std::int64_t begin, std::int64_t end, const double* sums,
                                  void* scratch);
  void (*predict)(const std::int32_t* users, const std::int32_t* items, std::int64_t n, const T* user_factors,
                  const T* user_bias, const T* item_factors, const T* item_bias, double mean, std::int64_t rank,
                  T* out);
  // Steps for the ratings [begin, end); returns Σ e² as met on the way.
  double (*descend)(const DescentProblem<T>&, std::int64_t begin, std::int64_t end);
  // A new draw of all weights for the columns of one cache line, in turn; and what weights say of rows [begin, end).
  std::size_t (*weight_scratch)(const WeightProblem<T>&);
  void (*draw_weights)(const WeightProblem<T>&, std::int64_t slab, void* scratch);
  void (*apply_weights)(const Entries& of_rows, const T* weights, std::int64_t columns, std::int64_t begin,
                        std::int64_t end, T* out);
  std::size_t (*topk_scratch)(const TopkProblem<T>&);
  // Best n of the task's items for each of its queries q, best first, filled up with item −1, to
  // out_items + q·n and out_scores + q·n.
  void (*topk)(const TopkProblem<T>&, const TopkTask<T>&, std::int32_t* out_items, T* out_scores, void* scratch);
  // Lists the items [item_begin, item_end) that may score more than `bar` for a query of this norm; returns how many.
  std::int64_t (*topk_promising)(const TopkProblem<T>&, const T* item_norms, std::int64_t item_begin,
                                 std::int64_t item_end, T query_norm, T bar, std::int32_t* list);
  // ‖row‖, rounded up so far that  bias_j + ‖query_q‖ ‖item_j‖  bounds scores as they are computed.
  void (*topk_norms)(const T* rows, std::int64_t begin, std::int64_t end, std::int64_t rank, T* norms);
};

struct InstructionSet {
  const char* name;
  int vector_bits;
  Kernels<float> f32;
  Kernels<double> f64;
};

// The best instruction set this processor has, or the one $COFACTOR_ISA names, if it has that.
const InstructionSet& instruction_set();

}  // namespace cofactor
