// Sorting a batch of queued items: the same order as by comparison, whatever the ranks look like.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "penstock/detail/sort_items.hpp"
#include "penstock/types.hpp"

using namespace penstock;
using detail::Item;

namespace {

std::vector<Item> items_of(std::size_t count, const std::function<double(std::size_t)>& rank) {
    std::vector<Item> items;
    for (std::size_t k = 0; k < count; ++k) items.push_back({ordered_bits(Rank{rank(k)}), k, k});
    return items;
}

void check_sorted(std::vector<Item> items) {
    std::vector<Item> expected = items, spare(items.size());
    std::sort(expected.begin(), expected.end());
    detail::sort_items(items, spare);
    const auto same = [](const Item& a, const Item& b) { return a.rank == b.rank && a.tie == b.tie && a.ticket == b.ticket; };
    CHECK(std::equal(items.begin(), items.end(), expected.begin(), expected.end(), same));
}

}  // namespace

TEST_CASE("items are sorted by rank, and by tie among equals, for all kinds of ranks and batch sizes") {
    std::mt19937_64 random(1);
    std::normal_distribution<double> normal(0.0, 1e6);
    for (const std::size_t count : {0U, 1U, 2U, 1023U, 1024U, 5000U, 70'000U}) {
        CAPTURE(count);
        check_sorted(items_of(count, [](std::size_t) { return 3.0; }));
        check_sorted(items_of(count, [&](std::size_t) { return static_cast<double>(random() % 10); }));
        check_sorted(items_of(count, [&](std::size_t) { return -static_cast<double>(random() % 10); }));
        check_sorted(items_of(count, [&](std::size_t) { return normal(random); }));
        check_sorted(items_of(count, [&](std::size_t) { return static_cast<double>(random() >> 11); }));
        check_sorted(items_of(count, [&](std::size_t k) { return k % 2 == 0 ? 1e300 : -1e-300; }));
        check_sorted(items_of(count, [&](std::size_t k) { return static_cast<double>(count - k); }));
    }
}

TEST_CASE("items whose ties do not come in order are sorted too") {
    std::mt19937_64 random(2);
    std::vector<Item> items = items_of(5000, [&](std::size_t) { return static_cast<double>(random() % 3); });
    std::shuffle(items.begin(), items.end(), random);
    check_sorted(items);
}
