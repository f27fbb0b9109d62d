// Tickets: one atomic word a task, which alone decides in which queue the task stands, if in any.
//
// What it is. A table of words indexed by TaskId, grown on demand, with stable addresses. A queue holds entries
// that are only hints; an entry counts when the word of its task says so. Claim, cancel and re-rank are one
// compare-exchange on the word, so however many copies of an entry there are, one caller gets the task.
//
// The word, from the high bits: version (32) | spare (16) | queue (16).
//   queue    the number of the queue the task stands in, from 1; 0: in none
//   version  names the entry that counts; grows with each push and each completed re-rank, never shrinks
//   spare    how many versions above `version` were handed out to re-ranks that have not completed
//
// When not to use it: for ids that are sparse. Chunks double in size, so the table takes 8 to 16 bytes for each
// id up to the largest one, less what forget() was told of.
//
// Progress. word() is wait-free. grow() is lock-free: the loser of the race to install a chunk frees its own.
// Memory. A chunk is freed by the destructor only. Precondition of it: no queue uses the table any more. Chunks double in
// size; what of them is never written takes address space alone (detail/pages.hpp).
// Limits. At most 65535 queues are ever opened on one table. Versions wrap after 2^32 pushes of one task; an
// entry would be mistaken only if it lay in its queue all that time (queues drop entries that no longer count).
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "penstock/atom.hpp"
#include "penstock/cache.hpp"
#include "penstock/detail/pages.hpp"
#include "penstock/types.hpp"

namespace penstock {

// Reads the parts of a ticket word.
struct Ticket {
    std::uint64_t word = 0;

    [[nodiscard]] static constexpr Ticket of(std::uint32_t version, std::uint32_t spare, std::uint32_t queue) noexcept {
        return {std::uint64_t{version} << 32 | std::uint64_t{spare} << 16 | queue};
    }
    [[nodiscard]] constexpr std::uint32_t version() const noexcept { return static_cast<std::uint32_t>(word >> 32); }
    [[nodiscard]] constexpr std::uint32_t spare() const noexcept { return static_cast<std::uint32_t>(word >> 16) & 0xFFFF; }
    [[nodiscard]] constexpr std::uint32_t queue() const noexcept { return static_cast<std::uint32_t>(word) & 0xFFFF; }
    [[nodiscard]] constexpr Ticket dequeued() const noexcept { return {word & ~std::uint64_t{0xFFFF}}; }
    // The first version that no entry carries yet.
    [[nodiscard]] constexpr std::uint32_t next_version() const noexcept { return version() + spare() + 1; }
};

template <class Atom = StdAtom>
class BasicTickets {
public:
    using Word = typename Atom::template atomic<std::uint64_t>;

    BasicTickets() = default;
    BasicTickets(const BasicTickets&) = delete;
    BasicTickets& operator=(const BasicTickets&) = delete;
    ~BasicTickets() {
        for (std::size_t c = 0; c < kChunks; ++c) free_chunk(chunks_[c].load(std::memory_order_relaxed), c);  // no other thread is left
    }

    // The word of a task for which grow() has been called, by this thread or by one it has heard from.
    [[nodiscard]] Word& word(TaskId task) noexcept {
        const Place place{task};
        // acquire: pairs with the release in grow(). Without it the words could be read before they are zero.
        return chunks_[place.chunk].load(std::memory_order_acquire)[place.offset];
    }

    // The word of a task, or null when nobody has grown the table that far: then the task was never queued.
    [[nodiscard]] Word* find(TaskId task) noexcept {
        const Place place{task};
        Word* chunk = chunks_[place.chunk].load(std::memory_order_acquire);  // as in word()
        return chunk == nullptr ? nullptr : chunk + place.offset;
    }

    // Asks for the word of a task that will be changed soon. Changes nothing but time.
    void prefetch(TaskId task) noexcept {
        if (Word* const word = find(task)) penstock::prefetch(word);
    }

