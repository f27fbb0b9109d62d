#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include "penstock/chunked_table.hpp"

using namespace penstock;

TEST_CASE("elements start at their initial value, over many chunks") {
  struct Seven {
    std::uint32_t value = 7;
  };
  ChunkedTable<Seven, 2> table;
  table.grow(1000);
  REQUIRE(table.size() == 1000);
  for (std::size_t i = 0; i < table.size(); ++i) REQUIRE(table[i].value == 7);
}

TEST_CASE("numbers start at zero") {
  ChunkedTable<std::uint64_t, 1> table;
  for (std::size_t size = 1; size <= 300; size += 13) table.grow(size);
  for (std::size_t i = 0; i < table.size(); ++i) REQUIRE(table[i] == 0);
}

TEST_CASE("an element keeps its address and its value while the table grows") {
  ChunkedTable<std::uint32_t, 2> table;
  std::vector<std::uint32_t*> addresses;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    table.grow(i + 1);
    table[i] = i;
    addresses.push_back(&table[i]);
  }
  for (std::uint32_t i = 0; i < 5000; ++i) {
    REQUIRE(addresses[i] == &table[i]);
    REQUIRE(*addresses[i] == i);
  }
}

TEST_CASE("growing to a smaller size changes nothing") {
  ChunkedTable<int> table;
  table.grow(10);
  table[9] = 9;
  table.grow(3);
  CHECK(table.size() == 10);
  table.grow(10);
  CHECK(table[9] == 9);
}

TEST_CASE("elements that the grower writes himself keep what was there, and what comes later starts as usual") {
    ChunkedTable<std::uint32_t, 2> table;
    table.grow(3);
    table[2] = 7;
    table.grow_unwritten(50);
    for (std::size_t k = 3; k < 50; ++k) table[k] = static_cast<std::uint32_t>(k);
    table.grow(60);
    CHECK(table[2] == 7);
    CHECK(table[49] == 49);
    CHECK(table[50] == 0);
    CHECK(table[59] == 0);
    CHECK_THROWS_AS(table.grow_unwritten((std::size_t{1} << 32) + 1), std::length_error);
    CHECK(table.size() == 60);
}

TEST_CASE("runs cover exactly what was asked for, in order") {
  ChunkedTable<std::size_t, 2> table;
  table.grow(200);
  for (std::size_t i = 0; i < 200; ++i) table[i] = i;
  const auto& readable = table;
  std::size_t wrong = 0;
  for (std::size_t first = 0; first <= 200; ++first) {
    for (std::size_t count = 0; first + count <= 200; ++count) {
      std::size_t next = first, pieces = 0;
      readable.for_runs(first, count, [&](const std::size_t* run, std::size_t length) {
        ++pieces;
        wrong += length == 0;
        for (std::size_t k = 0; k < length; ++k) wrong += run[k] != next++;
      });
      wrong += next != first + count;
      wrong += pieces > 6;  // 200 elements lie in chunks of 4, 8, 16, 32, 64, 128
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("every element is destroyed once") {
  static int alive;
  struct Counted {
    Counted() noexcept { ++alive; }
    ~Counted() { --alive; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
  };
  alive = 0;
  {
    ChunkedTable<Counted, 3> table;
    CHECK(alive == 0);
    table.grow(100);
    CHECK(alive == 100);
    table.grow(101);
    CHECK(alive == 101);
  }
  CHECK(alive == 0);
}

TEST_CASE("wide alignment is kept") {
  struct alignas(256) Wide {
    char bytes[256];
  };
  ChunkedTable<Wide, 1> table;
  table.grow(9);
  for (std::size_t i = 0; i < 9; ++i) CHECK(reinterpret_cast<std::uintptr_t>(&table[i]) % 256 == 0);
}

TEST_CASE("more elements than there are indices are refused, and nothing changes") {
  ChunkedTable<char> table;
  table.grow(5);
  try {
    table.grow(ChunkedTable<char>::kMaxSize + 1);
    FAIL("not refused");
  } catch (const std::length_error& error) {
    CHECK(std::string(error.what()) == "a table of 4294967297 elements was asked for; it holds at most 4294967296");
  }
  CHECK(table.size() == 5);
}

TEST_CASE("a reader beside the grower finds every element below size() constructed" * doctest::timeout(20)) {
  struct Magic {
    std::uint64_t value = 0x5ca1ab1e;  // not atomic: ThreadSanitizer sees a reader that comes too early
  };
  constexpr std::size_t kSize = 200'000;
  for (int round = 0; round < 5; ++round) {
    ChunkedTable<Magic, 1> table;
    std::atomic<std::uint64_t> wrong{0};
    const auto read = [&] {
      for (std::size_t size = 0; size < kSize;) {
        const std::size_t seen = table.size();
        if (seen < size) ++wrong;
        for (std::size_t i = size; i < seen; ++i) wrong += table[i].value != 0x5ca1ab1e;
        size = seen;
      }
    };
    std::thread first(read), second(read);
    for (std::size_t size = 0; size < kSize;) table.grow(size += 1 + size % 97);
    first.join();
    second.join();
    CHECK(wrong == 0);
  }
}
