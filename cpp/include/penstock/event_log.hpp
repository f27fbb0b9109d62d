// EventLog: the append-only record of everything that happened in a run.
//
// What it is: numbered records of fixed size, in columns, in chunks of 65,536. Any number of threads append; any
// number read. Readers (journal, progress, trace) follow at their own pace and can neither slow nor stop an appender.
//
// When not to use it: as a queue (nothing is consumed), or for payloads (a record holds numbers only).
//
// Progress: append, read and size are lock-free. An append that loses the race for its numbers has lost it to
// another append; one that loses the race to add a chunk frees its own and uses the winner's. An appender parked
// between its reservation and its publication blocks no appender, but readers stop short of its records until it
// goes on: they see a prefix without holes or nothing.
//
// Order: records are numbered in the order of reservation, which is the linearization point of append, and become
// visible in that order. A batch gets consecutive numbers.
//
// Memory: a chunk takes about 64 KiB when it is opened and 2 MiB when it is full. trim() gives whole chunks back when
// no reader is inside the log, else the next one does; so a reader parked inside keeps memory, not appenders, waiting.
// The destructor frees the rest. 2^32 records at most.
//
// Invariants: a published record never changes (each is written once, before its kind); size() never falls. Checked
// by test_event_log.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "penstock/atom.hpp"
#include "penstock/cache.hpp"
#include "penstock/detail/pages.hpp"
#include "penstock/types.hpp"

namespace penstock {

inline constexpr std::uint8_t kEventVersion = 1;

/// What happened. Where a field of the record has a special meaning, it is said here.
enum class EventKind : std::uint8_t {
  none = 0,              // no record yet; never appended
  submitted = 1,         // task: first id; value: how many
  ready = 2,             // value: 0; may speak for several tasks, see below
  started = 3,           // worker; value: lane; may speak for several tasks, see below
  succeeded = 4,         // value: run time in ns
  failed = 5,            // for good; cause
  retrying = 6,          // cause; value: instant of the next attempt
  cancelled = 7,         // cause: cancelled or skipped
  upstream_failed = 8,
  deferred = 9,          // value: number of tasks it waits for
  rank_changed = 10,     // value: the new priority, the bits of a double
  policy_changed = 11,
  capacity_changed = 12, // worker: resource; value: amount
  paused = 13,
  resumed = 14,
  late_report = 15,
  fallback = 16,
  reserved = 17,         // the task got a reservation
  run_started = 18,
  run_finished = 19,
  cpu_used = 20,         // value: ns
  peak_memory = 21,      // value: bytes
  gauge = 22,            // worker: resource; value: amount in use on the whole machine
  timed_out = 23,        // value: the timeout in ns
  interrupted = 24,      // by Ctrl-C; worker: how many tasks run; value: for how many ns they are waited for, 0 when killed
  run_timed_out = 25,    // worker: how many tasks ran; value: the run's timeout in ns
  deadline_at_risk = 26, // value: ns left
  deadline_missed = 27,
  breaker_opened = 28,   // the task whose failure opened it; value: how many failed in a row
  breaker_closed = 29,   // the task whose success closed it
  suspended = 30,        // the running attempt stands still and has given back CPU, disk and network
  proceeded = 31,        // it goes on
  guard_closed = 32,     // memory is short: at most one task runs; value: bytes in use
  guard_opened = 33,     // value: bytes in use
  evicted = 34,          // the running attempt is being ended so that it starts again later; cause; value: bytes it used
  io_used = 35,          // value: bytes read from and written to devices by one attempt
  peak_gpu_memory = 36,  // value: bytes, of all GPUs together
};
inline constexpr int kEventKinds = 37;

/// One record, as it is handed in and out. The layout is read by others as it stands: change it with kEventVersion.
struct Event {
  Instant time;
  std::int64_t value;
  std::uint32_t task;
  std::uint32_t attempt;
  std::uint32_t worker;
  EventKind kind;
  Cause cause;
  State state;
  std::uint8_t version;