    // The word of a task; makes room for it first where needed. Throws std::bad_alloc.
    [[nodiscard]] Word& grow(TaskId task) {
        const Place place{task};
        auto& slot = chunks_[place.chunk];
        Word* chunk = slot.load(std::memory_order_acquire);  // as in word()
        if (chunk == nullptr) {
            Word* const fresh = new_chunk(place.chunk);
            // release on success: publishes the zeroed words to word(), find() and grow(). acquire on failure:
            // receives those of the winner. With relaxed, a task could start with a word of garbage.
            if (slot.compare_exchange_strong(chunk, fresh, std::memory_order_acq_rel, std::memory_order_acquire)) {
                chunk = fresh;
            } else {
                free_chunk(fresh, place.chunk);
            }
        }
        return chunk[place.offset];
    }

    // Makes room for the tasks below `count`, so that no later push has to. Throws std::bad_alloc.
    void reserve(std::uint32_t count) {
        for (std::uint64_t first = 0; first < count; first = (first + kFirst) * 2 - kFirst) {
            (void)grow(TaskId{static_cast<std::uint32_t>(first)});
        }
    }

    // Gives the memory of words back to the system, in whole pages; they read as they were or as zeros from then on, either
    // of which says that the task stands in no queue. Precondition: that is so, and the tasks are pushed no more.
    void forget(TaskId first, std::size_t count) noexcept {
        Word* const begin = &word(first);
        detail::forget_pages(begin, begin + count);
    }

    // The number of a new queue on this table, from 1. Throws std::length_error after 65535 of them.
    [[nodiscard]] std::uint32_t open_queue() {
        // relaxed: the number only has to be unique, which the atomicity of fetch_add gives; it publishes nothing.
        const std::uint32_t queue = queues_.fetch_add(1, std::memory_order_relaxed) + 1;
        if (queue > 0xFFFF) {
            queues_.fetch_sub(1, std::memory_order_relaxed);  // as above
            throw std::length_error(
                "Tickets: this table has opened 65535 queues, the most it can tell apart; use one table a run");
        }
        return queue;
    }

private:
    static constexpr std::uint32_t kFirst = 1024;  // words in chunk 0; chunk k has kFirst << k
    static constexpr std::size_t kChunks = 23;     // sum of kFirst << k covers all 2^32 ids

    struct Place {
        std::size_t chunk;
        std::size_t offset;
        explicit constexpr Place(TaskId task) noexcept {
            const std::uint64_t shifted = std::uint64_t{index(task)} + kFirst;
            chunk = static_cast<std::size_t>(std::bit_width(shifted)) - 11;
            offset = static_cast<std::size_t>(shifted - (std::uint64_t{kFirst} << chunk));
        }
    };
    static_assert(kFirst == 1U << 10, "Place takes the chunk from bit 10 upwards");

    static Word* new_chunk(std::size_t chunk) {
        const std::size_t count = std::size_t{kFirst} << chunk;
        auto* const words = static_cast<Word*>(detail::allocate_zeroed_pages(count * sizeof(Word), kCacheLine));
        // A std::atomic of zero is all zeros, and a chunk that nobody has written to takes no memory.
        if constexpr (!std::is_same_v<Word, std::atomic<std::uint64_t>>) {
            for (std::size_t k = 0; k < count; ++k) ::new (static_cast<void*>(words + k)) Word(0);
        }
        return words;
    }
    static void free_chunk(Word* words, std::size_t chunk) noexcept {
        static_assert(std::is_trivially_destructible_v<Word>);
        if (words != nullptr) detail::free_pages(words, (std::size_t{kFirst} << chunk) * sizeof(Word), kCacheLine);
    }

    std::array<typename Atom::template atomic<Word*>, kChunks> chunks_{};
    typename Atom::template atomic<std::uint32_t> queues_{0};
};

using Tickets = BasicTickets<>;

}  // namespace penstock
