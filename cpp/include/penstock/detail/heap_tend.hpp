// PriorityHeap: how blocks are rebuilt. Included by priority_heap.hpp.
#pragma once

#include "penstock/priority_heap.hpp"

namespace penstock {

// Whether so many items of this root are gone that a copy should leave them out. Where few are, asking after each item
// costs more, a miss of the cache each, than carrying the few along.
template <class Atom, HeapLimits Limits>
bool BasicPriorityHeap<Atom, Limits>::sifts(Front* front) const noexcept {
    const std::uint64_t taken = this->taken();
    const std::uint64_t pushed = pushes(front), live = pushed > taken ? pushed - taken : 0;
    const std::uint64_t items = front->count + (front->body == nullptr ? 0 : front->body->hints);
    return items > live + live / 8;
}

// Appends the items that count, or may come to count, and when not sifting, others.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::collect(detail::Items& out, const Item* items, std::size_t begin, std::size_t end, bool sift) {
    if (!sift) return out.append(items + begin, end - begin);
    for (std::size_t k = begin; k < end; ++k) {
        if (hold(items[k]) != Hold::gone) out.push_back(items[k]);
    }
}

template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::make_run(Visit& visit, Draft& draft, std::span<const Item> items) -> Run* {
    draft.made.push_back(nullptr);  // first, so that a throw cannot leak the run
    Run* const run = visit.all.template make<Run>(visit.record, items.size_bytes(), visit.all.serial(), items.size());
    draft.made.back() = run;
    detail::copy_items(run->items(), items.data(), items.size());
    return run;
}

// Cuts a sorted range into far runs.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::add_runs(Visit& visit, Draft& draft, std::span<const Item> items) {
    while (!items.empty()) {
        const std::size_t count = std::min(items.size(), Limits.run_items);
        Run* const run = make_run(visit, draft, items.first(count));
        place(draft.far, {run, run->serial, 0, run->count});
        items = items.subspan(count);
    }
}

// Keeps the far runs in order of tier, the smallest last.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::place(std::vector<Far>& far, const Far& added) {
    auto at = far.end();
    while (at != far.begin() && Limits.tier_of(std::prev(at)->count) < Limits.tier_of(added.count)) --at;
    far.insert(at, added);
}

// Makes a new near run of what is left of the old one and of the smallest items of the far runs.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::draw_near(Visit& visit, Draft& draft, std::span<const Item> rest, bool sift) {
    const std::size_t enough = rest.size() + std::max(Limits.near_refill, draft.far.size());
    detail::Items near(enough);
    near.append(rest.data(), rest.size());
    if (!draft.far.empty()) {
        detail::draw<Atom>(draft.far, [&](const Item& item) {
            if (!sift || hold(item) != Hold::gone) near.push_back(item);
            return near.size() < enough;
        });
    }
    std::erase_if(draft.far, [&](const Far& far) {
        if (far.begin < far.count) return false;
        draft.replaced.push_back(far.run);
        return true;
    });
    draft.near = near.empty() ? nullptr : make_run(visit, draft, near.span());
}

template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::make_body(Visit& visit, Draft& draft) -> Body* {
    if (draft.near == nullptr) return nullptr;
    draft.made.push_back(nullptr);  // as in make_run()
    Body* const body = visit.all.template make<Body>(visit.record, draft.far.size() * sizeof(Far), visit.all.serial());
    draft.made.back() = body;
    body->near = draft.near;
    body->hints = draft.near->count;
    for (const Far& far : draft.far) body->hints += far.count - far.begin;
    body->far_count = static_cast<std::uint32_t>(draft.far.size());
    std::copy(draft.far.begin(), draft.far.end(), body->far());
    return body;
}

// Gives back the blocks of a draft that came to nothing.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::drop(Visit& visit, Draft& draft) noexcept {
    for (Block* block : draft.made) {
        if (block != nullptr) visit.all.discard(visit.record, block);
    }
    draft.made.clear();
}

// A copy of the front over another body.
template <class Atom, HeapLimits Limits>
auto BasicPriorityHeap<Atom, Limits>::with_body(Visit& visit, Front* front, Body* body) -> Front* {
    const std::uint32_t begin = front->hint.load(std::memory_order_relaxed);  // as in with_items()
    const std::size_t count = front->count - begin;
    Front* const fresh = visit.all.template make<Front>(visit.record, count * sizeof(Item), body, count);
    fresh->pushed = front->pushed;
    fresh->inserted = front->inserted;
    fresh->since = front->since;
    fresh->low = front->low;
    detail::copy_items(fresh->items(), front->items() + begin, count);
    return fresh;
}

