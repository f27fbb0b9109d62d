// What the benchmarks share: cheap random numbers, clocks, threads that begin together, and rows of figures that are
// printed as a table or, with --json, for python -m benchmarks.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <time.h>

namespace measuring {

inline constexpr std::size_t kRounds = 5;

class Random {  // xorshift64*: cheap beside what is measured
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U | 1U) {}
  std::uint64_t operator()() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DU;
  }

 private:
  std::uint64_t state_;
};

using Clock = std::chrono::steady_clock;

// One thread's own processor time, so that a busy machine changes little.
struct CpuClock {
  static std::chrono::nanoseconds now() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  }
};

// Million operations a second.
inline double mops(std::size_t operations, std::chrono::nanoseconds time) {
  return static_cast<double>(operations) / std::chrono::duration<double, std::micro>(time).count();
}

// Runs work(0) .. work(threads - 1) on as many threads, which begin together; from then until the last has ended.
template <class Work>
std::chrono::nanoseconds together(std::size_t threads, Work&& work) {
  std::atomic<std::size_t> here{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> others;
  for (std::size_t me = 1; me < threads; ++me) {
    others.emplace_back([&, me] {
      here.fetch_add(1);
      while (!go.load()) {
      }
      work(me);
    });
  }
  while (here.load() != threads - 1) {
  }
  const auto start = Clock::now();
  go.store(true);
  work(std::size_t{0});
  for (std::thread& other : others) other.join();
  return Clock::now() - start;
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The figures of one piece of work: for each side a number a round.
struct Side {
  std::string name;
  std::function<double()> measure;
};

class Report {
 public:
  // Of the rows, those whose name contains `only`.
  Report(bool json, std::string only) : json_(json), only_(std::move(only)) {
    if (json_) std::printf("[");
  }
  ~Report() {
    if (json_) std::printf("]\n");
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  // Measures the sides in turn, so that a slow moment of the machine is everyone's, and prints the figures. The last
  // side is the one that the others are compared with.
  void row(const std::string& name, std::span<const Side> sides) {
    if (name.find(only_) == std::string::npos) return;
    std::vector<std::vector<double>> values(sides.size());
    for (std::size_t round = 0; round < kRounds; ++round) {
      for (std::size_t k = 0; k < sides.size(); ++k) values[k].push_back(sides[k].measure());
    }
    if (json_) {
      for (std::size_t k = 0; k < sides.size(); ++k) print_json(name, sides[k].name, values[k]);
    } else {
      std::printf("%-34s", name.c_str());
      const double last = median(values.back());
      for (std::size_t k = 0; k < sides.size(); ++k) {
        std::printf("  %s %.2f", sides[k].name.c_str(), median(values[k]));
        if (k + 1 < sides.size()) std::printf(" (x %.2f)", last / median(values[k]));
      }
      std::printf("\n");
    }
    std::fflush(stdout);
  }

 private:
  void print_json(const std::string& row, const std::string& side, const std::vector<double>& values) {
    std::printf("%s\n{\"row\": \"%s\", \"side\": \"%s\", \"values\": [", first_ ? "" : ",", row.c_str(), side.c_str());
    for (std::size_t k = 0; k < values.size(); ++k) std::printf("%s%.6g", k == 0 ? "" : ", ", values[k]);
    std::printf("]}");
    first_ = false;
  }

  bool json_;
  std::string only_;
  bool first_ = true;
};

// The command line: PROGRAM [size] [--json] [--only TEXT].
struct Options {
  std::size_t size;
  bool json = false;
  std::string only;

  Options(int argc, char** argv, std::size_t full) : size(full) {
    for (int k = 1; k < argc; ++k) {
      if (std::string_view(argv[k]) == "--json") {
        json = true;
      } else if (std::string_view(argv[k]) == "--only" && k + 1 < argc) {
        only = argv[++k];
      } else if ((size = std::strtoull(argv[k], nullptr, 10)) == 0) {
        std::fprintf(stderr, "%s: '%s' is no size; give a number of items, --json, --only TEXT of a row's name\n", argv[0], argv[k]);
        std::exit(2);
      }
    }
  }
};

}  // namespace measuring
