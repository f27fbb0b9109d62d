// PriorityHeap: how entries get in. Included by priority_heap.hpp.
#pragma once

#include "penstock/detail/sort_items.hpp"
#include "penstock/priority_heap.hpp"

namespace penstock {

// Marks the task as queued here and returns the version of its entry. Only the caller that owns the task pushes it.
template <class Atom, HeapLimits Limits>
std::uint32_t BasicPriorityHeap<Atom, Limits>::enqueue(TaskId task) {
    auto& word = tickets_.grow(task);
    const Ticket ticket{word.load(std::memory_order_seq_cst)};
    if (ticket.queue() != 0) {
        throw std::logic_error("PriorityHeap: task " + std::to_string(index(task)) + " is pushed while it is queued in heap " +
                               std::to_string(ticket.queue()) + " of its table (this is heap " + std::to_string(queue_) +
                               "); pop or cancel it first, or rerank it");
    }
    const std::uint32_t version = ticket.next_version();
    // release: pairs with the loads of ticket words. Nobody else changes the word of a task that is not queued, so
    // no exchange is needed; and no pop looks at it before the root exchange, which is seq_cst, has shown the entry.
    // With relaxed, a cancel that finds the task queued could miss what the pusher wrote about it before.
    word.store(Ticket::of(version, 0, queue_).word, std::memory_order_release);
    return version;
}

// Takes back what enqueue() did, after a push that could not get memory.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::undo(std::span<const Item> items) noexcept {
    for (const Item& item : items) {
        // relaxed: a count, exact at rest only; see taken(). The task was cancelled before it was in: both undone.
        if (!claim(item)) taken_.fetch_sub(1, std::memory_order_relaxed);
    }
}

template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::push(const Entry& entry) {
    Visit visit;
    if constexpr (Limits.inbox_at_once) {
        if (inbox(visit.record) == nullptr) open_inbox(visit.record);
    }
    if (Inbox* const mine = inbox(visit.record)) {
        if (mine->full()) empty_inbox(visit, *mine);
        mine->put(item_of(entry, enqueue(entry.task)));
        return;
    }
    const Item item = item_of(entry, enqueue(entry.task));
    try {
        // Poppers pay for an inbox; so a thread gets one when it first meets another that pushes, or finds that others pop:
        // those would fetch each new front from it.
        const bool alone = insert(visit, {&item, 1}, 1);
        const std::uint64_t own = std::uint64_t{1} << visit.record.number % 64;
        // relaxed: as in come_to_pop().
        if (!alone || (poppers_.load(std::memory_order_relaxed) & ~own) != 0) open_inbox(visit.record);
    } catch (...) {
        undo({&item, 1});
        throw;
    }
}

template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::push(std::span<const Entry> entries) {
    if (entries.empty()) return;
    if (entries.size() == 1) return push(entries.front());
    Visit visit;
    detail::Items items(entries.size());
    try {
        for (const Entry& entry : entries) items.push_back(item_of(entry, enqueue(entry.task)));
        if (!std::is_sorted(items.begin(), items.end())) {
            detail::Items spare(items.size());
            detail::sort_items({items.begin(), items.size()}, {spare.begin(), items.size()});
        }
        insert(visit, items.span(), items.size());
    } catch (...) {
        undo(items.span());
        throw;
    }
}

template <class Atom, HeapLimits Limits>
bool BasicPriorityHeap<Atom, Limits>::rerank(const Entry& entry) {
    auto* const word = tickets_.find(entry.task);
    if (word == nullptr) return false;
    Visit visit;
    Ticket ticket{word->load(std::memory_order_seq_cst)};
    for (;;) {
        // 1. Get a version of our own, so that the entry cannot be mistaken for one of another re-rank or push.
        //    There are never more spare versions than re-ranks under way, so 16 bits are enough for 65535 threads.
        if (ticket.queue() != queue_) return false;
        const std::uint32_t version = ticket.next_version();
        const Ticket reserved = Ticket::of(ticket.version(), ticket.spare() + 1, queue_);
        if (!word->compare_exchange_weak(ticket.word, reserved.word, std::memory_order_seq_cst)) continue;
        // 2. Put the entry in. It does not count yet: pending.
        const Item item = item_of(entry, version);
        insert(visit, {&item, 1}, 0);
        // 3. Let it count instead of the present one. A larger version means that another re-rank or a new push came
        //    first; then ours has become void and we start anew, which is progress of that other one.
        ticket.word = word->load(std::memory_order_seq_cst);
        while (ticket.queue() == queue_ && static_cast<std::int32_t>(version - ticket.version()) > 0) {
            const std::uint32_t spare = ticket.next_version() - 1 - version;
            const Ticket done = Ticket::of(version, spare, queue_);
            if (word->compare_exchange_weak(ticket.word, done.word, std::memory_order_seq_cst)) return true;
        }
    }
}

// Puts sorted items in with one root exchange. True when it met nobody: the first try succeeded.
template <class Atom, HeapLimits Limits>
bool BasicPriorityHeap<Atom, Limits>::insert(Visit& visit, std::span<const Item> items, std::uint64_t pushed) {
    bool alone = true;
    for (Pauses pauses;; pauses.rest(), alone = false) {
        Front* front = visit.all.protect(visit.record, root_);
        Front* const fresh = with_items(visit, front, items);
        if (fresh == nullptr) [[unlikely]] {
            if (insert_by_absorbing(visit, front, items, pushed)) return alone;
            continue;
        }
        count_in(*fresh, front, items, pushed);
        Front* const replaced = front;
        // seq_cst, as all of root_: the order of this exchange and of the loads in Reclaimer::protect() decides
        // what may be freed, and the order with the ticket words is what the linearization argument rests on.
        if (root_.compare_exchange_strong(front, fresh, std::memory_order_seq_cst)) [[likely]] {
            if (replaced != nullptr) visit.all.retire(visit.record, replaced);
            return alone;
        }
        visit.all.discard(visit.record, fresh);
    }
}

