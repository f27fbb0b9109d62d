#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/event_log.hpp"

using namespace penstock;

namespace {

constexpr std::size_t kChunk = EventLog::kChunkRecords;

// A record whose every field tells where it comes from, so that a torn one shows.
Event event_of(std::uint32_t writer, std::uint32_t number) {
  Event e{};
  e.time = (Instant{writer} << 32) + number;
  e.value = -e.time - 1;
  e.task = number;
  e.attempt = number ^ 0xabcdef;
  e.worker = writer;
  e.kind = static_cast<EventKind>(1 + number % (kEventKinds - 1));
  e.cause = static_cast<Cause>(number % kCauses);
  e.state = static_cast<State>(number % kStates);
  e.version = kEventVersion;
  return e;
}

std::vector<Event> events_of(std::uint32_t writer, std::uint32_t first, std::size_t count) {
  std::vector<Event> events;
  for (std::size_t k = 0; k < count; ++k) events.push_back(event_of(writer, first + static_cast<std::uint32_t>(k)));
  return events;
}

std::vector<Event> read_all(const EventLog& log, std::uint64_t from = 0) {
  std::vector<Event> out(log.size() - from);
  out.resize(log.read(from, out));
  return out;
}

}  // namespace

TEST_CASE("an empty log has nothing to read") {
  const EventLog log;
  std::vector<Event> out(3);
  CHECK(log.size() == 0);
  CHECK(log.read(0, out) == 0);
  CHECK(log.read(12345, out) == 0);
}

TEST_CASE("what was appended is read back, every field of it") {
  EventLog log;
  CHECK(log.append(event_of(1, 0)) == 0);
  CHECK(log.append(event_of(1, 1)) == 1);
  CHECK(log.append(events_of(1, 2, 5)) == 2);
  CHECK(log.append(std::span<const Event>{}) == 7);  // nothing takes no number
  CHECK(log.append(event_of(1, 7)) == 7);
  CHECK(log.size() == 8);
  CHECK(read_all(log) == events_of(1, 0, 8));
  CHECK(read_all(log, 3) == events_of(1, 3, 5));
}

TEST_CASE("a read gives what there is, and what was asked for, but not more") {
  EventLog log;
  log.append(events_of(1, 0, 10));
  std::vector<Event> out(100, event_of(9, 9));
  CHECK(log.read(4, out) == 6);
  CHECK(out[5] == event_of(1, 9));
  CHECK(out[6] == event_of(9, 9));
  CHECK(log.read(4, std::span(out).first(2)) == 2);
  CHECK(log.read(10, out) == 0);
  CHECK(log.read(5, {}) == 0);
}

TEST_CASE("a batch may be longer than a chunk, and a read may cross several") {
  EventLog log;
  log.append(events_of(1, 0, 3));
  const std::size_t count = 2 * kChunk + 1000;
  CHECK(log.append(events_of(2, 0, count)) == 3);
  CHECK(log.size() == count + 3);
  CHECK(read_all(log, 3) == events_of(2, 0, count));
  CHECK(read_all(log, kChunk - 1).front() == event_of(2, kChunk - 4));
  CHECK(read_all(log, 2 * kChunk).front() == event_of(2, 2 * kChunk - 3));
}

TEST_CASE("a full chunk followed by nothing is read to its end") {
  EventLog log;
  log.append(events_of(1, 0, kChunk));
  CHECK(log.size() == kChunk);
  std::vector<Event> out(kChunk + 1);
  CHECK(log.read(0, out) == kChunk);
  log.append(event_of(1, kChunk));
  CHECK(log.size() == kChunk + 1);
  CHECK(log.read(0, out) == kChunk + 1);
}

TEST_CASE("an event without a kind is refused, and so is its batch") {
  EventLog log;
  std::vector<Event> events = events_of(1, 0, 3);
  events[2].kind = EventKind::none;
  try {
    log.append(events);
    FAIL("not refused");
  } catch (const std::invalid_argument& error) {
    CHECK(std::string(error.what()) == "an event of kind 'none' was appended; give the kind of what happened");
  }
  CHECK(log.size() == 0);
  CHECK(log.append(event_of(1, 0)) == 0);
}

