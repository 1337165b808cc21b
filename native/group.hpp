// Counting sort: the places of each key, in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace cofactor {

// Stable: order[indptr[k] .. indptr[k + 1]) are the places where key k stands, first to last.
inline void group(const std::int32_t* key, std::int64_t count, std::int64_t n, std::int64_t* indptr,
                  std::int64_t* order) {
  std::fill(indptr, indptr + n + 1, 0);
  for (std::int64_t r = 0; r < count; ++r) ++indptr[key[r] + 1];
  for (std::int64_t k = 0; k < n; ++k) indptr[k + 1] += indptr[k];
  std::vector<std::int64_t> next(indptr, indptr + n);
  for (std::int64_t r = 0; r < count; ++r) order[next[key[r]]++] = r;
}

}  // namespace cofactor
