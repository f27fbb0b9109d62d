// An array that is written at random, read once in order and given back meanwhile.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>

#include "penstock/detail/page_array.hpp"

using penstock::detail::kHugePage;
using penstock::detail::PageArray;

namespace {

std::span<std::uint32_t> elements(PageArray<std::uint32_t>& array) { return array; }

}  // namespace

TEST_CASE("what is behind the discarded elements stays") {
  constexpr std::size_t kPage = kHugePage / sizeof(std::uint32_t);
  PageArray<std::uint32_t> array(5 * kPage + 3);
  std::iota(elements(array).begin(), elements(array).end(), 0U);
  for (const std::size_t end : {std::size_t{0}, std::size_t{1}, kPage, 2 * kPage - 1, 2 * kPage, 2 * kPage, 5 * kPage,
                                array.size()}) {
    array.discard_before(end);
    bool kept = true;
    for (std::size_t k = end; k < array.size(); ++k) kept &= array[k] == k;
    CHECK(kept);
  }
}

TEST_CASE("a small array may be discarded as often as one likes") {
  PageArray<std::uint32_t> array(100);
  std::iota(elements(array).begin(), elements(array).end(), 7U);
  array.discard_before(50);
  array.discard_before(100);
  CHECK(array[99] == 106);
}

TEST_CASE("an array that is moved from is empty, and what it held lives on") {
  PageArray<std::uint32_t> first(1000);
  std::iota(elements(first).begin(), elements(first).end(), 0U);
  PageArray<std::uint32_t> second;
  CHECK(second.empty());
  second = std::move(first);
  PageArray<std::uint32_t> third(std::move(second));
  CHECK(third.size() == 1000);
  CHECK(third[999] == 999);
}