// Draws the next items into near. Pushes meanwhile do not spoil the work: it holds as long as the body is the same.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::refill(Visit& visit, Front* front) {
    Draft draft;
    try {
        Body* const body = front->body;
        const std::uint64_t serial = body->serial;
        const std::uint32_t begin = body->near->hint.load(std::memory_order_relaxed);  // as in with_items()
        detail::Items rest(body->near->count - begin);
        collect(rest, body->near->items(), begin, body->near->count, true);
        draft.far.assign(body->far(), body->far() + body->far_count);
        draft.replaced = {body, body->near};
        draw_near(visit, draft, rest.span(), sifts(front));
        Body* const next = make_body(visit, draft);
        draft.replaced.push_back(nullptr);
        for (Pauses pauses;; pauses.rest()) {
            front = visit.all.protect(visit.record, root_);
            if (front->body == nullptr || front->body->serial != serial) return drop(visit, draft);
            Front* const fresh = with_body(visit, front, next);
            draft.replaced.back() = front;
            if (root_.compare_exchange_strong(front, fresh, std::memory_order_seq_cst)) {  // as in insert()
                return visit.all.retire(visit.record, draft.replaced);
            }
            visit.all.discard(visit.record, fresh);
        }
    } catch (...) {
        drop(visit, draft);
        throw;
    }
}

// Merges runs of one tier when there are enough of them, and rids a run of what is gone when most of the heap is.
// Optional work: a failure to get memory for it is no failure of the operation that called it.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::tend(Visit& visit) {
    try {
        for (std::uint32_t tier = 0; tier < HeapLimits::kTopTier; ++tier) {
            Front* const front = visit.all.protect(visit.record, root_);
            Body* const body = front == nullptr ? nullptr : front->body;
            if (body == nullptr) return;
            std::vector<Far> sources;
            for (std::uint32_t k = body->far_count; k-- > 0 && Limits.tier_of(body->far()[k].count) <= tier;) {
                const Far& far = body->far()[k];
                // relaxed, here and below: `claimed` only keeps two threads from the same work; which of them merges,
                // or whether both do, the root exchange decides.
                if (Limits.tier_of(far.count) == tier && far.run->claimed.load(std::memory_order_relaxed) == 0) sources.push_back(far);
            }
            if (sources.size() < Limits.fan_out) continue;
            std::erase_if(sources, [](const Far& far) { return far.run->claimed.exchange(1, std::memory_order_relaxed) != 0; });
            if (!sources.empty()) rebuild(visit, sources, sifts(front));
        }
        Front* const front = visit.all.protect(visit.record, root_);
        Body* const body = front == nullptr ? nullptr : front->body;
        if (body == nullptr || body->far_count == 0) return;
        const std::uint64_t taken = this->taken();
        const std::uint64_t pushed = pushes(front), live = pushed > taken ? pushed - taken : 0;
        if (body->hints <= 2 * live + Limits.slack) return;
        const Far far = body->far()[turn_.fetch_add(1, std::memory_order_relaxed) % body->far_count];  // only spreads the work
        if (far.run->claimed.exchange(1, std::memory_order_relaxed) == 0) rebuild(visit, {far}, true);
    } catch (const std::bad_alloc&) {
        return;  // the sources stay claimed, so nobody else tries while there is no memory
    }
}

