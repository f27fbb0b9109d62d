#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/ledger.hpp"

using namespace penstock;

namespace {

Demand demand(std::initializer_list<std::pair<int, Amount>> amounts) {
  Demand d;
  for (const auto& [resource, amount] : amounts) d[resource] = amount;
  return d;
}

template <class Error, class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no such error";
}

void check_balanced(const Ledger& ledger) {
  for (int r = 0; r < kMaxResources; ++r) {
    CAPTURE(r);
    CHECK(ledger.held(r) + ledger.free(r) == ledger.capacity(r));
    CHECK(ledger.held(r) >= 0);
  }
}

}  // namespace

TEST_CASE("nothing can be had before a capacity is set, except nothing") {
  Ledger ledger;
  CHECK_FALSE(ledger.try_acquire(demand({{kCpu, 1}})));
  CHECK(ledger.try_acquire(Demand{}) == Grant{});
  check_balanced(ledger);
}

TEST_CASE("what is acquired is held until it is released") {
  Ledger ledger;
  ledger.set_capacity(kCpu, 4000);
  ledger.set_capacity(kMemory, 100);
  const Demand d = demand({{kCpu, 3000}, {kMemory, 60}});
  REQUIRE(ledger.try_acquire(d));
  CHECK(ledger.held(kCpu) == 3000);
  CHECK(ledger.free(kCpu) == 1000);
  CHECK(ledger.held(kMemory) == 60);
  check_balanced(ledger);
  ledger.release(d, Grant{});
  CHECK(ledger.held(kCpu) == 0);
  CHECK(ledger.free(kMemory) == 100);
}

TEST_CASE("a demand that fits in part takes nothing") {
  Ledger ledger(1);
  ledger.set_capacity(kCpu, 4000);
  ledger.set_capacity(kFirstCustom, 10);
  ledger.set_device_capacity(0, 1000, 100);
  for (const Demand& d : {demand({{kCpu, 1000}, {kFirstCustom, 11}}), demand({{kCpu, 4001}, {kFirstCustom, 1}}),
                          demand({{kCpu, 1000}, {kFirstCustom, 1}, {kGpu, 500}, {kGpuMemory, 101}})}) {
    CHECK_FALSE(ledger.try_acquire(d));
    for (int r = 0; r < kMaxResources; ++r) CHECK(ledger.held(r) == 0);
  }
}

TEST_CASE("exactly the whole capacity can be held, and not one more") {
  Ledger ledger;
  ledger.set_capacity(kMemory, 1000);
  REQUIRE(ledger.try_acquire(demand({{kMemory, 999}})));
  CHECK_FALSE(ledger.try_acquire(demand({{kMemory, 2}})));
  CHECK(ledger.try_acquire(demand({{kMemory, 1}})));
  CHECK_FALSE(ledger.try_acquire(demand({{kMemory, 1}})));
}

TEST_CASE("an unlimited resource counts what is held of it") {
  Ledger ledger;
  ledger.set_capacity(kDisk, kUnlimited);
  const Demand d = demand({{kDisk, Amount{1} << 60}});
  REQUIRE(ledger.try_acquire(d));
  REQUIRE(ledger.try_acquire(d));
  CHECK(ledger.held(kDisk) == Amount{1} << 61);
  ledger.set_capacity(kDisk, 5);
  CHECK(ledger.held(kDisk) == Amount{1} << 61);
  ledger.set_capacity(kDisk, kUnlimited);
  ledger.release(d, {});
  ledger.release(d, {});
  CHECK(ledger.held(kDisk) == 0);
  CHECK(ledger.free(kDisk) == kUnlimited);
}

TEST_CASE("a capacity lowered below what is held leaves free negative until enough comes back") {
  Ledger ledger;
  ledger.set_capacity(kCpu, 4000);
  const Demand two = demand({{kCpu, 2000}});
  REQUIRE(ledger.try_acquire(two));
  REQUIRE(ledger.try_acquire(two));
  ledger.set_capacity(kCpu, 1000);
  CHECK(ledger.free(kCpu) == -3000);
  CHECK(ledger.held(kCpu) == 4000);
  CHECK(ledger.lacking(demand({{kCpu, 1}})) == kCpu);
  CHECK(ledger.try_acquire(Demand{}));  // asks for nothing
  ledger.release(two, {});
  CHECK_FALSE(ledger.try_acquire(demand({{kCpu, 1}})));
  ledger.release(two, {});
  CHECK(ledger.try_acquire(demand({{kCpu, 1000}})));
  check_balanced(ledger);
}

