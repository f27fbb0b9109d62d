// Blocks of memory for large tables: kept for the next use up to a limit, and given back above it.
#include <doctest/doctest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "penstock/detail/pages.hpp"

using namespace penstock::detail;

namespace {

// Tests share one process: each starts with nothing kept and leaves the limit as it was.
struct Limit {
    explicit Limit(std::size_t most) {
        before = keep_pages(0);
        keep_pages(most);
    }
    ~Limit() {
        keep_pages(0);
        keep_pages(before);
    }
    std::size_t before = 0;
};

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeeps = false;  // so that a use after free is seen
#else
constexpr bool kKeeps = true;
#endif

}  // namespace

TEST_CASE("a block that was given back is handed out again, also for a size that rounds to the same") {
    const Limit limit(std::size_t{64} << 20);
    void* const first = allocate_pages(kLarge + 1, 64);
    free_pages(first, kLarge + 1, 64);
    CHECK(kept_pages() == (kKeeps ? 2 * kLarge : 0));
    void* const again = allocate_pages(2 * kLarge, 64);
    if (kKeeps) CHECK(again == first);
    CHECK(kept_pages() == 0);
    std::memset(again, 1, 2 * kLarge);
    free_pages(again, 2 * kLarge, 64);
}

TEST_CASE("small blocks are the allocator's and are not kept") {
    const Limit limit(std::size_t{64} << 20);
    void* const block = allocate_pages(kLarge - 1, 64);
    CHECK(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
    std::memset(block, 1, kLarge - 1);
    free_pages(block, kLarge - 1, 64);
    CHECK(kept_pages() == 0);
}

TEST_CASE("no more is kept than the limit says, and a lower limit gives back what is above it") {
    const Limit limit(3 * kHugePage);
    std::vector<void*> blocks;
    for (int k = 0; k < 5; ++k) blocks.push_back(allocate_pages(kHugePage, 64));
    for (void* const block : blocks) {
        CHECK(reinterpret_cast<std::uintptr_t>(block) % kHugePage == 0);
        free_pages(block, kHugePage, 64);
    }
    CHECK(kept_pages() == (kKeeps ? 3 * kHugePage : 0));
    CHECK(keep_pages(kHugePage) == 3 * kHugePage);
    CHECK(kept_pages() == (kKeeps ? kHugePage : 0));
}

TEST_CASE("threads that take and give blocks never share one") {
    const Limit limit(8 * kLarge);
    std::vector<std::thread> threads;
    std::vector<int> spoiled(4);
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int round = 0; round < 500; ++round) {
                const std::size_t bytes = kLarge << (round % 3);
                auto* const block = static_cast<unsigned char*>(allocate_pages(bytes, 64));
                std::memset(block, t + 1, bytes);
                std::this_thread::yield();
                for (std::size_t k = 0; k < bytes; k += 1021) spoiled[static_cast<std::size_t>(t)] += block[k] != t + 1;
                free_pages(block, bytes, 64);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(spoiled == std::vector<int>(4));
    CHECK(kept_pages() <= 8 * kLarge);
}
