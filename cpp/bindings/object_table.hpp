// ObjectTable: one Python object for each task id, in pages. A page whose entries are all one object holds that object
// once; so a batch of a million tasks of one function costs a pointer for each thousand of them, to store, to free,
// and to walk for the garbage collector.
//
// Any thread that is attached to the interpreter may call it. Entries never move between ids; a page gets entries of its
// own when one of them differs.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "binding.hpp"
#include "python_mutex.hpp"

namespace penstock::bindings {

class ObjectTable {
 public:
  static constexpr std::size_t kPageBits = 10;
  static constexpr std::size_t kPage = std::size_t{1} << kPageBits;

  ObjectTable() = default;
  ObjectTable(const ObjectTable&) = delete;
  ObjectTable& operator=(const ObjectTable&) = delete;
  ~ObjectTable() { truncate(0); }

  [[nodiscard]] std::size_t size() const {
    const std::scoped_lock lock(mutex_);
    return size_;
  }

  /// A new reference to the entry, or null: there is none.
  [[nodiscard]] PyObject* get(std::size_t i) const {
    const std::scoped_lock lock(mutex_);
    if (i >= size_) return nullptr;
    const Page& page = pages_[i >> kPageBits];
    return Py_NewRef(page.own ? (*page.own)[i & (kPage - 1)] : page.shared);
  }

  /// Takes over the reference to `object`, in any case. Returns whether there is such an entry.
  bool set(std::size_t i, PyObject* object) {
    return set_if(i, object, [] { return true; });
  }

  /// The same where `holds()`, which runs no Python: nobody else sets an entry between its answer and this. Returns whether
  /// the entry was set.
  template <class Holds>
  bool set_if(std::size_t i, PyObject* object, Holds&& holds) {
    bool done = false;
    {
      const std::scoped_lock lock(mutex_);
      done = i < size_ && holds();
      if (done) object = std::exchange(own_entries(i >> kPageBits)[i & (kPage - 1)], object);
    }
    Py_DECREF(object);  // the one before, or the one given; last, since it may run any code
    return done;
  }

  /// Appends an object `count` times.
  void fill(PyObject* object, std::size_t count) {
    const std::scoped_lock lock(mutex_);
    while (count > 0) {
      const std::size_t at = size_ & (kPage - 1), here = std::min(count, kPage - at);
      if (at == 0) pages_.push_back({Py_NewRef(object), nullptr});
      Page& page = pages_.back();
      if (page.own || page.shared != object) {
        Entries& entries = own_entries(pages_.size() - 1);
        for (std::size_t k = at; k < at + here; ++k) entries[k] = Py_NewRef(object);
      }
      size_ += here;
      count -= here;
    }
  }
  void append(PyObject* object) { fill(object, 1); }

  /// Puts one object in the places from `first` to before `last`, which are there.
  void set_range(std::size_t first, std::size_t last, PyObject* object) {
    std::vector<PyObject*> dropped;  // after the lock is given back, as in set()
    {
      const std::scoped_lock lock(mutex_);
      for (std::size_t i = first; i < std::min(last, size_);) {
        const std::size_t p = i >> kPageBits, end = std::min({last, size_, (p + 1) << kPageBits});
        Page& page = pages_[p];
        const bool all = i == p << kPageBits && end == (p + 1) << kPageBits;
        if (all && page.own) {
          dropped.insert(dropped.end(), page.own->begin(), page.own->end());
          page.own.reset();
          page.shared = Py_NewRef(object);
        } else if (all) {
          dropped.push_back(std::exchange(page.shared, Py_NewRef(object)));
        } else {
          Entries& entries = own_entries(p);
          for (std::size_t k = i; k < end; ++k) dropped.push_back(std::exchange(entries[k & (kPage - 1)], Py_NewRef(object)));
        }
        i = end;
      }
    }
    for (PyObject* const entry : dropped) Py_DECREF(entry);
  }

  /// Lets each whole page between two entries whose entries are all one object hold that object once again.
  void share(std::size_t first, std::size_t last) {
    const std::scoped_lock lock(mutex_);
    for (std::size_t p = first >> kPageBits; (p + 1) << kPageBits <= std::min(last, size_); ++p) {
      Page& page = pages_[p];
      if (!page.own) continue;
      PyObject* const one = page.own->front();
      if (!std::all_of(page.own->begin(), page.own->end(), [one](const PyObject* entry) { return entry == one; })) continue;
      const std::unique_ptr<Entries> entries = std::move(page.own);
      page.shared = one;  // with the reference of the first entry
      for (std::size_t k = 1; k < kPage; ++k) Py_DECREF(one);  // never the last one
    }
  }

  /// Drops the entries from `size` on.
  void truncate(std::size_t size) {
    while (true) {
      PyObject* dropped = nullptr;
      {
        const std::scoped_lock lock(mutex_);
        if (size_ <= size) return;
        Page& page = pages_.back();
        const std::size_t first = (pages_.size() - 1) << kPageBits;
        if (page.own) {
          dropped = (*page.own)[--size_ - first];
        } else {
          size_ = std::max(size, first);
          if (size_ == first) dropped = page.shared;
        }
        if (size_ == first) pages_.pop_back();
      }
      Py_XDECREF(dropped);  // last, as in set()
    }
  }

  /// For the garbage collector, which stops all threads meanwhile: each reference that the table holds, once.
  int traverse(visitproc visit, void* arg) const {
    for (std::size_t p = 0; p < pages_.size(); ++p) {
      const Page& page = pages_[p];
      if (!page.own) {
        Py_VISIT(page.shared);
        continue;
      }
      const std::size_t used = std::min(kPage, size_ - (p << kPageBits));
      for (std::size_t k = 0; k < used; ++k) Py_VISIT((*page.own)[k]);
    }
    return 0;
  }

 private:
  using Entries = std::array<PyObject*, kPage>;  // valid below size()
  struct Page {
    PyObject* shared;  // one reference for all entries, or null
    std::unique_ptr<Entries> own;
  };

  Entries& own_entries(std::size_t p) {
    Page& page = pages_[p];
    if (!page.own) {
      page.own.reset(new Entries);  // NOLINT: not zeroed on purpose
      const std::size_t used = std::min(kPage, size_ - (p << kPageBits));
      for (std::size_t k = 0; k < used; ++k) (*page.own)[k] = Py_NewRef(page.shared);
      PyObject* const shared = std::exchange(page.shared, nullptr);
      Py_DECREF(shared);  // the entries hold it, or its caller does
    }
    return *page.own;
  }

  mutable PythonMutex mutex_;
  std::vector<Page> pages_;
  std::size_t size_ = 0;
};

}  // namespace penstock::bindings
