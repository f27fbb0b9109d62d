// The whole scheduler against plain rules: thousands of sequences of verbs, every outcome compared.
#include <doctest/doctest.h>

#include <cstdint>
#include <exception>
#include <string>

#include "effort.hpp"
#include "scheduler_sequence.hpp"

using namespace penstock::test;

namespace {

void agree(std::uint64_t first, std::uint64_t count, std::size_t draws) {
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    Choices choices(seed, draws);
    SchedulerSequence sequence(choices);
    try {
      sequence.run();
    } catch (const std::exception& error) {
      FAIL("seed " << seed << ", " << draws << " draws: " << std::string(error.what()));
    }
  }
}

}  // namespace

TEST_CASE("short sequences of verbs do what the rules say") { agree(1, effort(20'000), 60); }

TEST_CASE("long sequences of verbs do what the rules say") { agree(1, effort(6'000), 900); }
