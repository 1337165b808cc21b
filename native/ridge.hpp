// One row of the factorization: a ridge regression of the row's ratings on the other side's factors.
//
//   min over x, b of  φ = Σ_r (t_r − b − x·z_r)² + λ (‖x‖² + b²)
//
// z_r is the factor row of the r-th rated item (or user), t_r the rating less what is already
// explained. Three ways to the same minimum, chosen by what they cost for n ratings and rank K:
//   primal   (ZᵀZ + λI) x = Zᵀt            n·K²/2 + K³/6 multiply-adds
//   dual     x = Zᵀ(ZZᵀ + λI)⁻¹ t          n²·K/2 + n³/6
//   cg       conjugate gradient from the x at hand, 2·n·K a step
// The bias is one more column of ones in Z. primal eliminates it first: (n + λ) b = Σt − x·Σz.
//
// With noise ε the result is a draw from  N(x̂, σ²(ZᵀZ + λI)⁻¹)  around that minimum x̂, the posterior of the row where
// ratings have the variance σ² and the prior is N(0, σ²/λ): from ZᵀZ + λI = UᵀU follows  x = U⁻¹(U⁻ᵀZᵀt + σε).
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace cofactor::COFACTOR_ISA {

// Register tile of the Gram kernel: kTileRows × (kTileCols vectors) running sums.
#if COFACTOR_VECTOR_BYTES == 64
static constexpr int kTileRows = 8, kTileCols = 3;
static constexpr int kHeldVectors = 16;  // vectors of rows that conjugate gradient holds in registers
#else
static constexpr int kTileRows = 4, kTileCols = 3;
static constexpr int kHeldVectors = 8;
#endif
static constexpr std::int64_t kBlockBytes = 24 << 10;  // a block of gathered rows stays in the first-level cache
static constexpr std::int64_t kKeepBytes = 512 << 10;  // a whole row's gathered factors kept for a second pass
static constexpr std::int64_t kAhead = 8;               // rows are fetched into the cache so many before they are read
static constexpr std::int64_t kChunkRows = 4096;       // single-precision sums are flushed to double this often

template <class T>
static constexpr T kEpsilon = sizeof(T) == 4 ? T(1.1920929e-7) : T(2.220446049250313e-16);

// C[i0+a, j0 + lanes] ±= Σ_r P[r, i0+a] · P[r, j0 + lanes]. Not inlined: it needs every register for itself.
template <class S, int COLS, bool SUBTRACT, class T>
[[gnu::noinline]] static void gram_tile(const T* P, std::int64_t ld, std::int64_t n, std::int64_t i0, std::int64_t j0,
                                        T* C, std::int64_t ldc) {
  typename S::vec acc[kTileRows][COLS] = {};
  const T *rows = P + i0, *cols = P + j0;
  for (std::int64_t r = 0; r < n; ++r, rows += ld, cols += ld) {
    typename S::vec right[COLS];
#pragma GCC unroll 8
    for (int b = 0; b < COLS; ++b) right[b] = S::load(cols + b * S::width);
#pragma GCC unroll 8
    for (int a = 0; a < kTileRows; ++a) {
      const typename S::vec left = S::fill(rows[a]);
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

// Rows i0 .. i0+kTileRows of  C ±= PᵀP,  from the diagonal up to column `cols`, a multiple of the vector.
template <class T, bool SUBTRACT>
static inline void gram_strip(const T* P, std::int64_t ld, std::int64_t n, std::int64_t i0, std::int64_t cols, T* C,
                              std::int64_t ldc) {
  using S = Simd<T>;
  constexpr int W = S::width;
  std::int64_t j = i0 / W * W;
  if constexpr (2 * kTileRows == W) {
    if (i0 > j) {  // the strip begins in the middle of a vector: half of it will do
      using Half = Simd<T, COFACTOR_VECTOR_BYTES / 2>;
      gram_tile<Half, 1, SUBTRACT>(P, ld, n, i0, i0, C, ldc);
      j += W;
    }
  }
  std::int64_t left = (cols - j) / W;  // vectors
  for (; left >= kTileCols; left -= kTileCols, j += kTileCols * W)
    gram_tile<S, kTileCols, SUBTRACT>(P, ld, n, i0, j, C, ldc);
  if (left == 2) gram_tile<S, 2, SUBTRACT>(P, ld, n, i0, j, C, ldc);
  if (left == 1) gram_tile<S, 1, SUBTRACT>(P, ld, n, i0, j, C, ldc);
}

// Solves A x = y for symmetric positive definite A, of which only the upper half is given.
//
// A = UᵀU by strips of kTileRows rows: subtract what the rows above explain (the Gram tile again), factor
// the strip's own small square in scalars, then eliminate in the rest of the strip, a vector of columns at
// a time. y follows along and becomes U⁻ᵀy; then U x = U⁻ᵀy strip by strip upwards.
//
// With `noise` (size) it returns  U⁻¹(U⁻ᵀy + noise)  instead.
//
// `size` is a multiple of kTileRows, rows of A are whole vectors. `original` is the diagonal before anything
// was subtracted from it. y and x (size, whole vectors) and inverse (size) are working memory.
// Returns false where a pivot is lost in rounding: A is singular.
template <class T>
static bool solve_positive_definite(T* A, std::int64_t ld, std::int64_t size, const T* original, T* y, T* inverse,
                                    T* x, const T* noise = nullptr) {
  using S = Simd<T>;
  using vec = typename S::vec;
  constexpr int R = kTileRows, W = S::width;
  const std::int64_t cols = round_up<T>(size);
  for (std::int64_t k0 = 0; k0 < size; k0 += R) {
    if (k0 > 0) gram_strip<T, true>(A, ld, k0, k0, cols, A, ld);
    T square[R][R], pivot[R];  // square[k][i] becomes the multiple of row k that is taken off row i
#pragma GCC unroll 8
    for (int k = 0; k < R; ++k)
#pragma GCC unroll 8
      for (int i = k; i < R; ++i) square[k][i] = A[(k0 + k) * ld + k0 + i];
#pragma GCC unroll 8
    for (int k = 0; k < R; ++k) {
      pivot[k] = square[k][k];
      const T reciprocal = T(1) / pivot[k];
#pragma GCC unroll 8
      for (int i = k + 1; i < R; ++i) {
        const T multiple = square[k][i] * reciprocal;
#pragma GCC unroll 8
        for (int j = i; j < R; ++j) square[i][j] -= multiple * square[k][j];
        square[k][i] = multiple;
        y[k0 + i] -= multiple * y[k0 + k];
      }
    }
    bool lost = false;
    for (int k = 0; k < R; ++k) lost |= !(pivot[k] > 4 * kEpsilon<T> * original[k0 + k]);  // also where it is NaN
    if (lost) return false;
    T unit[R], solved[R];
    for (int k = 0; k < R; ++k) unit[k] = T(1) / __builtin_sqrt(pivot[k]);
    for (int k = 0; k < R; ++k) {
      inverse[k0 + k] = unit[k];
      x[k0 + k] = solved[k] = y[k0 + k] * unit[k];
    }
    for (std::int64_t j = k0 / W * W; j < cols; j += W) {
      vec row[R];
#pragma GCC unroll 8
      for (int k = 0; k < R; ++k) row[k] = S::load(A + (k0 + k) * ld + j);
      vec explained = {};
#pragma GCC unroll 8
      for (int k = 0; k < R; ++k) {
#pragma GCC unroll 8
        for (int i = k + 1; i < R; ++i) row[i] -= S::fill(square[k][i]) * row[k];
        row[k] *= S::fill(unit[k]);
        S::store(A + (k0 + k) * ld + j, row[k]);
        explained += S::fill(solved[k]) * row[k];
      }
      S::store(y + j, S::load(y + j) - explained);
    }
  }
  if (noise)
    for (std::int64_t k = 0; k < size; ++k) x[k] += noise[k];
  // x holds U⁻ᵀy; y, from here on, the solution as far as it is known, zero elsewhere
  for (std::int64_t k = 0; k < cols; ++k) y[k] = 0;
  for (std::int64_t k0 = size - R; k0 >= 0; k0 -= R) {
    vec known[R] = {};
    for (std::int64_t j = k0 / W * W; j < cols; j += W) {
      const vec right = S::load(y + j);
#pragma GCC unroll 8
      for (int k = 0; k < R; ++k) known[k] += S::load(A + (k0 + k) * ld + j) * right;
    }
    T rest[R];
#pragma GCC unroll 8
    for (int k = 0; k < R; ++k) rest[k] = x[k0 + k] - S::sum(known[k]);
#pragma GCC unroll 8
    for (int k = R - 1; k >= 0; --k) {
      const T value = rest[k] * inverse[k0 + k];
      y[k0 + k] = value;
#pragma GCC unroll 8
      for (int i = 0; i < k; ++i) rest[i] -= A[(k0 + i) * ld + k0 + k] * value;
    }
  }
  for (std::int64_t k = 0; k < cols; ++k) x[k] = y[k];
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
      : p_(p), rank_(p.rank), padded_(round_up<T>(p.rank)), joint_(p.biases == Biases::joint) {
    const std::int64_t width = padded_ > 0 ? padded_ : W;
    block_rows_ = kBlockBytes / (width * (std::int64_t)sizeof(T)) / W * W;
    if (block_rows_ < W) block_rows_ = W;
    keep_rows_ = kKeepBytes / (width * (std::int64_t)sizeof(T));
    if (keep_rows_ < block_rows_) keep_rows_ = block_rows_;
    if (keep_rows_ < rank_) keep_rows_ = rank_;  // the dual needs a whole row at once
    ld_ = system_stride(rank_);
    base_ = (reinterpret_cast<std::uintptr_t>(memory) + 63) / 64 * 64;
    rows_ = take<T>((keep_rows_ + W) * width);
    target_ = take<T>(longest_row + W);
    system_ = take<T>(ld_ * ld_);
    wide_ = take<double>(longest_row > kChunkRows ? ld_ * ld_ : 0);
    flipped_ = take<T>((width + W) * ld_);
    T** const vectors[] = {&x_, &direction_, &part_, &right_, &diagonal_, &inverse_, &solution_};
    for (T** v : vectors) *v = take<T>(ld_ + W);
    double** const sums[] = {&sum_z_, &sum_tz_, &at_, &residual_, &course_};
    for (double** v : sums) *v = take<double>(ld_ + W);
  }

  // Rows before `end` come next, one after another: while one is packed the factors of the next are fetched.
  void expect_rows_to(std::int64_t end) { known_ = p_.indptr[end]; }

  // Solves row i. Returns false where its system is singular.
  bool solve(std::int64_t i) {
    begin_row(i, 0, p_.indptr[i + 1] - p_.indptr[i]);
    T* out = p_.out + i * rank_;
    T* out_bias = p_.out_bias ? p_.out_bias + i : nullptr;
    if (n_ == 0) {  // the prior: its mean, or a draw from it
      const double scale = p_.noise ? p_.noise_scale / __builtin_sqrt(lambda_) : 0;
      for (std::int64_t k = 0; k < rank_; ++k) out[k] = p_.noise ? T(scale * double(noise(i)[k])) : T(0);
      if (out_bias) *out_bias = p_.noise && joint_ ? T(scale * double(noise(i)[rank_])) : T(0);
      p_.squared_error[i] = 0;
      return true;
    }
    begin_solution(i);
    if (p_.biases == Biases::sequential) {  // b = Σ(t − x·z) / (n + λ), then x with that b
      double sum = 0;
      each_residual([&](T e) { sum += e; });
      *out_bias = T(sum / (double(n_) + lambda_));
      for (std::int64_t r = 0; r < n_; ++r) target_[r] -= *out_bias;
    }
    bool solved = true;
    if (rank_ + joint_ > 0) {
      switch (choose()) {
        case Solver::cg:
          conjugate_gradient();
          break;
        case Solver::dual:
          solved = dual();
          break;
        default:
          accumulate(n_ > kChunkRows);
          if (n_ > kChunkRows) narrow(wide_);
          solved = primal();
      }
    }
    end_solution(i);
    if (!error_known_) {
      error_ = 0;
      each_residual([&](T e) { error_ += double(e) * double(e); });
    }
    p_.squared_error[i] = error_;
    return solved;
  }

  // A giant row is cut into pieces: the sums of each piece (sums_size numbers) are taken by anybody, their total,
  // piece by piece in order, is solved.
  static std::int64_t sums_size(const RowProblem<T>& p) {
    return p.rank * system_stride(p.rank) + 2 * round_up<T>(p.rank) + 2;
  }

  // The sums over ratings [begin, end) of row i
  void take_sums(std::int64_t i, std::int64_t begin, std::int64_t end, double* to) {
    begin_row(i, begin, end);
    accumulate(true);
    std::memcpy(to, wide_, rank_ * ld_ * sizeof(double));
    to += rank_ * ld_;
    std::memcpy(to, sum_z_, padded_ * sizeof(double));
    std::memcpy(to + padded_, sum_tz_, padded_ * sizeof(double));
    to[2 * padded_] = sum_t_;
    to[2 * padded_ + 1] = sum_tt_;
  }

  // Solves row i from its sums; `piece` is how many ratings may be looked at at a time.
  bool solve_sums(std::int64_t i, const double* sums, std::int64_t piece) {
    begin_row(i, 0, 0);
    const std::int64_t n = p_.indptr[i + 1] - p_.indptr[i];
    n_ = n;
    begin_solution(i);
    clear_system(rank_);
    narrow(sums);
    sums += rank_ * ld_;
    std::memcpy(sum_z_, sums, padded_ * sizeof(double));
    std::memcpy(sum_tz_, sums + padded_, padded_ * sizeof(double));
    sum_t_ = sums[2 * padded_];
    sum_tt_ = sums[2 * padded_ + 1];
    T offset = 0;
    if (p_.biases == Biases::sequential) {  // as in `solve`; then t − b in place of t
      double rest = sum_t_;
      for (std::int64_t k = 0; k < rank_; ++k) rest -= double(x_[k]) * sum_z_[k];
      const double b = offset = p_.out_bias[i] = T(rest / (double(n) + lambda_));
      for (std::int64_t k = 0; k < rank_; ++k) sum_tz_[k] -= b * sum_z_[k];
      sum_tt_ += b * (b * double(n) - 2 * sum_t_);
      sum_t_ -= b * double(n);
    }
    const bool solved = primal();
    end_solution(i);
    if (!error_known_) {
      error_ = 0;
      for (std::int64_t begin = 0; begin < n; begin += piece) {
        begin_row(i, begin, begin + piece < n ? begin + piece : n);
        each_residual([&](T e) { error_ += double(e - offset) * double(e - offset); });
      }
    }
    p_.squared_error[i] = error_;
    return solved;
  }

  // Packed normal equations: += those of row i
  void add_packed_sums(std::int64_t i, double* to) {
    begin_row(i, 0, p_.indptr[i + 1] - p_.indptr[i]);
    const bool wide = n_ > kChunkRows;
    accumulate(wide);
    for (std::int64_t k = 0; k < rank_; ++k) {
      const std::int64_t row = k * ld_;
      if (wide)
        for (std::int64_t j = k; j < rank_; ++j) *to++ += wide_[row + j];
      else
        for (std::int64_t j = k; j < rank_; ++j) *to++ += double(system_[row + j]);
      if (joint_) *to++ += sum_z_[k];
    }
    if (joint_) *to++ += double(n_);
    for (std::int64_t k = 0; k < rank_; ++k) *to++ += sum_tz_[k];
    if (joint_) *to += sum_t_;
  }

  // Solves row i from them.
  bool solve_packed_sums(std::int64_t i, const double* from) {
    n_ = p_.indptr[i + 1] - p_.indptr[i];
    lambda_ = p_.reg[i];
    for (std::int64_t k = 0; k < padded_; ++k) x_[k] = 0;
    bias_ = 0;
    bool solved = true;
    if (n_ > 0) {
      clear_system(rank_);
      for (std::int64_t k = 0; k < rank_; ++k) {
        for (std::int64_t j = k; j < rank_; ++j) system_[k * ld_ + j] = T(*from++);
        if (joint_) sum_z_[k] = *from++;
      }
      if (joint_) ++from;  // n
      for (std::int64_t k = 0; k < rank_; ++k) sum_tz_[k] = *from++;
      sum_t_ = joint_ ? *from : 0;
      sum_tt_ = 0;
      solved = primal();
    }
    end_solution(i);
    return solved;
  }

 private:
  static std::int64_t system_stride(std::int64_t rank) {
    return round_up<T>((rank + kTileRows - 1) / kTileRows * kTileRows);
  }

  template <class U>
  U* take(std::int64_t count) {
    U* p = reinterpret_cast<U*>(base_ + used_);
    used_ += (std::size_t(count) * sizeof(U) + 63) / 64 * 64;
    return p;
  }

  // Ratings [begin, end) of row i
  void begin_row(std::int64_t i, std::int64_t begin, std::int64_t end) {
    first_ = p_.indptr[i] + begin;
    n_ = end - begin;
    if (known_ < first_ + n_) known_ = first_ + n_;
    row_ = i;
    lambda_ = p_.reg ? p_.reg[i] : 0;
    gathered_ = 0;
    S::store(target_ + n_, vec{});
    const std::int32_t* index = p_.indices + first_;
    const float* value = p_.values + first_;
    if (p_.fixed_bias)
      for (std::int64_t r = 0; r < n_; ++r) target_[r] = T(value[r] - p_.mean) - p_.fixed_bias[index[r]];
    else
      for (std::int64_t r = 0; r < n_; ++r) target_[r] = T(value[r] - p_.mean);
  }

  // ε of a row, that of the bias last
  const T* noise(std::int64_t i) const { return p_.noise + i * (rank_ + joint_); }

  void begin_solution(std::int64_t i) {
    const T* out = p_.out + i * rank_;
    for (std::int64_t k = 0; k < padded_; ++k) x_[k] = k < rank_ ? out[k] : T(0);
    bias_ = joint_ ? p_.out_bias[i] : T(0);  // the bias as an unknown of the solve
    error_known_ = false;
  }

  void end_solution(std::int64_t i) {
    for (std::int64_t k = 0; k < rank_; ++k) p_.out[i * rank_ + k] = x_[k];
    if (joint_) p_.out_bias[i] = bias_;
  }

  // z_r of ratings [begin, begin + count), packed one after another. The rows of a short row are packed
  // once and kept, those of a long one again for every pass.
  const T* block(std::int64_t begin, std::int64_t count) {
    const bool keep = n_ <= keep_rows_;
    T* to = keep ? rows_ + begin * padded_ : rows_;
    if (keep && gathered_ >= begin + count) return to;
    pack<false>(begin, count, to);
    if (keep) gathered_ = begin + count;
    return to;
  }

  // Packs them; with SUMS, sum_z_ += Σ z_r and sum_tz_ += Σ t_r z_r on the way.
  template <bool SUMS>
  void pack(std::int64_t begin, std::int64_t count, T* to) {
    const std::int32_t* index = p_.indices + first_ + begin;
    const std::int64_t known = known_ - first_ - begin - kAhead, ahead = known < count ? known : count;
    std::int64_t k = 0;
    for (; k + 4 * W <= padded_; k += 4 * W) pack_columns<SUMS, 4>(index, target_ + begin, count, ahead, k, to);
    for (; k < padded_; k += W) pack_columns<SUMS, 1>(index, target_ + begin, count, ahead, k, to);
  }

  // Columns k .. k + VECTORS·W of it
  template <bool SUMS, int VECTORS>
  void pack_columns(const std::int32_t* index, const T* t, std::int64_t count, std::int64_t ahead, std::int64_t k,
                    T* to) {
    vec total[VECTORS] = {}, weighted[VECTORS] = {};
    const T* const fixed = p_.fixed + k;  // not read anew after every store
    const std::int64_t stride = p_.stride, padded = padded_;
    for (std::int64_t r = 0; r < count; ++r) {
      if (r < ahead) prefetch<VECTORS>(fixed + index[r + kAhead] * stride);
      const T* from = fixed + index[r] * stride;
      const vec factor = S::fill(SUMS ? t[r] : T(0));
#pragma GCC unroll 4
      for (int a = 0; a < VECTORS; ++a) {
        const vec part = S::load(from + a * W);
        S::store(to + r * padded + k + a * W, part);
        if (SUMS) {
          total[a] += part;
          weighted[a] += factor * part;
        }
      }
    }
    if (SUMS)
      for (int a = 0; a < VECTORS; ++a) {
        S::add_to(sum_z_ + k + a * W, total[a]);
        S::add_to(sum_tz_ + k + a * W, weighted[a]);
      }
  }

  template <int VECTORS>
  static inline void prefetch(const T* row) {
#pragma GCC unroll 4
    for (int a = 0; a < VECTORS; ++a) __builtin_prefetch(row + a * W);
  }

  template <class Visit>
  void each_block(Visit&& visit) {
    for (std::int64_t begin = 0; begin < n_; begin += block_rows_) {
      const std::int64_t count = n_ - begin < block_rows_ ? n_ - begin : block_rows_;
      visit(begin, count, block(begin, count));
    }
  }

  // z_r · v for the W packed rows from z on; lane r is row r.
  vec dots(const T* z, const T* v) const {
    vec sum[W] = {};
    for (std::int64_t k = 0; k < padded_; k += W) {
      const vec right = S::load(v + k);
      const T* row = z + k;
#pragma GCC unroll 16
      for (int r = 0; r < W; ++r, row += padded_) sum[r] += S::load(row) * right;
    }
    return S::sums(sum);
  }

  // visit(t_r − bias − x·z_r) for every rating of the row
  template <class Visit>
  void each_residual(Visit&& visit) {
    each_block([&](std::int64_t begin, std::int64_t count, const T* z) {
      for (std::int64_t r = 0; r < count; r += W) {
        T e[W];
        S::store(e, S::load(target_ + begin + r) - S::fill(bias_) - dots(z + r * padded_, x_));
        const std::int64_t some = count - r < W ? count - r : W;
        for (std::int64_t l = 0; l < some; ++l) visit(e[l]);
      }
    });
  }

  Solver choose() const {
    // An operation of the dual costs more than one of the primal (it packs Z twice): hence 3/4.
    if (p_.noise) return Solver::primal;
    const std::int64_t unknowns = rank_ + joint_;
    const bool short_row = n_ <= rank_ && 4 * n_ <= 3 * unknowns;
    switch (p_.solver) {
      case Solver::primal:
      case Solver::cg:
        return p_.solver;
      case Solver::dual:
        return n_ <= rank_ ? Solver::dual : Solver::primal;
      case Solver::automatic: {
        // Multiply-adds, those of cg counted threefold: they wait for memory, the tiles do not.
        const double n = double(n_), k = double(unknowns);
        const double exact = short_row ? n * n * k / 2 + n * n * n / 6 : n * k * k / 2 + k * k * k / 6;
        if (3 * 2 * n * k * (p_.cg_steps + 1) < exact) return Solver::cg;
        break;
      }
      case Solver::cholesky:
        break;
    }
    return short_row ? Solver::dual : Solver::primal;
  }

  // Rows and columns up to the next whole strip; those beyond `size` are made those of the identity.
  void clear_system(std::int64_t size) {
    const std::int64_t strips = (size + kTileRows - 1) / kTileRows * kTileRows;
    std::memset(system_, 0, strips * ld_ * sizeof(T));
    for (std::int64_t k = 0; k < ld_; ++k) right_[k] = 0;
  }

  // A += PᵀP, upper half; columns of P from `size` to the next whole vector are zero
  void add_gram(const T* P, std::int64_t ldp, std::int64_t n, std::int64_t size) {
    for (std::int64_t i0 = 0; i0 < size; i0 += kTileRows)
      gram_strip<T, false>(P, ldp, n, i0, round_up<T>(size), system_, ld_);
  }

  // Σ (t_r − b − x·z_r)² as it follows from the solution, unless so little is left of `begun` that this is rounding.
  void note_error(double error, double begun) {
    error_known_ = error > 1e-2 * begun;
    error_ = error;
  }

  // Solves the system for right_; its diagonal gets λ. solution_ is the result.
  bool solve_system(std::int64_t size, const T* noise = nullptr) {
    const std::int64_t strips = (size + kTileRows - 1) / kTileRows * kTileRows;
    for (std::int64_t k = size; k < strips; ++k) system_[k * ld_ + k] = diagonal_[k] = 1;
    return solve_positive_definite(system_, ld_, strips, diagonal_, right_, inverse_, solution_, noise);
  }

  // Sums over the ratings at hand: ZᵀZ in system_, or in wide_, and sum_z_, sum_tz_, sum_t_, sum_tt_ beside
  void accumulate(bool wide) {
    const std::int64_t entries = rank_ * ld_;
    clear_system(rank_);
    if (wide) std::memset(wide_, 0, entries * sizeof(double));
    auto flush = [&] {
      for (std::int64_t k = 0; k < entries; ++k) wide_[k] += double(system_[k]);
      std::memset(system_, 0, entries * sizeof(T));
    };
    for (std::int64_t k = 0; k < padded_; ++k) sum_z_[k] = sum_tz_[k] = 0;
    double sums[W] = {}, squares[W] = {};
    std::int64_t unflushed = 0;
    for (std::int64_t begin = 0, count; begin < n_; begin += count) {
      count = n_ - begin < block_rows_ ? n_ - begin : block_rows_;
      pack<true>(begin, count, rows_);
      add_gram(rows_, padded_, count, rank_);
      for (std::int64_t r = begin; r < begin + count; r += W)  // beyond the last rating targets are zero
        for (int l = 0; l < W; ++l) {
          const double t = double(target_[r + l]);
          sums[l] += t;
          squares[l] += t * t;
        }
      unflushed += count;
      if (wide && unflushed >= kChunkRows) {
        flush();
        unflushed = 0;
      }
    }
    if (wide) flush();
    sum_t_ = sum_tt_ = 0;
    for (int l = 0; l < W; ++l) sum_t_ += sums[l], sum_tt_ += squares[l];
  }

  void narrow(const double* gram) {
    for (std::int64_t k = 0; k < rank_ * ld_; ++k) system_[k] = T(gram[k]);
  }

  // Solves for the sums at hand.
  bool primal() {
    const double weight = joint_ ? 1 / (double(n_) + lambda_) : 0;  // of the eliminated bias
    for (std::int64_t k = 0; k < rank_; ++k) {
      T* row = system_ + k * ld_;
      row[k] = diagonal_[k] = T(double(row[k]) + lambda_);
      right_[k] = T(sum_tz_[k] - weight * sum_z_[k] * sum_t_);
      part_[k] = T(sum_z_[k]);
    }
    for (std::int64_t k = rank_; k < padded_; ++k) part_[k] = 0;
    if (joint_)
      for (std::int64_t k = 0; k < rank_; ++k) {
        const vec multiple = S::fill(T(weight * sum_z_[k]));
        T* row = system_ + k * ld_;
        for (std::int64_t j = k / W * W; j < padded_; j += W)
          S::store(row + j, S::load(row + j) - multiple * S::load(part_ + j));
      }
    const T* drawn = nullptr;
    if (p_.noise) {
      for (std::int64_t k = 0; k < ld_; ++k) direction_[k] = k < rank_ ? T(p_.noise_scale * double(noise(row_)[k])) : T(0);
      drawn = direction_;
    }
    if (!solve_system(rank_, drawn)) return false;
    double rest = sum_t_, explained = 0, square = 0;
    for (std::int64_t k = 0; k < rank_; ++k) {
      const double x = x_[k] = solution_[k];
      rest -= x * sum_z_[k];
      explained += x * sum_tz_[k];
      square += x * x;
    }
    double bias = weight * rest;
    if (p_.noise && joint_) bias += p_.noise_scale * __builtin_sqrt(weight) * double(noise(row_)[rank_]);
    bias_ = T(bias);
    // φ = Σt² − xᵀZᵀt − b Σt at the minimum
    if (rank_ > 0 && !p_.noise) note_error(sum_tt_ - explained - bias * sum_t_ - lambda_ * (square + bias * bias), sum_tt_);
    return true;
  }

  bool dual() {
    const std::int64_t ldp = round_up<T>(n_);
    const T* z = block(0, n_);
    for (std::int64_t k = 0; k < padded_; k += W)
      for (std::int64_t r = 0; r < n_; r += W) {  // rows beyond n_ are left over from another row: made zero
        vec square[W];
        for (int a = 0; a < W; ++a) square[a] = r + a < n_ ? S::load(z + (r + a) * padded_ + k) : vec{};
        S::transpose(square);
        for (int a = 0; a < W; ++a) S::store(flipped_ + (k + a) * ldp + r, square[a]);
      }
    clear_system(n_);
    add_gram(flipped_, ldp, rank_, n_);
    for (std::int64_t r = 0; r < n_; ++r) {
      T* row = system_ + r * ld_;
      if (joint_)
        for (std::int64_t c = r; c < n_; ++c) row[c] += 1;
      row[r] = diagonal_[r] = T(double(row[r]) + lambda_);
      right_[r] = target_[r];
    }
    if (!solve_system(n_)) return false;
    for (std::int64_t k = 0; k < padded_; ++k) x_[k] = 0;
    add_rows(z, solution_, n_, x_);
    double sum = 0, square = 0, squares = 0;
    for (std::int64_t r = 0; r < n_; ++r) {
      sum += double(solution_[r]);
      square += double(solution_[r]) * double(solution_[r]);
      squares += double(target_[r]) * double(target_[r]);
    }
    if (joint_) bias_ = T(sum);
    note_error(lambda_ * lambda_ * square, squares);  // t − b − Zx = λ (ZZᵀ + λI)⁻¹ t
    return true;
  }

  // to += Σ_r s_r z_r for `count` packed rows
  void add_rows(const T* z, const T* s, std::int64_t count, T* to) const {
    std::int64_t k = 0;
    for (; k + 4 * W <= padded_; k += 4 * W) add_columns<4, 1>(z + k, s, count, to + k);
    for (; k < padded_; k += W) add_columns<1, 4>(z + k, s, count, to + k);
  }

  // The same for VECTORS·W columns, by SUMS sums that take turns: none waits for the one before.
  template <int VECTORS, int SUMS>
  void add_columns(const T* z, const T* s, std::int64_t count, T* to) const {
    vec sum[SUMS][VECTORS] = {};
    std::int64_t r = 0;
    for (; r + SUMS <= count; r += SUMS)
#pragma GCC unroll 4
      for (int a = 0; a < SUMS; ++a) {
        const vec factor = S::fill(s[r + a]);
#pragma GCC unroll 4
        for (int b = 0; b < VECTORS; ++b) sum[a][b] += factor * S::load(z + (r + a) * padded_ + b * W);
      }
    for (; r < count; ++r)
      for (int b = 0; b < VECTORS; ++b) sum[0][b] += S::fill(s[r]) * S::load(z + r * padded_ + b * W);
#pragma GCC unroll 4
    for (int b = 0; b < VECTORS; ++b) {
      vec total = S::load(to + b * W);
#pragma GCC unroll 4
      for (int a = 0; a < SUMS; ++a) total += sum[a][b];
      S::store(to + b * W, total);
    }
  }

  // to = Σ s_r z_r for s = t − Zv − v_bias, or s = Zv + v_bias. `total` is Σ s_r, the return value Σ s_r².
  template <bool RESIDUAL>
  double normal_pass(const T* v, T v_bias, double* to, double& total) {
    double squares = 0;
    total = 0;
    for (std::int64_t k = 0; k < padded_; ++k) to[k] = 0;
    for (std::int64_t begin = 0, count; begin < n_; begin += count) {
      count = n_ - begin < block_rows_ ? n_ - begin : block_rows_;
      for (std::int64_t k = 0; k < padded_; ++k) part_[k] = 0;
      switch (padded_ / W) {
        case 2:
          held_pass<RESIDUAL, 2>(begin, count, v, v_bias, total, squares);
          break;
        case 3:
          held_pass<RESIDUAL, 3>(begin, count, v, v_bias, total, squares);
          break;
        case 4:
          held_pass<RESIDUAL, 4>(begin, count, v, v_bias, total, squares);
          break;
        default:
          packed_pass<RESIDUAL>(begin, count, v, v_bias, total, squares);
      }
      for (std::int64_t k = 0; k < padded_; k += W) S::add_to(to + k, S::load(part_ + k));
    }
    return squares;
  }

  // The pass over one block, Σ s_r z_r in part_: rows of any rank, packed, and read twice.
  template <bool RESIDUAL>
  void packed_pass(std::int64_t begin, std::int64_t count, const T* v, T v_bias, double& total, double& squares) {
    const T* z = block(begin, count);
    vec sum = {}, square = {};
    for (std::int64_t r = 0; r < count; r += W) {
      T s[W];
      const vec product = dots(z + r * padded_, v) + S::fill(v_bias);
      S::store(s, RESIDUAL ? S::load(target_ + begin + r) - product : product);
      const std::int64_t some = count - r < W ? count - r : W;
      for (std::int64_t l = some; l < W; ++l) s[l] = 0;
      const vec kept = S::load(s);
      sum += kept;
      square += kept * kept;
      add_rows(z + r * padded_, s, some, part_);
    }
    total += double(S::sum(sum));
    squares += double(S::sum(square));
  }

  // The same for rows of few vectors. Some at a time stay in registers from one product to the other; the first pass
  // reads them where they lie, and packs them on the way if they are kept.
  template <bool RESIDUAL, int VECTORS>
  void held_pass(std::int64_t begin, std::int64_t count, const T* v, T v_bias, double& total, double& squares) {
    constexpr int most = kHeldVectors / VECTORS, fit = most >= 8 ? 8 : most >= 4 ? 4 : 2, ROWS = fit < W ? fit : W;
    const bool keep = n_ <= keep_rows_, packed = keep && gathered_ >= begin + count;
    T* const z = keep ? rows_ + begin * padded_ : nullptr;
    const T *const t = target_ + begin, *const fixed = p_.fixed;
    const std::int32_t* const index = p_.indices + first_ + begin;
    const std::int64_t stride = p_.stride, ahead = known_ - first_ - begin - kAhead;
    vec course[VECTORS], image[VECTORS] = {};
    for (int b = 0; b < VECTORS; ++b) course[b] = S::load(v + b * W);
    const vec bias = S::fill(v_bias);

    vec sum = {}, square = {};  // every ROWS lanes the same
    for (std::int64_t r = 0; r < count; r += ROWS) {
      const std::int64_t last = count - 1 - r;  // stands in for those that are missing behind it
      vec row[ROWS][VECTORS], s[ROWS];
#pragma GCC unroll 16
      for (int a = 0; a < ROWS; ++a) {
        const std::int64_t at = r + (a < last ? a : last);
        const T* from = packed ? z + at * VECTORS * W : fixed + index[at] * stride;
        if (!packed && at < ahead) prefetch<VECTORS>(fixed + index[at + kAhead] * stride);
#pragma GCC unroll 4
        for (int b = 0; b < VECTORS; ++b) {
          row[a][b] = S::load(from + b * W);
          if (keep && !packed) S::store(z + at * VECTORS * W + b * W, row[a][b]);
          s[a] = b == 0 ? row[a][b] * course[b] : s[a] + row[a][b] * course[b];
        }
      }
      s[0] = S::template sums<ROWS>(s) + bias;
      if (RESIDUAL) s[0] = S::template repeat<ROWS>(t + r) - s[0];
      if (last + 1 < ROWS) s[0] = S::template first<ROWS>(s[0], last + 1);
      sum += s[0];
      square += s[0] * s[0];
      S::template spread<ROWS>(s);
#pragma GCC unroll 16
      for (int a = 0; a < ROWS; ++a)
#pragma GCC unroll 4
        for (int b = 0; b < VECTORS; ++b) image[b] += s[a] * row[a][b];
    }
    total += double(S::sum(sum)) * ROWS / W;
    squares += double(S::sum(square)) * ROWS / W;
    for (int b = 0; b < VECTORS; ++b) S::store(part_ + b * W, image[b]);
    if (keep && !packed) gathered_ = begin + count;
  }

  // cg_steps of conjugate gradient on (ZᵀZ + λI) [x, b] = Zᵀt, from the x and b at hand. Each step
  // minimizes φ along its direction: it falls by length · ‖residual‖².
  void conjugate_gradient() {
    using D = Simd<double>;
    const double one = joint_ ? 1 : 0;
    for (std::int64_t k = 0; k < padded_; ++k) at_[k] = double(x_[k]);
    double bias = bias_, sum;
    const double error = normal_pass<true>(x_, bias_, residual_, sum);
    double residual_bias = one * (sum - lambda_ * bias), square = one * bias * bias;
    typename D::vec norms = {}, squares = {};
    for (std::int64_t k = 0; k < padded_; k += D::width) {
      const auto at = D::load(at_ + k), r = D::load(residual_ + k) - D::fill(lambda_) * at;
      D::store(residual_ + k, r);
      D::store(course_ + k, r);
      norms += r * r;
      squares += at * at;
    }
    double norm = D::sum(norms) + residual_bias * residual_bias;
    square += D::sum(squares);
    double phi = error + lambda_ * square;
    const double begun = phi;
    double course_bias = residual_bias;
    // Beyond the precision of T the recurrence would walk on noise.
    const double enough = norm * kEpsilon<T> * kEpsilon<T>;
    for (int step = 0; step < p_.cg_steps && norm > enough; ++step) {
      for (std::int64_t k = 0; k < padded_; ++k) direction_[k] = T(course_[k]);
      double image_bias;
      normal_pass<false>(direction_, T(course_bias), sum_tz_, image_bias);
      image_bias = one * (image_bias + lambda_ * course_bias);
      typename D::vec curvatures = {};
      for (std::int64_t k = 0; k < padded_; k += D::width) {
        const auto course = D::load(course_ + k), image = D::load(sum_tz_ + k) + D::fill(lambda_) * course;
        D::store(sum_tz_ + k, image);
        curvatures += course * image;
      }
      const double curvature = D::sum(curvatures) + course_bias * image_bias;
      if (!(curvature > 0)) break;
      const double length = norm / curvature;
      norms = typename D::vec{};
      for (std::int64_t k = 0; k < padded_; k += D::width) {
        D::store(at_ + k, D::load(at_ + k) + D::fill(length) * D::load(course_ + k));
        const auto r = D::load(residual_ + k) - D::fill(length) * D::load(sum_tz_ + k);
        D::store(residual_ + k, r);
        norms += r * r;
      }
      bias += length * course_bias;
      residual_bias -= length * image_bias;
      const double next = D::sum(norms) + residual_bias * residual_bias;
      phi -= length * norm;
      for (std::int64_t k = 0; k < padded_; k += D::width)
        D::store(course_ + k, D::load(residual_ + k) + D::fill(next / norm) * D::load(course_ + k));
      course_bias = residual_bias + next / norm * course_bias;
      norm = next;
    }
    square = one * bias * bias;
    for (std::int64_t k = 0; k < padded_; ++k) {
      x_[k] = T(at_[k]);
      square += at_[k] * at_[k];
    }
    bias_ = T(bias);
    note_error(phi - lambda_ * square, begun);
  }

  const RowProblem<T>& p_;
  const std::int64_t rank_, padded_;
  const bool joint_;
  std::int64_t block_rows_, keep_rows_, ld_;
  std::uintptr_t base_;
  std::size_t used_ = 0;

  // This row
  std::int64_t row_ = 0, first_ = 0, n_ = 0;
  std::int64_t known_ = 0;     // the factors of ratings up to here may be fetched ahead
  std::int64_t gathered_ = 0;  // ratings whose factors lie packed in rows_
  double lambda_ = 0;
  T bias_ = 0;
  double sum_t_ = 0, sum_tt_ = 0;
  double error_ = 0;  // Σ (t_r − b − x·z_r)², where known
  bool error_known_ = false;

  T *rows_, *target_, *system_, *flipped_;
  T *x_, *direction_, *part_, *right_, *diagonal_, *inverse_, *solution_;
  double *wide_, *sum_z_, *sum_tz_, *at_, *residual_, *course_;
};

}  // namespace cofactor::COFACTOR_ISA
