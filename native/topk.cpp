// The best n items for each of many queries, exactly, without ever holding all scores.
//
//   score(q, j) = query_q · item_j + bias_j
//
// A lane is a query, so items are read as they lie in memory, one number at a time for all lanes, and each score is
// summed in the same order whatever else is asked. Only scores above a query's bar, its present n-th best, are looked
// at further. Ties go to the lower item.
#include "kernels.hpp"
#include "simd.hpp"

namespace cofactor::COFACTOR_ISA {

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

// Bounds must hold for scores as computed. A sum of n rounded terms is off by less than n ε / 2 of the sum of their
// sizes, ε the distance of 1 to the next number; a product too small to be held by less than the smallest normal one.
template <class T>
static constexpr T smallest = sizeof(T) == 4 ? T(0x1p-126) : T(0x1p-1022);
template <class T>
static constexpr T slack(std::int64_t rank) {
  return (rank + 16) * (sizeof(T) == 4 ? T(0x1p-23) : T(0x1p-52));
}

static constexpr int kVectors = 4;  // of queries side by side, at most
// Sums in registers at a time: with the vectors of queries and one of an item they fill the register file.
static constexpr int kSums = COFACTOR_VECTOR_BYTES == 64 ? 24 : 12;
// So much of the items stays in the second-level cache while all panels of a task pass it.
static constexpr std::int64_t kChunkBytes = 1 << 18;

template <class T>
static constexpr std::int64_t panel_lanes = kVectors * Simd<T>::width;

// A panel of queries on its way through the items.
template <class T>
struct Panel {
  const std::int32_t* which;  // (count,) the queries
  std::int64_t count;
  Best<T>* best;  // (count,)
  T* queries;     // (rank, lanes), transposed
  T* bars;        // (lanes,) what a score must exceed; ∞ in lanes without a query
  T* norms;       // (lanes,)
  std::int64_t unpruned;  // chunks still to come that are not worth the pruning
};

template <class T>
static void offer(const TopkProblem<T>& p, const Panel<T>& panel, std::int64_t lane, std::int32_t item, T score) {
  const std::int64_t q = panel.which[lane], skip = p.skip_indptr[q];
  if (contains(p.skip_indices + skip, p.skip_indptr[q + 1] - skip, item)) return;
  Best<T>& best = panel.best[lane];
  best.offer(item, score);
  if (best.count == best.capacity) panel.bars[lane] = best.scores[0];
}

// The items begin … begin + count, or those listed, for a panel of V vectors of L lanes.
template <class T, int L, int V>
static void scan(const TopkProblem<T>& p, const Panel<T>& panel, std::int32_t begin, const std::int32_t* list,
                 std::int64_t count) {
  typedef T vec __attribute__((vector_size(L * sizeof(T))));
  constexpr int I = kSums / V < 6 ? kSums / V : 6;  // items at a time
  const std::int64_t rank = p.rank;
  for (std::int64_t at = 0; at < count; at += I) {
    std::int32_t item[I];  // the last one stands in for missing ones
    const T* factors[I];
    vec sum[I][V];
#pragma GCC unroll 6
    for (int i = 0; i < I; ++i) {
      const std::int64_t place = at + i < count ? at + i : count - 1;
      item[i] = list == nullptr ? static_cast<std::int32_t>(begin + place) : list[place];
      factors[i] = p.items + item[i] * rank;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[i][v] = p.bias[item[i]] - vec{};
    }
    if (list != nullptr)  // no hardware foresees which item is next
      for (std::int64_t next = at + I; next < at + 2 * I && next < count; ++next)
        for (std::int64_t k = 0; k < rank; k += 64 / sizeof(T)) __builtin_prefetch(p.items + list[next] * rank + k);
    for (std::int64_t k = 0; k < rank; ++k) {
      vec query[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) std::memcpy(&query[v], panel.queries + (k * V + v) * L, sizeof(vec));
#pragma GCC unroll 6
      for (int i = 0; i < I; ++i) {
        const vec value = factors[i][k] - vec{};
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[i][v] += value * query[v];
      }
    }
    auto above = vec{} > vec{};
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      vec bar, highest = sum[0][v];
      std::memcpy(&bar, panel.bars + v * L, sizeof bar);
#pragma GCC unroll 6
      for (int i = 1; i < I; ++i) highest = highest < sum[i][v] ? sum[i][v] : highest;
      above |= highest > bar;
    }
    if (!any(above)) continue;
    T scores[I][V * L];
    std::memcpy(scores, sum, sizeof scores);
    for (int i = 0; i < I && at + i < count; ++i)
      for (std::int64_t lane = 0; lane < panel.count; ++lane)
        if (scores[i][lane] > panel.bars[lane]) offer(p, panel, lane, item[i], scores[i][lane]);
  }
}

