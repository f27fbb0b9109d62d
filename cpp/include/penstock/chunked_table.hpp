// ChunkedTable: a table that grows while others read it, and whose elements never move.
//
// What it is: a fixed directory of chunks, each twice as large as the one before. Growth adds chunks and touches no
// element that is there, so references and atomics in elements stay good for the table's life.
//
// When not to use it: when elements go away one by one (no place is ever used again), or when one thread owns the
// data (std::vector is smaller and faster).
//
// Progress: reading is wait-free. Growth is for one thread at a time; readers never wait for it.
//
// Order: an element may be read by who got its index from something that happens after the growth that made it:
// from `size()`, or from whatever the grower published afterwards (a queue, a lock, another table).
//
// Memory: chunks are freed by the destructor, elements destroyed by it. Memory is taken when it is written, a page at a
// time (detail/pages.hpp): the unused rest of the last chunk is address space only, and so is what forget() was told of.
//
// Invariants: an element's address never changes; every element below size() is constructed. Checked by
// test_chunked_table.cpp, also under ThreadSanitizer.
#pragma once

#include <algorithm>
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

namespace penstock {

/// T may be incomplete where the table is declared; it must be complete where the table is grown, read or destroyed.
/// The first chunk holds 2^kFirstBits elements.
template <class T, unsigned kFirstBits = 10, class Atom = StdAtom>
class ChunkedTable {
 public:
  /// Indices are 32-bit numbers everywhere in the core.
  static constexpr std::size_t kMaxSize = std::size_t{1} << 32;

  ChunkedTable() noexcept = default;
  ChunkedTable(const ChunkedTable&) = delete;
  ChunkedTable& operator=(const ChunkedTable&) = delete;

  ~ChunkedTable() {
    std::size_t left = size();
    for (std::size_t c = 0; c < kChunks; ++c) {
      T* const elements = chunks_[c].load(std::memory_order_relaxed);  // destroying: no other thread is left
      if (elements == nullptr) return;
      const std::size_t used = std::min(left, chunk_size(c));
      if constexpr (!std::is_trivially_destructible_v<T>) {
        for (std::size_t k = 0; k < used; ++k) elements[k].~T();
      }
      left -= used;
      detail::free_pages(elements, chunk_size(c) * sizeof(T), kAlignment);
    }
  }

  /// How many elements there are. Any thread.
  [[nodiscard]] std::size_t size() const noexcept {
    // acquire. Pairs with the release in grow(): who sees a size may read every element below it. With relaxed, a
    // reader could see the new size and an unwritten element or chunk pointer.
    return size_.load(std::memory_order_acquire);
  }

  /// Makes the table at least `size` elements long; new ones are value-initialised. One grower at a time; safe beside
  /// any number of readers. Throws std::length_error above kMaxSize and std::bad_alloc, both with nothing changed.
  void grow(std::size_t size) {
    static_assert(std::is_nothrow_default_constructible_v<T>, "a half-built chunk could not be taken back");
    extend(size, [](T* begin, std::size_t count) {
      for (std::size_t k = 0; k < count; ++k) ::new (static_cast<void*>(begin + k)) T();
    });
  }

  /// The same, but the values of new elements are undefined: the grower writes each before it tells of it. Spares a
  /// large table its second pass.
  void grow_unwritten(std::size_t size) {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
    extend(size, [](T*, std::size_t) {});
  }

  /// Precondition: i < size(), known in the way that Order says.
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return *at(*this, i); }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return *at(*this, i); }

  /// Calls visit(pointer, length) for each stretch of adjacent elements that makes up [first, first + count).
  template <class F>
  void for_runs(std::size_t first, std::size_t count, F&& visit) {
    runs(*this, first, count, visit);
  }
  template <class F>
  void for_runs(std::size_t first, std::size_t count, F&& visit) const {
    runs(*this, first, count, visit);
  }

  /// Gives the memory of [first, first + count) back to the system, in whole pages. The elements stay where they are, and
  /// read as they were or as zeros; a write takes memory again. Any thread, for what no grower is writing.
  void forget(std::size_t first, std::size_t count) noexcept {
    static_assert(std::is_trivially_destructible_v<T>);
    for_runs(first, count, [](T* run, std::size_t n) { detail::forget_pages(run, run + n); });
  }

 private:
  static constexpr std::size_t kFirst = std::size_t{1} << kFirstBits;
  static constexpr std::size_t kChunks = 33 - kFirstBits;  // kFirst * (2^kChunks - 1) >= kMaxSize
  static_assert(kFirstBits >= 1 && kFirstBits <= 31);

  static constexpr std::size_t chunk_size(std::size_t chunk) noexcept { return kFirst << chunk; }
  static constexpr std::size_t kAlignment = std::max(kCacheLine, alignof(T));

  // Element i is in chunk c = floor(log2(i + kFirst)) - kFirstBits, at what is left of i + kFirst without its top bit.
  static constexpr std::size_t chunk_of(std::size_t i) noexcept { return top_bit(i + kFirst) - kFirstBits; }

  // floor(log2(x)) for x > 0; the 1 spares std::countl_zero its test for 0.
  static constexpr std::size_t top_bit(std::size_t x) noexcept {
    return static_cast<std::size_t>(63 ^ std::countl_zero(static_cast<std::uint64_t>(x) | 1));
  }

  template <class F>
  void extend(std::size_t size, F&& make) {
    const std::size_t old = size_.load(std::memory_order_relaxed);  // only growers write it, one at a time
    if (size <= old) return;
    if (size > kMaxSize) {
      throw std::length_error("a table of " + std::to_string(size) + " elements was asked for; it holds at most " +
                              std::to_string(kMaxSize));
    }
    const std::size_t last = chunk_of(size - 1);
    for (std::size_t c = 0; c <= last; ++c) {
      if (chunks_[c].load(std::memory_order_relaxed) != nullptr) continue;  // written by growers, one at a time
      // relaxed, the store as well as the reader's load in operator[]: a reader has its index from something that
      // happens after the growth (see Order above), and that orders this store too.
      chunks_[c].store(static_cast<T*>(detail::allocate_pages(chunk_size(c) * sizeof(T), kAlignment)),
                       std::memory_order_relaxed);
    }
    runs(*this, old, size - old, make);
    // release. Pairs with the acquire in size(): publishes the chunks and the constructed elements.
    size_.store(size, std::memory_order_release);
  }

  template <class Self>
  static auto at(Self& self, std::size_t i) noexcept -> decltype(self.chunks_[0].load()) {
    const std::size_t shifted = i + kFirst;
    const std::size_t top = top_bit(shifted);
    // relaxed: who has the index has heard of the chunk, see grow(). With less than that it would be null or garbage.
    return self.chunks_[top - kFirstBits].load(std::memory_order_relaxed) + (shifted ^ (std::size_t{1} << top));
  }

  template <class Self, class F>
  static void runs(Self& self, std::size_t first, std::size_t count, F&& visit) {
    using Element = std::conditional_t<std::is_const_v<Self>, const T, T>;
    if (count == 0) return;
    for (;;) {
      const std::size_t chunk = chunk_of(first);
      const std::size_t end_of_chunk = (kFirst << (chunk + 1)) - kFirst;
      const std::size_t here = std::min(count, end_of_chunk - first);
      visit(static_cast<Element*>(at(self, first)), here);
      if (here == count) return;
      first += here;
      count -= here;
    }
  }

  std::array<typename Atom::template atomic<T*>, kChunks> chunks_{};
  typename Atom::template atomic<std::size_t> size_{0};
};

}  // namespace penstock
