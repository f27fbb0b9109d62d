// PriorityHeap: what single pushes put aside, see inbox.hpp. Included by priority_heap.hpp.
#pragma once

#include "penstock/priority_heap.hpp"

namespace penstock {

// The calling thread's inbox, or null. A record belongs to one thread at a time, so its inbox has one owner; the next
// thread of the record takes it over.
template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::inbox(const Record& record) const noexcept -> Inbox* {
    // relaxed: written by owners of this record only, which hand it over with a release (Reclaimer::Lease).
    return record.number < most_inboxes_ ? inboxes_[record.number].load(std::memory_order_relaxed) : nullptr;
}

// Gives the calling thread an inbox, unless there are as many as there may be, or there is no memory.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::open_inbox(const Record& record) noexcept {
    if (record.number >= most_inboxes_) return;
    auto* const made = new (std::nothrow) Inbox;
    if (made == nullptr) return;
    // seq_cst, both: an inbox is in its place before the count, and the count before its first item, so that who reads
    // the count after an item was published finds the inbox.
    inboxes_[record.number].store(made, std::memory_order_seq_cst);
    std::uint32_t count = inbox_count_.load(std::memory_order_seq_cst);
    while (count <= record.number && !inbox_count_.compare_exchange_weak(count, record.number + 1, std::memory_order_seq_cst)) {}
}

// Moves what is in the calling thread's inbox to the root. Between the exchange and clear() it is in both places.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::empty_inbox(Visit& visit, Inbox& inbox) {
    std::array<Item, Limits.inbox_items> items;
    std::size_t count = 0;
    // relaxed: the owner's own stores.
    const std::uint64_t end = inbox.published.load(std::memory_order_relaxed);
    for (std::uint64_t k = inbox.moved.load(std::memory_order_relaxed); k != end; ++k) {
        const Item item = inbox.read(k);
        if (hold(item) == Hold::gone) continue;
        std::size_t place = count++;  // few items, put into place as they come
        for (; place > 0 && item < items[place - 1]; --place) items[place] = items[place - 1];
        items[place] = item;
    }
    if (count != 0) (void)insert(visit, std::span<const Item>(items).first(count), 0);
    inbox.clear();
}

// Lowers `least` to the smallest live item of the inboxes where that is smaller. Returns what they held.
template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::look_into_inboxes(Item& least, bool& found) noexcept -> Inboxes {
    Inboxes seen;
    seen.count = inbox_count_.load(std::memory_order_seq_cst);
    for (std::uint32_t k = 0; k < seen.count; ++k) {
        Inbox* const inbox = inboxes_[k].load(std::memory_order_seq_cst);
        seen.published[k] = seen.moved[k] = 0;
        if (inbox == nullptr) continue;
        // moved before published: so there are never more items between them than the ring holds.
        const std::uint64_t begin = seen.moved[k] = inbox->moved.load(std::memory_order_seq_cst);
        const std::uint64_t end = seen.published[k] = inbox->published.load(std::memory_order_seq_cst);
        // acquire: pairs with put() and clear().
        if (begin == end || least.rank < inbox->least.load(std::memory_order_acquire)) continue;
        const std::uint64_t stop = std::min<std::uint64_t>(end, begin + Limits.inbox_items);
        for (std::uint64_t at = begin; at != stop; ++at) {
            if (least.rank < inbox->rank(at)) continue;
            const Item item = inbox->read(at);
            // A slot that is being written again may show anything; its task is one of the table's all the same, and
            // nothing_smaller_since() finds `moved` changed.
            if (!(item < least) || hold(item) != Hold::live) continue;
            least = item;
            found = true;
        }
    }
    return seen;
}

// Whether the inboxes were as `seen` at the end of that look, and have got nothing smaller than `item` since.
template <class Atom, HeapLimits Limits>
bool BasicPriorityHeap<Atom, Limits>::nothing_smaller_since(const Inboxes& seen, const Item& item) noexcept {
    if (inbox_count_.load(std::memory_order_seq_cst) != seen.count) return false;
    for (std::uint32_t k = 0; k < seen.count; ++k) {
        Inbox* const inbox = inboxes_[k].load(std::memory_order_seq_cst);
        if (inbox == nullptr) continue;
        const std::uint64_t end = inbox->published.load(std::memory_order_seq_cst);
        // Items that came since: larger ones change nothing at this instant, at which everything smaller is gone.
        if (end - seen.moved[k] > Limits.inbox_items) return false;
        for (std::uint64_t at = seen.published[k]; at != end; ++at) {
            if (inbox->read(at) < item) return false;
        }
        if (inbox->moved.load(std::memory_order_seq_cst) != seen.moved[k]) return false;
    }
    return true;
}

// Entries pushed since the heap was made. Exact at rest.
template <class Atom, HeapLimits Limits>
std::uint64_t BasicPriorityHeap<Atom, Limits>::pushes(const Front* front) const noexcept {
    std::uint64_t total = front == nullptr ? 0 : front->pushed;
    const std::uint32_t count = inbox_count_.load(std::memory_order_seq_cst);
    for (std::uint32_t k = 0; k < count; ++k) {
        if (const Inbox* const inbox = inboxes_[k].load(std::memory_order_seq_cst)) total += inbox->published.load(std::memory_order_seq_cst);
    }
    return total;
}

}  // namespace penstock
