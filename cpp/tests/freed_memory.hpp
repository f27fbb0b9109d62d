// Replaces operator new and delete of a test executable, so that memory freed during an explored execution is neither
// readable as what it was nor given out again before the execution ends. To be included by one source file of it.
//
// AddressSanitizer does the same and sees every access, so its builds keep their own operators.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "explorer.hpp"

#if !defined(PENSTOCK_FIBRE_ASAN) && !defined(PENSTOCK_FIBRE_TSAN)

namespace penstock::test {

// The block as malloc gave it, and how much of it is the caller's; right before what the caller got.
struct BlockHead {
    void* block;
    std::size_t bytes;
};

inline void* take_block(std::size_t bytes, std::size_t alignment) {
    const std::size_t room = (sizeof(BlockHead) + alignment - 1) / alignment * alignment;
    void* const block = alignment <= sizeof(BlockHead)
                            ? std::malloc(room + bytes)
                            : std::aligned_alloc(alignment, (room + bytes + alignment - 1) / alignment * alignment);
    if (block == nullptr) throw std::bad_alloc();
    auto* const given = static_cast<unsigned char*>(block) + room;
    const BlockHead head{block, bytes};
    std::memcpy(given - sizeof(head), &head, sizeof(head));
    return given;
}

inline void give_block(void* memory) noexcept {
    if (memory == nullptr) return;
    BlockHead head{};
    std::memcpy(&head, static_cast<unsigned char*>(memory) - sizeof(head), sizeof(head));
    if (!FreedMemory::keeping || FreedMemory::count == FreedMemory::pieces.size()) return std::free(head.block);
    std::memset(memory, FreedMemory::kPattern, head.bytes);
    FreedMemory::pieces[FreedMemory::count++] = {static_cast<const unsigned char*>(memory), head.bytes, head.block};
}

}  // namespace penstock::test

[[gnu::noinline]] void* operator new(std::size_t bytes) { return penstock::test::take_block(bytes, 16); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return penstock::test::take_block(bytes, static_cast<std::size_t>(alignment) < 16 ? 16 : static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { penstock::test::give_block(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { penstock::test::give_block(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { penstock::test::give_block(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { penstock::test::give_block(memory); }

#endif