// Replaces far runs, which the caller has claimed, by one run of their items; when sifting, of those not gone.
template <class Atom, HeapLimits Limits>
void BasicPriorityHeap<Atom, Limits>::rebuild(Visit& visit, const std::vector<Far>& sources, bool sift) {
    Draft draft;
    try {
        std::size_t most = 0;
        for (const Far& far : sources) most += far.count - far.begin;
        detail::Items items(most);
        std::vector<std::size_t> ends;
        for (const Far& far : sources) {
            collect(items, far.run->items(), far.begin, far.count, sift);
            ends.push_back(items.size());
        }
        detail::merge_pieces(items, ends);
        Run* const run = items.empty() ? nullptr : make_run(visit, draft, items.span());
        const auto is_source = [&](const Far& far) {
            return std::any_of(sources.begin(), sources.end(), [&](const Far& source) { return source.serial == far.serial; });
        };
        for (Pauses pauses;; pauses.rest()) {
            Front* front = visit.all.protect(visit.record, root_);
            Body* const body = front->body;
            if (body == nullptr) return drop(visit, draft);
            // A refill may have drawn items meanwhile, or whole runs: leave out what is smaller than the bound. An item
            // equal to it may then lie in two places, which is harmless, as any copy of an item is.
            Draft next;
            for (std::uint32_t k = 0; k < body->far_count; ++k) {
                const Far& far = body->far()[k];
                if (is_source(far)) {
                    next.replaced.push_back(far.run);
                } else {
                    next.far.push_back(far);
                }
            }
            if (next.replaced.empty()) return drop(visit, draft);
            bool placed = false;
            if (run != nullptr) {
                const auto begin = static_cast<std::uint32_t>(detail::rank_in(run->items(), run->count, body->bound()));
                placed = begin < run->count;
                if (placed) place(next.far, {run, run->serial, begin, run->count});
            }
            next.near = body->near;
            next.replaced.push_back(body);
            next.replaced.push_back(front);
            Front* fresh = nullptr;
            try {
                fresh = with_body(visit, front, make_body(visit, next));
            } catch (...) {
                drop(visit, next);
                throw;
            }
            if (root_.compare_exchange_strong(front, fresh, std::memory_order_seq_cst)) {  // as in insert()
                visit.all.retire(visit.record, next.replaced);
                if (!placed) drop(visit, draft);
                return;
            }
            visit.all.discard(visit.record, fresh);
            drop(visit, next);
        }
    } catch (...) {
        drop(visit, draft);
        throw;
    }
}

template <class Atom, HeapLimits Limits>
BasicPriorityHeap<Atom, Limits>::~BasicPriorityHeap() {
    Visit visit;
    for (auto& inbox : inboxes_) delete inbox.load(std::memory_order_relaxed);  // no other thread is left
    Front* const front = root_.load(std::memory_order_seq_cst);
    if (front == nullptr) return;
    if (Body* const body = front->body) {
        for (std::uint32_t k = 0; k < body->far_count; ++k) visit.all.discard(visit.record, body->far()[k].run);
        visit.all.discard(visit.record, body->near);
        visit.all.discard(visit.record, body);
    }
    visit.all.discard(visit.record, front);
}

template <class Atom, HeapLimits Limits>
std::string BasicPriorityHeap<Atom, Limits>::check() {
    Visit visit;
    Front* const front = visit.all.protect(visit.record, root_);
    if (front == nullptr) return {};
    const auto sorted = [](const Item* items, std::uint32_t count) {
        return std::adjacent_find(items, items + count, [](const Item& a, const Item& b) { return b < a; }) == items + count;
    };
    const auto skips_only_gone = [&](const Item* items, std::uint32_t hint) {
        return std::all_of(items, items + hint, [&](const Item& item) { return hold(item) == Hold::gone; });
    };
    if (!sorted(front->items(), front->count)) return "the front is not sorted";
    // relaxed, here and below: at rest there is one value.
    if (!skips_only_gone(front->items(), front->hint.load(std::memory_order_relaxed))) return "the front's hint passes a live item";
    Body* const body = front->body;
    if (body == nullptr) return {};
    if (body->near == nullptr || body->near->count == 0) return "a body without a near run";
    if (!sorted(body->near->items(), body->near->count)) return "near is not sorted";
    if (!skips_only_gone(body->near->items(), body->near->hint.load(std::memory_order_relaxed))) return "near's hint passes a live item";
    for (std::uint32_t k = 0; k < body->far_count; ++k) {
        const Far& far = body->far()[k];
        if (far.begin >= far.run->count) return "an empty far run";
        if (!sorted(far.run->items(), far.run->count)) return "a far run is not sorted";
        if (far.run->items()[far.begin] < body->bound()) return "a far run reaches below the bound";
        if (far.count != far.run->count) return "a far run of another length";
        if (k != 0 && Limits.tier_of(body->far()[k - 1].count) < Limits.tier_of(far.count)) return "far runs are not in order of tier";
    }
    return {};
}

}  // namespace penstock
