// Which ids go together, and that each such group has its tables' pages to itself.
#include <doctest/doctest.h>

#include <cstdint>

#include "penstock/blocks.hpp"
#include "penstock/chunked_table.hpp"

using namespace penstock;

TEST_CASE("blocks follow each other without gaps, from the first id on") {
  CHECK(blocks::of(TaskId{0}) == 0);
  CHECK(blocks::of(TaskId{3071}) == 0);
  CHECK(blocks::of(TaskId{3072}) == 1);
  for (const std::size_t block : {std::size_t{1}, std::size_t{2}, std::size_t{77}, std::size_t{1} << 19}) {
    const std::uint32_t first = index(blocks::first(block));
    CHECK(blocks::of(TaskId{first}) == block);
    CHECK(blocks::of(TaskId{first - 1}) == block - 1);
    CHECK(blocks::end(block) == std::uint64_t{first} + blocks::kTasks);
    CHECK(blocks::of(TaskId{static_cast<std::uint32_t>(blocks::end(block) - 1)}) == block);
    CHECK(blocks::place(TaskId{first}) == 0);
    CHECK(blocks::place(TaskId{first + 5}) == 5);
  }
}

TEST_CASE("the last id of all has a block whose end does not wrap") {
  const TaskId last{UINT32_MAX};
  CHECK(blocks::end(blocks::of(last)) > UINT32_MAX);
  CHECK(blocks::place(last) == 1023);
}

TEST_CASE("a block lies in one stretch of a table by id, on whole pages") {
  struct alignas(16) Element {
    std::uint64_t words[2];
  };
  ChunkedTable<Element> table;
  table.grow(5 * blocks::kTasks);
  for (std::size_t block = 1; block < 5; ++block) {
    int stretches = 0;
    table.for_runs(index(blocks::first(block)), blocks::kTasks, [&](const Element* begin, std::size_t) {
      ++stretches;
      CHECK(reinterpret_cast<std::uintptr_t>(begin) % 4096 == 0);
    });
    CHECK(stretches == 1);
  }
}