TEST_CASE("lacking names the first resource that is short now, exceeding the first that always is") {
  Ledger ledger(1);
  ledger.set_capacity(kCpu, 1000);
  ledger.set_capacity(kMemory, 100);
  ledger.set_capacity(kFirstCustom, 5);
  ledger.set_device_capacity(0, 1000, 50);
  REQUIRE(ledger.try_acquire(demand({{kMemory, 80}, {kGpu, 600}, {kGpuMemory, 10}})));
  CHECK_FALSE(ledger.lacking(demand({{kCpu, 1000}, {kMemory, 20}, {kGpu, 400}, {kGpuMemory, 40}})));
  CHECK(ledger.lacking(demand({{kCpu, 1001}, {kMemory, 21}})) == kCpu);
  CHECK(ledger.lacking(demand({{kMemory, 21}, {kFirstCustom, 6}})) == kMemory);
  CHECK(ledger.lacking(demand({{kGpu, 401}, {kFirstCustom, 6}})) == kGpu);
  CHECK(ledger.lacking(demand({{kGpu, 400}, {kGpuMemory, 41}, {kFirstCustom, 6}})) == kGpuMemory);
  CHECK(ledger.lacking(demand({{kGpuMemory, 41}})) == kGpuMemory);
  CHECK(ledger.lacking(demand({{kGpu, 100}, {kFirstCustom, 6}})) == kFirstCustom);
  CHECK_FALSE(ledger.exceeding(demand({{kMemory, 100}, {kGpu, 1000}, {kGpuMemory, 50}})));
  CHECK(ledger.exceeding(demand({{kMemory, 101}})) == kMemory);
  CHECK(ledger.exceeding(demand({{kGpu, 2000}})) == kGpu);
  CHECK(ledger.exceeding(demand({{kGpu, 1000}, {kGpuMemory, 51}})) == kGpuMemory);
  CHECK(Ledger().exceeding(demand({{kGpuMemory, 1}})) == kGpuMemory);
}

TEST_CASE("part of a GPU goes to the device where least is left over") {
  Ledger ledger(3);
  ledger.set_device_capacity(0, 1000, 100);
  ledger.set_device_capacity(1, 700, 100);
  ledger.set_device_capacity(2, 700, 60);
  CHECK(ledger.try_acquire(demand({{kGpu, 300}, {kGpuMemory, 50}})) == Grant{0b100});  // as 1, but less memory over
  CHECK(ledger.try_acquire(demand({{kGpu, 300}, {kGpuMemory, 50}})) == Grant{0b010});  // 2 has no memory left
  CHECK(ledger.try_acquire(demand({{kGpu, 400}})) == Grant{0b100});                    // both have 400; 2 less memory
  CHECK(ledger.try_acquire(demand({{kGpu, 800}})) == Grant{0b001});
  CHECK_FALSE(ledger.try_acquire(demand({{kGpu, 500}})));
  CHECK(ledger.capacity(kGpu) == 2400);
  CHECK(ledger.held(kGpu) == 1800);
  CHECK(ledger.device_free_share(1) == 400);
  CHECK(ledger.device_free_memory(2) == 10);
}

TEST_CASE("whole GPUs go to untouched devices, with the memory on each") {
  Ledger ledger(4);
  for (int d = 0; d < 4; ++d) ledger.set_device_capacity(d, 1000, d == 2 ? 10 : 100);
  REQUIRE(ledger.try_acquire(demand({{kGpu, 1}})) == Grant{0b0100});  // the least memory over
  const Demand three = demand({{kGpu, 3000}, {kGpuMemory, 80}});
  const auto grant = ledger.try_acquire(three);
  REQUIRE(grant == Grant{0b1011});
  CHECK(ledger.held(kGpu) == 3001);
  CHECK(ledger.held(kGpuMemory) == 240);
  CHECK_FALSE(ledger.try_acquire(demand({{kGpu, 1000}})));
  ledger.release(three, *grant);
  CHECK(ledger.held(kGpu) == 1);
  CHECK(ledger.held(kGpuMemory) == 0);
  CHECK_FALSE(ledger.try_acquire(demand({{kGpu, 4000}})));
  CHECK(ledger.held(kGpu) == 1);
}

