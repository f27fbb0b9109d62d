// The blocks that a PriorityHeap is made of, and the pure functions over them.
//
//   root -> Front: up to kFrontItems newest items, sorted; replaced whole by each push (copy on write)
//             `-> Body: replaced when the front overflows, when `near` runs dry, or when runs are merged
//                   |-> near: one sorted Run, the smallest of what left the front
//                   `-> far:  sorted Runs, unordered among each other, no item smaller than the last of `near`
//
// All is immutable once published, but for `hint` (how many leading items no longer count: only ever a lower bound)
// and `claimed` (somebody is merging this run: only ever advice).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "penstock/detail/reclaim.hpp"
#include "penstock/types.hpp"

namespace penstock::detail {

// An entry as the heap stores it: a hint that counts while the task's ticket has its version. Ordered by rank, then
// tie; of items equal in both, either may come first.
struct Item {
    std::uint64_t rank;    // ordered_bits
    std::uint64_t tie;
    std::uint64_t ticket;  // version << 32 | task

    [[nodiscard]] TaskId task() const noexcept { return TaskId{static_cast<std::uint32_t>(ticket)}; }
    [[nodiscard]] std::uint32_t version() const noexcept { return static_cast<std::uint32_t>(ticket >> 32); }

    friend bool operator<(const Item& a, const Item& b) noexcept {
#ifdef __SIZEOF_INT128__
        __extension__ using Key = unsigned __int128;  // a subtraction with borrow, no branch to mispredict
        return (Key{a.rank} << 64 | a.tie) < (Key{b.rank} << 64 | b.tie);
#else
        return a.rank != b.rank ? a.rank < b.rank : a.tie < b.tie;
#endif
    }
};
inline constexpr std::uint64_t kLargest = ~std::uint64_t{0};
inline constexpr Item kLargestItem{kLargest, kLargest, kLargest};

template <class Atom>
struct Run : Block {
    std::uint64_t serial;
    std::uint32_t count;
    typename Atom::template atomic<std::uint32_t> hint{0};
    typename Atom::template atomic<std::uint32_t> claimed{0};

    Run(std::uint64_t serial_, std::size_t count_) noexcept : serial(serial_), count(static_cast<std::uint32_t>(count_)) {}
    [[nodiscard]] Item* items() noexcept { return reinterpret_cast<Item*>(this + 1); }
};

// The part of a run that has not moved to `near` yet.
template <class Atom>
struct Far {
    Run<Atom>* run;
    std::uint64_t serial;  // of the run: tells it from another that lies at the same address later
    std::uint32_t begin;
    std::uint32_t count;   // that of the run, here so that counting costs no miss of the cache a run
};

template <class Atom>
struct Body : Block {
    std::uint64_t serial;
    Run<Atom>* near = nullptr;  // null only when there is no far run either
    std::size_t hints = 0;      // items in near and far when this body was built
    std::uint32_t far_count = 0;

    explicit Body(std::uint64_t serial_) noexcept : serial(serial_) {}
    [[nodiscard]] Far<Atom>* far() noexcept { return reinterpret_cast<Far<Atom>*>(this + 1); }
    [[nodiscard]] const Item& bound() noexcept { return near->items()[near->count - 1]; }
};

template <class Atom>
struct Front : Block {
    Body<Atom>* body;
    std::uint64_t pushed;    // entries pushed since the heap was made
    std::uint64_t inserted;  // items put in since then, those of re-ranks too
    std::uint64_t since;     // `low` is the smallest item put in after the `since`-th
    Item low;
    std::uint32_t count;
    typename Atom::template atomic<std::uint32_t> hint{0};

    // The rest is filled in by whoever makes it, before it is published: zeroing it first costs a push a tenth.
    Front(Body<Atom>* body_, std::size_t count_) noexcept : body(body_), count(static_cast<std::uint32_t>(count_)) {}

