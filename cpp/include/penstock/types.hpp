// The words of the core: distinct small types, so that a task number cannot be passed where a worker number is meant.
//
// Every type here is trivially copyable and holds no pointer. Numbers of the enumerations are part of the event
// record and of the boundary to Python: they may be added to, never renumbered.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace penstock {

enum class TaskId : std::uint32_t {};   // position in submission order, from 0; never reused within a run
enum class ShapeId : std::uint32_t {};  // tasks of equal demand share one shape
enum class LeaseId : std::uint32_t {};  // one grant of resources to one holder

[[nodiscard]] constexpr std::uint32_t index(TaskId task) noexcept { return static_cast<std::uint32_t>(task); }
[[nodiscard]] constexpr std::uint32_t index(ShapeId shape) noexcept { return static_cast<std::uint32_t>(shape); }
[[nodiscard]] constexpr std::uint32_t index(LeaseId lease) noexcept { return static_cast<std::uint32_t>(lease); }

using Attempt = std::uint32_t;  // 1 = first attempt, 0 = none yet
using Amount = std::int64_t;    // milli-cores, bytes, bytes/s, milli-GPU, milli-units of a custom resource
using Instant = std::int64_t;   // nanoseconds on the driver's monotonic clock; the core never reads a clock

inline constexpr Instant kNever = std::numeric_limits<Instant>::max();
inline constexpr Amount kUnlimited = std::numeric_limits<Amount>::max();

// What decides who starts next: the smaller rank starts first. The value is finite; ranking.hpp refuses others.
struct Rank {
  double value = 0.0;

  friend constexpr bool operator==(Rank, Rank) noexcept = default;
  friend constexpr auto operator<=>(Rank, Rank) noexcept = default;
};

// Maps a rank to an integer of the same order: a < b exactly when ordered_bits(a) < ordered_bits(b).
// Both zeros map to one value, as they compare equal. A NaN has no place in the order: precondition, none.
[[nodiscard]] constexpr std::uint64_t ordered_bits(Rank rank) noexcept {
  constexpr std::uint64_t kSign = std::uint64_t{1} << 63;
  const auto bits = std::bit_cast<std::uint64_t>(rank.value + 0.0);  // -0.0 + 0.0 is +0.0
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

// The inverse of ordered_bits.
[[nodiscard]] constexpr Rank rank_from_bits(std::uint64_t ordered) noexcept {
  constexpr std::uint64_t kSign = std::uint64_t{1} << 63;
  return Rank{std::bit_cast<double>((ordered & kSign) != 0 ? ordered ^ kSign : ~ordered)};
}

inline constexpr int kMaxResources = 17;

enum Resource : int { kCpu = 0, kMemory = 1, kDisk = 2, kNetwork = 3, kGpu = 4, kGpuMemory = 5, kFirstCustom = 6 };

// What one attempt of a task asks for, by resource number; 0 = does not use it. Amounts are never negative.
struct Demand {
  std::array<Amount, kMaxResources> amounts{};

  [[nodiscard]] constexpr Amount operator[](int resource) const noexcept {
    return amounts[static_cast<std::size_t>(resource)];
  }
  [[nodiscard]] constexpr Amount& operator[](int resource) noexcept {
    return amounts[static_cast<std::size_t>(resource)];
  }
  friend constexpr bool operator==(const Demand&, const Demand&) noexcept = default;
};

enum class State : std::uint8_t {
  waiting = 0,  // for predecessors
  ready = 1,    // may start as soon as it fits and its turn comes
  running = 2,
  backoff = 3,  // failed an attempt; waits for the instant of the next one
  succeeded = 4,
  failed = 5,
  cancelled = 6,        // by the user, or skipped: then its cause is Cause::skipped
  upstream_failed = 7,  // a predecessor it needs did not succeed
};
inline constexpr int kStates = 8;

// Why an attempt, or a task, did not succeed. Apart from the state: a task lost and retried is ready again.
enum class Cause : std::uint8_t {
  none = 0,
  exception = 1,
  timeout = 2,
  oom = 3,
  lost = 4,
  cancelled = 5,
  upstream = 6,
  skipped = 7,
};
inline constexpr int kCauses = 8;

// Which executor runs a task.
enum class Lane : std::uint8_t { threads = 0, processes = 1, commands = 2 };
inline constexpr int kLanes = 3;

static_assert(sizeof(TaskId) == 4 && sizeof(Rank) == 8 && sizeof(Demand) == 8 * kMaxResources);
static_assert(std::is_trivially_copyable_v<Rank> && std::is_trivially_copyable_v<Demand>);
static_assert(std::numeric_limits<double>::is_iec559, "ordered_bits needs IEEE 754 doubles");

}  // namespace penstock
