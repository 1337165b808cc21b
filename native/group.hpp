// Counting sort: the places of each key, in order; and compressed ratings the other way round.
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

// From ratings of rows, compressed, to those of columns, rows ascending in each.
inline void transpose(const std::int64_t* indptr, const std::int32_t* indices, const float* values, std::int64_t rows,
                      std::int64_t columns, std::int64_t* column_indptr, std::int32_t* column_rows,
                      float* column_values) {
  const std::int64_t count = indptr[rows];
  std::fill(column_indptr, column_indptr + columns + 1, 0);
  for (std::int64_t r = 0; r < count; ++r) ++column_indptr[indices[r] + 1];
  for (std::int64_t j = 0; j < columns; ++j) column_indptr[j + 1] += column_indptr[j];
  std::vector<std::int64_t> next(column_indptr, column_indptr + columns);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t r = indptr[i]; r < indptr[i + 1]; ++r) {
      const std::int64_t to = next[indices[r]]++;
      column_rows[to] = static_cast<std::int32_t>(i);
      column_values[to] = values[r];
    }
}

}  // namespace cofactor
