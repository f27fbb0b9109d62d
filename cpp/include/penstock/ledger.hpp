// Ledger: what there is of each resource, what is held, and what is free.
//
// What it is: one atomic count of free amount for each scalar resource, and for each GPU device one of its share and
// one of its memory. Acquiring is all or nothing. All amounts are integers, so held + free == capacity, exactly.
//
// When not to use it: to wait for resources (nobody is woken), or for fairness (the scheduler decides who asks).
//
// Progress: try_acquire and release are lock-free. Resources are taken in ascending order, each by a compare-and-swap
// that fails only because another thread changed that count. An acquisition that meets one it cannot get gives back
// what it took.
//
// Order: a successful acquisition is in force, for each resource, from its compare-and-swap there. A failed one says
// that some resource did not suffice at some instant during the call; what stood in the way may itself have been an
// acquisition that was given up a moment later. `undone()` counts those: who found nothing that fits and sees that
// undone() has changed since before looking should look again.
//
// Memory: a fixed size; nothing is allocated.
//
// Invariants, checked by test_ledger.cpp also with threads:
//   L1  held + free == capacity for every resource and device, at rest
//   L2  the amounts of successful, unreleased acquisitions never sum to more than the capacity they were taken under
//   L3  free < 0 only after a capacity was lowered below what was held
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "penstock/atom.hpp"
#include "penstock/cache.hpp"
#include "penstock/types.hpp"

namespace penstock {

/// Where an acquisition's GPU part lies. Bit d: device d carries a part.
struct Grant {
  std::uint64_t devices = 0;

  friend constexpr bool operator==(Grant, Grant) noexcept = default;
};

template <class Atom = StdAtom>
class BasicLedger {
  template <class T>
  using atomic = typename Atom::template atomic<T>;

 public:
  static constexpr int kMaxDevices = 64;
  static constexpr Amount kWholeDevice = 1000;  // milli-GPU

  /// Every capacity is 0 until it is set. Throws std::invalid_argument unless 0 <= devices <= 64.
  explicit BasicLedger(int devices = 0) : devices_(devices) {
    if (devices < 0 || devices > kMaxDevices) {
      throw std::invalid_argument("a ledger of " + std::to_string(devices) +
                                  " GPU devices was asked for; it keeps 0 .. " + std::to_string(kMaxDevices));
    }
  }
  BasicLedger(const BasicLedger&) = delete;
  BasicLedger& operator=(const BasicLedger&) = delete;

  [[nodiscard]] int devices() const noexcept { return devices_; }

  /// Sets how much there is of a scalar resource; kUnlimited: any amount. What is held stays held, so free may become
  /// negative. Any thread. Throws std::out_of_range (resource) and std::invalid_argument (amount < 0, or a GPU
  /// resource, which is set per device).
  void set_capacity(int resource, Amount amount) {
    const std::size_t at = require_resource(resource);
    if (is_gpu(resource)) {
      throw std::invalid_argument("resource " + std::to_string(resource) +
                                  " is kept per GPU device; use set_device_capacity");
    }
    require_amount("the capacity of resource " + std::to_string(resource), amount);
    accounts_[at].set_capacity(amount);
  }

  /// Sets how much of a device may be used: its share (1000: all of it) and its memory in bytes. Any thread. Throws
  /// std::out_of_range (device) and std::invalid_argument (an amount < 0).
  void set_device_capacity(int device, Amount share_milli, Amount memory) {
    const std::size_t at = require_device(device);
    require_amount("the share of GPU device " + std::to_string(device), share_milli);
    require_amount("the memory of GPU device " + std::to_string(device), memory);
    shares_[at].set_capacity(share_milli);
    memories_[at].set_capacity(memory);
  }

  /// How much there is, is held, is free. kGpu and kGpuMemory: over all devices. free may be negative; held is
  /// capacity - free, so it may err while a capacity is being set. Throw std::out_of_range.
  [[nodiscard]] Amount capacity(int resource) const { return total(resource, &Account::capacity); }
  [[nodiscard]] Amount held(int resource) const { return total(resource, &Account::held); }
  [[nodiscard]] Amount free(int resource) const { return total(resource, &Account::free); }