TEST_CASE("trim drops whole chunks of published records and keeps the rest readable") {
  EventLog log;
  log.append(events_of(1, 0, 3 * kChunk + 10));
  log.trim(kChunk - 1);
  CHECK(log.first() == 0);
  log.trim(2 * kChunk + 5);
  CHECK(log.first() == 2 * kChunk);
  CHECK(log.size() == 3 * kChunk + 10);
  CHECK(read_all(log, 2 * kChunk) == events_of(1, 2 * kChunk, kChunk + 10));
  std::vector<Event> out(1);
  try {
    log.read(2 * kChunk - 1, out);
    FAIL("not refused");
  } catch (const std::out_of_range& error) {
    CHECK(std::string(error.what()) == "record 131071 was trimmed; the log now starts at record 131072");
  }
  log.trim(kChunk);  // less than before: nothing
  CHECK(log.first() == 2 * kChunk);
  log.trim(1'000'000'000);  // beyond the end: what is published, in whole chunks
  CHECK(log.first() == 3 * kChunk);
  log.append(event_of(1, 3 * kChunk + 10));
  CHECK(read_all(log, 3 * kChunk) == events_of(1, 3 * kChunk, 11));
}

TEST_CASE("a log whose every record was trimmed goes on where it was") {
  EventLog log;
  log.append(events_of(1, 0, kChunk));
  log.trim(kChunk);
  CHECK(log.first() == kChunk);
  CHECK(log.size() == kChunk);
  CHECK(log.append(event_of(1, 5)) == kChunk);
  CHECK(log.size() == kChunk + 1);
  CHECK(read_all(log, kChunk) == events_of(1, 5, 1));
}

TEST_CASE("a record speaks for a range of tasks to which the same happened, and for no other") {
  Event ready{};
  ready.kind = EventKind::ready;
  ready.task = 7;
  Event next = ready;
  next.task = 8;
  CHECK(tasks_in(ready) == 1);
  CHECK(extend_range(ready, next));
  CHECK_FALSE(extend_range(ready, next));  // 8 is in it already
  next.task = 9;
  for (const auto& change : std::vector<std::function<void(Event&)>>{
           [](Event& e) { e.task = 10; }, [](Event& e) { e.time = 1; }, [](Event& e) { e.attempt = 1; },
           [](Event& e) { e.worker = 1; }, [](Event& e) { e.value = 1; }, [](Event& e) { e.kind = EventKind::started; }}) {
    Event other = next;
    change(other);
    CHECK_FALSE(extend_range(ready, other));
  }
  CHECK(extend_range(ready, next));
  CHECK(tasks_in(ready) == 3);
  CHECK(ready.task == 7);

  Event submitted = ready;
  submitted.kind = EventKind::submitted;  // its value is a count of its own
  CHECK(tasks_in(submitted) == 1);
}

// What this executable asks the allocator for. Not to be inlined: the compiler would mix up the blocks' two sizes.
static std::atomic<std::int64_t> bytes_held{0};
static std::atomic<bool> refuse_memory{false};
// Blocks that are freed are given back at once, so that they are seen to be.
[[maybe_unused]] static const std::size_t kept_before = detail::keep_pages(0);

[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (refuse_memory) throw std::bad_alloc();
  auto* const block = static_cast<std::size_t*>(std::malloc(bytes + 16));
  if (block == nullptr) throw std::bad_alloc();
  *block = bytes;
  bytes_held += static_cast<std::int64_t>(bytes);
  return block + 16 / sizeof(std::size_t);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  auto* const block = static_cast<std::size_t*>(memory) - 16 / sizeof(std::size_t);
  bytes_held -= static_cast<std::int64_t>(*block);
  std::free(block);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
// The aligned forms keep the block's size and start in front of it.
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  if (refuse_memory) throw std::bad_alloc();
  const auto align = static_cast<std::size_t>(alignment);
  void* const block = std::malloc(bytes + align + 16);
  if (block == nullptr) throw std::bad_alloc();
  const auto start = (reinterpret_cast<std::uintptr_t>(block) + 16 + align - 1) / align * align;
  auto* const words = reinterpret_cast<std::size_t*>(start);
  words[-1] = bytes;
  words[-2] = reinterpret_cast<std::size_t>(block);
  bytes_held += static_cast<std::int64_t>(bytes);
  return words;
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  if (memory == nullptr) return;
  const auto* const words = static_cast<const std::size_t*>(memory);
  bytes_held -= static_cast<std::int64_t>(words[-1]);
  std::free(reinterpret_cast<void*>(words[-2]));
}

TEST_CASE("chunks are allocated when they are needed and given back when they are trimmed") {
  constexpr std::int64_t kFull = 32 * static_cast<std::int64_t>(kChunk);  // a chunk; the directory's pages are small
  const std::vector<Event> chunk = events_of(1, 0, kChunk);
  const std::int64_t before = bytes_held;
  {
    EventLog log;
    CHECK(bytes_held == before);
    log.append(event_of(1, 0));
    CHECK(bytes_held - before >= kFull);
    CHECK(bytes_held - before < kFull + 10'000);
    log.append(std::span(chunk).first(kChunk - 1));
    CHECK(bytes_held - before < kFull + 10'000);
    log.append(chunk);
    log.append(event_of(1, 0));
    CHECK(bytes_held - before < 3 * kFull + 10'000);
    log.trim(log.size());
    CHECK(bytes_held - before < kFull + 10'000);
  }
  CHECK(bytes_held == before);
}

TEST_CASE("an append that gets no memory leaves no hole") {
  EventLog log;
  const std::vector<Event> chunk = events_of(1, 0, kChunk);
  log.append(std::span(chunk).first(kChunk - 2));
  refuse_memory = true;
  CHECK_THROWS_AS(log.append(std::span(chunk).first(3)), std::bad_alloc);
  CHECK(log.append(event_of(1, 1)) == kChunk - 2);  // where there is room it goes on
  refuse_memory = false;
  CHECK(log.append(std::span(chunk).first(3)) == kChunk - 1);
  CHECK(log.size() == kChunk + 2);
}

TEST_CASE("a reader beside four appenders sees whole records, without holes, each appender's in order" *
          doctest::timeout(60)) {
  constexpr std::uint32_t kWriters = 4, kEach = 20'000;  // together more than a chunk
  EventLog log;
  std::vector<std::vector<std::uint64_t>> numbers(kWriters);
  std::atomic<int> out_of_place{0};
  std::vector<std::thread> writers;
  for (std::uint32_t w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      std::mt19937 random(w);
      for (std::uint32_t next = 0; next < kEach;) {
        const std::uint32_t wish = random() % 4 == 0 ? static_cast<std::uint32_t>(random() % 200) : 1;
        const std::uint32_t count = std::min(kEach - next, wish);
        const std::uint64_t first = log.append(events_of(w, next, count));
        for (std::uint32_t k = 0; k < count; ++k) numbers[w].push_back(first + k);
        next += count;
      }
    });
  }
  std::vector<std::uint32_t> next_of(kWriters, 0);
  std::uint64_t read = 0, size_before = 0;
  std::vector<Event> out(5000);
  while (read < std::uint64_t{kWriters} * kEach) {
    const std::uint64_t size = log.size();
    out_of_place += size < size_before;
    size_before = size;
    const std::size_t got = log.read(read, out);
    out_of_place += size > read && got == 0;  // what size() counts can be read
    for (std::size_t k = 0; k < got; ++k) {
      const std::uint32_t w = out[k].worker;
      if (w >= kWriters || out[k] != event_of(w, next_of[w])) {
        ++out_of_place;
        continue;
      }
      ++next_of[w];
    }
    read += got;
    if (out_of_place > 0) break;
    if (got == 0) std::this_thread::yield();
  }
  for (auto& writer : writers) writer.join();
  CHECK(out_of_place == 0);
  CHECK(log.size() == std::uint64_t{kWriters} * kEach);

  // Every append was told the number under which its record is.
  const std::vector<Event> all = read_all(log);
  std::size_t misnumbered = 0;
  for (std::uint32_t w = 0; w < kWriters; ++w) {
    for (std::uint32_t k = 0; k < kEach; ++k) misnumbered += all[numbers[w][k]] != event_of(w, k);
  }
  CHECK(misnumbered == 0);
}

TEST_CASE("appenders that need the same new chunk at once all get it, and none is leaked" * doctest::timeout(60)) {
  const std::vector<Event> most = events_of(7, 0, kChunk - 1);
  const std::int64_t before = bytes_held;
  for (int round = 0; round < 10; ++round) {
    EventLog log;
    log.append(most);
    std::atomic<int> waiting{2};
    const auto work = [&](std::uint32_t w) {
      --waiting;
      while (waiting > 0) std::this_thread::yield();  // both cross the border together, as nearly as can be
      for (std::uint32_t k = 0; k < 20; ++k) log.append(event_of(w, k));
    };
    std::thread other(work, 1);
    work(2);
    other.join();
    CHECK(log.size() == kChunk + 39);
    CHECK(bytes_held - before < 2 * 32 * static_cast<std::int64_t>(kChunk) + 10'000);
  }
  CHECK(bytes_held == before);
}

TEST_CASE("trim beside readers and an appender frees nothing that is being read" * doctest::timeout(60)) {
  constexpr std::uint32_t kTotal = 4 * kChunk;
  EventLog log;
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::thread appender([&] {
    for (std::uint32_t next = 0; next < kTotal; next += 512) log.append(events_of(1, next, 512));
    done = true;
  });
  const auto follow = [&] {
    std::vector<Event> out(700);
    for (std::uint64_t at = 0; at < kTotal;) {
      std::size_t got = 0;
      try {
        got = log.read(at, out);
      } catch (const std::out_of_range&) {
        at = log.first();  // fell behind the trim
        continue;
      }
      for (std::size_t k = 0; k < got; ++k) wrong += out[k] != event_of(1, static_cast<std::uint32_t>(at + k));
      at += got;
      if (got == 0) std::this_thread::yield();
    }
  };
  const auto read_oldest = [&] {  // what the next trim is about to free
    std::vector<Event> out(kChunk);
    while (!done) {
      const std::uint64_t at = log.first();
      try {
        const std::size_t got = log.read(at, out);
        for (std::size_t k = 0; k < got; ++k) wrong += out[k] != event_of(1, static_cast<std::uint32_t>(at + k));
      } catch (const std::out_of_range&) {  // trimmed between the two lines
      }
    }
  };
  std::thread first(follow), second(read_oldest);
  while (!done) log.trim(log.size());
  appender.join();
  first.join();
  second.join();
  CHECK(wrong == 0);
  log.trim(kTotal);
  CHECK(log.first() == kTotal);
  CHECK(log.size() == kTotal);
}
