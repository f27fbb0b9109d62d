// The event log, in chunks of two records, under every schedule with a bounded number of preemptions: readers see whole
// records without holes, nothing is read after it was freed, and of what is appended nothing is lost.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "freed_memory.hpp"
#include "model_check.hpp"
#include "penstock/event_log.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

using Log = BasicEventLog<ExploredAtom, 2>;

// All columns follow from the task, so a record of mixed parts shows.
Event record(std::uint32_t task) {
  return {Instant{task} * 3, std::int64_t{task} * 5, task, task * 7, task * 11, EventKind::ready, Cause::none, State::ready, kEventVersion};
}

// Appends records from `task` on in one batch and checks later that they are where it was told.
struct Appender {
  Log& log;
  std::uint32_t task;
  std::uint32_t count;
  std::uint64_t first = 0;

  void append() {
    std::vector<Event> events;
    for (std::uint32_t k = 0; k < count; ++k) events.push_back(record(task + k));
    first = log.append(std::span<const Event>(events));
  }
  void check(const std::vector<Event>& all, std::uint64_t from) const {
    for (std::uint32_t k = 0; k < count; ++k) {
      if (first + k >= from) Explorer::require(all.at(first + k - from) == record(task + k), "a record is not under its number");
    }
  }
};

std::vector<Event> read(const Log& log, std::uint64_t from, std::size_t most = 16) {
  std::vector<Event> out(most);
  out.resize(log.read(from, out));
  for (const Event& event : out) Explorer::require(event == record(event.task), "a record of mixed parts");
  return out;
}

}  // namespace

TEST_CASE("two appenders that need the same new chunk, and a reader") {
  check_all("appenders and a reader", kUsual, [] {
    Log log;
    Appender a{log, 100, 3}, b{log, 200, 2};
    std::uint64_t seen = 0;
    Explorer::together({[&] { a.append(); }, [&] { b.append(); },
                        [&] {
                          const std::uint64_t size = log.size();
                          const std::vector<Event> prefix = read(log, 0);
                          Explorer::require(prefix.size() >= size, "what size() counts cannot be read");
                          seen = log.size();
                          Explorer::require(seen >= size, "size() fell");
                        }});
    const std::vector<Event> all = read(log, 0);
    Explorer::require(all.size() == 5 && log.size() == 5, "a record is lost");
    a.check(all, 0);
    b.check(all, 0);
  });
}

TEST_CASE("a trim beside a reader of what it drops and an appender") {
  check_all("appender, reader and trimmer", kUsual, [] {
    Log log;
    Appender before{log, 10, 4}, after{log, 50, 3};
    before.append();
    std::size_t got = 0;
    Explorer::together({[&] { after.append(); },
                        [&] {
                          try {
                            const std::vector<Event> all = read(log, 0);
                            got = all.size();
                            before.check(all, 0);
                          } catch (const std::out_of_range&) {
                            got = 99;  // it was trimmed
                          }
                        },
                        [&] { log.trim(log.size()); }});
    Explorer::require(got >= 4, "the reader missed what was published");
    Explorer::require(log.first() >= 4 && log.size() == 7, "a trim that had records to drop dropped none, or a record is lost");
    after.check(read(log, log.first()), log.first());
  });
}

TEST_CASE("two trims beside a reader free each chunk once") {
  check_all("trimmers and a reader", kThorough, [] {
    Log log;
    Appender all{log, 10, 6};
    all.append();
    Explorer::together({[&] { log.trim(4); }, [&] { log.trim(6); },
                        [&] {
                          try {
                            (void)read(log, 2, 2);
                          } catch (const std::out_of_range&) {
                          }
                        }});
    Explorer::require(log.first() == 6 && log.size() == 6, "the later trim was lost");
    log.trim(6);
    (void)log.append(record(90));
    Explorer::require(read(log, 6).size() == 1, "the log does not go on");
  });
}

TEST_CASE("an append across chunks beside trims leaves a log that goes on") {
  check_all("appender and trimmer", kThorough, [] {
    Log log;
    Appender one{log, 10, 3}, two{log, 20, 4};
    Explorer::together({[&] { one.append(), two.append(); },
                        [&] { log.trim(log.size()), log.trim(log.size()); }});
    Explorer::require(log.size() == 7, "a record is lost");
    two.check(read(log, log.first()), log.first());
  });
}
