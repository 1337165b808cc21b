// Stochastic gradient descent over the ratings of one block, one after another.
//
//   e  = r − b_i − c_j − u_i·v_j
//   u_i ← s_i (u_i + η e v_j)      v_j ← s_j (v_j + η e u_i)      with both old values on the right
//   b_i ← t_i (b_i + η e)          c_j ← t_j (c_j + η e)
//
// A step η down the gradient of (e² + λ ‖u_i‖²) / 2 with the regularization taken implicitly:
// s = 1 / (1 + η λ), which shrinks and never overshoots, however large λ is.
#include "kernels.hpp"
#include "simd.hpp"

namespace cofactor::COFACTOR_ISA {

template <class T>
static double descend(const DescentProblem<T>& p, std::int64_t begin, std::int64_t end) {
  using S = Simd<T>;
  using V = typename S::vec;
  const std::int64_t rank = p.rank;  // a multiple of descent_multiple
  double total = 0;
  for (std::int64_t r = begin; r < end; ++r) {
    const std::int64_t i = p.users[r], j = p.items[r];
    T* u = p.user_factors + i * rank;
    T* v = p.item_factors + j * rank;
    V even = {}, odd = {};
    for (std::int64_t k = 0; k < rank; k += 2 * S::width) {
      even += S::load(u + k) * S::load(v + k);
      odd += S::load(u + k + S::width) * S::load(v + k + S::width);
    }
    const T e = p.values[r] - p.user_bias[i] - p.item_bias[j] - S::sum(even + odd);
    total += static_cast<double>(e) * static_cast<double>(e);
    const T step = p.rate * e;
    p.user_bias[i] = p.user_bias_shrink[i] * (p.user_bias[i] + step);
    p.item_bias[j] = p.item_bias_shrink[j] * (p.item_bias[j] + step);
    const V si = S::fill(p.user_shrink[i]), sj = S::fill(p.item_shrink[j]);
    const V hi = S::fill(p.user_shrink[i] * step), hj = S::fill(p.item_shrink[j] * step);
    for (std::int64_t k = 0; k < rank; k += S::width) {
      const V x = S::load(u + k), y = S::load(v + k);
      S::store(u + k, si * x + hi * y);
      S::store(v + k, sj * y + hj * x);
    }
  }
  return total;
}

template <class T>
void descent_kernels(Kernels<T>& to) {
  to.descend = descend<T>;
}
template void descent_kernels(Kernels<float>&);
template void descent_kernels(Kernels<double>&);

}  // namespace cofactor::COFACTOR_ISA
