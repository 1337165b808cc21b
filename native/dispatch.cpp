// Picks the kernels for the processor this runs on.
#include <cstdlib>
#include <cstring>

#include "kernels.hpp"

namespace cofactor {

#define COFACTOR_DECLARE(isa)                     \
  namespace isa {                                 \
  template <class T>                              \
  void sweep_kernels(Kernels<T>&);                \
  template <class T>                              \
  void stream_kernels(Kernels<T>&);               \
  template <class T>                              \
  void topk_kernels(Kernels<T>&);                 \
  template <class T>                              \
  void descent_kernels(Kernels<T>&);              \
  template <class T>                              \
  void gibbs_kernels(Kernels<T>&);                \
  }                                               \
  static InstructionSet make_##isa(int bits) {    \
    InstructionSet set{#isa, bits, {}, {}};       \
    isa::sweep_kernels(set.f32);                  \
    isa::sweep_kernels(set.f64);                  \
    isa::stream_kernels(set.f32);                 \
    isa::stream_kernels(set.f64);                 \
    isa::topk_kernels(set.f32);                   \
    isa::topk_kernels(set.f64);                   \
    isa::descent_kernels(set.f32);                \
    isa::descent_kernels(set.f64);                \
    isa::gibbs_kernels(set.f32);                  \
    isa::gibbs_kernels(set.f64);                  \
    return set;                                   \
  }

COFACTOR_DECLARE(baseline)  // 128 bits: SSE2 on x86-64, NEON on arm64
#ifdef COFACTOR_X86
COFACTOR_DECLARE(avx2)
COFACTOR_DECLARE(avx512)
#endif

static InstructionSet choose() {
  [[maybe_unused]] const char* wanted = std::getenv("COFACTOR_ISA");
#ifdef COFACTOR_X86
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  const bool any = wanted == nullptr || *wanted == 0;
  if (has_avx512 && (any || std::strcmp(wanted, "avx512") == 0)) return make_avx512(512);
  if (has_avx2 && (any || std::strcmp(wanted, "avx512") == 0 || std::strcmp(wanted, "avx2") == 0))
    return make_avx2(256);
#endif
  return make_baseline(128);
}

const InstructionSet& instruction_set() {
  static const InstructionSet set = choose();
  return set;
}

}  // namespace cofactor
