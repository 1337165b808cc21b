// Weights of the columns that describe the rows of one side, each drawn given all others.
//
//   e_i = t_i − Σ_f x_if w_f ~ N(0, 1)      w_f ~ N(0, 1/λ_f)      t: (rows, columns), every column for itself
//   w_f | rest ~ N((Σ_i x_if e_i + d_f w_f) / (d_f + λ_f), 1 / (d_f + λ_f))      d_f = Σ_i x_if²
//
// One feature after another, and after each the residuals e are as its new weight leaves them: 4 · (entries of x)
// operations a column. A cache line of columns is taken at a time, on rows that lie beside each other in scratch.
#include "kernels.hpp"
#include "simd.hpp"

namespace cofactor::COFACTOR_ISA {

template <class T>
static constexpr std::int64_t kSlab = 64 / sizeof(T);  // columns at a time
static constexpr std::int64_t kRun = 512;              // rows whose sum is taken in T; runs are added up in double

template <class T>
static std::size_t weight_scratch(const WeightProblem<T>& p) {
  return (p.rows * kSlab<T> + kSlab<T>) * sizeof(T);
}

// A line of a matrix (…, columns) from `begin` on, filled up with `rest`; and back.
template <class T>
static void take(const T* from, std::int64_t width, T rest, T* to) {
  for (std::int64_t c = 0; c < kSlab<T>; ++c) to[c] = c < width ? from[c] : rest;
}
template <class T>
static void put(const T* from, std::int64_t width, T* to) {
  for (std::int64_t c = 0; c < width; ++c) to[c] = from[c];
}

template <class T>
static void draw_weights(const WeightProblem<T>& p, std::int64_t slab, void* scratch) {
  using S = Simd<T>;
  using V = typename S::vec;
  constexpr int W = S::width;
  constexpr std::int64_t L = kSlab<T>, VECTORS = L / W;
  const std::int64_t begin = slab * L, width = p.columns - begin < L ? p.columns - begin : L;
  const std::uintptr_t line = (reinterpret_cast<std::uintptr_t>(scratch) + 63) / 64 * 64;
  T* e = reinterpret_cast<T*>(line);
  for (std::int64_t i = 0; i < p.rows; ++i) take(p.residual + i * p.columns + begin, width, T(0), e + i * L);

  for (std::int64_t f = 0; f < p.features; ++f) {
    alignas(64) T weight[L], reg[L], noise[L], step[L];
    take(p.weights + f * p.columns + begin, width, T(0), weight);
    take(p.reg + f * p.columns + begin, width, T(1), reg);
    take(p.noise + f * p.columns + begin, width, T(0), noise);
    alignas(64) double sums[L] = {};
    double square = 0;
    const std::int64_t last = p.x.indptr[f + 1];
    for (std::int64_t at = p.x.indptr[f]; at < last; at += kRun) {
      V sum[VECTORS] = {};
      const std::int64_t end = last - at < kRun ? last : at + kRun;
      for (std::int64_t n = at; n < end; ++n) {
        const T x = p.x.values[n];
        const T* row = e + p.x.indices[n] * L;
        for (int k = 0; k < VECTORS; ++k) sum[k] += S::fill(x) * S::load(row + k * W);
        square += static_cast<double>(x) * x;
      }
      for (int k = 0; k < VECTORS; ++k) S::add_to(sums + k * W, sum[k]);
    }
    for (std::int64_t c = 0; c < L; ++c) {
      const double precision = square + reg[c];
      const double drawn = (sums[c] + square * weight[c]) / precision + noise[c] / __builtin_sqrt(precision);
      step[c] = static_cast<T>(drawn) - weight[c];
      weight[c] = static_cast<T>(drawn);
    }
    put(weight, width, p.weights + f * p.columns + begin);
    for (std::int64_t n = p.x.indptr[f]; n < last; ++n) {
      const V x = S::fill(p.x.values[n]);
      T* row = e + p.x.indices[n] * L;
      for (int k = 0; k < VECTORS; ++k) S::store(row + k * W, S::load(row + k * W) - x * S::load(step + k * W));
    }
  }
  for (std::int64_t i = 0; i < p.rows; ++i) put(e + i * L, width, p.residual + i * p.columns + begin);
}

// out_i = Σ_f x_if w_f for rows [begin, end).
template <class T>
static void apply_weights(const Entries& x, const T* weights, std::int64_t columns, std::int64_t begin,
                          std::int64_t end, T* out) {
  for (std::int64_t i = begin; i < end; ++i) {
    T* to = out + i * columns;
    for (std::int64_t c = 0; c < columns; ++c) to[c] = 0;
    for (std::int64_t n = x.indptr[i]; n < x.indptr[i + 1]; ++n) {
      const T factor = x.values[n];
      const T* w = weights + x.indices[n] * columns;
      for (std::int64_t c = 0; c < columns; ++c) to[c] += factor * w[c];
    }
  }
}

template <class T>
void gibbs_kernels(Kernels<T>& to) {
  to.weight_scratch = weight_scratch<T>;
  to.draw_weights = draw_weights<T>;
  to.apply_weights = apply_weights<T>;
}
template void gibbs_kernels(Kernels<float>&);
template void gibbs_kernels(Kernels<double>&);

}  // namespace cofactor::COFACTOR_ISA