    [[nodiscard]] Item* items() noexcept { return reinterpret_cast<Item*>(this + 1); }
};

// The number of items of the sorted range [first, first + count) that are smaller than `item`. No branch depends on
// the items: halves down to a few, then compares with each of those, which a processor does side by side.
[[nodiscard]] inline std::size_t rank_in(const Item* first, std::size_t count, const Item& item) noexcept {
    constexpr std::size_t kSideBySide = 8;
    const Item* base = first;
    while (count > kSideBySide) {
        const std::size_t half = count / 2;
        base += (base[half - 1] < item) ? half : 0;
        count -= half;
    }
    auto rank = static_cast<std::size_t>(base - first);
    for (std::size_t k = 0; k < count; ++k) rank += base[k] < item ? 1 : 0;
    return rank;
}

// memcpy, but inline for a few items, where the call costs more than the work.
inline void copy_items(Item* to, const Item* from, std::size_t count) noexcept {
    constexpr std::size_t kFew = 12;
    if (count > kFew) {
        std::memcpy(to, from, count * sizeof(Item));
        return;
    }
    for (; count >= 2; count -= 2, to += 2, from += 2) std::memcpy(to, from, 2 * sizeof(Item));
    if (count != 0) std::memcpy(to, from, sizeof(Item));
}

// The one of two addresses that `second` says. By arithmetic: a compiler may make a branch of a choice, and which side of a
// merge is next is as good as random.
[[nodiscard]] inline const Item* either(const Item* a, const Item* b, bool second) noexcept {
    const auto first = reinterpret_cast<std::uintptr_t>(a);
    return reinterpret_cast<const Item*>(first ^ ((first ^ reinterpret_cast<std::uintptr_t>(b)) & -std::uintptr_t{second}));
}

// Merges two sorted ranges into `out`, which is none of them; of equal items, those of `a` come first. From both ends at
// once while both ranges are long: each step waits for the one before it in its own direction only.
inline Item* merge(const Item* a, const Item* a_end, const Item* b, const Item* b_end, Item* out) noexcept {
    constexpr std::ptrdiff_t kLong = 8;
    Item* const out_end = out + (a_end - a) + (b_end - b);
    Item* out_last = out_end;
    for (std::ptrdiff_t steps; (steps = std::min(a_end - a, b_end - b)) >= kLong;) {
        // So many smallest and so many largest items are different ones, and neither direction can pass an end.
        for (; steps > 0; --steps) {
            const bool second = *b < *a;
            *out++ = *either(a, b, second);
            a += !second;
            b += second;
            const bool first = b_end[-1] < a_end[-1];
            *--out_last = *either(b_end - 1, a_end - 1, first);
            a_end -= first;
            b_end -= !first;
        }
    }
    while (a != a_end && b != b_end) {
        const bool second = *b < *a;
        *out++ = *either(a, b, second);
        a += !second;
        b += second;
    }
    copy_items(out, a, static_cast<std::size_t>(a_end - a));
    out += a_end - a;
    copy_items(out, b, static_cast<std::size_t>(b_end - b));
    return out_end;
}

// Room for items that are written before they are read: unlike a vector, it is not zeroed.
class Items {
public:
    explicit Items(std::size_t capacity) : items_(std::make_unique_for_overwrite<Item[]>(capacity)) {}
    [[nodiscard]] Item* begin() const noexcept { return items_.get(); }
    [[nodiscard]] Item* end() const noexcept { return items_.get() + count_; }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] std::span<const Item> span() const noexcept { return {begin(), count_}; }
    void resize(std::size_t count) noexcept { count_ = count; }  // what is beyond the old size is yet to be written
    void push_back(const Item& item) noexcept { items_[count_++] = item; }
    void append(const Item* from, std::size_t count) noexcept {
        copy_items(end(), from, count);
        count_ += count;
    }
    void append_merged(std::span<const Item> a, std::span<const Item> b) noexcept {
        count_ = static_cast<std::size_t>(merge(a.data(), a.data() + a.size(), b.data(), b.data() + b.size(), end()) - begin());
    }

private:
    std::unique_ptr<Item[]> items_;
    std::size_t count_ = 0;
};

// Merges sorted pieces that lie end to end in `items`; `ends` holds the end of each. Leaves one sorted range.
inline void merge_pieces(Items& items, std::vector<std::size_t> ends) {
    if (ends.size() < 2) return;
    Items other(items.size());
    other.resize(items.size());
    while (ends.size() > 1) {
        std::size_t begin = 0, pieces = 0;
        for (std::size_t k = 0; k < ends.size(); k += 2) {
            const std::size_t middle = ends[k];
            const std::size_t end = k + 1 < ends.size() ? ends[k + 1] : middle;
            const Item* const from = items.begin();
            merge(from + begin, from + middle, from + middle, from + end, other.begin() + begin);
            ends[pieces++] = end;
            begin = end;
        }
        ends.resize(pieces);
        std::swap(items, other);
    }
}

// Takes the smallest items out of several runs, in order: `each(item)` until it returns false or all are empty.
// Moves the `begin` of the runs past what was taken. O(log(runs)) an item.
template <class Atom, class Each>
void draw(std::vector<Far<Atom>>& far, Each&& each) {
    struct Head {
        Item item;
        std::size_t run;
    };
    std::vector<Head> heads;
    heads.reserve(far.size());
    for (std::size_t k = 0; k < far.size(); ++k) heads.push_back({far[k].run->items()[far[k].begin], k});
    const auto sink = [&](std::size_t k) {
        const Head moving = heads[k];
        for (std::size_t child = 2 * k + 1; child < heads.size(); child = 2 * k + 1) {
            if (child + 1 < heads.size() && heads[child + 1].item < heads[child].item) ++child;
            if (!(heads[child].item < moving.item)) break;
            heads[k] = heads[child];
            k = child;
        }
        heads[k] = moving;
    };
    for (std::size_t k = heads.size() / 2; k-- > 0;) sink(k);
    bool more = true;
    while (more && !heads.empty()) {
        more = each(heads[0].item);
        Far<Atom>& source = far[heads[0].run];
        if (++source.begin < source.count) {
            heads[0].item = source.run->items()[source.begin];
        } else {
            heads[0] = heads.back();
            heads.pop_back();
        }
        if (!heads.empty()) sink(0);
    }
}

}  // namespace penstock::detail
