// The heap against std::set and std::priority_queue: thousands of sequences of operations, every answer compared.
#include <doctest/doctest.h>

#include <cstdint>
#include <exception>
#include <string>

#include "effort.hpp"
#include "heap_sequence.hpp"

using namespace penstock::test;

namespace {

void agree(std::uint64_t seeds, std::size_t draws) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    Choices choices(seed, draws);
    try {
      run_heap_sequence(choices);
    } catch (const std::exception& error) {
      FAIL("seed " << seed << ", " << draws << " draws: " << std::string(error.what()));
    }
  }
}

}  // namespace

TEST_CASE("short sequences of operations answer as plain containers do") { agree(effort(20'000), 80); }

TEST_CASE("long sequences of operations answer as plain containers do") { agree(effort(1'000), 3'000); }