  friend constexpr bool operator==(const Event&, const Event&) noexcept = default;
};
static_assert(sizeof(Event) == 32 && alignof(Event) == 8 && std::is_trivially_copyable_v<Event>);
static_assert(offsetof(Event, value) == 8 && offsetof(Event, task) == 16 && offsetof(Event, attempt) == 20 &&
              offsetof(Event, worker) == 24 && offsetof(Event, kind) == 28 && offsetof(Event, cause) == 29 &&
              offsetof(Event, state) == 30 && offsetof(Event, version) == 31);

/// A record of kind `ready` or `started` may speak for a range of tasks, to which the same happened at the same instant:
/// for `task` and the ids that follow it, as many more as `value` says above its lowest 8 bits.
inline constexpr unsigned kRangeShift = 8;

[[nodiscard]] constexpr std::uint32_t tasks_in(const Event& event) noexcept {
  const bool range = event.kind == EventKind::ready || event.kind == EventKind::started;
  return range ? static_cast<std::uint32_t>(event.value >> kRangeShift) + 1 : 1;
}

/// Lets `event`, a record of one of these kinds, speak for `next` too; false, and nothing changed, where it cannot.
[[nodiscard]] constexpr bool extend_range(Event& event, const Event& next) noexcept {
  if (next.kind != EventKind::ready && next.kind != EventKind::started) return false;
  if (next.task != event.task + tasks_in(event) || next.kind != event.kind || next.time != event.time ||
      next.attempt != event.attempt || next.worker != event.worker ||
      (next.value ^ event.value) % (std::int64_t{1} << kRangeShift) != 0) {
    return false;
  }
  event.value += std::int64_t{1} << kRangeShift;
  return true;
}

/// `kRecords`: of a chunk. The default is what a run uses; a test takes a few, so that a handful of records fills one.
template <class Atom = StdAtom, std::size_t kRecords = std::size_t{1} << 16>
class BasicEventLog {
  template <class T>
  using atomic = typename Atom::template atomic<T>;

 public:
  static constexpr std::size_t kChunkRecords = kRecords;
  static constexpr std::uint64_t kMaxRecords = std::uint64_t{kChunkRecords} << 16;

  BasicEventLog() = default;
  BasicEventLog(const BasicEventLog&) = delete;
  BasicEventLog& operator=(const BasicEventLog&) = delete;

  ~BasicEventLog() {
    for (auto& slot : directory_) {  // relaxed throughout: no other thread is left
      Page* const page = slot.load(std::memory_order_relaxed);
      if (page == nullptr) continue;
      for (auto& chunk : *page) delete chunk.load(std::memory_order_relaxed);
      delete page;
    }
  }

  /// Appends one record and returns its number. Throws std::invalid_argument for kind `none`, std::length_error past
  /// kMaxRecords and std::bad_alloc; the log is then as before.
  std::uint64_t append(const Event& event) { return append(std::span<const Event>(&event, 1)); }

  /// Appends records under consecutive numbers and returns the first. Errors as for one; none is appended then.
  std::uint64_t append(std::span<const Event> events) {
    for (const Event& event : events) {
      if (event.kind == EventKind::none) {
        throw std::invalid_argument("an event of kind 'none' was appended; give the kind of what happened");
      }
    }
    const std::uint64_t first = reserve(events.size());
    std::uint64_t at = first;
    while (!events.empty()) {
      const std::size_t offset = at % kChunkRecords;
      const std::size_t here = std::min(events.size(), kChunkRecords - offset);
      chunk(at)->write(offset, events.first(here));
      events = events.subspan(here);
      at += here;
    }
    return first;
  }

  /// Copies published records from number `from` on into `out`; returns how many: less than asked for where the
  /// published prefix ends. Throws std::out_of_range for a record that trim() has dropped.
  std::size_t read(std::uint64_t from, std::span<Event> out) const {
    const Reading reading(*this);
    if (from < reading.first) {
      throw std::out_of_range("record " + std::to_string(from) + " was trimmed; the log now starts at record " +
                              std::to_string(reading.first));
    }
    std::size_t done = 0;
    while (done < out.size() && from < kMaxRecords) {
      const Chunk* const source = chunk(from);
      if (source == nullptr) break;
      const std::size_t offset = from % kChunkRecords;
      const std::size_t wanted = std::min(out.size() - done, kChunkRecords - offset);
      const std::size_t got = source->read(offset, out.subspan(done, wanted));
      done += got;
      from += got;
      if (got < wanted) break;
    }
    return done;
  }

  /// The length of the published prefix: every record below it can be read, unless trimmed. Never falls.
  [[nodiscard]] std::uint64_t size() const {
    const Reading reading(*this);
    // relaxed, here and below: `seen_` only says where to start looking; records are published by their kinds.
    std::uint64_t at = std::max(seen_.load(std::memory_order_relaxed), reading.first);
    const std::uint64_t start = at;
    while (at < kMaxRecords) {
      const Chunk* const source = chunk(at);
      if (source == nullptr) break;
      const std::size_t offset = at % kChunkRecords;
      const std::size_t got = source->published(offset);
      at += got;
      if (got < kChunkRecords - offset) break;
    }
    std::uint64_t seen = start;
    while (seen < at && !seen_.compare_exchange_weak(seen, at, std::memory_order_relaxed)) {
    }
    return std::max(at, seen);
  }

