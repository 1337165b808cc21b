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

// Sum of 2n lanes, for LANE = 0 … n − 1: the upper half is added to the lower, down to one.
template <class T, class Vec, int... LANE>
static inline T sum_halves(Vec v, std::integer_sequence<int, LANE...>) {
  constexpr int half = sizeof...(LANE);
  if constexpr (half == 1)
    return v[0] + v[1];
  else
    return sum_halves<T>(__builtin_shufflevector(v, v, LANE...) + __builtin_shufflevector(v, v, (LANE + half)...),
                         std::make_integer_sequence<int, half / 2>{});
}

template <class T>
struct Simd {
  typedef T vec __attribute__((vector_size(COFACTOR_VECTOR_BYTES)));
  static constexpr int width = COFACTOR_VECTOR_BYTES / sizeof(T);

  static inline vec load(const T* p) {
    vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static inline void store(T* p, vec v) { std::memcpy(p, &v, sizeof v); }
  static inline vec fill(T s) { return s - vec{}; }

  // Sum of the lanes, pairwise, always in the same order.
  static inline T sum(vec v) { return sum_halves<T>(v, std::make_integer_sequence<int, width / 2>{}); }

  static inline bool any_greater(vec a, vec b) {
    const auto mask = a > b;
    std::uint64_t words[COFACTOR_VECTOR_BYTES / 8];
    std::memcpy(words, &mask, sizeof words);
    std::uint64_t any = 0;
    for (std::uint64_t w : words) any |= w;
    return any != 0;
  }
};

template <class T>
static inline std::int64_t round_up(std::int64_t n) {
  return (n + Simd<T>::width - 1) / Simd<T>::width * Simd<T>::width;
}

}  // namespace cofactor::COFACTOR_ISA
