// Memory for tables that grow to many megabytes.
//
// What a large table costs while it grows is mostly the system's work on its first writes: a fault and a zeroed page
// for every 4 KiB, which takes longer than all that the core does for the tasks in it. Two things help. Blocks of
// more than 2 MiB ask for huge pages, one fault for 512 small ones. And blocks that are given back are kept for the next
// run, up to 128 MiB of them, marked so that the system may take their memory whenever it is short.
//
// When not to use it: for anything below kLarge, which operator new does better.
//
// Progress: as the allocator's; a lock is held for a few instructions. Memory: kept blocks are never freed, but their
// pages are the system's to take. Under AddressSanitizer nothing is kept, so that a use after free is seen.
#pragma once

#include <cstddef>

namespace penstock::detail {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;
inline constexpr std::size_t kLarge = std::size_t{64} << 10;

/// Memory for `bytes`, its content undefined. Throws std::bad_alloc. `alignment`: at most 4096.
[[nodiscard]] void* allocate_pages(std::size_t bytes, std::size_t alignment);

/// The same, all zeros; of a large block only what is written later takes memory, unless it was kept from an earlier use.
[[nodiscard]] void* allocate_zeroed_pages(std::size_t bytes, std::size_t alignment);

/// Takes back what allocate_pages() gave for the same numbers.
void free_pages(void* block, std::size_t bytes, std::size_t alignment) noexcept;

/// Gives the memory of the bytes [from, to) of a block back to the system, in whole huge pages; what stood there is lost
/// and must be written before it is read. Returns the end of what has been given back, `from` when that is nothing.
std::size_t discard_pages(void* block, std::size_t from, std::size_t to) noexcept;

/// Gives the memory of the whole pages between two places of one block back to the system. Any thread may still read and
/// write there: it finds what was there, or zeros.
void forget_pages(void* begin, void* end) noexcept;

/// Bytes of the blocks that are kept for the next use.
[[nodiscard]] std::size_t kept_pages() noexcept;

/// Keeps at most so many bytes from now on; what is above goes back to the system. Returns what it was.
std::size_t keep_pages(std::size_t most) noexcept;

}  // namespace penstock::detail
