// Blocks: task ids in groups that go together when nobody needs them any more.
//
// What it is: the arithmetic of groups of 4096 ids. Each lies in one chunk of every table by id, on pages of its own,
// because those tables put id i at place i + 1024 of chunks that double in size (chunked_table.hpp, tickets.hpp). So the
// memory of a group can be given back while its neighbours stay. Block 0 is the 3072 ids that share the smaller chunks; it
// is never given back.
//
// When not to use it: for tables that are not indexed by task id.
#pragma once

#include <cstddef>
#include <cstdint>

#include "penstock/types.hpp"

namespace penstock::blocks {

#if defined(PENSTOCK_BLOCK_BITS)  // for tests that fill many blocks with few tasks
inline constexpr unsigned kBits = PENSTOCK_BLOCK_BITS;
#else
inline constexpr unsigned kBits = 12;
#endif
inline constexpr std::uint32_t kTasks = std::uint32_t{1} << kBits;
inline constexpr std::uint64_t kShift = 1024;

[[nodiscard]] constexpr std::size_t of(TaskId task) noexcept {
  return static_cast<std::size_t>((index(task) + kShift) >> kBits);
}
/// Precondition: block > 0.
[[nodiscard]] constexpr TaskId first(std::size_t block) noexcept {
  return TaskId{static_cast<std::uint32_t>((std::uint64_t{block} << kBits) - kShift)};
}
/// One more than its last id.
[[nodiscard]] constexpr std::uint64_t end(std::size_t block) noexcept { return (std::uint64_t{block + 1} << kBits) - kShift; }
/// Where a task lies in its block.
[[nodiscard]] constexpr std::uint32_t place(TaskId task) noexcept {
  return static_cast<std::uint32_t>((index(task) + kShift) & (kTasks - 1));
}

}  // namespace penstock::blocks
