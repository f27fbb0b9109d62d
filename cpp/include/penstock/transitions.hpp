// The states of a task and the steps between them, as constant data.
//
//   waiting --> ready --> running --> succeeded
//      ^          ^        | | |----> failed
//      |          |        | |------> backoff --> ready     another attempt, after a wait
//      |          |--------|                                another attempt at once, or handed back unstarted
//      |-------------------|                                deferred: it returned calls and waits for them
//   waiting --> upstream_failed                             a predecessor it needs did not succeed
//   waiting, ready, running, backoff --> cancelled
//
// Final states have no way out: whatever is reported about such a task later is late, and dropped.
// Checked by: the 64 pairs in test_transitions.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "penstock/types.hpp"

namespace penstock {

namespace detail {

[[nodiscard]] constexpr std::uint8_t bit(State state) noexcept {
  return static_cast<std::uint8_t>(1U << static_cast<unsigned>(state));
}

template <class... States>
[[nodiscard]] constexpr std::uint8_t to(States... states) noexcept {
  return static_cast<std::uint8_t>((0U | ... | static_cast<unsigned>(bit(states))));
}

// Row = the state before, bits = the states that may follow.
inline constexpr std::array<std::uint8_t, kStates> kTransitions = {
  /* waiting         */ to(State::ready, State::failed, State::cancelled, State::upstream_failed),
  /* ready           */ to(State::running, State::failed, State::cancelled),
  /* running         */
  to(State::succeeded, State::failed, State::backoff, State::ready, State::waiting, State::cancelled),
  /* backoff         */ to(State::ready, State::failed, State::cancelled),
  /* succeeded       */ to(),
  /* failed          */ to(),
  /* cancelled       */ to(),
  /* upstream_failed */ to(),
};

inline constexpr std::array<std::string_view, kStates> kStateNames = {
  "waiting", "ready", "running", "backoff", "succeeded", "failed", "cancelled", "upstream_failed"};

inline constexpr std::array<std::string_view, kCauses> kCauseNames = {"none", "exception", "timeout",  "oom",
                                   "lost", "cancelled", "upstream", "skipped"};

inline constexpr std::array<std::string_view, kLanes> kLaneNames = {"threads", "processes", "commands"};

}  // namespace detail

// Whether a task may go from one state to another in one step. Staying in a state is no step.
[[nodiscard]] constexpr bool allowed(State from, State to) noexcept {
  return (detail::kTransitions[static_cast<std::size_t>(from)] & detail::bit(to)) != 0;
}

// Whether nothing can follow.
[[nodiscard]] constexpr bool is_final(State state) noexcept {
  return detail::kTransitions[static_cast<std::size_t>(state)] == 0;
}

// The word for a state, a cause or a lane, as users read it. Precondition: a named enumerator.
[[nodiscard]] constexpr std::string_view name(State state) noexcept {
  return detail::kStateNames[static_cast<std::size_t>(state)];
}
[[nodiscard]] constexpr std::string_view name(Cause cause) noexcept {
  return detail::kCauseNames[static_cast<std::size_t>(cause)];
}
[[nodiscard]] constexpr std::string_view name(Lane lane) noexcept {
  return detail::kLaneNames[static_cast<std::size_t>(lane)];
}

static_assert(is_final(State::succeeded) && is_final(State::failed) && is_final(State::cancelled) &&
       is_final(State::upstream_failed));
static_assert(!is_final(State::waiting) && !is_final(State::ready) && !is_final(State::running) &&
       !is_final(State::backoff));

}  // namespace penstock
