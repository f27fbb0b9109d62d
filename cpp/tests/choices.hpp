// Choices: what a sequence of operations is drawn from: a seed, or the bytes that a fuzzer hands in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock::test {

class Choices {
 public:
  /// `most` draws that look random.
  Choices(std::uint64_t seed, std::size_t most) : state_(seed * 0x9E3779B97F4A7C15U + 1), left_(most) {}
  /// One draw a byte, so that a fuzzer that changes a byte changes one decision.
  explicit Choices(std::span<const std::uint8_t> bytes) : bytes_(bytes), left_(bytes.size()) {}

  [[nodiscard]] bool more() const { return left_ > 0; }

  /// A number from 0 to below - 1; 0 when there are no more. `below` is at most 256.
  [[nodiscard]] std::uint32_t below(std::uint32_t below) {
    if (left_ == 0) return 0;
    --left_;
    if (!bytes_.empty()) return bytes_[bytes_.size() - 1 - left_] % below;
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>((state_ >> 33) % below);
  }
  [[nodiscard]] bool one_in(std::uint32_t n) { return below(n) == n - 1; }

 private:
  std::span<const std::uint8_t> bytes_;
  std::uint64_t state_ = 0;
  std::size_t left_;
};

}  // namespace penstock::test
