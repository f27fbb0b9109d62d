// Numbers from a seed, the same ones on every platform: xoshiro256** of Blackman and Vigna, seeded by splitmix64
// (public domain; https://prng.di.unimi.it). The standard library's distributions differ between vendors.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace penstock::planner {

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept {
    for (std::uint64_t& s : state_) {
      seed += 0x9E3779B97F4A7C15U;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
      s = z ^ (z >> 31);
    }
  }
  std::uint64_t next() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  /// In 0 .. below - 1; the bias of the high bits is below 2^-32 for what is counted in tasks.
  std::size_t below(std::size_t bound) noexcept { return static_cast<std::size_t>(((next() >> 32) * bound) >> 32); }
  /// In [0, 1).
  double unit() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace penstock::planner
