// Vectors of the widest kind this translation unit is compiled for.
//
// Every kernel file is compiled once per instruction set (see CMakeLists.txt), each time into a
// namespace of its own, COFACTOR_ISA, with COFACTOR_VECTOR_BYTES set to the register width.
// dispatch.cpp picks one when the module is loaded. Such files must not instantiate functions of
// the C++ library that the linker could merge with those of other files: a std::sort compiled for
// AVX-512 would then run on a machine without it.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if !defined(__GNUC__)
#error "cofactor's kernels use the vector extensions of GCC and Clang; on Windows build with clang-cl"
#endif

namespace cofactor::COFACTOR_ISA {

template <class T, int BYTES = COFACTOR_VECTOR_BYTES>
struct Simd {
  typedef T vec __attribute__((vector_size(BYTES)));
  static constexpr int width = BYTES / sizeof(T);

  static inline vec load(const T* p) {
    vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static inline void store(T* p, vec v) { std::memcpy(p, &v, sizeof v); }
  static inline vec fill(T s) { return s - vec{}; }

  // to[l] += v[l]
  static inline void add_to(double* to, vec v) {
    T lane[width];
    store(lane, v);
    for (int l = 0; l < width; ++l) to[l] += static_cast<double>(lane[l]);
  }

  // Sum of the lanes: halves are added to each other until one lane is left.
  static inline T sum(vec v) { return fold<width / 2>(v)[0]; }

  // Lane r is the sum of the lanes of v[r], added in the order of `sum`. v is lost.
  static inline vec sums(vec* v) {
    add_halves<width / 2>(v);
    return v[0];
  }

  // v as a matrix (width, width), transposed in place.
  static inline void transpose(vec* v) { swap_halves<width / 2>(v); }

 private:
  using Lanes = std::make_integer_sequence<int, width>;

  template <int HALF>
  static inline vec fold(vec v) {
    v += rotate<HALF>(v, Lanes{});
    if constexpr (HALF > 1) return fold<HALF / 2>(v);
    return v;
  }
  template <int BY, int... L>
  static inline vec rotate(vec v, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(v, v, ((L + BY) % width)...);
  }

  // Of every 2·HALF lanes the lower (or higher) HALF of x, then those of y.
  template <int HALF, int... L>
  static inline vec lower(vec x, vec y, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(x, y, (L % (2 * HALF) < HALF ? L : width + L - HALF)...);
  }
  template <int HALF, int... L>
  static inline vec higher(vec x, vec y, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(x, y, (L % (2 * HALF) < HALF ? L + HALF : width + L)...);
  }

  template <int HALF>
  static inline void add_halves(vec* v) {
#pragma GCC unroll 16
    for (int r = 0; r < HALF; ++r)
      v[r] = lower<HALF>(v[r], v[r + HALF], Lanes{}) + higher<HALF>(v[r], v[r + HALF], Lanes{});
    if constexpr (HALF > 1) add_halves<HALF / 2>(v);
  }

  template <int HALF>
  static inline void swap_halves(vec* v) {
#pragma GCC unroll 16
    for (int r = 0; r < width; ++r) {
      if (r % (2 * HALF) >= HALF) continue;
      const vec x = v[r], y = v[r + HALF];
      v[r] = lower<HALF>(x, y, Lanes{});
      v[r + HALF] = higher<HALF>(x, y, Lanes{});
    }
    if constexpr (HALF > 1) swap_halves<HALF / 2>(v);
  }
};

// Whether a lane of a comparison's result is true.
template <class Mask>
static inline bool any(Mask mask) {
  std::uint64_t words[sizeof mask / 8], all = 0;
  std::memcpy(words, &mask, sizeof words);
  for (std::uint64_t w : words) all |= w;
  return all != 0;
}

template <class T>
static inline std::int64_t round_up(std::int64_t n) {
  return (n + Simd<T>::width - 1) / Simd<T>::width * Simd<T>::width;
}

}  // namespace cofactor::COFACTOR_ISA
