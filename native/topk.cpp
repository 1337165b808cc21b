// The best n items for each of many queries, exactly, without ever holding all scores.
//
//   score(q, j) = query_q · item_j + bias_j
//
// Items go by in panels of two vectors, transposed so that a lane is an item; every query of the
// block is multiplied with the panel while it lies in the first-level cache, and only scores above
// the query's present n-th best are looked at further. Ties go to the lower item.
#include "kernels.hpp"
#include "simd.hpp"

namespace cofactor::COFACTOR_ISA {

static constexpr int kQueries = 8;  // queries in registers at a time

// The n best so far, as a binary heap with the worst on top.
template <class T>
struct Best {
  std::int32_t* items;
  T* scores;
  std::int64_t capacity, count;

  bool worse(std::int64_t a, std::int64_t b) const {
    return scores[a] < scores[b] || (scores[a] == scores[b] && items[a] > items[b]);
  }
  void swap(std::int64_t a, std::int64_t b) {
    const T score = scores[a];
    const std::int32_t item = items[a];
    scores[a] = scores[b], items[a] = items[b];
    scores[b] = score, items[b] = item;
  }
  void sink(std::int64_t at) {
    for (;;) {
      std::int64_t child = 2 * at + 1;
      if (child >= count) return;
      if (child + 1 < count && worse(child + 1, child)) ++child;
      if (!worse(child, at)) return;
      swap(at, child);
      at = child;
    }
  }
  void offer(std::int32_t item, T score) {
    if (count == capacity) {
      scores[0] = score, items[0] = item;
      sink(0);
      return;
    }
    scores[count] = score, items[count] = item;
    for (std::int64_t at = count++; at > 0 && worse(at, (at - 1) / 2); at = (at - 1) / 2) swap(at, (at - 1) / 2);
  }
  void sort() {  // best first
    const std::int64_t all = count;
    while (count > 1) {
      --count;
      swap(0, count);
      sink(0);
    }
    count = all;
  }
};

static inline bool contains(const std::int32_t* sorted, std::int64_t n, std::int32_t value) {
  std::int64_t low = 0, high = n;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (sorted[middle] < value)
      low = middle + 1;
    else
      high = middle;
  }
  return low < n && sorted[low] == value;
}

template <class T>
static std::size_t topk_scratch(const TopkProblem<T>& p) {
  constexpr std::int64_t lanes = 2 * Simd<T>::width;
  return sizeof(T) * (p.rank * lanes + lanes + topk_block * p.rank) + 64;
}

template <class T>
static void topk(const TopkProblem<T>& p, std::int64_t query_begin, std::int64_t query_end, std::int64_t item_begin,
                 std::int64_t item_end, std::int32_t* out_items, T* out_scores, void* scratch) {
  using S = Simd<T>;
  using vec = typename S::vec;
  constexpr int W = S::width;
  constexpr std::int64_t lanes = 2 * W;
  const T lowest = -__builtin_inf();

  T* panel = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(scratch) + 63) / 64 * 64);
  T* panel_bias = panel + p.rank * lanes;

  Best<T> best[topk_block];
  for (std::int64_t q = query_begin; q < query_end; ++q)
    best[q - query_begin] = {out_items + (q - query_begin) * p.n, out_scores + (q - query_begin) * p.n, p.n, 0};

  for (std::int64_t j0 = item_begin; j0 < item_end; j0 += lanes) {
    const std::int64_t count = item_end - j0 < lanes ? item_end - j0 : lanes;
    for (std::int64_t l = 0; l < lanes; ++l) {
      const T* item = p.items + (j0 + l) * p.rank;
      for (std::int64_t k = 0; k < p.rank; ++k) panel[k * lanes + l] = l < count ? item[k] : T(0);
      panel_bias[l] = l < count ? p.bias[j0 + l] : lowest;
    }
    for (std::int64_t q0 = query_begin; q0 < query_end; q0 += kQueries) {
      const std::int64_t some = query_end - q0 < kQueries ? query_end - q0 : kQueries;
      const T* query[kQueries];  // the last query stands in for missing ones
      for (int a = 0; a < kQueries; ++a) query[a] = p.queries + (q0 + (a < some ? a : some - 1)) * p.rank;
      vec low[kQueries], high[kQueries];
#pragma GCC unroll 8
      for (int a = 0; a < kQueries; ++a) low[a] = S::load(panel_bias), high[a] = S::load(panel_bias + W);
      for (std::int64_t k = 0; k < p.rank; ++k) {
        const vec left = S::load(panel + k * lanes), right = S::load(panel + k * lanes + W);
#pragma GCC unroll 8
        for (int a = 0; a < kQueries; ++a) {
          const vec u = S::fill(query[a][k]);
          low[a] += u * left;
          high[a] += u * right;
        }
      }
#pragma GCC unroll 8
      for (int a = 0; a < kQueries; ++a) {
        if (a >= some) break;
        Best<T>& mine = best[q0 - query_begin + a];
        T threshold = mine.count == mine.capacity ? mine.scores[0] : lowest;
        const vec bar = S::fill(threshold);
        if (!S::any_greater(low[a], bar) && !S::any_greater(high[a], bar)) continue;
        T score[lanes];
        S::store(score, low[a]);
        S::store(score + W, high[a]);
        const std::int64_t skip = p.skip_indptr[q0 + a];
        const std::int64_t n_skip = p.skip_indptr[q0 + a + 1] - skip;
        for (std::int64_t l = 0; l < count; ++l) {
          if (!(score[l] > threshold)) continue;
          const std::int32_t item = static_cast<std::int32_t>(j0 + l);
          if (contains(p.skip_indices + skip, n_skip, item)) continue;
          mine.offer(item, score[l]);
          threshold = mine.count == mine.capacity ? mine.scores[0] : lowest;
        }
      }
    }
  }
  for (std::int64_t q = query_begin; q < query_end; ++q) {
    Best<T>& mine = best[q - query_begin];
    for (std::int64_t rank = mine.count; rank < p.n; ++rank) {
      mine.items[rank] = -1;
      mine.scores[rank] = lowest;
    }
    mine.sort();
  }
}

template <class T>
void topk_kernels(Kernels<T>& to) {
  to.topk_scratch = topk_scratch<T>;
  to.topk = topk<T>;
}
template void topk_kernels(Kernels<float>&);
template void topk_kernels(Kernels<double>&);

}  // namespace cofactor::COFACTOR_ISA
