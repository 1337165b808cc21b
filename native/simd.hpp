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

#if !defined(__GNUC__)
#error "cofactor's kernels use the vector extensions of GCC and Clang; on Windows build with clang-cl"
#endif

namespace cofactor::COFACTOR_ISA {

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
  static inline T sum(vec v) {
    T lane[width];
    store(lane, v);
    for (int half = width / 2; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
    return lane[0];
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