  /// The first record that is still there.
  [[nodiscard]] std::uint64_t first() const noexcept { return first_.load(std::memory_order_seq_cst); }

  /// Drops the published records below `before`, as far as they fill whole chunks. Their memory goes back now, or,
  /// when some thread is reading, with a later trim(). Any thread.
  void trim(std::uint64_t before) {
    const std::uint64_t whole = std::min(before, size()) / kChunkRecords * kChunkRecords;
    std::uint64_t first = first_.load(std::memory_order_seq_cst);
    while (first < whole && !first_.compare_exchange_weak(first, whole, std::memory_order_seq_cst)) {
    }
    // seq_cst on first_ and readers_, here and in Reading: a reader announces itself and then reads first_, a trimmer
    // moves first_ and then looks for readers. In their one total order either this thread sees the reader and
    // frees nothing, or the reader sees the new first_ and stays off what is freed. With less, both could miss.
    if (readers_.load(std::memory_order_seq_cst) != 0) return;
    first = first_.load(std::memory_order_seq_cst);
    for (std::uint64_t at = freed_.load(std::memory_order_relaxed); at < first; at += kChunkRecords) {
      // acq_rel. Acquire pairs with the release that installed the chunk: its writes are over before it is freed.
      // Release shows the moved first_ to an appender that finds the slot empty in open(); with relaxed it could
      // put a new chunk there, for nothing. Exchange: of two trimmers one frees it.
      delete slot(at)->exchange(nullptr, std::memory_order_acq_rel);
    }
    // relaxed: a hint where to start. Falling back, by a race of two trimmers, costs a look at empty slots.
    freed_.store(first, std::memory_order_relaxed);
  }

 private:
  struct Chunk {
    // Written once, before `kinds` of the same record is released; read only after it was acquired.
    std::array<Instant, kChunkRecords> times;
    std::array<std::int64_t, kChunkRecords> values;
    std::array<std::uint32_t, kChunkRecords> tasks;
    std::array<std::uint32_t, kChunkRecords> attempts;
    std::array<std::uint32_t, kChunkRecords> workers;
    std::array<Cause, kChunkRecords> causes;
    std::array<State, kChunkRecords> states;
    std::array<std::uint8_t, kChunkRecords> versions;
    std::array<atomic<std::uint8_t>, kChunkRecords> kinds;  // 0: not published

    // Leaves the columns untouched, so that their memory is taken only as it is used.
    Chunk() noexcept : kinds{} {}  // NOLINT: uninitialised on purpose

    static void* operator new(std::size_t bytes) { return detail::allocate_pages(bytes, kCacheLine); }
    static void operator delete(void* chunk, std::size_t bytes) noexcept { detail::free_pages(chunk, bytes, kCacheLine); }

    void write(std::size_t at, std::span<const Event> events) noexcept {
      for (std::size_t k = 0; k < events.size(); ++k) {
        const Event& event = events[k];
        times[at + k] = event.time;
        values[at + k] = event.value;
        tasks[at + k] = event.task;
        attempts[at + k] = event.attempt;
        workers[at + k] = event.worker;
        causes[at + k] = event.cause;
        states[at + k] = event.state;
        versions[at + k] = event.version;
        // release. Publishes this record's columns; pairs with the acquire in published(). With relaxed a reader
        // could see the kind and still copy columns from before the record was written.
        kinds[at + k].store(static_cast<std::uint8_t>(event.kind), std::memory_order_release);
      }
    }

    // How many records from `at` on are published without a gap, in this chunk.
    [[nodiscard]] std::size_t published(std::size_t at, std::size_t limit = kChunkRecords) const noexcept {
      std::size_t end = at;
      const std::size_t stop = std::min(kChunkRecords - at, limit) + at;
      // acquire: pairs with the release in write().
      while (end < stop && kinds[end].load(std::memory_order_acquire) != 0) ++end;
      return end - at;
    }

