#include <doctest/doctest.h>

#include <set>
#include <string>
#include <utility>

#include "penstock/transitions.hpp"

using namespace penstock;

namespace {

// Written out a second time, and in the other form, so that a slip in the table does not confirm itself.
const std::set<std::pair<State, State>> kSteps = {
    {State::waiting, State::ready},      {State::waiting, State::cancelled}, {State::waiting, State::upstream_failed},
    {State::ready, State::running},      {State::ready, State::cancelled},   {State::running, State::succeeded},
    {State::running, State::failed},     {State::running, State::backoff},   {State::running, State::ready},
    {State::running, State::waiting},    {State::running, State::cancelled}, {State::backoff, State::ready},
    {State::backoff, State::cancelled},  {State::waiting, State::failed},    {State::ready, State::failed},
    {State::backoff, State::failed},
};

}  // namespace

TEST_CASE("each of the 64 pairs of states is allowed exactly where the drawing has an arrow") {
  for (int a = 0; a < kStates; ++a) {
    for (int b = 0; b < kStates; ++b) {
      const auto from = static_cast<State>(a), to = static_cast<State>(b);
      CAPTURE(std::string(name(from)));
      CAPTURE(std::string(name(to)));
      CHECK(allowed(from, to) == kSteps.contains({from, to}));
    }
  }
}

TEST_CASE("a final state is one that no step leaves") {
  for (int a = 0; a < kStates; ++a) {
    bool leaves = false;
    for (int b = 0; b < kStates; ++b) leaves |= allowed(static_cast<State>(a), static_cast<State>(b));
    CHECK(is_final(static_cast<State>(a)) == !leaves);
    CHECK(is_final(static_cast<State>(a)) == (a >= 4));  // as the numbers are given out
  }
}

TEST_CASE("every state can be reached from waiting, and a final one from every other") {
  const auto reachable = [](State start) {
    std::set<State> seen{start};
    for (bool grew = true; grew;) {
      grew = false;
      for (const auto& [from, to] : kSteps) grew |= seen.contains(from) && allowed(from, to) && seen.insert(to).second;
    }
    return seen;
  };
  CHECK(reachable(State::waiting).size() == kStates);
  for (const State s : {State::waiting, State::ready, State::running, State::backoff}) {
    CHECK(reachable(s).contains(State::succeeded));
    CHECK(allowed(s, State::cancelled));
    CHECK(allowed(s, State::failed));  // its time may be over in any of them
  }
}

TEST_CASE("names are distinct words") {
  std::set<std::string_view> states, causes, lanes;
  for (int k = 0; k < kStates; ++k) states.insert(name(static_cast<State>(k)));
  for (int k = 0; k < kCauses; ++k) causes.insert(name(static_cast<Cause>(k)));
  for (int k = 0; k < kLanes; ++k) lanes.insert(name(static_cast<Lane>(k)));
  CHECK(states.size() == kStates);
  CHECK(causes.size() == kCauses);
  CHECK(lanes.size() == kLanes);
  CHECK_FALSE(states.contains(""));
  CHECK_FALSE(causes.contains(""));
  CHECK(name(State::upstream_failed) == "upstream_failed");
  CHECK(name(Cause::skipped) == "skipped");
  CHECK(name(Lane::commands) == "commands");
}
