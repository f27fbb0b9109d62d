// A fuzzer's bytes as verbs of the scheduler, compared with plain rules.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "scheduler_sequence.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  penstock::test::Choices choices({data, size});
  try {
    penstock::test::SchedulerSequence(choices).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::abort();
  }
  return 0;
}
