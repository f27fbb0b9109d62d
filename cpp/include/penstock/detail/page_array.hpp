// PageArray: a large array of plain numbers that is written once, read once in order, and given back as it is read.
//
// What it is: memory from detail/pages.hpp, so that random writes to many megabytes meet huge pages, with its content
// left undefined, as it is all written anyway. `discard_before` returns the pages whose elements have been read, so
// copying it into a table does not hold both at once.
//
// When not to use it: below some hundred kilobytes, or when elements are read again. Single thread.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "penstock/detail/pages.hpp"

namespace penstock::detail {

template <class T>
class PageArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  PageArray() noexcept = default;
  /// `size` elements, their values undefined. Throws std::bad_alloc.
  explicit PageArray(std::size_t size)
      : data_(size == 0 ? nullptr : static_cast<T*>(allocate_pages(size * sizeof(T), alignof(T)))), size_(size) {}
  PageArray(PageArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PageArray& operator=(PageArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~PageArray() {
    if (data_ != nullptr) free_pages(data_, size_ * sizeof(T), alignof(T));
  }

  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  operator std::span<T>() noexcept { return {data_, size_}; }              // NOLINT: an array is a span of itself
  operator std::span<const T>() const noexcept { return {data_, size_}; }  // NOLINT

  /// Elements below `end` are not read any more. Their pages go back to the system once there are enough of them.
  void discard_before(std::size_t end) noexcept {
    discarded_ = discard_pages(data_, discarded_, end * sizeof(T));
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t discarded_ = 0;  // bytes
};

}  // namespace penstock::detail