  /// The same for one device. Throw std::out_of_range.
  [[nodiscard]] Amount device_free_share(int device) const { return shares_[require_device(device)].free(); }
  [[nodiscard]] Amount device_free_memory(int device) const { return memories_[require_device(device)].free(); }

  /// Takes all that `demand` asks for, or nothing. Up to 1000 milli-GPU go to the device where least is left over,
  /// whole GPUs (2000, 3000, ...) to so many untouched devices with gpu_memory free on each. Any thread.
  /// Throws std::invalid_argument for an amount < 0, or for more than one GPU that is no whole number of them.
  [[nodiscard]] std::optional<Grant> try_acquire(const Demand& demand) {
    require_valid(demand);
    if (first_short(demand, &Account::free)) return std::nullopt;  // look first: most failures then undo nothing
    for (int r = 0; r < kMaxResources; ++r) {
      if (is_gpu(r) || demand[r] == 0) continue;
      if (accounts_[static_cast<std::size_t>(r)].take(demand[r])) continue;
      give_back_scalars(demand, r);
      return std::nullopt;
    }
    if (!uses_gpu(demand)) return Grant{};
    const std::optional<Grant> grant = acquire_devices(demand);
    if (!grant) give_back_scalars(demand, kMaxResources);
    return grant;
  }

  /// Gives back what one try_acquire took: the same demand, and the grant it returned. Any thread.
  void release(const Demand& demand, Grant grant) noexcept {
    // Devices first, then scalars: the reverse of taking, so that an acquisition that gets a scalar finds the rest.
    for (std::uint64_t left = grant.devices; left != 0; left &= left - 1) {
      const auto device = static_cast<std::size_t>(std::countr_zero(left));
      give_device(device, std::min(demand[kGpu], kWholeDevice), demand[kGpuMemory]);
    }
    for (int r = kMaxResources - 1; r >= 0; --r) {
      if (!is_gpu(r) && demand[r] != 0) accounts_[static_cast<std::size_t>(r)].give(demand[r]);
    }
  }

  /// The first resource of which there is not enough free now; nothing when all would fit. A hint while others
  /// acquire. Throws as try_acquire.
  [[nodiscard]] std::optional<int> lacking(const Demand& demand) const {
    require_valid(demand);
    return first_short(demand, &Account::free);
  }

  /// The first resource of which there is not enough even with nothing held: such a demand can never be met while
  /// capacities are as they are. Throws as try_acquire.
  [[nodiscard]] std::optional<int> exceeding(const Demand& demand) const {
    require_valid(demand);
    return first_short(demand, &Account::capacity);
  }

  /// How many acquisitions were given up after they had taken something (see Order above).
  [[nodiscard]] std::uint64_t undone() const noexcept {
    // acquire: pairs with the release in note_undone(): who sees the count sees the amounts given back before it.
    return undone_.load(std::memory_order_acquire);
  }

 private:
  // One countable thing. `free` alone decides; held is what is missing from it.
  class Account {
   public:
    [[nodiscard]] Amount capacity() const noexcept { return capacity_.load(std::memory_order_relaxed); }  // for show
    // acquire: pairs with the release in give(): who sees an amount free sees what its holder did before giving it.
    [[nodiscard]] Amount free() const noexcept { return free_.load(std::memory_order_acquire); }
    [[nodiscard]] Amount held() const noexcept { return capacity() - free(); }

    void set_capacity(Amount amount) noexcept {
      // relaxed: the two meet in give()'s kind of addition; each setter adds exactly the difference it made, so in
      // whatever order the additions come, free ends as the last capacity less what is held. Wrapping is defined.
      const Amount before = capacity_.exchange(amount, std::memory_order_relaxed);
      free_.fetch_add(amount - before, std::memory_order_release);
    }

