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
    constexpr int parts = sizeof(double) / sizeof(T), size = width / parts;
    typedef T part __attribute__((vector_size(BYTES / parts)));
    typedef double wide __attribute__((vector_size(BYTES)));
    part lanes[parts];
    std::memcpy(lanes, &v, sizeof v);
    for (int p = 0; p < parts; ++p) {
      wide sum;
      std::memcpy(&sum, to + p * size, sizeof sum);
      sum += __builtin_convertvector(lanes[p], wide);
      std::memcpy(to + p * size, &sum, sizeof sum);
    }
  }

  // Sum of the lanes: halves are added to each other until one lane is left.
  static inline T sum(vec v) { return fold<width / 2, 1>(v)[0]; }

  // Lane l is the sum of the lanes of v[l % COUNT], a power of two of them at most as many as lanes. v is lost.
  template <int COUNT = width>
  static inline vec sums(vec* v) {
    static_assert(COUNT <= width);
    if constexpr (COUNT > 1) add_halves<COUNT / 2>(v);
    if constexpr (COUNT < width) return fold<width / 2, COUNT>(v[0]);
    return v[0];
  }

  // Lane l is p[l % COUNT].
  template <int COUNT>
  static inline vec repeat(const T* p) {
    vec v = fill(p[0]);
    if constexpr (COUNT == width) v = load(p);
    else if constexpr (COUNT > 1) {
      typedef T some __attribute__((vector_size(COUNT * sizeof(T))));
      some s;
      std::memcpy(&s, p, sizeof s);
      v = repeat_lanes<COUNT>(s, Lanes{});
    }
    return v;
  }

  // v, but zero in the lanes l with l % COUNT >= n.
  template <int COUNT>
  static inline vec first(vec v, std::int64_t n) {
    for (int l = 0; l < width; ++l) v[l] = l % COUNT < n ? v[l] : T(0);
    return v;
  }

  // v[a] becomes lane a of v[0] everywhere, for a < COUNT; v[0] is one of `sums`.
  template <int COUNT>
  static inline void spread(vec* v) {
    spread_lanes<COUNT>(v, std::make_integer_sequence<int, COUNT>{});
  }

  // v as a matrix (width, width), transposed in place.
  static inline void transpose(vec* v) { swap_halves<width / 2>(v); }

 private:
  using Lanes = std::make_integer_sequence<int, width>;

  // Halves are added to each other until every COUNT lanes are the same.
  template <int HALF, int COUNT>
  static inline vec fold(vec v) {
    v += rotate<HALF>(v, Lanes{});
    if constexpr (HALF > COUNT) return fold<HALF / 2, COUNT>(v);
    return v;
  }
  template <int COUNT, class Some, int... L>
  static inline vec repeat_lanes(Some v, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(v, v, (L % COUNT)...);
  }
  template <int COUNT, int... A>
  static inline void spread_lanes(vec* v, std::integer_sequence<int, A...>) {
    // within 16 bytes where that will do: such a shuffle is the fastest
    constexpr int span = COUNT * sizeof(T) <= 16 ? COUNT : width;
    const vec all = v[0];
    ((v[A] = lane<A, span>(all, Lanes{})), ...);
  }
  template <int A, int SPAN, int... L>
  static inline vec lane(vec v, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(v, v, (L / SPAN * SPAN + A)...);
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
