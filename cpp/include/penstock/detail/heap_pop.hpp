// PriorityHeap: how entries get out. Included by priority_heap.hpp.
#pragma once

#include "penstock/priority_heap.hpp"

namespace penstock {

template <class Atom, HeapLimits Limits>
bool BasicPriorityHeap<Atom, Limits>::claim(const Item& item) noexcept {
    auto& word = tickets_.word(item.task());
    Ticket ticket{word.load(std::memory_order_seq_cst)};
    while (ticket.queue() == queue_ && ticket.version() == item.version()) {
        if (word.compare_exchange_weak(ticket.word, ticket.dequeued().word, std::memory_order_seq_cst)) return true;
    }
    return false;
}

template <class Atom, HeapLimits Limits>
bool BasicPriorityHeap<Atom, Limits>::cancel(TaskId task) {
    auto* const word = tickets_.find(task);
    if (word == nullptr) return false;
    Ticket ticket{word->load(std::memory_order_seq_cst)};
    do {
        if (ticket.queue() != queue_) return false;
    } while (!word->compare_exchange_weak(ticket.word, ticket.dequeued().word, std::memory_order_seq_cst));
    constexpr std::uint64_t kTendEvery = 256;
    // relaxed: a count, exact at rest only; see taken().
    if (taken_.fetch_add(1, std::memory_order_relaxed) % kTendEvery == 0) {
        Visit visit;
        tend(visit);
    }
    return true;
}

// Entries popped and cancelled since the heap was made. Exact at rest.
template <class Atom, HeapLimits Limits>
std::uint64_t BasicPriorityHeap<Atom, Limits>::taken() const noexcept {
    // relaxed, both: exact only at rest, when whatever ended the work has ordered these too.
    return taken_.load(std::memory_order_relaxed) + taken_by_first_.load(std::memory_order_relaxed);
}

template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::count_out(const Record& record, std::size_t count) noexcept {
    // relaxed, all: a count, exact at rest only; see taken(). That of the first popper has one writer, the owner of its
    // record, who hands it over with a release (Reclaimer::Lease); so it needs no locked instruction.
    if (first_popper_.load(std::memory_order_relaxed) == record.number + 1) {
        taken_by_first_.store(taken_by_first_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
    } else {
        taken_.fetch_add(count, std::memory_order_relaxed);
    }
}

// Lets threads that push know that this one pops.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::come_to_pop(const Record& record) noexcept {
    const std::uint64_t bit = std::uint64_t{1} << record.number % 64;
    // relaxed, all: advice on speed; whoever sees it late pushes as before. The number publishes nothing.
    if ((poppers_.load(std::memory_order_relaxed) & bit) != 0) [[likely]] return;
    std::uint32_t none = 0;
    first_popper_.compare_exchange_strong(none, record.number + 1, std::memory_order_relaxed);
    poppers_.fetch_or(bit, std::memory_order_relaxed);
}

template <class Atom, HeapLimits Limits>
std::size_t BasicPriorityHeap<Atom, Limits>::size() const noexcept {
    Visit visit;
    const std::uint64_t taken = this->taken();  // before the root, so that a pop is not counted without its push
    const Front* front = visit.all.protect(visit.record, root_);
    const std::uint64_t pushed = pushes(front);
    return pushed > taken ? static_cast<std::size_t>(pushed - taken) : 0;
}

// The first live item of the range behind the hint, or null. Moves the hint over what is gone for good. Fills in where
// the item lies.
template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::first_live(const Item* items, std::uint32_t count, atomic<std::uint32_t>& hint,
                                         Look& look) noexcept -> const Item* {
    // relaxed, here and below: any value ever stored in a hint is right, since what is gone stays gone (invariant 5).
    const std::uint32_t begin = hint.load(std::memory_order_relaxed);
    std::uint32_t pending = 0;
    std::uint32_t firm = begin;  // all before it are gone
    const Item* found = nullptr;
    std::uint32_t k = begin;
    for (; k < count; ++k) {
        const Hold state = hold(items[k]);
        if (state == Hold::live) [[likely]] {
            found = items + k;
            break;
        }
        if (state == Hold::pending) {
            ++pending;
        } else if (pending == 0) {
            firm = k + 1;
        }
    }
    if (firm != begin) hint.store(firm, std::memory_order_relaxed);
    look.hint = pending == 0 ? &hint : nullptr;
    look.index = k;
    look.pending += pending;
    return found;
}

template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::least(Front* front) noexcept -> Look {
    Look look;
    look.item = first_live(front->items(), front->count, front->hint, look);
    Body* const body = front->body;
    if (body == nullptr) return look;
    Run* const near = body->near;
    Look other;
    other.item = first_live(near->items(), near->count, near->hint, other);
    other.pending += look.pending;
    if (other.item != nullptr && (look.item == nullptr || *other.item < *look.item)) return other;
    look.pending = other.pending;
    look.dry = other.item == nullptr && body->far_count != 0 && (look.item == nullptr || body->bound() < *look.item);
    return look;
}

// Finds an entry that was the smallest at an instant during the call, and hands it to `decide`, until that returns
// something else than `again`.
template <class Atom, HeapLimits Limits>
template <class Decide>
auto BasicPriorityHeap<Atom, Limits>::head(Visit& visit, Decide&& decide) -> std::optional<Item> {
    for (;;) {
        Front* front = visit.all.protect(visit.record, root_);
        const std::uint64_t inserted = front == nullptr ? 0 : front->inserted;
        const Look look = front == nullptr ? Look{} : least(front);
        if (look.dry) [[unlikely]] {
            refill(visit, front);
            continue;
        }
        // From here on `item` is what is smallest, in the root or in an inbox.
        Item item = look.item == nullptr ? detail::kLargestItem : *look.item;
        bool in_inbox = false;
        const Inboxes inboxes = look_into_inboxes(item, in_inbox);
        if (look.pending != 0) [[unlikely]] {
            // An item that was pending may have come to count meanwhile, without a new root. If a second look passes
            // as many, none of them has: pending is a state that an item leaves for good. Then the instant between
            // the two looks is the one we want.
            const Look again = least(front);
            if (again.pending != look.pending || again.dry || again.item != look.item) continue;
        }
        // The inboxes first: then root and inboxes are known to have been as seen at one instant, before this.
        if (inboxes.count != 0 && !nothing_smaller_since(inboxes, item)) continue;
        if (look.item == nullptr && !in_inbox) {
            if (root_.load(std::memory_order_seq_cst) == front && inbox_count_.load(std::memory_order_seq_cst) == inboxes.count) return std::nullopt;
            continue;
        }
        const bool in_place = root_.load(std::memory_order_seq_cst) == front;
        if (!in_place) {
            // Replaced, but perhaps by nothing that matters: a push of larger items, a merge, a refill.
            if (look.pending != 0 || front == nullptr) continue;
            const Front* now = visit.all.protect(visit.record, root_);  // `front` is not followed after this
            if (now->since > inserted || now->low < item) continue;
        }
        const Verdict verdict = decide(item);
        if (verdict == Verdict::again) continue;
        // relaxed: as in first_live().
        if (verdict == Verdict::taken && in_place && !in_inbox && look.hint != nullptr) {
            look.hint->store(look.index + 1, std::memory_order_relaxed);
        }
        return item;
    }
}

// The verdict of who only looks. The look saw the item live before it saw the smaller ones gone; only if it is live
// now, too, was it the smallest at an instant in between. (A claim finds that out by itself.)
template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::leave(const Item& item) noexcept -> Verdict {
    return hold(item) == Hold::live ? Verdict::left : Verdict::again;
}

template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::pop() -> std::optional<Entry> {
    Visit visit;
    come_to_pop(visit.record);
    const std::optional<Item> item = head(visit, [&](const Item& found) { return claim(found) ? Verdict::taken : Verdict::again; });
    if (!item) return std::nullopt;
    count_out(visit.record, 1);
    return entry_of(*item);
}

template <class Atom, HeapLimits Limits>
std::size_t BasicPriorityHeap<Atom, Limits>::pop(std::span<Entry> out, const std::optional<Key>& before) {
    Visit visit;
    come_to_pop(visit.record);
    const Item bound = before ? Item{ordered_bits(before->rank), before->tie, 0} : detail::kLargestItem;
    std::size_t count = 0;
    bool stop = false;
    const auto decide = [&](const Item& found) {
        stop = !(found < bound);
        return stop ? leave(found) : claim(found) ? Verdict::taken : Verdict::again;
    };
    try {
        while (count < out.size()) {
            const std::optional<Item> item = head(visit, decide);
            if (!item || stop) break;
            out[count++] = entry_of(*item);
        }
    } catch (const std::bad_alloc&) {
        if (count == 0) throw;  // else what was taken is handed over first
    }
    if (count != 0) count_out(visit.record, count);
    return count;
}

template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::peek() -> std::optional<Entry> {
    Visit visit;
    const std::optional<Item> item = head(visit, [&](const Item& found) { return leave(found); });
    if (!item) return std::nullopt;
    return entry_of(*item);
}

}  // namespace penstock
