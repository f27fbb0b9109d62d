// The ledger under every schedule with a bounded number of preemptions: at every instant no resource is given out beyond
// what there is, and none is negative; at rest every account is exact.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "freed_memory.hpp"
#include "model_check.hpp"
#include "penstock/ledger.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

using ExploredLedger = BasicLedger<ExploredAtom>;

Demand demand(std::initializer_list<std::pair<int, Amount>> amounts) {
  Demand d;
  for (const auto& [resource, amount] : amounts) d[resource] = amount;
  return d;
}

// What the threads hold between the return of try_acquire and the call of release: never more than is given out.
class Holdings {
 public:
  Holdings(ExploredLedger& ledger, std::vector<int> resources) : ledger_(ledger), resources_(std::move(resources)) {
    Explorer::watch([this] { check(); });
  }
  // One acquisition, held for an instant.
  bool use(const Demand& d) {
    const std::optional<Grant> grant = ledger_.try_acquire(d);
    if (!grant) return false;
    count(d, *grant, 1);
    Explorer::step();
    count(d, *grant, -1);
    ledger_.release(d, *grant);
    return true;
  }
  void check() const {
    for (const int r : resources_) {
      Explorer::require(ledger_.free(r) >= 0, "less than nothing is free");
      Explorer::require(held_[static_cast<std::size_t>(r)] <= ledger_.capacity(r), "more is given out than there is");
      Explorer::require(held_[static_cast<std::size_t>(r)] <= ledger_.held(r), "more is held than is accounted for");
    }
    for (const Amount share : shares_) Explorer::require(share <= ExploredLedger::kWholeDevice, "a device is given out twice");
  }
  void check_at_rest() const {
    check();
    for (const int r : resources_) Explorer::require(ledger_.held(r) == 0, "something is held by nobody");
  }

 private:
  void count(const Demand& d, Grant grant, Amount sign) {
    const Unwatched unwatched;
    for (int r = 0; r < kMaxResources; ++r) held_[static_cast<std::size_t>(r)] += sign * d[r];
    for (std::size_t g = 0; g < shares_.size(); ++g) {
      if ((grant.devices >> g & 1) != 0) shares_[g] += sign * std::min(d[kGpu], ExploredLedger::kWholeDevice);
    }
  }

  ExploredLedger& ledger_;
  std::vector<int> resources_;
  std::array<Amount, kMaxResources> held_{};
  std::array<Amount, 2> shares_{};
};

}  // namespace

TEST_CASE("two resources, short in turn, are never given out beyond what there is") {
  check_all("two threads", kThorough, [] {
    ExploredLedger ledger;
    ledger.set_capacity(kCpu, 3);
    ledger.set_capacity(kMemory, 3);
    Holdings holdings(ledger, {kCpu, kMemory});
    Explorer::together({[&] { holdings.use(demand({{kCpu, 2}, {kMemory, 1}})); },
                        [&] { holdings.use(demand({{kCpu, 2}, {kMemory, 3}})); }});
    holdings.check_at_rest();
  });
  check_all("three threads", kUsual, [] {
    ExploredLedger ledger;
    ledger.set_capacity(kCpu, 3);
    ledger.set_capacity(kMemory, 3);
    Holdings holdings(ledger, {kCpu, kMemory});
    Explorer::together({[&] { holdings.use(demand({{kCpu, 2}, {kMemory, 1}})); },
                        [&] { holdings.use(demand({{kCpu, 1}, {kMemory, 3}})); },
                        [&] { holdings.use(demand({{kCpu, 2}})); }});
    holdings.check_at_rest();
  });
}

TEST_CASE("whole and shared devices are never given out twice") {
  check_all("devices", kUsual, [] {
    ExploredLedger ledger(2);
    ledger.set_capacity(kCpu, 2);
    for (int d = 0; d < 2; ++d) ledger.set_device_capacity(d, 1000, 10);
    Holdings holdings(ledger, {kCpu, kGpu, kGpuMemory});
    Explorer::together({[&] { holdings.use(demand({{kCpu, 1}, {kGpu, 2000}})); },
                        [&] { holdings.use(demand({{kCpu, 1}, {kGpu, 300}, {kGpuMemory, 7}})); },
                        [&] { holdings.use(demand({{kGpu, 400}, {kGpuMemory, 6}})); }});
    holdings.check_at_rest();
  });
}

TEST_CASE("of two acquisitions for which there is room, neither fails without one that was undone") {
  bool refused = false, undone = false;
  check_all("an acquisition in the way", kThorough, [&] {
    ExploredLedger ledger(1);
    ledger.set_capacity(kCpu, 1);
    ledger.set_device_capacity(0, 1000, 10);
    bool first = false, second = false;
    Explorer::together({[&] { first = ledger.try_acquire(demand({{kCpu, 1}, {kGpu, 500}, {kGpuMemory, 5}})).has_value(); },
                        [&] { second = ledger.try_acquire(demand({{kGpu, 600}, {kGpuMemory, 8}})).has_value(); }});
    Explorer::require(!(first && second), "both got what there is for one");
    Explorer::require(first || second || ledger.undone() > 0, "neither got it, and nothing was undone");
    Explorer::require(first == (ledger.held(kCpu) == 1), "a part was not given back");
    refused = refused || !first;
    undone = undone || ledger.undone() > 0;
  });
  CHECK(refused);
  CHECK(undone);  // some schedule loses the race on the last part and gives back the others
}

TEST_CASE("a capacity that two threads set and a third uses is exact at rest") {
  check_all("capacities", kUsual, [] {
    ExploredLedger ledger;
    ledger.set_capacity(kCpu, 2);
    Explorer::together({[&] { ledger.set_capacity(kCpu, 1); },
                        [&] { ledger.set_capacity(kCpu, 5); },
                        [&] {
                          const Demand two = demand({{kCpu, 2}});
                          if (const auto grant = ledger.try_acquire(two)) ledger.release(two, *grant);
                        }});
    Explorer::require(ledger.held(kCpu) == 0 && ledger.free(kCpu) == ledger.capacity(kCpu), "free is not the capacity");
  });
}

TEST_CASE("what a holder did is there for the next one, by the orders of the ledger's own accesses") {
  check_all("hand-over", kUsual, [] {
    ExploredLedger ledger;
    ledger.set_capacity(kFirstCustom, 1);
    const Demand one = demand({{kFirstCustom, 1}});
    int guarded = 0;  // plain: ThreadSanitizer reports a holder that is not ordered after the one before
    const auto work = [&] {
      for (int k = 0; k < 2; ++k) {
        const auto grant = ledger.try_acquire(one);
        if (!grant) continue;
        ++guarded;
        ledger.release(one, *grant);
      }
    };
    Explorer::together({work, work});
    Explorer::require(guarded >= 2, "nobody got it");
  });
}
