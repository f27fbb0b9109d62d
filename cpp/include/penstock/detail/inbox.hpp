// Inbox: where one thread puts single items into a heap without meeting the others.
//
// What it is: a ring of a few items that one thread writes and every popper reads. When it is full its owner moves what
// is in it to the root, with one exchange for all of it. A copy of an item in the ring does no harm meanwhile: whether
// it counts is the ticket's to say.
//
// Progress: putting an item in is wait-free but for that move, which is lock-free. Reading is wait-free.
//
// Order: an item is in from the store of `published` on. A reader that finds `moved` unchanged after it has read items
// in [moved, published) has read whole ones: a slot is written again only after `moved` has passed it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "penstock/detail/heap_blocks.hpp"

namespace penstock::detail {

template <class Atom, std::size_t kItems>
struct alignas(64) Inbox {
    template <class T>
    using atomic = typename Atom::template atomic<T>;

    struct Slot {
        atomic<std::uint64_t> rank{0}, tie{0}, ticket{0};
    };

    atomic<std::uint64_t> published{0};      // items ever put in
    atomic<std::uint64_t> moved{0};          // so many of them have gone to the root
    atomic<std::uint64_t> least{kLargest};   // no item in it has a smaller rank
    std::array<Slot, kItems> slots{};

    [[nodiscard]] Item read(std::uint64_t position) const noexcept {
        const Slot& slot = slots[position % kItems];
        // acquire: pairs with the releases in put(), so that a reader who finds a later item in the slot finds `moved`
        // changed too. With relaxed it could take the parts of two items for one.
        return {slot.rank.load(std::memory_order_acquire), slot.tie.load(std::memory_order_acquire),
                slot.ticket.load(std::memory_order_acquire)};
    }

    [[nodiscard]] std::uint64_t rank(std::uint64_t position) const noexcept {
        return slots[position % kItems].rank.load(std::memory_order_acquire);  // as in read()
    }

    // Precondition of both: the caller is the owner. And of put(): there is room.
    [[nodiscard]] bool full() const noexcept {
        // relaxed: the owner's own stores.
        return published.load(std::memory_order_relaxed) - moved.load(std::memory_order_relaxed) == kItems;
    }
    void put(const Item& item) noexcept {
        const std::uint64_t position = published.load(std::memory_order_relaxed);  // the owner's own
        Slot& slot = slots[position % kItems];
        // release: pairs with read().
        slot.rank.store(item.rank, std::memory_order_release);
        slot.tie.store(item.tie, std::memory_order_release);
        slot.ticket.store(item.ticket, std::memory_order_release);
        // release: pairs with the acquire of who reads `least`; also published by the next store.
        if (item.rank < least.load(std::memory_order_relaxed)) least.store(item.rank, std::memory_order_release);
        // seq_cst: the linearization point of a push, in one order with the loads of poppers and the ticket words.
        published.store(position + 1, std::memory_order_seq_cst);
    }
    // What is in it is in the root, too.
    void clear() noexcept {
        moved.store(published.load(std::memory_order_relaxed), std::memory_order_seq_cst);
        // release: who reads this finds `moved` changed, and looks again.
        least.store(kLargest, std::memory_order_release);
    }
};

}  // namespace penstock::detail