// Lists the items [begin, end) whose bound exceeds a bar for one of the queries; returns how many.
template <class T>
static std::int64_t list_promising(const TopkProblem<T>& p, const T* item_norms, std::int64_t begin, std::int64_t end,
                                   const T* query_norms, const T* bars, std::int64_t n_queries, std::int32_t* list) {
  using S = Simd<T>;
  using vec = typename S::vec;
  constexpr int W = S::width;
  // The bias, as the norms: up beyond the rounding of the sum, and of products too small to be held.
  const vec up = S::fill(1 + slack<T>(p.rank)), down = S::fill(1 - slack<T>(p.rank)), tiny = S::fill(smallest<T>);
  std::int64_t found = 0;
  for (std::int64_t j = begin; j < end; j += W) {
    const std::int64_t some = end - j < W ? end - j : W;
    T rest[2][W] = {};
    const bool whole = some == W;
    if (!whole) {
      std::memcpy(rest[0], item_norms + j, some * sizeof(T));
      std::memcpy(rest[1], p.bias + j, some * sizeof(T));
    }
    const vec norm = S::load(whole ? item_norms + j : rest[0]), bias = S::load(whole ? p.bias + j : rest[1]);
    const vec high = bias * (bias > vec{} ? up : down) + tiny;
    auto above = vec{} > vec{};
    for (std::int64_t q = 0; q < n_queries; ++q)  // not ≤, so that what is not a number counts
      above |= ~(high + S::fill(query_norms[q]) * norm <= S::fill(bars[q]));
    if (!any(above)) continue;
    for (std::int64_t l = 0; l < some; ++l) {
      list[found] = static_cast<std::int32_t>(j + l);
      found += above[l] != 0;
    }
  }
  return found;
}

template <class T>
static std::int64_t topk_promising(const TopkProblem<T>& p, const T* item_norms, std::int64_t item_begin,
                                   std::int64_t item_end, T query_norm, T bar, std::int32_t* list) {
  return list_promising(p, item_norms, item_begin, item_end, &query_norm, &bar, 1, list);
}

template <class T>
static std::int64_t topk_chunk(const TopkProblem<T>& p) {
  return kChunkBytes / static_cast<std::int64_t>(sizeof(T) * (p.rank + 1)) / kSums * kSums + kSums;
}

template <class T>
static std::size_t topk_scratch(const TopkProblem<T>& p) {
  const std::int64_t lanes = topk_block + panel_lanes<T>;
  return sizeof(T) * lanes * (p.rank + 2) + sizeof(std::int32_t) * topk_chunk(p) + 64;
}