TEST_CASE("GPU memory alone goes to one device and takes no share") {
  Ledger ledger(2);
  ledger.set_device_capacity(0, 1000, 100);
  ledger.set_device_capacity(1, 0, 100);
  const Demand d = demand({{kGpuMemory, 70}});
  CHECK(ledger.try_acquire(d) == Grant{0b10});
  CHECK(ledger.try_acquire(d) == Grant{0b01});
  CHECK_FALSE(ledger.try_acquire(d));
  CHECK(ledger.held(kGpu) == 0);
}

TEST_CASE("the sum over devices stops at unlimited") {
  Ledger ledger(2);
  ledger.set_device_capacity(0, 1000, kUnlimited);
  ledger.set_device_capacity(1, 1000, kUnlimited);
  CHECK(ledger.capacity(kGpuMemory) == kUnlimited);
  CHECK(ledger.free(kGpuMemory) == kUnlimited);
}

TEST_CASE("what cannot be meant is refused, and says what is allowed") {
  Ledger ledger(2);
  ledger.set_capacity(kCpu, 1000);
  const std::string allowed = " is unknown; resources are 0 .. " + std::to_string(kMaxResources - 1);
  CHECK(error_of<std::out_of_range>([&] { ledger.set_capacity(kMaxResources, 1); }) ==
        "resource " + std::to_string(kMaxResources) + allowed);
  CHECK(error_of<std::out_of_range>([&] { static_cast<void>(ledger.free(-1)); }) ==
        "resource -1" + allowed);
  CHECK(error_of<std::invalid_argument>([&] { ledger.set_capacity(kCpu, -5); }) ==
        "the capacity of resource 0 is -5; it must be 0 or more");
  CHECK(error_of<std::invalid_argument>([&] { ledger.set_capacity(kGpu, 1000); }) ==
        "resource 4 is kept per GPU device; use set_device_capacity");
  CHECK(error_of<std::out_of_range>([&] { ledger.set_device_capacity(2, 1000, 1); }) ==
        "GPU device 2 is unknown; this ledger keeps 2, counted from 0");
  CHECK(error_of<std::invalid_argument>([&] { ledger.set_device_capacity(1, 1000, -1); }) ==
        "the memory of GPU device 1 is -1; it must be 0 or more");
  const Demand negative = demand({{kCpu, 1}, {kDisk, -2}});
  CHECK(error_of<std::invalid_argument>([&] { static_cast<void>(ledger.try_acquire(negative)); }) ==
        "a demand asks for -2 of resource 2; it must be 0 or more");
  CHECK(error_of<std::invalid_argument>([&] { static_cast<void>(ledger.lacking(demand({{kGpu, 1500}}))); }) ==
        "a demand asks for 1500 milli-GPU; more than one GPU must be whole ones: 2000, 3000, ...");
  CHECK(error_of<std::invalid_argument>([] { Ledger(65); }) ==
        "a ledger of 65 GPU devices was asked for; it keeps 0 .. 64");
  CHECK(ledger.held(kCpu) == 0);
}

