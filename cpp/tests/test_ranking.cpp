#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "penstock/ranking.hpp"

using namespace penstock;

namespace {

constexpr Instant kSecond = 1'000'000'000;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

Features with_priority(double priority) {
  Features f;
  f.priority = priority;
  return f;
}

double rank_at(const Policy& policy, const Features& f, Instant now, Instant epoch = 0) {
  const Rank frozen = frozen_rank(policy, f, epoch);
  return head_value(policy, frozen, slope(policy, f.deadline != kNever), now, 0.0, 0.0, epoch);
}

// The definition, with the clock in it: what docs/ranking.md starts from.
double rank_by_definition(const Policy& policy, const Features& f, double now_s) {
  const Weights& w = policy.weights;
  const double age_s = now_s - static_cast<double>(f.submitted) / 1e9;
  double rank = w.priority * (policy.priority_raw ? f.priority : squash(f.priority)) + w.demand * f.demand -
                w.critical_path * f.bottom_level - w.age * age_s + w.submitted * static_cast<double>(f.submitted) / 1e9;
  if (f.deadline != kNever) {
    rank += w.deadline * (static_cast<double>(f.deadline) / 1e9 - now_s - static_cast<double>(f.remaining) / 1e9);
  }
  return rank;
}

std::string error_of(const Policy& policy, const Features& f) {
  try {
    static_cast<void>(frozen_rank(policy, f));
  } catch (const RankingError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("fifo ranks everything alike, so that submission decides") {
  const Policy fifo;
  Features a = with_priority(-5), b = with_priority(1e6);
  b.submitted = 100 * kSecond;
  b.deadline = kSecond;
  b.demand = 1;
  CHECK(frozen_rank(fifo, a) == Rank{0.0});
  CHECK(frozen_rank(fifo, b) == Rank{0.0});
  CHECK(slope(fifo, true) == 0.0);
  CHECK(rank_at(fifo, b, 1000 * kSecond) == 0.0);
}

TEST_CASE("a raw priority is the rank itself") {
  Policy policy;
  policy.weights.priority = 1;
  policy.priority_raw = true;
  for (const double p : {-1e300, -3.5, -1.0, 0.0, 1.0, 2.0, 1e15, 1e300}) {
    CHECK(frozen_rank(policy, with_priority(p)).value == p);
  }
}

TEST_CASE("each feature moves the rank to its own side") {
  Policy policy;
  policy.weights = {.priority = 1, .demand = 1, .critical_path = 1, .age = 0.01, .deadline = 0.1, .fit = 0,
                    .submitted = 0};
  Features plain;
  plain.deadline = 100 * kSecond;
  const Instant now = 10 * kSecond;
  const double base = rank_at(policy, plain, now);

  Features f = plain;
  f.priority = 1;
  CHECK(rank_at(policy, f, now) > base);  // a larger number is less urgent
  f = plain;
  f.demand = 0.5;
  CHECK(rank_at(policy, f, now) == doctest::Approx(base + 0.5));  // small tasks first
  f = plain;
  f.bottom_level = 0.5;
  CHECK(rank_at(policy, f, now) == doctest::Approx(base - 0.5));  // long chains first
  f = plain;
  f.submitted = 5 * kSecond;
  CHECK(rank_at(policy, f, now) == doctest::Approx(base + 0.05));  // the older first
  f = plain;
  f.deadline = 90 * kSecond;
  CHECK(rank_at(policy, f, now) == doctest::Approx(base - 1.0));  // less slack first
  f = plain;
  f.remaining = 10 * kSecond;
  CHECK(rank_at(policy, f, now) == doctest::Approx(base - 1.0));  // work left to do eats slack
}

TEST_CASE("the frozen rank plus the slope times the clock is the rank by definition, at any instant") {
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> unit(0.0, 1.0);
  std::uniform_int_distribution<Instant> instant(0, 1000 * kSecond);
  for (int k = 0; k < 2000; ++k) {
    Policy policy;
    policy.priority_raw = k % 2 == 0;
    policy.weights = {.priority = unit(random), .demand = unit(random), .critical_path = unit(random),
                      .age = unit(random) / 10, .deadline = unit(random) / 10, .fit = 0,
                      .submitted = unit(random) / 10};
    Features f{.priority = unit(random) * 20 - 10, .demand = unit(random), .bottom_level = unit(random),
               .submitted = instant(random), .deadline = k % 3 == 0 ? kNever : instant(random),
               .remaining = instant(random) / 10};
    for (const Instant now : {Instant{0}, instant(random), 5000 * kSecond}) {
      const double defined = rank_by_definition(policy, f, static_cast<double>(now) / 1e9);
      REQUIRE(rank_at(policy, f, now) == doctest::Approx(defined).epsilon(1e-9));
    }
  }
}

TEST_CASE("two tasks of one shape keep their order however much time passes") {
  Policy policy;
  policy.weights = {.priority = 1, .demand = 1, .critical_path = 1, .age = 0.05, .deadline = 0.2, .fit = 0,
                    .submitted = 0};
  Features a = with_priority(2), b = with_priority(0);
  a.submitted = 0;
  b.submitted = 3 * kSecond;
  a.deadline = 60 * kSecond;
  b.deadline = 61 * kSecond;
  const bool a_first = frozen_rank(policy, a).value < frozen_rank(policy, b).value;
  for (Instant now = 0; now < 1000 * kSecond; now += 7 * kSecond) {
    CHECK((rank_at(policy, a, now) < rank_at(policy, b, now)) == a_first);
  }
}

TEST_CASE("a task with a deadline overtakes one without when its slack is worth it") {
  Policy policy;
  policy.weights.deadline = 0.1;
  policy.weights.priority = 1;
  Features urgent = with_priority(-1), dated = with_priority(0);
  dated.deadline = 100 * kSecond;
  dated.remaining = 20 * kSecond;
  // squash(-1) = 0.25 and squash(0) = 0.5: they meet where 0.5 + 0.1 * slack = 0.25, at a slack of -2.5 s.
  const Instant meet = 80 * kSecond + 5 * kSecond / 2;
  CHECK(rank_at(policy, dated, meet - kSecond) > rank_at(policy, urgent, meet - kSecond));
  CHECK(rank_at(policy, dated, meet + kSecond) < rank_at(policy, urgent, meet + kSecond));
}

TEST_CASE("a nanosecond still counts on a clock that is far from its zero") {
  Policy policy;
  policy.weights.age = 1;
  const Instant epoch = 1'790'000'000'000'000'000;  // a Unix clock: as a double of seconds it steps by 238 ns
  Features early, late;
  early.submitted = epoch + 5 * kSecond;
  late.submitted = early.submitted + 1;
  CHECK(frozen_rank(policy, early, epoch).value < frozen_rank(policy, late, epoch).value);
  CHECK(rank_at(policy, early, epoch + 9 * kSecond, epoch) == doctest::Approx(-4.0));
}

TEST_CASE("instants further apart than an instant can say do not overflow") {
  Policy policy;
  policy.weights.deadline = 1;
  Features f;
  f.deadline = kNever - 1;
  const Instant epoch = std::numeric_limits<Instant>::min();
  CHECK(frozen_rank(policy, f, epoch).value == doctest::Approx(18446744073.709553));
  CHECK(head_value(policy, Rank{0}, 1.0, epoch, 0, 0, kNever) == doctest::Approx(-18446744073.709553));
}

TEST_CASE("squash brings every priority into 0..1, in order, with 0 in the middle") {
  CHECK(squash(0.0) == 0.5);
  CHECK(squash(-0.0) == 0.5);
  CHECK(squash(1.0) == 0.75);
  CHECK(squash(-1.0) == 0.25);
  double before = -1.0;
  for (const double p : {-1e308, -1e9, -100.0, -2.0, -1.0, -0.5, -1e-9, 0.0, 1e-9, 0.5, 1.0, 2.0, 100.0, 1e9}) {
    CAPTURE(p);
    CHECK(squash(p) > before);
    CHECK(squash(p) == doctest::Approx(0.5 * (1 + p / (1 + std::abs(p)))));
    before = squash(p);
  }
  CHECK(squash(1e308) == 1.0);
  CHECK(squash(-1e308) >= 0.0);
}

TEST_CASE("urgency is positive and falls as the priority number grows, for every finite priority") {
  CHECK(urgency(0.0) == 100.0);
  double before = kInf;
  for (const double p : {-1e299, -1e18, -1e9, -10.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 2.0, 10.0, 1e9, 1e18, 1e299}) {
    CAPTURE(p);
    CHECK(std::isfinite(urgency(p)));
    CHECK(urgency(p) > 0.0);
    CHECK(urgency(p) < before);
    CHECK(urgency(p) * urgency(-p) == doctest::Approx(1e4));  // being as much more urgent is worth what it costs
    before = urgency(p);
  }
  const double most = std::numeric_limits<double>::max();
  CHECK(std::isfinite(urgency(-most)));
  CHECK(urgency(most) > 0.0);
}

TEST_CASE("the product form weighs urgency against what is left of the CPU") {
  Policy policy;
  policy.form = Form::product;
  const Rank plain = frozen_rank(policy, with_priority(0)), urgent = frozen_rank(policy, with_priority(-1));
  CHECK(urgent.value < plain.value);
  CHECK(head_value(policy, plain, 0, 0, 0, 0.25) == doctest::Approx(-100.0 * 75.0));
  // The same urgency: the smaller task first. Enough urgency: the larger one.
  CHECK(head_value(policy, plain, 0, 0, 0, 0.25) < head_value(policy, plain, 0, 0, 0, 0.75));
  CHECK(head_value(policy, urgent, 0, 0, 0, 0.60) < head_value(policy, plain, 0, 0, 0, 0.25));
  CHECK(head_value(policy, urgent, 0, 0, 0, 0.90) > head_value(policy, plain, 0, 0, 0, 0.25));
  CHECK(head_value(policy, plain, 0, 0, 0, 1.0) == 0.0);
  CHECK(head_value(policy, plain, 0, 0, 0, 7.0) == 0.0);
  CHECK(head_value(policy, plain, 0, 0, 0, -1.0) == doctest::Approx(-1e4));
}

TEST_CASE("the product form neither ages nor looks at weights") {
  Policy policy;
  policy.form = Form::product;
  policy.weights = {.priority = 3, .demand = 1, .critical_path = 1, .age = 1, .deadline = 1, .fit = 1, .submitted = 1};
  Features f = with_priority(0);
  f.submitted = 50 * kSecond;
  f.demand = 1;
  f.deadline = kSecond;
  CHECK(frozen_rank(policy, f) == Rank{-100.0});
  CHECK(slope(policy, true) == 0.0);
  CHECK(head_value(policy, Rank{-100.0}, 0.0, 500 * kSecond, 1.0, 0.0) == doctest::Approx(-1e4));
}

TEST_CASE("fit measures how much of the free room a demand uses, along its direction") {
  const std::array<Amount, kMaxResources> capacity = {4000, 1000}, free = {2000, 500};
  Demand all, half, cpu, none;
  all[kCpu] = 2000;
  all[kMemory] = 500;
  half[kCpu] = 1000;
  half[kMemory] = 250;
  cpu[kCpu] = 2000;
  CHECK(fit(all, free, capacity) == doctest::Approx(1.0));
  CHECK(fit(half, free, capacity) == doctest::Approx(0.5));
  CHECK(fit(cpu, free, capacity) == doctest::Approx(0.5));  // 0.5 * 0.5 of 0.5 * 0.5 + 0.5 * 0.5
  CHECK(fit(none, free, capacity) == 0.0);
}

TEST_CASE("fit prefers the demand that takes what there is most of") {
  const std::array<Amount, kMaxResources> capacity = {1000, 1000}, free = {900, 200};
  Demand cpu, memory;
  cpu[kCpu] = 200;
  memory[kMemory] = 200;
  CHECK(fit(cpu, free, capacity) > fit(memory, free, capacity));
}

TEST_CASE("fit leaves out what has no measure and stays within 0..1") {
  std::array<Amount, kMaxResources> capacity{}, free{};
  Demand demand;
  demand[kCpu] = 500;
  demand[kDisk] = 1'000'000;
  CHECK(fit(demand, free, capacity) == 0.0);  // nothing has a capacity
  capacity[kDisk] = free[kDisk] = kUnlimited;
  CHECK(fit(demand, free, capacity) == 0.0);
  capacity[kCpu] = 1000;
  free[kCpu] = -200;  // the capacity was lowered below what is held
  CHECK(fit(demand, free, capacity) == 0.0);
  free[kCpu] = 100;
  CHECK(fit(demand, free, capacity) == 1.0);  // asks for more than is free
  demand[kMemory] = 400;
  capacity[kMemory] = 1000;
  free[kMemory] = 400;
  free[kCpu] = -200;
  CHECK(fit(demand, free, capacity) == 1.0);  // a resource with nothing free counts neither for nor against
  free[kCpu] = 100;
  CHECK(fit(demand, std::span(free).first(1), std::span(capacity).first(1)) == 1.0);
}

TEST_CASE("fit decides between heads when the policy weighs it") {
  Policy policy;
  policy.weights.fit = 2.0;
  CHECK(head_value(policy, Rank{1.0}, 0.0, 0, 0.75, 0.0) == doctest::Approx(-0.5));
  policy.weights.fit = 0.0;
  CHECK(head_value(policy, Rank{1.0}, 0.0, 0, 0.75, 0.0) == 1.0);
}

TEST_CASE("what is not finite is refused by name") {
  Policy policy;
  policy.weights.priority = 1;
  CHECK(error_of(policy, with_priority(kNan)) == "priority is nan; a rank needs finite numbers");
  CHECK(error_of(policy, with_priority(-kInf)) == "priority is -inf; a rank needs finite numbers");
  Features f;
  f.demand = kNan;
  CHECK(error_of(policy, f).empty());  // a feature without weight does not matter
  policy.weights.demand = 1;
  CHECK(error_of(policy, f) == "the weighted sum is nan; a rank needs finite numbers");
  policy = Policy{};
  policy.priority_raw = true;
  policy.weights.priority = 1e10;
  CHECK(error_of(policy, with_priority(1e300)) == "the weighted sum is inf; a rank needs finite numbers");
  policy = Policy{};
  policy.form = Form::product;
  CHECK(error_of(policy, with_priority(kInf)) == "priority is inf; a rank needs finite numbers");
}

TEST_CASE("a policy's weights are refused by name unless finite") {
  const std::array<double Weights::*, 7> weights = {&Weights::priority, &Weights::demand, &Weights::critical_path,
                                                    &Weights::age,      &Weights::deadline, &Weights::fit,
                                                    &Weights::submitted};
  const std::array<std::string, 7> names = {"priority", "demand", "critical_path", "age",
                                            "deadline", "fit",    "submitted"};
  CHECK_NOTHROW(require_finite(Policy{}));
  for (std::size_t k = 0; k < weights.size(); ++k) {
    Policy policy;
    policy.weights.*weights[k] = kNan;
    try {
      require_finite(policy);
      FAIL("not refused: ", names[k]);
    } catch (const RankingError& error) {
      CHECK(error.what() == "weight '" + names[k] + "' is nan; a rank needs finite numbers");
    }
  }
}
