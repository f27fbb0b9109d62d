// What the core knows of the machine's cache.
#pragma once

#include <cstddef>

namespace penstock {

/// Data written by different threads stays this far apart. A constant, as the standard's changes with compiler flags.
inline constexpr std::size_t kCacheLine = 64;

/// Asks for the line of an address that will be written soon. Changes nothing but time; any address will do.
inline void prefetch(const void* address) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(address, 1);
#else
  static_cast<void>(address);
#endif
}

}  // namespace penstock