TEST_CASE("all 64 devices can be held at once") {
  Ledger ledger(64);
  for (int d = 0; d < 64; ++d) ledger.set_device_capacity(d, 1000, 1);
  const Demand all = demand({{kGpu, 64'000}});
  const auto grant = ledger.try_acquire(all);
  REQUIRE(grant == Grant{~std::uint64_t{0}});
  CHECK_FALSE(ledger.try_acquire(demand({{kGpu, 1}})));
  ledger.release(all, *grant);
  CHECK(ledger.free(kGpu) == 64'000);
  CHECK_FALSE(ledger.try_acquire(demand({{kGpu, Amount{1000} << 50}})));
}

TEST_CASE("random acquisitions and releases agree with a plain account of them") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const auto below = [&](Amount n) { return static_cast<Amount>(random() % static_cast<std::uint64_t>(n)); };
    Ledger ledger(2);
    std::map<int, Amount> capacity, held;
    std::array<Amount, 2> share{1000, 1000}, memory{64, 32};
    for (int d = 0; d < 2; ++d) ledger.set_device_capacity(d, 1000, memory[static_cast<std::size_t>(d)]);
    std::vector<std::pair<Demand, Grant>> open;
    for (int step = 0; step < 400; ++step) {
      const Amount choice = below(10);
      if (choice == 0) {
        const int r = static_cast<int>(below(3));
        ledger.set_capacity(r, capacity[r] = below(100));
      } else if (choice < 5 && !open.empty()) {
        const auto at = static_cast<std::size_t>(below(static_cast<Amount>(open.size())));
        const auto [d, grant] = open[at];
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
        ledger.release(d, grant);
        for (int r = 0; r < 3; ++r) held[r] -= d[r];
        for (std::size_t k = 0; k < 2; ++k) {
          if ((grant.devices >> k & 1) == 0) continue;
          share[k] += std::min<Amount>(d[kGpu], 1000);
          memory[k] += d[kGpuMemory];
        }
      } else {
        Demand d = demand({{kCpu, below(40)}, {kMemory, below(40)}, {kDisk, below(3) == 0 ? below(40) : 0}});
        if (below(2) == 0) d[kGpu] = below(4) == 0 ? 1000 * (1 + below(2)) : below(1000);
        if (d[kGpu] > 0 || below(8) == 0) d[kGpuMemory] = below(30);
        bool fits = true;
        for (int r = 0; r < 3; ++r) fits &= d[r] == 0 || held[r] + d[r] <= capacity[r];
        Amount devices = 0;
        for (std::size_t k = 0; k < 2; ++k) {
          devices += share[k] >= std::min<Amount>(d[kGpu], 1000) && memory[k] >= d[kGpuMemory];
        }
        if (d[kGpu] > 0 || d[kGpuMemory] > 0) fits &= devices >= std::max<Amount>(1, d[kGpu] / 1000);
        REQUIRE(ledger.lacking(d).has_value() == !fits);
        const auto grant = ledger.try_acquire(d);
        REQUIRE(grant.has_value() == fits);
        if (grant) {
          open.emplace_back(d, *grant);
          for (int r = 0; r < 3; ++r) held[r] += d[r];
          for (std::size_t k = 0; k < 2; ++k) {
            if ((grant->devices >> k & 1) == 0) continue;
            share[k] -= std::min<Amount>(d[kGpu], 1000);
            memory[k] -= d[kGpuMemory];
          }
        }
      }
      for (int r = 0; r < 3; ++r) {
        REQUIRE(ledger.held(r) == held[r]);
        REQUIRE(ledger.free(r) == capacity[r] - held[r]);
      }
      for (int k = 0; k < 2; ++k) {
        REQUIRE(ledger.device_free_share(k) == share[static_cast<std::size_t>(k)]);
        REQUIRE(ledger.device_free_memory(k) == memory[static_cast<std::size_t>(k)]);
        REQUIRE(ledger.device_free_share(k) >= 0);
      }
    }
    CHECK(ledger.undone() == 0);  // one thread: what passes the first look is had
  }
}

TEST_CASE("threads that compete never hold more than there is, and leave nothing behind" * doctest::timeout(30)) {
  constexpr std::array<int, 3> kUsed = {kCpu, kMemory, kFirstCustom};
  constexpr Amount kCapacity = 10;
  Ledger ledger(2);
  for (const int r : kUsed) ledger.set_capacity(r, kCapacity);
  ledger.set_device_capacity(0, 1000, 10);
  ledger.set_device_capacity(1, 1000, 10);

  // Counted up after an acquisition and down before its release: never more than what the ledger has given out.
  std::array<std::atomic<Amount>, kMaxResources> in_use{};
  std::array<std::atomic<Amount>, 2> share_in_use{};
  std::atomic<int> too_much{0}, successes{0};
  const auto work = [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int k = 0; k < 20'000; ++k) {
      Demand d;
      for (const int r : kUsed) d[r] = static_cast<Amount>(random() % 7);
      if (random() % 2 == 0) {
        d[kGpu] = random() % 4 == 0 ? 2000 : static_cast<Amount>(random() % 1000);
        d[kGpuMemory] = static_cast<Amount>(random() % 6);
      }
      const auto grant = ledger.try_acquire(d);
      if (!grant) continue;
      ++successes;
      for (const int r : kUsed) too_much += in_use[static_cast<std::size_t>(r)].fetch_add(d[r]) + d[r] > kCapacity;
      const Amount share = std::min<Amount>(d[kGpu], 1000);
      for (std::size_t g = 0; g < 2; ++g) {
        if ((grant->devices >> g & 1) != 0) too_much += share_in_use[g].fetch_add(share) + share > 1000;
      }
      if (random() % 8 == 0) std::this_thread::yield();  // hold it across a switch now and then
      for (std::size_t g = 0; g < 2; ++g) {
        if ((grant->devices >> g & 1) != 0) share_in_use[g] -= share;
      }
      for (const int r : kUsed) in_use[static_cast<std::size_t>(r)] -= d[r];
      ledger.release(d, *grant);
    }
  };
  std::atomic<bool> done{false};
  std::atomic<int> negative{0};
  std::thread watcher([&] {
    while (!done) {
      for (const int r : {int{kCpu}, int{kMemory}, int{kFirstCustom}, int{kGpu}, int{kGpuMemory}}) {
        negative += ledger.free(r) < 0 || ledger.held(r) < 0;
      }
    }
  });
  std::vector<std::thread> workers;
  for (std::uint64_t t = 1; t <= 4; ++t) workers.emplace_back(work, t);
  for (auto& worker : workers) worker.join();
  done = true;
  watcher.join();

  CHECK(too_much == 0);
  CHECK(negative == 0);
  CHECK(successes > 0);
  for (int r = 0; r < kMaxResources; ++r) CHECK(ledger.held(r) == 0);
  CHECK(ledger.try_acquire(demand({{kCpu, 10}, {kMemory, 10}, {kFirstCustom, 10}, {kGpu, 2000}, {kGpuMemory, 10}})));
}

TEST_CASE("an acquisition that loses a race on its last part gives back the others" * doctest::timeout(30)) {
  Ledger ledger(2);
  ledger.set_capacity(kCpu, 1000);
  ledger.set_device_capacity(0, 1000, 10);
  ledger.set_device_capacity(1, 1000, 10);
  const Demand both = demand({{kCpu, 1}, {kGpu, 2000}, {kGpuMemory, 10}});
  // Goes on until the race has been lost: at once on a free machine, later on one that runs one thread at a time.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(25);
  const auto work = [&] {
    while (ledger.undone() < 50 && std::chrono::steady_clock::now() < end) {
      if (const auto grant = ledger.try_acquire(both)) ledger.release(both, *grant);
    }
  };
  std::thread first(work), second(work), third(work);
  first.join();
  second.join();
  third.join();
  CHECK(ledger.undone() > 0);
  check_balanced(ledger);
  for (int r = 0; r < kMaxResources; ++r) CHECK(ledger.held(r) == 0);
}

TEST_CASE("accounts balance at rest after capacities moved under competing threads" * doctest::timeout(30)) {
  Ledger ledger;
  ledger.set_capacity(kMemory, 50);
  std::atomic<bool> done{false};
  std::vector<std::thread> workers;
  for (std::uint64_t t = 1; t <= 2; ++t) {
    workers.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int k = 0; k < 20'000; ++k) {
        const auto cpu = static_cast<Amount>(random() % 60), memory = static_cast<Amount>(random() % 30);
        const Demand d = demand({{kCpu, cpu}, {kMemory, memory}});
        if (const auto grant = ledger.try_acquire(d)) ledger.release(d, *grant);
      }
    });
  }
  for (std::uint64_t t = 1; t <= 2; ++t) {
    workers.emplace_back([&, t] {
      std::mt19937_64 random(100 + t);
      while (!done) ledger.set_capacity(kCpu, random() % 10 == 0 ? kUnlimited : static_cast<Amount>(random() % 1000));
    });
  }
  workers[0].join();
  workers[1].join();
  done = true;
  workers[2].join();
  workers[3].join();
  ledger.set_capacity(kCpu, 77);
  CHECK(ledger.held(kCpu) == 0);
  CHECK(ledger.free(kCpu) == 77);
  CHECK(ledger.held(kMemory) == 0);
}

TEST_CASE("two threads that set one capacity leave free equal to the one that stands" * doctest::timeout(30)) {
  Ledger ledger;
  const auto set = [&](Amount base) {
    for (Amount k = 0; k < 300'000; ++k) ledger.set_capacity(kCpu, base + k % 7);
  };
  std::thread first(set, 100), second(set, 500);
  first.join();
  second.join();
  CHECK(ledger.held(kCpu) == 0);
  CHECK(ledger.free(kCpu) == ledger.capacity(kCpu));
}

TEST_CASE("what a holder did is visible to the next holder" * doctest::timeout(30)) {
  Ledger ledger;
  ledger.set_capacity(kFirstCustom, 1);
  const Demand one = demand({{kFirstCustom, 1}});
  std::uint64_t guarded = 0;  // plain: a lost update or a ThreadSanitizer report if holding did not order its holders
  const auto work = [&] {
    for (int k = 0; k < 10'000;) {
      if (!ledger.try_acquire(one)) {
        std::this_thread::yield();
        continue;
      }
      ++guarded;
      ++k;
      ledger.release(one, {});
    }
  };
  std::thread first(work), second(work);
  first.join();
  second.join();
  CHECK(guarded == 20'000);
}
