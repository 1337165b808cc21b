// What this machine can do at most: limits THREADS prints GFLOP/s of multiply-adds in float32, GB/s read in order, and
// GB/s of rows of 256 bytes read at random, from a table of 1 MB and from one of 256 MB.
// Compiled and run by limits.py.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef float vec __attribute__((vector_size(kBytes)));

static volatile float sink;

static float total(vec v) {
  float sum = 0;
  for (int l = 0; l < kBytes / 4; ++l) sum += v[l];
  return sum;
}

// Chains that do not wait for each other, as many as hide the time of one multiply-add.
static void multiply_add(long steps) {
  constexpr int kChains = 12;
  vec x[kChains], a = 0.999f - vec{}, b = 0.001f - vec{};
  for (int c = 0; c < kChains; ++c) x[c] = static_cast<float>(c) - vec{};
  for (long s = 0; s < steps; ++s) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) x[c] = x[c] * a + b;
  }
  for (int c = 1; c < kChains; ++c) x[0] += x[c];
  sink = total(x[0]);
}

static void read(const float* begin, const float* end) {
  constexpr int kLanes = kBytes / 4, kSums = 8;
  vec sum[kSums] = {};
  for (; begin + kLanes * kSums <= end; begin += kLanes * kSums)
#pragma GCC unroll 8
    for (int s = 0; s < kSums; ++s) {
      vec v;
      std::memcpy(&v, begin + kLanes * s, sizeof v);
      sum[s] += v;
    }
  for (int s = 1; s < kSums; ++s) sum[0] += sum[s];
  sink = total(sum[0]);
}

// Rows of 64 numbers, of 2^log_rows, in an order that jumps about.
static void gather(const float* table, int log_rows, long count, unsigned seed) {
  constexpr int kVectors = 256 / kBytes;
  vec sum[kVectors] = {};
  unsigned state = seed, ahead = seed;
  const auto next = [&](unsigned& at) { return table + 64l * ((at = at * 1664525u + 1013904223u) >> (32 - log_rows)); };
  for (int r = 0; r < 8; ++r) next(ahead);
  for (long r = 0; r < count; ++r) {
    const float *row = next(state), *later = next(ahead);
    for (int line = 0; line < 4; ++line) __builtin_prefetch(later + 16 * line);
#pragma GCC unroll 16
    for (int a = 0; a < kVectors; ++a) {
      vec v;
      std::memcpy(&v, row + a * kBytes / 4, sizeof v);
      sum[a] += v;
    }
  }
  for (int a = 1; a < kVectors; ++a) sum[0] += sum[a];
  sink = total(sum[0]);
}

// Seconds of task(t) on all threads at once, the best of some rounds.
template <class Task>
static double seconds(int threads, Task task) {
  double best = 1e9;
  for (int round = 0; round < 9; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t) pool.emplace_back(task, t);
    for (std::thread& t : pool) t.join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (took.count() < best) best = took.count();
  }
  return best;
}

int main(int, char** arguments) {
  const int threads = std::atoi(arguments[1]);
  const long steps = 4'000'000, size = 1 << 26;
  const double operations = 2.0 * 12 * (kBytes / 4) * steps * threads;
  const std::vector<float> data(size, 1.0f);
  const double computing = seconds(threads, [&](int) { multiply_add(steps); });
  const double reading = seconds(threads, [&](int t) {
    read(data.data() + size / threads * t, data.data() + size / threads * (t + 1));
  });
  std::printf("%g %g", operations / computing / 1e9, sizeof(float) * size / reading / 1e9);
  for (const int log_rows : {12, 20}) {
    const long rows = 2'000'000;
    const double took = seconds(threads, [&](int t) { gather(data.data(), log_rows, rows, 77u * t + 1); });
    std::printf(" %g", 256.0 * rows * threads / took / 1e9);
  }
  std::printf("\n");
}
