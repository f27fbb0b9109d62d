#include "penstock/detail/pages.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#if defined(__linux__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define PENSTOCK_KEEPS_PAGES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PENSTOCK_KEEPS_PAGES 0
#endif
#endif
#ifndef PENSTOCK_KEEPS_PAGES
#define PENSTOCK_KEEPS_PAGES 1
#endif

namespace penstock::detail {
namespace {

// Blocks come in powers of two, so that one table's leavings fit another.
std::size_t rounded(std::size_t bytes) noexcept { return std::bit_ceil(bytes); }

std::align_val_t alignment_of(std::size_t rounded_bytes) noexcept {
  return std::align_val_t{rounded_bytes >= kHugePage ? kHugePage : 4096};
}

// Blocks of more than a huge page come from the system itself, zeroed, and charged for when they are written, however
// large they are; the others from operator new. Under AddressSanitizer all of them do, since it watches that.
#if defined(__linux__) && PENSTOCK_KEEPS_PAGES
constexpr bool is_mapped(std::size_t bytes) noexcept { return bytes > kHugePage; }

void* map(std::size_t bytes) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const all = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (all == MAP_FAILED) throw std::bad_alloc();
  // The system aligns to its pages; what is around the part that starts at a huge one goes back.
  auto* const begin = static_cast<char*>(all);
  const std::size_t before = kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage;
  munmap(begin, before);
  if (before < kHugePage) munmap(begin + before + bytes, kHugePage - before);
  return begin + before;
}
void unmap(void* block, std::size_t bytes) noexcept { munmap(block, bytes); }
#else
constexpr bool is_mapped(std::size_t) noexcept { return false; }
void* map(std::size_t) { throw std::bad_alloc(); }
void unmap(void*, std::size_t) noexcept {}
#endif

void* fresh_block(std::size_t bytes) {
  return is_mapped(bytes) ? map(bytes) : ::operator new(bytes, alignment_of(bytes));
}
void drop_block(void* block, std::size_t bytes) noexcept {
  is_mapped(bytes) ? unmap(block, bytes) : ::operator delete(block, alignment_of(bytes));
}

class Shelves {
 public:
  void* take(std::size_t bytes) noexcept {
    const std::scoped_lock lock(mutex_);
    Free*& first = shelf(bytes);
    if (first == nullptr) return nullptr;
    kept_ -= bytes;
    Free* const block = first;
    first = block->next;
    return block;
  }
  bool put(void* memory, std::size_t bytes) noexcept {
    const std::scoped_lock lock(mutex_);
    if (kept_ + bytes > most_) return false;
    kept_ += bytes;
    Free*& first = shelf(bytes);
    first = new (memory) Free{first};
    return true;
  }
  std::size_t keep(std::size_t most) noexcept {
    const std::scoped_lock lock(mutex_);
    const std::size_t before = std::exchange(most_, most);
    for (std::size_t bits = shelves_.size(); bits-- > 0 && kept_ > most_;) {
      const std::size_t bytes = std::size_t{1} << bits;
      while (kept_ > most_ && shelves_[bits] != nullptr) {
        Free* const block = std::exchange(shelves_[bits], shelves_[bits]->next);
        kept_ -= bytes;
        drop_block(block, bytes);
      }
    }
    return before;
  }
  std::size_t kept() noexcept {
    const std::scoped_lock lock(mutex_);
    return kept_;
  }

 private:
  struct Free {
    Free* next;
  };
  Free*& shelf(std::size_t bytes) noexcept { return shelves_[static_cast<std::size_t>(std::countr_zero(bytes))]; }

  std::mutex mutex_;
  std::size_t kept_ = 0, most_ = std::size_t{128} << 20;
  std::array<Free*, 64> shelves_{};
};

Shelves& shelves() {
  static Shelves* const all = new Shelves;  // never destroyed: a thread may outlive static objects
  return *all;
}

}  // namespace

namespace {

// `zeroed` says whether the content is known to be zeros.
void* allocate(std::size_t bytes, std::size_t alignment, bool& zeroed) {
  zeroed = false;
  if (bytes < kLarge) return ::operator new(bytes, std::align_val_t{alignment});
  const std::size_t size = rounded(bytes);
  if (PENSTOCK_KEEPS_PAGES != 0) {
    if (void* const block = shelves().take(size)) return block;
  }
  void* const block = fresh_block(size);
  zeroed = is_mapped(size);
#if defined(MADV_HUGEPAGE)
  // A wish: a refusal changes nothing. Not for a single huge page, of which a small run would use little.
  if (size > kHugePage) madvise(block, size, MADV_HUGEPAGE);
#endif
  return block;
}

}  // namespace

void* allocate_pages(std::size_t bytes, std::size_t alignment) {
  bool zeroed = false;
  return allocate(bytes, alignment, zeroed);
}

void* allocate_zeroed_pages(std::size_t bytes, std::size_t alignment) {
  bool zeroed = false;
  void* const block = allocate(bytes, alignment, zeroed);
  if (!zeroed) std::memset(block, 0, bytes);
  return block;
}

void free_pages(void* block, std::size_t bytes, std::size_t alignment) noexcept {
  if (bytes < kLarge) return ::operator delete(block, std::align_val_t{alignment});
  const std::size_t size = rounded(bytes);
#if defined(MADV_FREE)
  // All but the first page, which holds the link of the shelf; a huge one is left whole. What was there is not needed
  // any more; pages that the system has not taken by the next use are written to without a fault.
  const std::size_t first = size > kHugePage ? kHugePage : 4096;
  if (PENSTOCK_KEEPS_PAGES != 0) madvise(static_cast<char*>(block) + first, size - first, MADV_FREE);
#endif
  if (PENSTOCK_KEEPS_PAGES != 0 && shelves().put(block, size)) return;
  drop_block(block, size);
}

std::size_t discard_pages(void* block, std::size_t from, std::size_t to) noexcept {
  const std::size_t end = to / kHugePage * kHugePage;
#if defined(__linux__)
  // A block of more than a huge page starts at one, so these are whole. The first stays: a shelf writes its link there.
  const std::size_t begin = from < kHugePage ? kHugePage : from;
  if (end <= begin || madvise(static_cast<char*>(block) + begin, end - begin, MADV_DONTNEED) != 0) return from;
  return end;
#else
  static_cast<void>(block), static_cast<void>(end);
  return from;
#endif
}

void forget_pages(void* begin, void* end) noexcept {
#if defined(PENSTOCK_FORGET_ZEROES)  // for tests: all of it reads as zeros at once, however little it is
  std::memset(begin, 0, static_cast<std::size_t>(static_cast<char*>(end) - static_cast<char*>(begin)));
#elif defined(__linux__) || defined(__APPLE__)
  static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const std::uintptr_t from = (reinterpret_cast<std::uintptr_t>(begin) + page - 1) / page * page;
  const std::uintptr_t to = reinterpret_cast<std::uintptr_t>(end) / page * page;
  if (to <= from) return;
#if defined(__linux__)
  madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);  // a refusal changes nothing
#else
  madvise(reinterpret_cast<void*>(from), to - from, MADV_FREE);
#endif
#else
  static_cast<void>(begin), static_cast<void>(end);
#endif
}

std::size_t kept_pages() noexcept { return shelves().kept(); }

std::size_t keep_pages(std::size_t most) noexcept { return shelves().keep(most); }

}  // namespace penstock::detail