    [[nodiscard]] bool take(Amount amount) noexcept {
      if (amount == 0) return true;  // also where free is negative: it takes nothing
      Amount free = free_.load(std::memory_order_relaxed);
      do {
        if (free < amount) return false;
        // acquire. Pairs with the release in give(): the next holder sees what the last one did while it held (its
        // memory is freed, its device idle). With relaxed it could start before that. On failure only the number
        // counts.
      } while (!free_.compare_exchange_weak(free, free - amount, std::memory_order_acquire, std::memory_order_relaxed));
      return true;
    }

    void give(Amount amount) noexcept { free_.fetch_add(amount, std::memory_order_release); }  // pairs with take()

   private:
    atomic<Amount> free_{0};
    atomic<Amount> capacity_{0};
  };
  using Reading = Amount (Account::*)() const noexcept;

  // Asking for nothing always fits, also where free is negative.
  [[nodiscard]] static constexpr bool suffices(Amount there, Amount asked) noexcept {
    return asked == 0 || there >= asked;
  }
  [[nodiscard]] static constexpr bool is_gpu(int resource) noexcept {
    return resource == kGpu || resource == kGpuMemory;
  }
  [[nodiscard]] static constexpr bool uses_gpu(const Demand& demand) noexcept {
    return demand[kGpu] != 0 || demand[kGpuMemory] != 0;
  }
  // How many devices carry a part of the demand, and how much of each.
  [[nodiscard]] static constexpr int device_count(const Demand& demand) noexcept {
    if (demand[kGpu] <= kWholeDevice) return 1;
    return static_cast<int>(std::min<Amount>(demand[kGpu] / kWholeDevice, kMaxDevices + 1));
  }
  [[nodiscard]] static constexpr Amount device_share(const Demand& demand) noexcept {
    return std::min(demand[kGpu], kWholeDevice);
  }

  static std::size_t require_resource(int resource) {
    if (resource < 0 || resource >= kMaxResources) {
      throw std::out_of_range("resource " + std::to_string(resource) + " is unknown; resources are 0 .. " +
                              std::to_string(kMaxResources - 1));
    }
    return static_cast<std::size_t>(resource);
  }
  std::size_t require_device(int device) const {
    if (device < 0 || device >= devices_) {
      throw std::out_of_range("GPU device " + std::to_string(device) + " is unknown; this ledger keeps " +
                              std::to_string(devices_) + ", counted from 0");
    }
    return static_cast<std::size_t>(device);
  }
  static void require_amount(const std::string& what, Amount amount) {
    if (amount < 0) throw std::invalid_argument(what + " is " + std::to_string(amount) + "; it must be 0 or more");
  }
  static void require_valid(const Demand& demand) {
    for (int r = 0; r < kMaxResources; ++r) {
      if (demand[r] < 0) {
        throw std::invalid_argument("a demand asks for " + std::to_string(demand[r]) + " of resource " +
                                    std::to_string(r) + "; it must be 0 or more");
      }
    }
    if (demand[kGpu] > kWholeDevice && demand[kGpu] % kWholeDevice != 0) {
      throw std::invalid_argument("a demand asks for " + std::to_string(demand[kGpu]) +
                                  " milli-GPU; more than one GPU must be whole ones: 2000, 3000, ...");
    }
  }

  [[nodiscard]] Amount total(int resource, Reading reading) const {
    const std::size_t at = require_resource(resource);
    if (!is_gpu(resource)) return (accounts_[at].*reading)();
    Amount sum = 0;
    for (std::size_t d = 0; d < static_cast<std::size_t>(devices_); ++d) {
      const Amount part = ((resource == kGpu ? shares_ : memories_)[d].*reading)();
      sum = part > 0 && sum > kUnlimited - part ? kUnlimited : sum + part;
    }
    return sum;
  }

  [[nodiscard]] std::optional<int> lacking_scalar(const Demand& demand,
                                                  Reading reading = &Account::free) const noexcept {
    for (int r = 0; r < kMaxResources; ++r) {
      if (!is_gpu(r) && !suffices((accounts_[static_cast<std::size_t>(r)].*reading)(), demand[r])) return r;
    }
    return std::nullopt;
  }

