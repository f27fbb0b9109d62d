#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "penstock/types.hpp"

using namespace penstock;

TEST_CASE("ordered bits keep the order of ranks, over signs and magnitudes") {
  const double most = std::numeric_limits<double>::max(), least = std::numeric_limits<double>::denorm_min();
  const std::vector<double> rising = {-most, -1e9,   -2.0, -1.0, -1e-300, -least, 0.0,
                                      least, 1e-300, 0.5,  1.0,  1e9,     most};
  for (std::size_t a = 0; a < rising.size(); ++a) {
    for (std::size_t b = 0; b < rising.size(); ++b) {
      CAPTURE(rising[a]);
      CAPTURE(rising[b]);
      CHECK((ordered_bits(Rank{rising[a]}) < ordered_bits(Rank{rising[b]})) == (a < b));
    }
  }
}

TEST_CASE("ordered bits agree with < for random bit patterns") {
  std::mt19937_64 random(7);
  int compared = 0;
  while (compared < 20'000) {
    const auto a = std::bit_cast<double>(random()), b = std::bit_cast<double>(random());
    if (!std::isfinite(a) || !std::isfinite(b)) continue;
    ++compared;
    REQUIRE((ordered_bits(Rank{a}) < ordered_bits(Rank{b})) == (a < b));
    REQUIRE(rank_from_bits(ordered_bits(Rank{a})).value == a);
  }
}

TEST_CASE("both zeros are one rank") {
  CHECK(ordered_bits(Rank{0.0}) == ordered_bits(Rank{-0.0}));
  CHECK(Rank{0.0} == Rank{-0.0});
}

TEST_CASE("demands of equal amounts are equal, and any amount makes a difference") {
  for (int r = 0; r < kMaxResources; ++r) {
    Demand a, b;
    CHECK(a == b);
    a[r] = 1;
    CHECK_FALSE(a == b);
    b[r] = 1;
    CHECK(a == b);
  }
}
