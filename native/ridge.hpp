// One row of the factorization: a ridge regression of the row's ratings on the other side's factors.
//
//   min over x, b of  Σ_r (t_r − b − x·z_r)² + λ (‖x‖² + b²)
//
// z_r is the factor row of the r-th rated item (or user), t_r the rating less what is already
// explained. Three ways to the same minimum, chosen by what they cost for n ratings and rank K:
//   primal   (ZᵀZ + λI) x = Zᵀt            n·K²/2 + K³/6 multiply-adds
//   dual     x = Zᵀ(ZZᵀ + λI)⁻¹ t          n²·K/2 + n³/6
//   cg       conjugate gradient from the x at hand, 2·n·K a step
// The bias is one more column of ones in Z.
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace cofactor::COFACTOR_ISA {

// Register tile of the Gram kernel: kTileRows × (kTileCols vectors) running sums.
#if COFACTOR_VECTOR_BYTES == 64
static constexpr int kTileRows = 8, kTileCols = 3;
#else
static constexpr int kTileRows = 4, kTileCols = 3;
#endif
static constexpr std::int64_t kBlockBytes = 24 << 10;  // a block of gathered rows stays in the first-level cache
static constexpr std::int64_t kKeepBytes = 512 << 10;  // a whole row's gathered factors kept for a second pass
static constexpr std::int64_t kChunkRows = 4096;       // single-precision sums are flushed to double this often

template <class T>
static constexpr T kEpsilon = sizeof(T) == 4 ? T(1.1920929e-7) : T(2.220446049250313e-16);

// C[i0+a, j0 + lanes] ±= Σ_r P[r, i0+a] · P[r, j0 + lanes]
template <class T, int COLS, bool SUBTRACT>
static inline void gram_tile(const T* P, std::int64_t ld, std::int64_t n, std::int64_t i0, std::int64_t j0, T* C,
                             std::int64_t ldc) {
  using S = Simd<T>;
  typename S::vec acc[kTileRows][COLS] = {};
  for (std::int64_t r = 0; r < n; ++r) {
    const T* row = P + r * ld;
    typename S::vec right[COLS];
#pragma GCC unroll 8
    for (int b = 0; b < COLS; ++b) right[b] = S::load(row + j0 + b * S::width);
#pragma GCC unroll 8
    for (int a = 0; a < kTileRows; ++a) {
      const typename S::vec left = S::fill(row[i0 + a]);
#pragma GCC unroll 8
      for (int b = 0; b < COLS; ++b) acc[a][b] += left * right[b];
    }
  }
#pragma GCC unroll 8
  for (int a = 0; a < kTileRows; ++a)
#pragma GCC unroll 8
    for (int b = 0; b < COLS; ++b) {
      T* c = C + (i0 + a) * ldc + j0 + b * S::width;
      S::store(c, SUBTRACT ? S::load(c) - acc[a][b] : S::load(c) + acc[a][b]);
    }
}

// Rows i0 .. i0+kTileRows of  C ±= PᵀP,  from the vector that holds the diagonal up to column `cols`.
template <class T, bool SUBTRACT>
static inline void gram_strip(const T* P, std::int64_t ld, std::int64_t n, std::int64_t i0, std::int64_t cols, T* C,
                              std::int64_t ldc) {
  constexpr int W = Simd<T>::width;
  std::int64_t j = i0 / W * W;
  std::int64_t left = (cols - j + W - 1) / W;  // vectors
  for (; left >= kTileCols; left -= kTileCols, j += kTileCols * W)
    gram_tile<T, kTileCols, SUBTRACT>(P, ld, n, i0, j, C, ldc);
  if (left == 2) gram_tile<T, 2, SUBTRACT>(P, ld, n, i0, j, C, ldc);
  if (left == 1) gram_tile<T, 1, SUBTRACT>(P, ld, n, i0, j, C, ldc);
}

// Solves A x = y for symmetric positive definite A (size, size), of which only the upper half is
// given; y is column `size` of A. A = UᵀU by strips of kTileRows rows: subtract what the rows above
// explain (the Gram tile again), then eliminate within the strip. y rides along as one more column
// and comes out as U⁻ᵀy. Rows of A up to the next multiple of kTileRows must exist.
// Returns false where a pivot is lost in rounding: A is singular.
template <class T>
static bool solve_positive_definite(T* A, std::int64_t ld, std::int64_t size, T* x) {
  using S = Simd<T>;
  const std::int64_t cols = size + 1;
  for (std::int64_t k0 = 0; k0 < size; k0 += kTileRows) {
    const std::int64_t k1 = k0 + kTileRows < size ? k0 + kTileRows : size;
    T diagonal[kTileRows];
    for (std::int64_t k = k0; k < k1; ++k) diagonal[k - k0] = A[k * ld + k];
    if (k0 > 0) gram_strip<T, true>(A, ld, k0, k0, cols, A, ld);
    for (std::int64_t k = k0; k < k1; ++k) {
      T* row = A + k * ld;
      const T pivot = row[k];
      if (!(pivot > 4 * kEpsilon<T> * diagonal[k - k0])) return false;  // also where the pivot is NaN
      const T inverse = T(1) / __builtin_sqrt(pivot);
      const typename S::vec scale = S::fill(inverse);
      const std::int64_t start = k / S::width * S::width;
      for (std::int64_t j = start; j < cols; j += S::width) S::store(row + j, S::load(row + j) * scale);
      for (std::int64_t i = k + 1; i < k1; ++i) {
        T* other = A + i * ld;
        const typename S::vec factor = S::fill(row[i]);
        for (std::int64_t j = start; j < cols; j += S::width)
          S::store(other + j, S::load(other + j) - factor * S::load(row + j));
      }
    }
  }
  for (std::int64_t i = size - 1; i >= 0; --i) {  // U x = U⁻ᵀy, upwards
    const T* row = A + i * ld;
    T rest = row[size];
    std::int64_t j = i + 1;
    for (; j < size && j % S::width != 0; ++j) rest -= row[j] * x[j];
    typename S::vec sum = {};
    for (; j + S::width <= size; j += S::width) sum += S::load(row + j) * S::load(x + j);
    for (; j < size; ++j) rest -= row[j] * x[j];
    x[i] = (rest - S::sum(sum)) / row[i];
  }
  return true;
}

// The working memory of one thread and the steps on one row.
template <class T>
class RowSolver {
  using S = Simd<T>;
  using vec = typename S::vec;
  static constexpr int W = S::width;

 public:
  static std::size_t scratch_bytes(const RowProblem<T>& p, std::int64_t longest_row) {
    return RowSolver(p, longest_row, nullptr).used_ + 64;
  }

  RowSolver(const RowProblem<T>& p, std::int64_t longest_row, void* memory)
      : p_(p), rank_(p.rank), padded_(round_up<T>(p.rank)) {
    const std::int64_t width = padded_ > 0 ? padded_ : W;
    dual_rows_ = rank_ + 1;
    block_rows_ = kBlockBytes / (width * (std::int64_t)sizeof(T)) / 16 * 16;
    if (block_rows_ < 16) block_rows_ = 16;
    keep_rows_ = kKeepBytes / (width * (std::int64_t)sizeof(T));
    if (keep_rows_ < block_rows_) keep_rows_ = block_rows_;
    if (keep_rows_ < dual_rows_) keep_rows_ = dual_rows_;
    ld_ = round_up<T>(rank_ + 3);  // unknowns, bias, right side
    const std::int64_t height = ld_ + kTileRows;
    base_ = (reinterpret_cast<std::uintptr_t>(memory) + 63) / 64 * 64;
    rows_ = take<T>(keep_rows_ * width + kTileRows);
    target_ = take<T>(longest_row + W);
    system_ = take<T>(height * ld_);
    wide_ = take<double>(longest_row > kChunkRows ? height * ld_ : 0);
    flipped_ = take<T>((rank_ + 1) * round_up<T>(dual_rows_ + kTileRows) + kTileRows);
    T** const vectors[] = {&x_, &direction_, &weights_, &part_};
    for (T** v : vectors) *v = take<T>(ld_ + W);
    double** const sums[] = {&sum_z_, &sum_tz_, &residual_};
    for (double** v : sums) *v = take<double>(ld_ + W);
  }

  // Solves row i. Returns false where its system is singular.
  bool solve(std::int64_t i) {
    first_ = p_.indptr[i];
    n_ = p_.indptr[i + 1] - first_;
    lambda_ = p_.reg[i];
    T* out = p_.out + i * rank_;
    T* out_bias = p_.out_bias ? p_.out_bias + i : nullptr;
    if (n_ == 0) {  // the prior mean
      for (std::int64_t k = 0; k < rank_; ++k) out[k] = 0;
      if (out_bias) *out_bias = 0;
      p_.squared_error[i] = 0;
      return true;
    }
    fetch_targets();
    gathered_ = 0;
    for (std::int64_t k = 0; k < padded_; ++k) x_[k] = k < rank_ ? out[k] : T(0);
    joint_ = p_.biases == Biases::joint;
    bias_ = joint_ ? *out_bias : T(0);  // the bias as an unknown of the solve
    if (p_.biases == Biases::sequential) {  // b = Σ(t − x·z) / (n + λ), then x with that b
      double sum = 0;
      each_residual([&](T e) { sum += e; });
      *out_bias = T(sum / (double(n_) + lambda_));
      for (std::int64_t r = 0; r < n_; ++r) target_[r] -= *out_bias;
    }
    unknowns_ = rank_ + (joint_ ? 1 : 0);
    bool solved = true;
    if (unknowns_ > 0) {
      const Solver way = choose();
      if (way == Solver::cg)
        conjugate_gradient();
      else
        solved = way == Solver::dual ? dual() : primal();
    }
    for (std::int64_t k = 0; k < rank_; ++k) out[k] = x_[k];
    if (joint_) *out_bias = bias_;
    double squared = 0;
    each_residual([&](T e) { squared += double(e) * double(e); });
    p_.squared_error[i] = squared;
    return solved;
  }

 private:
  template <class U>
  U* take(std::int64_t count) {
    U* p = reinterpret_cast<U*>(base_ + used_);
    used_ += (std::size_t(count) * sizeof(U) + 63) / 64 * 64;
    return p;
  }

  void fetch_targets() {
    const std::int32_t* index = p_.indices + first_;
    const float* value = p_.values + first_;
    for (std::int64_t r = 0; r < n_; ++r)
      target_[r] = T(value[r] - p_.mean) - (p_.fixed_bias ? p_.fixed_bias[index[r]] : T(0));
  }

  // z_r of ratings [begin, begin + count), packed one after another and padded with zeros. The rows
  // of a short row are packed once and kept, those of a long one again for every pass.
  const T* block(std::int64_t begin, std::int64_t count) {
    const bool keep = n_ <= keep_rows_;
    if (keep && gathered_ >= begin + count) return rows_ + begin * padded_;
    T* to = keep ? rows_ + begin * padded_ : rows_;
    const std::int32_t* index = p_.indices + first_ + begin;
    const std::int64_t ahead = n_ - begin;  // ratings of this row from here on
    for (std::int64_t r = 0; r < count; ++r, to += padded_) {
      if (r + 8 < ahead) {
        const char* later = reinterpret_cast<const char*>(p_.fixed + (std::int64_t)index[r + 8] * rank_);
        for (std::size_t byte = 0; byte < rank_ * sizeof(T); byte += 64) __builtin_prefetch(later + byte);
      }
      std::memcpy(to, p_.fixed + (std::int64_t)index[r] * rank_, rank_ * sizeof(T));
      for (std::int64_t k = rank_; k < padded_; ++k) to[k] = 0;
    }
    if (keep) gathered_ = begin + count;
    return keep ? rows_ + begin * padded_ : rows_;
  }

  template <class Visit>
  void each_block(Visit&& visit) {
    for (std::int64_t begin = 0; begin < n_; begin += block_rows_) {
      const std::int64_t count = n_ - begin < block_rows_ ? n_ - begin : block_rows_;
      visit(begin, count, block(begin, count));
    }
  }

  // z_r · v for `ROWS` packed rows at once
  template <int ROWS>
  void dot_rows(const T* z, const T* v, T* dots) const {
    vec acc[ROWS] = {};
    for (std::int64_t k = 0; k < padded_; k += W) {
      const vec right = S::load(v + k);
#pragma GCC unroll 8
      for (int a = 0; a < ROWS; ++a) acc[a] += S::load(z + a * padded_ + k) * right;
    }
#pragma GCC unroll 8
    for (int a = 0; a < ROWS; ++a) dots[a] = S::sum(acc[a]);
  }

  // visit(t_r − bias − x·z_r) for every rating of the row
  template <class Visit>
  void each_residual(Visit&& visit) {
    each_block([&](std::int64_t begin, std::int64_t count, const T* z) {
      std::int64_t r = 0;
      T dots[4];
      for (; r + 4 <= count; r += 4) {
        dot_rows<4>(z + r * padded_, x_, dots);
        for (int a = 0; a < 4; ++a) visit(target_[begin + r + a] - bias_ - dots[a]);
      }
      for (; r < count; ++r) {
        dot_rows<1>(z + r * padded_, x_, dots);
        visit(target_[begin + r] - bias_ - dots[0]);
      }
    });
  }

  Solver choose() const {
    // An operation of the dual costs more than one of the primal (it packs Z twice): hence 3/4.
    const bool short_row = n_ <= dual_rows_ && 4 * n_ <= 3 * unknowns_;
    switch (p_.solver) {
      case Solver::primal:
      case Solver::cg:
        return p_.solver;
      case Solver::dual:
        return n_ <= dual_rows_ ? Solver::dual : Solver::primal;
      case Solver::automatic: {
        // Multiply-adds, those of cg counted threefold: they wait for memory, the tiles do not.
        const double n = double(n_), k = double(unknowns_);
        const double exact = short_row ? n * n * k / 2 + n * n * n / 6 : n * k * k / 2 + k * k * k / 6;
        if (3 * 2 * n * k * (p_.cg_steps + 1) < exact) return Solver::cg;
        break;
      }
      case Solver::cholesky:
        break;
    }
    return short_row ? Solver::dual : Solver::primal;
  }

  void clear_system(std::int64_t rows) {
    const std::int64_t strips = (rows + kTileRows - 1) / kTileRows * kTileRows;
    std::memset(system_, 0, strips * ld_ * sizeof(T));
  }

  // A += PᵀP, upper half
  void add_gram(const T* P, std::int64_t ldp, std::int64_t n, std::int64_t size) {
    for (std::int64_t i0 = 0; i0 < size; i0 += kTileRows) gram_strip<T, false>(P, ldp, n, i0, size, system_, ld_);
  }

  bool primal() {
    const bool chunked = n_ > kChunkRows;
    const std::int64_t entries = rank_ * ld_;
    clear_system(unknowns_);
    if (chunked) std::memset(wide_, 0, entries * sizeof(double));
    auto flush = [&] {
      for (std::int64_t k = 0; k < entries; ++k) wide_[k] += double(system_[k]);
      std::memset(system_, 0, entries * sizeof(T));
    };
    for (std::int64_t k = 0; k < padded_; ++k) sum_z_[k] = sum_tz_[k] = 0;
    double sum_t = 0;
    std::int64_t unflushed = 0;
    each_block([&](std::int64_t begin, std::int64_t count, const T* z) {
      add_gram(z, padded_, count, rank_);
      const T* t = target_ + begin;
      for (std::int64_t k = 0; k < padded_; k += W) {
        vec total = {}, weighted = {};
        for (std::int64_t r = 0; r < count; ++r) {
          const vec row = S::load(z + r * padded_ + k);
          total += row;
          weighted += S::fill(t[r]) * row;
        }
        for (int l = 0; l < W; ++l) {
          sum_z_[k + l] += double(total[l]);
          sum_tz_[k + l] += double(weighted[l]);
        }
      }
      for (std::int64_t r = 0; r < count; ++r) sum_t += double(t[r]);
      unflushed += count;
      if (chunked && unflushed >= kChunkRows) {
        flush();
        unflushed = 0;
      }
    });
    if (chunked) {
      flush();
      for (std::int64_t k = 0; k < entries; ++k) system_[k] = T(wide_[k]);
    }
    for (std::int64_t k = 0; k < rank_; ++k) {
      T* row = system_ + k * ld_;
      row[k] = T(double(row[k]) + lambda_);
      if (joint_) row[rank_] = T(sum_z_[k]);
      row[unknowns_] = T(sum_tz_[k]);
    }
    if (joint_) {
      T* row = system_ + rank_ * ld_;
      for (std::int64_t k = 0; k < ld_; ++k) row[k] = 0;
      row[rank_] = T(double(n_) + lambda_);
      row[unknowns_] = T(sum_t);
    }
    return finish(unknowns_, x_);
  }

  bool dual() {
    const std::int64_t ldp = round_up<T>(n_ + kTileRows);
    const std::int64_t height = unknowns_;
    const T* z = block(0, n_);
    for (std::int64_t k = 0; k < rank_; ++k) {
      T* row = flipped_ + k * ldp;
      for (std::int64_t r = 0; r < n_; ++r) row[r] = z[r * padded_ + k];
      for (std::int64_t r = n_; r < ldp; ++r) row[r] = 0;
    }
    if (joint_)
      for (std::int64_t r = 0; r < ldp; ++r) flipped_[rank_ * ldp + r] = T(r < n_);
    clear_system(n_);
    add_gram(flipped_, ldp, height, n_);
    for (std::int64_t r = 0; r < n_; ++r) {
      T* row = system_ + r * ld_;
      row[r] = T(double(row[r]) + lambda_);
      row[n_] = target_[r];
    }
    if (!solve_positive_definite(system_, ld_, n_, weights_)) return false;
    for (std::int64_t k = 0; k < padded_; ++k) x_[k] = 0;
    for (std::int64_t r = 0; r < n_; ++r) {
      const vec weight = S::fill(weights_[r]);
      for (std::int64_t k = 0; k < padded_; k += W)
        S::store(x_ + k, S::load(x_ + k) + weight * S::load(z + r * padded_ + k));
    }
    if (joint_) {
      bias_ = 0;
      for (std::int64_t r = 0; r < n_; ++r) bias_ += weights_[r];
    }
    return true;
  }

  bool finish(std::int64_t unknowns, T* x) {
    if (!solve_positive_definite(system_, ld_, unknowns, x)) return false;
    if (joint_) {
      bias_ = x[rank_];
      x[rank_] = 0;  // the padding of x stays zero
    }
    return true;
  }

  // sum_ = Zᵀs and the return value Σ s_r, for s = t − Zv − v_bias, or s = Zv + v_bias
  template <bool RESIDUAL>
  double normal_pass(const T* v, T v_bias) {
    double total = 0;
    for (std::int64_t k = 0; k < padded_; ++k) sum_tz_[k] = 0;
    each_block([&](std::int64_t begin, std::int64_t count, const T* z) {
      for (std::int64_t k = 0; k < padded_; ++k) part_[k] = 0;
      const T* t = target_ + begin;
      std::int64_t r = 0;
      T s[4];
      for (; r + 4 <= count; r += 4) {
        const T* rows = z + r * padded_;
        dot_rows<4>(rows, v, s);
        for (int a = 0; a < 4; ++a) {
          s[a] = RESIDUAL ? t[r + a] - v_bias - s[a] : s[a] + v_bias;
          total += double(s[a]);
        }
        const vec s0 = S::fill(s[0]), s1 = S::fill(s[1]), s2 = S::fill(s[2]), s3 = S::fill(s[3]);
        for (std::int64_t k = 0; k < padded_; k += W)
          S::store(part_ + k, S::load(part_ + k) + (s0 * S::load(rows + k) + s1 * S::load(rows + padded_ + k)) +
                                  (s2 * S::load(rows + 2 * padded_ + k) + s3 * S::load(rows + 3 * padded_ + k)));
      }
      for (; r < count; ++r) {
        const T* row = z + r * padded_;
        dot_rows<1>(row, v, s);
        s[0] = RESIDUAL ? t[r] - v_bias - s[0] : s[0] + v_bias;
        total += double(s[0]);
        const vec s0 = S::fill(s[0]);
        for (std::int64_t k = 0; k < padded_; k += W)
          S::store(part_ + k, S::load(part_ + k) + s0 * S::load(row + k));
      }
      for (std::int64_t k = 0; k < padded_; ++k) sum_tz_[k] += double(part_[k]);
    });
    return total;
  }

  // cg_steps of conjugate gradient on (ZᵀZ + λI) [x, b] = Zᵀt, from the x and b at hand. Each step
  // minimizes along its direction, so the row's objective never rises.
  void conjugate_gradient() {
    const double one = joint_ ? 1 : 0;
    const double rest = normal_pass<true>(x_, bias_);
    double norm = 0, residual_bias = one * (rest - lambda_ * double(bias_));
    for (std::int64_t k = 0; k < rank_; ++k) {
      residual_[k] = sum_tz_[k] - lambda_ * double(x_[k]);
      direction_[k] = T(residual_[k]);
      norm += residual_[k] * residual_[k];
    }
    for (std::int64_t k = rank_; k < padded_; ++k) direction_[k] = 0;
    double direction_bias = residual_bias;
    norm += residual_bias * residual_bias;
    // Beyond the precision of T the recurrence would walk on noise.
    const double enough = norm * kEpsilon<T> * kEpsilon<T>;
    for (int step = 0; step < p_.cg_steps && norm > enough; ++step) {
      const double image_bias =
          one * (normal_pass<false>(direction_, T(direction_bias)) + lambda_ * direction_bias);
      double curvature = direction_bias * image_bias;
      for (std::int64_t k = 0; k < rank_; ++k) {
        sum_tz_[k] += lambda_ * double(direction_[k]);
        curvature += double(direction_[k]) * sum_tz_[k];
      }
      if (!(curvature > 0)) break;
      const double length = norm / curvature;
      double next = 0;
      for (std::int64_t k = 0; k < rank_; ++k) {
        x_[k] = T(double(x_[k]) + length * double(direction_[k]));
        residual_[k] -= length * sum_tz_[k];
        next += residual_[k] * residual_[k];
      }
      bias_ = T(double(bias_) + length * direction_bias);
      residual_bias -= length * image_bias;
      next += residual_bias * residual_bias;
      const double turn = next / norm;
      for (std::int64_t k = 0; k < rank_; ++k) direction_[k] = T(residual_[k] + turn * double(direction_[k]));
      direction_bias = residual_bias + turn * direction_bias;
      norm = next;
    }
  }

  const RowProblem<T>& p_;
  const std::int64_t rank_, padded_;
  std::int64_t block_rows_, keep_rows_, dual_rows_, ld_;
  std::uintptr_t base_;
  std::size_t used_ = 0;

  // This row
  std::int64_t first_ = 0, n_ = 0, unknowns_ = 0;
  std::int64_t gathered_ = 0;  // ratings whose factors lie packed in rows_
  double lambda_ = 0;
  T bias_ = 0;
  bool joint_ = false;

  T *rows_, *target_, *system_, *flipped_, *x_, *direction_, *weights_, *part_;
  double *wide_, *sum_z_, *sum_tz_, *residual_;
};

}  // namespace cofactor::COFACTOR_ISA