  [[nodiscard]] std::optional<int> first_short(const Demand& demand, Reading reading) const noexcept {
    const std::optional<int> scalar = lacking_scalar(demand, reading);
    if (!uses_gpu(demand) || (scalar && *scalar < kGpu)) return scalar;
    int enough_share = 0, enough = 0;
    for (std::size_t d = 0; d < static_cast<std::size_t>(devices_); ++d) {
      if (!suffices((shares_[d].*reading)(), device_share(demand))) continue;
      ++enough_share;
      if (suffices((memories_[d].*reading)(), demand[kGpuMemory])) ++enough;
    }
    const int needed = device_count(demand);
    if (enough_share < needed) return demand[kGpu] != 0 ? kGpu : kGpuMemory;
    return enough < needed ? std::optional<int>(kGpuMemory) : scalar;
  }

  // Gives back what was taken of the scalars below `end`.
  void give_back_scalars(const Demand& demand, int end) noexcept {
    bool any = false;
    for (int r = end - 1; r >= 0; --r) {
      if (is_gpu(r) || demand[r] == 0) continue;
      accounts_[static_cast<std::size_t>(r)].give(demand[r]);
      any = true;
    }
    if (any) note_undone();
  }

  void note_undone() noexcept { undone_.fetch_add(1, std::memory_order_release); }  // pairs with undone()

  void give_device(std::size_t device, Amount share, Amount memory) noexcept {
    memories_[device].give(memory);
    shares_[device].give(share);
  }

  [[nodiscard]] bool take_device(std::size_t device, Amount share, Amount memory) noexcept {
    if (!shares_[device].take(share)) return false;
    if (memories_[device].take(memory)) return true;
    if (share != 0) {
      shares_[device].give(share);
      note_undone();
    }
    return false;
  }

  [[nodiscard]] std::optional<Grant> acquire_devices(const Demand& demand) noexcept {
    const int needed = device_count(demand);
    const Amount share = device_share(demand), memory = demand[kGpuMemory];
    Grant grant;
    for (int got = 0; got < needed;) {
      const std::optional<std::size_t> device = best_device(share, memory, grant.devices);
      if (!device) {
        for (std::uint64_t left = grant.devices; left != 0; left &= left - 1) {
          give_device(static_cast<std::size_t>(std::countr_zero(left)), share, memory);
        }
        if (grant.devices != 0) note_undone();
        return std::nullopt;
      }
      if (!take_device(*device, share, memory)) continue;  // another thread took of it: look again
      grant.devices |= std::uint64_t{1} << *device;
      ++got;
    }
    return grant;
  }

  // The device outside `taken` that the demand fits on with the least left over: of its share, then of its memory,
  // then the first.
  [[nodiscard]] std::optional<std::size_t> best_device(Amount share, Amount memory,
                                                       std::uint64_t taken) const noexcept {
    std::optional<std::size_t> best;
    Amount best_share = 0, best_memory = 0;
    for (std::size_t d = 0; d < static_cast<std::size_t>(devices_); ++d) {
      if ((taken >> d & 1) != 0) continue;
      const Amount free_share = shares_[d].free(), free_memory = memories_[d].free();
      if (!suffices(free_share, share) || !suffices(free_memory, memory)) continue;
      if (best && (free_share > best_share || (free_share == best_share && free_memory >= best_memory))) continue;
      best = d;
      best_share = free_share;
      best_memory = free_memory;
    }
    return best;
  }

  alignas(kCacheLine) std::array<Account, kMaxResources> accounts_{};  // kGpu and kGpuMemory unused: per device
  alignas(kCacheLine) std::array<Account, kMaxDevices> shares_{};
  alignas(kCacheLine) std::array<Account, kMaxDevices> memories_{};
  alignas(kCacheLine) atomic<std::uint64_t> undone_{0};
  int devices_;
};

using Ledger = BasicLedger<>;

}  // namespace penstock
