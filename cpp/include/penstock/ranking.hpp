// Ranking: from a task's features and a policy's weights to one number; the smaller one starts first.
//
// Pure functions. A policy is data. What changes with the clock (age, deadline slack) changes linearly and at the
// same rate for all tasks of a shape, so it is frozen into the key once and never re-sorted:
//
//     rank at instant t  =  frozen_rank  +  slope * seconds(t)
//
// The derivation, the units of the weights and the reasons for the forms are in docs/ranking.md.
//
// Instants are subtracted as integers and only then turned into seconds, so that no nanosecond is lost to a large
// clock value; callers whose clock counts from far away pass an epoch, the same one in all calls of a run.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "penstock/types.hpp"

namespace penstock {

/// A weight or a feature that is not a finite number, or a rank that would not be.
class RankingError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// How much each feature counts. All 0 is `fifo`: ranks are equal and ties go by submission.
struct Weights {
  double priority = 0;       // rank per unit of squashed priority, whole range 1 (raw: rank per point of priority)
  double demand = 0;         // rank per unit of dominant share, 0..1: small tasks sooner
  double critical_path = 0;  // rank won per unit of bottom level, 0..1: long chains sooner
  double age = 0;            // rank won per second of waiting
  double deadline = 0;       // rank per second of slack
  double fit = 0;            // rank won per unit of fit, 0..1; known when tasks are taken, between shapes
  double submitted = 0;      // rank per second between the epoch and the submission; orders as `age` does
};

enum class Form : std::uint8_t {
  sum = 0,      // weighted sum of the features
  product = 1,  // urgency(priority) x (100 - cpu% after the start); the weights play no part
  plan = 2,     // by level alone, the weights play no part; and no planned task starts before one earlier in the plan
};

struct Policy {
  Form form = Form::sum;
  Weights weights{};
  bool priority_raw = false;   // the priority as given, not squashed into 0..1: it outweighs all else when it differs
  Instant reserve_after = -1;  // a head passed over for so long, in ns, gets a reservation; negative: never
};

/// What is known of a task when it becomes ready.
struct Features {
  double priority = 0;       // smaller is more urgent
  double demand = 0;         // dominant share, 0..1
  double bottom_level = 0;   // longest path to a sink, as a share of the run's longest, 0..1
  Instant submitted = 0;     // ns
  Instant deadline = kNever; // ns; kNever: none
  Instant remaining = 0;     // ns of work from its start to the end of the longest path below it
};

namespace detail {

inline void require_finite(double value, std::string_view what) {
  if (std::isfinite(value)) return;
  throw RankingError(std::string(what) + " is " + (std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf") +
                     "; a rank needs finite numbers");
}

// Exact for any two instants, also those further apart than an Instant can say.
[[nodiscard]] constexpr double seconds(Instant from, Instant to) noexcept {
  const auto a = static_cast<std::uint64_t>(from), b = static_cast<std::uint64_t>(to);
  return to >= from ? static_cast<double>(b - a) * 1e-9 : -(static_cast<double>(a - b) * 1e-9);
}

}  // namespace detail

/// Throws RankingError, naming the weight, unless all are finite.
inline void require_finite(const Policy& policy) {
  const Weights& w = policy.weights;
  detail::require_finite(w.priority, "weight 'priority'");
  detail::require_finite(w.demand, "weight 'demand'");
  detail::require_finite(w.critical_path, "weight 'critical_path'");
  detail::require_finite(w.age, "weight 'age'");
  detail::require_finite(w.deadline, "weight 'deadline'");
  detail::require_finite(w.fit, "weight 'fit'");
  detail::require_finite(w.submitted, "weight 'submitted'");
}

/// Any finite priority to [0, 1]; 0 goes to 0.5, and it never falls where the priority rises.
[[nodiscard]] inline double squash(double priority) noexcept {
  return priority < 0 ? 0.5 / (1.0 - priority) : 1.0 - 0.5 / (1.0 + priority);
}

/// How urgent a priority is: positive, falling, 100 at 0, and urgency(p) * urgency(-p) == 100^2.
/// It is 100 * (sqrt(1 + p^2) - p): near 0 a factor e a point, far out inversely proportional (1/(2p)).
[[nodiscard]] inline double urgency(double priority) noexcept {
  const double p = std::clamp(priority, -1e300, 1e300);
  const double root = std::hypot(1.0, p);
  return p < 0 ? 100.0 * (root - p) : 100.0 / (root + p);  // never the difference of two equal numbers
}

/// The part of the rank that does not change with the clock. Throws RankingError when a feature that the policy
/// weighs, or the result, is not finite.
[[nodiscard]] inline Rank frozen_rank(const Policy& policy, const Features& features, Instant epoch = 0) {
  detail::require_finite(features.priority, "priority");
  if (policy.form == Form::product) return Rank{-urgency(features.priority)};
  if (policy.form == Form::plan) return Rank{-features.bottom_level};
  const Weights& w = policy.weights;
  double rank = 0.0;
  if (w.priority != 0) rank += w.priority * (policy.priority_raw ? features.priority : squash(features.priority));
  if (w.demand != 0) rank += w.demand * features.demand;
  if (w.critical_path != 0) rank -= w.critical_path * features.bottom_level;
  if (w.age != 0 || w.submitted != 0) rank += (w.age + w.submitted) * detail::seconds(epoch, features.submitted);
  if (w.deadline != 0 && features.deadline != kNever) {
    rank += w.deadline * (detail::seconds(epoch, features.deadline) - detail::seconds(0, features.remaining));
  }
  detail::require_finite(rank, "the weighted sum");
  return Rank{rank};
}

/// Rank per second of clock: all tasks lose `age`, those with a deadline also lose slack.
[[nodiscard]] inline double slope(const Policy& policy, bool has_deadline) noexcept {
  if (policy.form != Form::sum) return 0.0;
  return 0.0 - policy.weights.age - (has_deadline ? policy.weights.deadline : 0.0);
}

/// How well a demand uses what is free, 0..1: the demand's projection on the free vector, as a share of it, both
/// measured in shares of the capacity. 1 uses up everything; larger and better aligned demands fit better.
/// `free`, `capacity`: by resource number. Resources without a finite positive capacity, or past either span, do not
/// count.
[[nodiscard]] inline double fit(const Demand& demand, std::span<const Amount> free,
                                std::span<const Amount> capacity) noexcept {
  double dot = 0.0, norm = 0.0;
  const std::size_t resources = std::min({free.size(), capacity.size(), demand.amounts.size()});
  for (std::size_t r = 0; r < resources; ++r) {
    if (capacity[r] <= 0 || capacity[r] == kUnlimited || free[r] <= 0) continue;
    const auto whole = static_cast<double>(capacity[r]);
    const double available = static_cast<double>(free[r]) / whole;
    dot += static_cast<double>(demand.amounts[r]) / whole * available;
    norm += available * available;
  }
  return norm > 0.0 ? std::clamp(dot / norm, 0.0, 1.0) : 0.0;
}

/// What heads of different shapes are compared by; the smaller one starts first.
/// `slope`: from slope(); `fit`: from fit(); `cpu_share_after`: share of the CPU in use once it has started, clamped to
/// 0..1.
[[nodiscard]] inline double head_value(const Policy& policy, Rank frozen, double slope, Instant now, double fit,
                                       double cpu_share_after, Instant epoch = 0) noexcept {
  if (policy.form == Form::product) return frozen.value * (100.0 - 100.0 * std::clamp(cpu_share_after, 0.0, 1.0));
  double value = frozen.value;
  if (policy.form == Form::plan) return value;
  if (slope != 0.0) value += slope * detail::seconds(epoch, now);
  if (policy.weights.fit != 0.0) value -= policy.weights.fit * fit;
  return value;
}

}  // namespace penstock