    [[nodiscard]] std::size_t read(std::size_t at, std::span<Event> out) const noexcept {
      const std::size_t count = published(at, out.size());
      for (std::size_t k = 0; k < count; ++k) {
        const std::size_t i = at + k;
        // relaxed: published() has already acquired this kind, and it is written once.
        const auto kind = static_cast<EventKind>(kinds[i].load(std::memory_order_relaxed));
        out[k] = Event{times[i],  values[i], tasks[i],  attempts[i], workers[i],
                       kind,      causes[i], states[i], versions[i]};
      }
      return count;
    }
  };

  using Page = std::array<atomic<Chunk*>, 256>;
  static_assert(kMaxRecords == kChunkRecords * 256 * 256, "the directory is 256 pages of 256 chunks");

  // While one of these lives, no chunk at or above `first` is freed.
  struct Reading {
    explicit Reading(const BasicEventLog& log_) noexcept : log(log_) {
      log.readers_.fetch_add(1, std::memory_order_seq_cst);  // order: see trim()
      first = log.first_.load(std::memory_order_seq_cst);
    }
    // release, within seq_cst: a trimmer that sees 0 frees after this reader's last look.
    ~Reading() { log.readers_.fetch_sub(1, std::memory_order_seq_cst); }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

    const BasicEventLog& log;
    std::uint64_t first;
  };

  // Takes `count` numbers. Chunks are there before the numbers are taken: an allocation that fails leaves no hole.
  std::uint64_t reserve(std::size_t count) {
    // relaxed, here and in the exchange: numbers order nothing; a record is published by its kind.
    std::uint64_t first = next_.load(std::memory_order_relaxed);
    do {
      if (count > kMaxRecords - first) {
        throw std::length_error("the event log is full: it holds at most " + std::to_string(kMaxRecords) +
                                " records; start a new run");
      }
      for (std::uint64_t at = first / kChunkRecords * kChunkRecords; at < first + count; at += kChunkRecords) open(at);
    } while (!next_.compare_exchange_weak(first, first + count, std::memory_order_relaxed));
    return first;
  }

  // Makes sure that there is a chunk for record `at`.
  void open(std::uint64_t at) {
    atomic<Page*>& page_slot = directory_[at / kChunkRecords / 256];
    // acquire, for pages and chunks alike, loads and failed exchanges: pairs with the release of who installed it
    // and publishes its zeroed content. With relaxed a thread could find the pointer and not yet the zeros.
    Page* page = page_slot.load(std::memory_order_acquire);
    if (page == nullptr) page = install(page_slot);
    atomic<Chunk*>& chunk_slot = (*page)[at / kChunkRecords % 256];
    // A slot below first_ was used and freed; its records are published, so nobody reserves there again: `first` in
    // reserve() may be old, but then its exchange fails.
    if (chunk_slot.load(std::memory_order_acquire) == nullptr && at >= first_.load(std::memory_order_seq_cst)) {
      install(chunk_slot);
    }
  }

  template <class T>
  static T* install(atomic<T*>& slot) {
    auto made = std::make_unique<T>();
    T* present = nullptr;
    // acq_rel. Release publishes what was made; acquire, on failure, receives what the winner made.
    if (slot.compare_exchange_strong(present, made.get(), std::memory_order_acq_rel, std::memory_order_acquire)) {
      return made.release();
    }
    return present;  // the loser's own is freed here
  }

  // The place of record `at`'s chunk, or nullptr when not even its page is there.
  [[nodiscard]] atomic<Chunk*>* slot(std::uint64_t at) const noexcept {
    Page* const page = directory_[at / kChunkRecords / 256].load(std::memory_order_acquire);  // see open()
    return page == nullptr ? nullptr : &(*page)[at / kChunkRecords % 256];
  }

  [[nodiscard]] Chunk* chunk(std::uint64_t at) const noexcept {
    const atomic<Chunk*>* const place = slot(at);
    return place == nullptr ? nullptr : place->load(std::memory_order_acquire);  // see open()
  }

  alignas(kCacheLine) atomic<std::uint64_t> next_{0};  // appenders' line
  // Readers' line. seen_ is a lower bound of the published prefix.
  alignas(kCacheLine) mutable atomic<std::uint64_t> seen_{0};
  mutable atomic<std::uint32_t> readers_{0};
  alignas(kCacheLine) atomic<std::uint64_t> first_{0};  // rarely written
  atomic<std::uint64_t> freed_{0};
  std::array<atomic<Page*>, 256> directory_{};
};

using EventLog = BasicEventLog<>;
static_assert(EventLog::kMaxRecords == std::uint64_t{1} << 32);

}  // namespace penstock
