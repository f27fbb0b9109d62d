// Sorting many queued items at once.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "penstock/detail/heap_blocks.hpp"

namespace penstock::detail {

/// Sorts a batch by rank, then tie.
///
/// A batch comes in order of its ties, as a rule, so a stable sort by rank alone is enough; and ranks are made from
/// priorities, most of which differ in a few bits only. So: from the lowest bit in which two ranks differ to the
/// highest, one counting pass for each 11 bits. Ten priorities take two passes, random doubles six. `spare`: as long
/// as `items`, overwritten. Small batches, and those whose ties are not in order, are compared.
inline void sort_items(std::span<Item> items, std::span<Item> spare) {
    constexpr std::size_t kFew = 1024;
    constexpr unsigned kDigit = 11;
    constexpr std::size_t kBuckets = std::size_t{1} << kDigit;
    const auto by_tie = [](const Item& a, const Item& b) { return a.tie < b.tie; };
    if (items.size() < kFew || !std::is_sorted(items.begin(), items.end(), by_tie)) {
        std::sort(items.begin(), items.end());
        return;
    }
    std::uint64_t differing = 0;
    for (const Item& item : items) differing |= item.rank ^ items.front().rank;
    if (differing == 0) return;
    const unsigned top = 64U - static_cast<unsigned>(std::countl_zero(differing));
    std::span<Item> from = items, to = spare.first(items.size());
    for (auto shift = static_cast<unsigned>(std::countr_zero(differing)); shift < top; shift += kDigit) {
        std::array<std::size_t, kBuckets> begin{};
        const auto digit = [shift](const Item& item) { return (item.rank >> shift) & (kBuckets - 1); };
        for (const Item& item : from) ++begin[digit(item)];
        if (begin[digit(from.front())] == from.size()) continue;
        std::size_t sum = 0;
        for (std::size_t& count : begin) sum += std::exchange(count, sum);
        for (const Item& item : from) to[begin[digit(item)]++] = item;
        std::swap(from, to);
    }
    if (from.data() != items.data()) std::copy(from.begin(), from.end(), items.begin());
}

}  // namespace penstock::detail
