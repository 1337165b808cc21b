// Stochastic gradient descent over the ratings of one part, one after another.
//
//   e  = r − b_i − c_j − u_i·v_j
//   u_i ← s_i (u_i + η e v_j)      v_j ← s_j (v_j + η e u_i)      with both old values on the right
//   b_i ← t_i (b_i + η e)          c_j ← t_j (c_j + η e)
//
// A step η down the gradient of (e² + λ ‖u_i‖²) / 2 with the regularization taken implicitly:
// s = 1 / (1 + η λ), which shrinks and never overshoots, however large λ is.
//
// Rows are kept as u = α û and v = β v̂, so that shrinking one changes a single number:
//   û ← û + (η e β / α) v̂      v̂ ← v̂ + (η e α / β) û      α ← s_i α      β ← s_j β
#include "kernels.hpp"
#include "simd.hpp"

namespace cofactor::COFACTOR_ISA {

// Below this a scale is multiplied into its row.
template <class T>
static constexpr T kLeastScale = T(1) / 1024;

// Multiplies a scale into its factors. Out of the way of the loop over ratings, which seldom needs it.
template <class T>
[[gnu::noinline, gnu::cold]] static void apply_scale(T& scale, T* factors, std::int64_t rank) {
  for (std::int64_t k = 0; k < rank; ++k) factors[k] *= scale;
  scale = 1;
}

// VECTORS: those of a row, which then stays in registers from the product to the step; 0: any number.
template <class T, int VECTORS>
static double descend_rows(const DescentProblem<T>& problem, std::int64_t begin, std::int64_t end) {
  using S = Simd<T>;
  using V = typename S::vec;
  constexpr int W = S::width;
  const DescentProblem<T> p = problem;  // a copy of its own, which no store to a row changes
  const std::int64_t rank = VECTORS ? VECTORS * W : p.rank;
  double total = 0;
  const auto visit = [&](std::int64_t r) {
    DescentRow<T>& user = p.user_rows[p.users[r]];
    DescentRow<T>& item = p.item_rows[p.items[r]];
    T* u = p.user_factors + p.users[r] * rank;
    T* v = p.item_factors + p.items[r] * rank;
    const T user_scale = user.scale, item_scale = item.scale;
    V even = {}, odd = {};
    V x[VECTORS ? VECTORS : 1], y[VECTORS ? VECTORS : 1];
    if constexpr (VECTORS > 0) {
#pragma GCC unroll 16
      for (int k = 0; k < VECTORS; ++k) x[k] = S::load(u + k * W), y[k] = S::load(v + k * W);
#pragma GCC unroll 16
      for (int k = 0; k < VECTORS; k += 2) {
        even += x[k] * y[k];
        odd += x[k + 1] * y[k + 1];
      }
    } else {
      for (std::int64_t k = 0; k < rank; k += 2 * W) {
        even += S::load(u + k) * S::load(v + k);
        odd += S::load(u + k + W) * S::load(v + k + W);
      }
    }
    const T e = p.values[r] - user.bias - item.bias - user_scale * item_scale * S::sum(even + odd);
    total += static_cast<double>(e) * static_cast<double>(e);
    const T step = p.rate * e;
    user.bias = user.bias_shrink * (user.bias + step);
    item.bias = item.bias_shrink * (item.bias + step);
    const V to_u = S::fill(step * (item_scale / user_scale)), to_v = S::fill(step * (user_scale / item_scale));
    if constexpr (VECTORS > 0) {
#pragma GCC unroll 16
      for (int k = 0; k < VECTORS; ++k) {
        S::store(u + k * W, x[k] + to_u * y[k]);
        S::store(v + k * W, y[k] + to_v * x[k]);
      }
    } else {
      for (std::int64_t k = 0; k < rank; k += W) {
        const V a = S::load(u + k), b = S::load(v + k);
        S::store(u + k, a + to_u * b);
        S::store(v + k, b + to_v * a);
      }
    }
    user.scale = user_scale * user.shrink;
    item.scale = item_scale * item.shrink;
    if (user.scale < kLeastScale<T>) apply_scale(user.scale, u, rank);
    if (item.scale < kLeastScale<T>) apply_scale(item.scale, v, rank);
  };
  // The ratings of a user stand together, and each would wait for the row as the one before left it. Taken in turn
  // from several stretches, neighbours seldom share a row, and the processor has several under way.
  const std::int64_t stretch = (end - begin + descent_stretches - 1) / descent_stretches;
  for (std::int64_t at = begin; at < begin + stretch; ++at)
    for (std::int64_t r = at; r < end; r += stretch) visit(r);
  return total;
}

template <class T>
static double descend(const DescentProblem<T>& p, std::int64_t begin, std::int64_t end) {
  switch (p.rank / Simd<T>::width) {
    case 2:
      return descend_rows<T, 2>(p, begin, end);
    case 4:
      return descend_rows<T, 4>(p, begin, end);
    case 8:
      return descend_rows<T, 8>(p, begin, end);
    default:
      return descend_rows<T, 0>(p, begin, end);
  }
}

template <class T>
void descent_kernels(Kernels<T>& to) {
  to.descend = descend<T>;
}
template void descent_kernels(Kernels<float>&);
template void descent_kernels(Kernels<double>&);

}  // namespace cofactor::COFACTOR_ISA