// The same for a front that has no room. False when the root was exchanged by somebody else meanwhile.
template <class Atom, HeapLimits Limits>
bool BasicPriorityHeap<Atom, Limits>::insert_by_absorbing(Visit& visit, Front* front, std::span<const Item> items,
                                                  std::uint64_t pushed) {
    Draft draft;
    Front* fresh = nullptr;
    try {
        fresh = absorbed(visit, front, items, draft);
    } catch (...) {
        drop(visit, draft);
        throw;
    }
    count_in(*fresh, front, items, pushed);
    if (root_.compare_exchange_strong(front, fresh, std::memory_order_seq_cst)) {  // as in insert()
        visit.all.retire(visit.record, draft.replaced);
        tend(visit);
        return true;
    }
    visit.all.discard(visit.record, fresh);
    drop(visit, draft);
    return false;
}

template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::count_in(Front& fresh, const Front* front, std::span<const Item> items,
                                       std::uint64_t pushed) noexcept {
    const std::uint64_t inserted = front == nullptr ? 0 : front->inserted;
    fresh.pushed = (front == nullptr ? 0 : front->pushed) + pushed;
    fresh.inserted = inserted + items.size();
    if (front == nullptr || inserted - front->since >= Limits.window) {
        fresh.since = inserted;
        fresh.low = items.front();
    } else {
        fresh.since = front->since;
        fresh.low = std::min(front->low, items.front());
    }
}

// A copy of the front with the items in it, or null when it has no room.
template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::with_items(Visit& visit, Front* front, std::span<const Item> items) -> Front* {
    // relaxed: any value ever stored in a hint is right (invariant 5), an old one only copies more.
    const std::uint32_t begin = front == nullptr ? 0 : front->hint.load(std::memory_order_relaxed);
    const Item* old = front == nullptr ? nullptr : front->items() + begin;
    const std::size_t kept = front == nullptr ? 0 : front->count - begin;
    const std::size_t count = kept + items.size();
    if (count > Limits.front_items) return nullptr;
    Body* const body = front == nullptr ? nullptr : front->body;
    Front* const fresh = visit.all.template make<Front>(visit.record, count * sizeof(Item), body, count);
    if (items.size() == 1) {
        const std::size_t place = kept == 0 ? 0 : detail::rank_in(old, kept, items.front());
        detail::copy_items(fresh->items(), old, place);
        fresh->items()[place] = items.front();
        detail::copy_items(fresh->items() + place + 1, old + place, kept - place);
    } else {
        detail::merge(old, old + kept, items.data(), items.data() + items.size(), fresh->items());
    }
    return fresh;
}

// A new front, mostly empty, over a body that has taken up the old front's items and the new ones.
template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::absorbed(Visit& visit, Front* front, std::span<const Item> items, Draft& draft) -> Front* {
    Body* const body = front == nullptr ? nullptr : front->body;
    const bool sift = front != nullptr && sifts(front);
    const std::uint32_t begin = front == nullptr ? 0 : front->hint.load(std::memory_order_relaxed);  // as in with_items()
    const std::size_t kept_most = front == nullptr ? 0 : front->count - begin;
    detail::Items kept(kept_most);
    if (front != nullptr) {
        collect(kept, front->items(), begin, front->count, sift);
        draft.replaced.push_back(front);
    }
    detail::Items both(kept.empty() ? 0 : kept.size() + items.size());
    if (!kept.empty()) both.append_merged(kept.span(), items);
    const std::span<const Item> incoming = kept.empty() ? items : both.span();
    if (body == nullptr && incoming.size() <= Limits.front_keeps) {
        Front* const fresh = visit.all.template make<Front>(visit.record, incoming.size() * sizeof(Item), nullptr, incoming.size());
        detail::copy_items(fresh->items(), incoming.data(), incoming.size());
        return fresh;
    }

    std::size_t low = incoming.size();  // so many of them belong into near
    bool near_left = false;             // there is something left in the old near
    if (body != nullptr) {
        draft.far.reserve(body->far_count + 4);
        draft.far.assign(body->far(), body->far() + body->far_count);
        if (body->far_count != 0) low = detail::rank_in(incoming.data(), incoming.size(), body->bound());
        draft.replaced.push_back(body);
        near_left = body->near->hint.load(std::memory_order_relaxed) < body->near->count;  // as above
    }
    if (low == 0 && near_left) {
        draft.near = body->near;
    } else {
        const std::uint32_t left = near_left ? body->near->hint.load(std::memory_order_relaxed) : 0;  // as above
        detail::Items rest(near_left ? body->near->count - left : 0);
        if (near_left) collect(rest, body->near->items(), left, body->near->count, sift);
        if (body != nullptr) draft.replaced.push_back(body->near);
        detail::Items mixed(rest.empty() ? 0 : rest.size() + low);
        if (!rest.empty()) mixed.append_merged(rest.span(), incoming.first(low));
        const std::span<const Item> near = rest.empty() ? incoming.first(low) : mixed.span();
        const std::size_t keep = near.size() > Limits.near_items ? Limits.near_refill : near.size();
        if (keep != 0) draft.near = make_run(visit, draft, near.first(keep));
        add_runs(visit, draft, near.subspan(keep));
    }
    add_runs(visit, draft, incoming.subspan(low));
    if (draft.near == nullptr) draw_near(visit, draft, {}, sift);
    Body* const next = make_body(visit, draft);
    return visit.all.template make<Front>(visit.record, 0, next, std::size_t{0});
}

}  // namespace penstock