template <class T>
static void topk(const TopkProblem<T>& p, const TopkTask<T>& task, std::int32_t* out_items, T* out_scores,
                 void* scratch) {
  constexpr int W = Simd<T>::width, narrow = 16 / sizeof(T);
  const T infinity = __builtin_inf();
  T* room = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(scratch) + 63) / 64 * 64);

  Best<T> best[topk_block];
  for (std::int64_t at = 0; at < task.n_queries; ++at) {
    const std::int64_t q = task.queries[at];
    best[at] = {out_items + q * p.n, out_scores + q * p.n, p.n, 0};
  }
  Panel<T> panels[topk_block / panel_lanes<T> + 1];
  int n_panels = 0;
  for (std::int64_t at = 0; at < task.n_queries; at += panel_lanes<T>) {
    Panel<T>& panel = panels[n_panels++];
    panel.count = task.n_queries - at < panel_lanes<T> ? task.n_queries - at : panel_lanes<T>;
    panel.which = task.queries + at, panel.best = best + at, panel.unpruned = 0;
    const std::int64_t lanes = panel.count <= narrow ? narrow : (panel.count + W - 1) / W * W;
    panel.queries = room, panel.bars = room + p.rank * lanes, panel.norms = panel.bars + lanes;
    room = panel.norms + lanes;
    for (std::int64_t l = 0; l < lanes; ++l) {
      const std::int64_t q = l < panel.count ? panel.which[l] : -1;
      for (std::int64_t k = 0; k < p.rank; ++k)
        panel.queries[k * lanes + l] = q < 0 ? T(0) : p.queries[q * p.rank + k];
      panel.bars[l] = q < 0 ? infinity : task.bars == nullptr ? -infinity : task.bars[q];
      panel.norms[l] = q < 0 || task.query_norms == nullptr ? T(0) : task.query_norms[q];
    }
  }
  std::int32_t* room_for_list = reinterpret_cast<std::int32_t*>(room);
  const std::int64_t chunk = topk_chunk(p);
  for (std::int64_t j = task.item_begin; j < task.item_end; j += chunk) {
    const std::int64_t all = task.item_end - j < chunk ? task.item_end - j : chunk;
    for (int at = 0; at < n_panels; ++at) {
      Panel<T>& panel = panels[at];
      const std::int32_t* list = task.items == nullptr ? nullptr : task.items + j;
      std::int64_t count = all;
      if (task.query_norms != nullptr && --panel.unpruned < 0) {
        list = room_for_list, count = list_promising(p, task.item_norms, j, j + all, panel.norms, panel.bars,
                                                             panel.count, room_for_list);
        if (count > all / 4 * 3) panel.unpruned = 16;
      }
      const std::int32_t begin = static_cast<std::int32_t>(j);
      if (panel.count <= narrow)
        scan<T, narrow, 1>(p, panel, begin, list, count);
      else if (panel.count <= W)
        scan<T, W, 1>(p, panel, begin, list, count);
      else if (panel.count <= 2 * W)
        scan<T, W, 2>(p, panel, begin, list, count);
      else if (panel.count <= 3 * W)
        scan<T, W, 3>(p, panel, begin, list, count);
      else
        scan<T, W, 4>(p, panel, begin, list, count);
    }
  }
  for (std::int64_t at = 0; at < task.n_queries; ++at) {
    Best<T>& mine = best[at];
    for (std::int64_t rank = mine.count; rank < p.n; ++rank) {
      mine.items[rank] = -1;
      mine.scores[rank] = -infinity;
    }
    mine.sort();
  }
}

template <class T>
static void topk_norms(const T* rows, std::int64_t begin, std::int64_t end, std::int64_t rank, T* norms) {
  using S = Simd<T>;
  for (std::int64_t i = begin; i < end; ++i) {
    const T* row = rows + i * rank;
    typename S::vec squares{};
    std::int64_t k = 0;
    for (; k + S::width <= rank; k += S::width) squares += S::load(row + k) * S::load(row + k);
    T sum = S::sum(squares) + rank * smallest<T>;
    for (; k < rank; ++k) sum += row[k] * row[k];
    norms[i] = (sizeof(T) == 4 ? __builtin_sqrtf(sum) : __builtin_sqrt(sum)) * (1 + slack<T>(rank));
  }
}

template <class T>
void topk_kernels(Kernels<T>& to) {
  to.topk_scratch = topk_scratch<T>;
  to.topk = topk<T>;
  to.topk_promising = topk_promising<T>;
  to.topk_norms = topk_norms<T>;
}
template void topk_kernels(Kernels<float>&);
template void topk_kernels(Kernels<double>&);

}  // namespace cofactor::COFACTOR_ISA
