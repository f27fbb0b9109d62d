// What the model checks of one structure each share.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "effort.hpp"
#include "explorer.hpp"

namespace penstock::test {

// Preemptions. Most bugs of lock-free code need one or two (Musuvathi and Qadeer, 2007).
#if defined(PENSTOCK_FIBRE_ASAN) || defined(PENSTOCK_FIBRE_TSAN)
inline constexpr unsigned kQuick = 0, kUsual = 1, kThorough = 2;  // a tenth as fast
#else
inline constexpr unsigned kQuick = 1, kUsual = 2, kThorough = 3;
#endif

// Runs the program under every schedule within the bound; says how many there were.
template <class Program>
void check_all(const std::string& what, unsigned preemptions, Program&& program) {
  const auto report = Explorer::explore({.preemptions = preemptions}, std::forward<Program>(program));
  if (!report.failure.empty()) FAIL(what << ", schedule " << report.schedule << ": " << report.failure);
  MESSAGE(what << ": " << report.schedules << " schedules, up to " << report.longest << " atomic accesses each");
}

}  // namespace penstock::test
