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

static constexpr std::int64_t kChunkBytes = 1 << 18;

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

// Queries side by side, a lane each: as many as fill kVectors vectors.
static constexpr int kVectors = 4;
// Sums in registers at a time: with the vectors of queries and one of an item they fill the register file.
static constexpr int kSums = COFACTOR_VECTOR_BYTES == 64 ? 24 : 12;

// A panel of queries on its way through the items.
template <class T>
struct Panel {
  const T* queries;  // (rank, lanes), transposed
  T* bars;           // (lanes,) what a score must exceed; ∞ in lanes without a query
  Best<T>* best;     // (queries,)
  std::int64_t first, count;  // queries
};

template <class T>
static void offer(const TopkProblem<T>& p, Panel<T>& panel, std::int64_t lane, std::int32_t item, T score) {
  const std::int64_t skip = p.skip_indptr[panel.first + lane], end = p.skip_indptr[panel.first + lane + 1];
  if (contains(p.skip_indices + skip, end - skip, item)) return;
  Best<T>& best = panel.best[lane];
  best.offer(item, score);
  if (best.count == best.capacity) panel.bars[lane] = best.scores[0];
}

// Items [begin, end) for a panel of V vectors of L lanes, I items at a time.
template <class T, int L, int V>
static void scan(const TopkProblem<T>& p, Panel<T>& panel, std::int64_t begin, std::int64_t end) {
  typedef T vec __attribute__((vector_size(L * sizeof(T))));
  constexpr int I = kSums / (V < 2 ? 2 : V);
  const std::int64_t rank = p.rank;
  for (std::int64_t j0 = begin; j0 < end; j0 += I) {
    const T* item[I];  // the last item stands in for missing ones
    vec sum[I][V];
#pragma GCC unroll 12
    for (int i = 0; i < I; ++i) {
      const std::int64_t j = j0 + i < end ? j0 + i : end - 1;
      item[i] = p.items + j * rank;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[i][v] = p.bias[j] - vec{};
    }
    for (std::int64_t k = 0; k < rank; ++k) {
      vec query[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) std::memcpy(&query[v], panel.queries + (k * V + v) * L, sizeof(vec));
#pragma GCC unroll 12
      for (int i = 0; i < I; ++i) {
        const vec value = item[i][k] - vec{};
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[i][v] += value * query[v];
      }
    }
    auto above = vec{} > vec{};
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      vec bar, highest = sum[0][v];
      std::memcpy(&bar, panel.bars + v * L, sizeof bar);
#pragma GCC unroll 12
      for (int i = 1; i < I; ++i) highest = highest < sum[i][v] ? sum[i][v] : highest;
      above |= highest > bar;
    }
    std::uint64_t words[sizeof above / 8], any = 0;
    std::memcpy(words, &above, sizeof words);
    for (std::uint64_t w : words) any |= w;
    if (any == 0) continue;
    T scores[I][V * L];
    std::memcpy(scores, sum, sizeof scores);
    for (int i = 0; i < I && j0 + i < end; ++i)
      for (std::int64_t lane = 0; lane < panel.count; ++lane)
        if (scores[i][lane] > panel.bars[lane])
          offer(p, panel, lane, static_cast<std::int32_t>(j0 + i), scores[i][lane]);
  }
}

template <class T>
static constexpr std::int64_t panel_lanes = kVectors * Simd<T>::width;

template <class T>
static std::size_t topk_scratch(const TopkProblem<T>& p) {
  const std::int64_t lanes = topk_block + panel_lanes<T>;
  return sizeof(T) * lanes * (p.rank + 1) + 64;
}

template <class T>
static void topk(const TopkProblem<T>& p, std::int64_t query_begin, std::int64_t query_end, std::int64_t item_begin,
                 std::int64_t item_end, std::int32_t* out_items, T* out_scores, void* scratch) {
  constexpr int W = Simd<T>::width, narrow = 16 / sizeof(T);
  const T infinity = __builtin_inf();
  T* room = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(scratch) + 63) / 64 * 64);

  Best<T> best[topk_block];
  Panel<T> panels[topk_block / W + 1];
  int n_panels = 0;
  for (std::int64_t q = query_begin; q < query_end; ++q)
    best[q - query_begin] = {out_items + (q - query_begin) * p.n, out_scores + (q - query_begin) * p.n, p.n, 0};
  for (std::int64_t q = query_begin; q < query_end; q += panel_lanes<T>) {
    Panel<T>& panel = panels[n_panels++];
    panel.first = q, panel.best = best + (q - query_begin);
    panel.count = query_end - q < panel_lanes<T> ? query_end - q : panel_lanes<T>;
    const std::int64_t lanes = panel.count <= narrow ? narrow : (panel.count + W - 1) / W * W;
    for (std::int64_t k = 0; k < p.rank; ++k)
      for (std::int64_t l = 0; l < lanes; ++l)
        room[k * lanes + l] = l < panel.count ? p.queries[(q + l) * p.rank + k] : T(0);
    panel.queries = room, room += p.rank * lanes;
    for (std::int64_t l = 0; l < lanes; ++l) room[l] = l < panel.count ? -infinity : infinity;
    panel.bars = room, room += lanes;
  }
  // So many items stay in the second-level cache while all panels pass them.
  const std::int64_t chunk = kChunkBytes / (sizeof(T) * (p.rank + 1)) / kSums * kSums + kSums;
  for (std::int64_t j = item_begin; j < item_end; j += chunk) {
    const std::int64_t end = item_end - j < chunk ? item_end : j + chunk;
    for (int at = 0; at < n_panels; ++at) {
      Panel<T>& panel = panels[at];
      if (panel.count <= narrow)
        scan<T, narrow, 1>(p, panel, j, end);
      else if (panel.count <= W)
        scan<T, W, 1>(p, panel, j, end);
      else if (panel.count <= 2 * W)
        scan<T, W, 2>(p, panel, j, end);
      else if (panel.count <= 3 * W)
        scan<T, W, 3>(p, panel, j, end);
      else
        scan<T, W, 4>(p, panel, j, end);
    }
  }
  for (std::int64_t q = query_begin; q < query_end; ++q) {
    Best<T>& mine = best[q - query_begin];
    for (std::int64_t rank = mine.count; rank < p.n; ++rank) {
      mine.items[rank] = -1;
      mine.scores[rank] = -infinity;
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
