// Ratings as steps of a scale, each what lies between two thresholds of something unseen:
//
//   z = s + ε,  ε ~ N(0, 1)        class c where  γ_c < z < γ_{c+1},  γ_0 = −∞,  γ_C = ∞
//   P(c) = Φ(γ_{c+1} − s) − Φ(γ_c − s)
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace cofactor {

inline double normal_cdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752); }

// Φ(b) − Φ(a) for a < b, of the tail that has the digits.
inline double normal_between(double a, double b) {
  return a > 0 ? normal_cdf(-a) - normal_cdf(-b) : normal_cdf(b) - normal_cdf(a);
}

// Φ⁻¹(p) for 0 < p <= 1/2: M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions", 26.2.23, and two steps of
// Halley's method, each of which triples the digits.
inline double lower_quantile(double p) {
  const double t = std::sqrt(-2 * std::log(p));
  double x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
  for (int step = 0; step < 2; ++step) {
    const double error = (normal_cdf(x) - p) * 2.5066282746310005 * std::exp(x * x / 2);
    x -= error / (1 + x * error / 2);
  }
  return x;
}

// z ~ N(s, 1) between γ_c and γ_{c+1}, from a uniform number in (0, 1).
inline double between_thresholds(double s, double low, double high, double uniform) {
  const double a = low - s, b = high - s;
  const bool above = a > 0;  // mirrored, so that the tail is the lower one
  const double from = normal_cdf(above ? -b : a), to = normal_cdf(above ? -a : b);
  const double p = std::max(from + uniform * (to - from), std::numeric_limits<double>::min());
  const double x = p <= 0.5 ? lower_quantile(p) : -lower_quantile(1 - p);
  return std::clamp(s + (above ? -x : x), low, high);
}

constexpr std::int64_t ordinal_share = 1 << 14;

// `thresholds` (classes + 1,) with −∞ and ∞ at its ends.
template <class Run>
void draw_all_latent(const float* scores, const std::uint8_t* classes, const double* thresholds, const float* uniform,
                     std::int64_t n, float* out, int threads, Run&& run) {
  run((n + ordinal_share - 1) / ordinal_share, threads, [&](std::int64_t t, int) {
    for (std::int64_t i = t * ordinal_share; i < std::min(n, (t + 1) * ordinal_share); ++i)
      out[i] = static_cast<float>(
          between_thresholds(scores[i], thresholds[classes[i]], thresholds[classes[i] + 1], uniform[i]));
  });
}

// Σ log(Φ(high − s) − Φ(low − s))
template <class Run>
double log_likelihood_between(const float* scores, std::int64_t n, double low, double high, int threads, Run&& run) {
  const std::int64_t tasks = (n + ordinal_share - 1) / ordinal_share;
  std::vector<double> sums(tasks);
  run(tasks, threads, [&](std::int64_t t, int) {
    for (std::int64_t i = t * ordinal_share; i < std::min(n, (t + 1) * ordinal_share); ++i)
      sums[t] += std::log(std::max(normal_between(low - scores[i], high - scores[i]), 1e-300));
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

// out += f(score) for a function known at so many points from `begin` on, straight between them and level beyond.
template <class Run>
void add_all_interpolated(const float* scores, std::int64_t n, const float* points, std::int64_t count, double begin,
                          double step, float* out, int threads, Run&& run) {
  const float scale = static_cast<float>(1 / step), first = static_cast<float>(begin), last = static_cast<float>(count - 1);
  run((n + ordinal_share - 1) / ordinal_share, threads, [&](std::int64_t t, int) {
    for (std::int64_t i = t * ordinal_share; i < std::min(n, (t + 1) * ordinal_share); ++i) {
      const float x = std::clamp((scores[i] - first) * scale, 0.0f, last);
      const std::int32_t at = std::min(static_cast<std::int32_t>(x), static_cast<std::int32_t>(count) - 2);
      out[i] += points[at] + (x - static_cast<float>(at)) * (points[at + 1] - points[at]);
    }
  });
}

// P(c), means over the draws: `scores` (n, draws), `thresholds` (draws, classes + 1), out (n, classes).
template <class Run>
void all_class_probabilities(const float* scores, const double* thresholds, std::int64_t n, std::int64_t draws,
                             std::int64_t classes, float* out, int threads, Run&& run) {
  constexpr std::int64_t share = 256;
  run((n + share - 1) / share, threads, [&](std::int64_t t, int) {
    std::vector<double> sums(classes);
    for (std::int64_t i = t * share; i < std::min(n, (t + 1) * share); ++i) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t s = 0; s < draws; ++s) {
        const double* edges = thresholds + s * (classes + 1);
        double below = 0;
        for (std::int64_t c = 0; c < classes; ++c) {
          const double upto = c + 1 < classes ? normal_cdf(edges[c + 1] - scores[i * draws + s]) : 1;
          sums[c] += upto - below;
          below = upto;
        }
      }
      for (std::int64_t c = 0; c < classes; ++c) out[i * classes + c] = static_cast<float>(sums[c] / draws);
    }
  });
}

}  // namespace cofactor
