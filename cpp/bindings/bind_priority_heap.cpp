#include <cmath>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <vector>

#include "binding.hpp"
#include "interpreter.hpp"
#include "column.hpp"
#include "penstock/priority_heap.hpp"
#include "python_mutex.hpp"

namespace penstock::bindings {
namespace {

/// The heap with an integer value for each entry. A handle is (times the slot was used, slot), so that a handle of an
/// entry that has left is known for what it is after its slot is used again. Python's threads take turns at the tables;
/// batches go into the heap and out of it without the GIL.
class ValueHeap {
 public:
  std::int64_t push(double rank, std::int64_t value) {
    require_number(rank, 0, 1);
    const std::scoped_lock lock(tables_);
    const TaskId slot = take_slot(value);
    heap_.push({slot, Rank{rank}, pushed_++});
    return handle(slot);
  }
  py::bytes push_many(const py::object& given_ranks, const py::object& given_values) {
    const Column<double> ranks(given_ranks, "ranks");
    const Column<std::int64_t> values(given_values, "values");
    const std::size_t n = ranks.values().size();
    if (values.values().size() != n) {
      throw py::value_error("push_many got " + std::to_string(n) + " ranks and " + std::to_string(values.values().size()) +
                            " values; give one value for each rank");
    }
    for (std::size_t k = 0; k < n; ++k) require_number(ranks.values()[k], k, n);
    std::vector<HeapEntry> entries(n);
    std::vector<std::int64_t> handles(n);
    {
      const std::scoped_lock lock(tables_);
      for (std::size_t k = 0; k < n; ++k) {
        entries[k] = {take_slot(values.values()[k]), Rank{ranks.values()[k]}, pushed_++};
        handles[k] = handle(entries[k].task);
      }
    }
    try {
      const WithoutGil release;
      heap_.push(std::span<const HeapEntry>(entries));
    } catch (...) {
      const std::scoped_lock lock(tables_);
      for (const HeapEntry& entry : entries) free_slot(entry.task);
      throw;
    }
    return bytes_of(handles);
  }
  py::tuple pop() {
    const auto entry = heap_.pop();
    if (!entry) throw py::index_error("pop from an empty PriorityHeap");
    const std::int64_t value = [&] {
      const std::scoped_lock lock(tables_);
      return free_slot(entry->task);
    }();
    return py::make_tuple(entry->rank.value, value);
  }
  py::tuple pop_many(std::size_t count) {
    std::vector<HeapEntry> entries(std::min(count, heap_.size()));
    std::size_t got = 0;
    {
      const WithoutGil release;
      got = heap_.pop(std::span<HeapEntry>(entries));
    }
    std::vector<double> ranks(got);
    std::vector<std::int64_t> values(got);
    {
      const std::scoped_lock lock(tables_);
      for (std::size_t k = 0; k < got; ++k) {
        ranks[k] = entries[k].rank.value;
        values[k] = free_slot(entries[k].task);
      }
    }
    return py::make_tuple(bytes_of(ranks), bytes_of(values));
  }
  py::object peek() {
    std::optional<HeapEntry> entry;
    std::int64_t value = 0;
    {
      const std::scoped_lock lock(tables_);
      entry = heap_.peek();
      if (entry) value = values_[index(entry->task)];
    }
    return entry ? py::make_tuple(entry->rank.value, value) : py::object(py::none());
  }
  bool cancel(std::int64_t given) {
    const std::scoped_lock lock(tables_);
    const auto slot = slot_of(given);
    if (!slot || !heap_.cancel(*slot)) return false;
    free_slot(*slot);
    return true;
  }
  bool rerank(std::int64_t given, double rank) {
    require_number(rank, 0, 1);
    const std::scoped_lock lock(tables_);
    const auto slot = slot_of(given);
    return slot && heap_.rerank({*slot, Rank{rank}, pushed_++});
  }
  std::size_t size() const { return heap_.size(); }

 private:
  static void require_number(double rank, std::size_t k, std::size_t n) {
    if (!std::isnan(rank)) return;
    throw py::value_error((n == 1 ? "rank" : "ranks[" + std::to_string(k) + "]") +
                          " is nan, which has no place in an order; give a number (inf and -inf are allowed)");
  }
  template <class T>
  static py::bytes bytes_of(const std::vector<T>& items) {
    return {reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T)};
  }
  TaskId take_slot(std::int64_t value) {
    if (free_.empty()) {
      if (values_.size() == 0xFFFFFFFF) throw std::length_error("a PriorityHeap holds at most 2**32 - 1 entries at once");
      values_.push_back(value);
      uses_.push_back(0);
      return TaskId{static_cast<std::uint32_t>(values_.size() - 1)};
    }
    const TaskId slot = free_.back();
    free_.pop_back();
    values_[index(slot)] = value;
    return slot;
  }
  std::int64_t free_slot(TaskId slot) {
    uses_[index(slot)] = (uses_[index(slot)] + 1) & 0x7FFFFFFF;
    free_.push_back(slot);
    return values_[index(slot)];
  }
  std::int64_t handle(TaskId slot) const { return std::int64_t{uses_[index(slot)]} << 32 | index(slot); }
  std::optional<TaskId> slot_of(std::int64_t handle) const {
    const auto slot = static_cast<std::uint32_t>(handle);
    if (handle < 0 || slot >= uses_.size() || uses_[slot] != static_cast<std::uint32_t>(handle >> 32)) return {};
    return TaskId{slot};
  }

  Tickets tickets_;
  PriorityHeap heap_{tickets_, 0};
  PythonMutex tables_;  // what follows
  std::uint64_t pushed_ = 0;
  std::vector<std::int64_t> values_;
  std::vector<std::uint32_t> uses_;
  std::vector<TaskId> free_;
};

}  // namespace

void bind_priority_heap(py::module_& m) {
  py::class_<ValueHeap>(m, "PriorityHeap")
      .def(py::init<>())
      .def("push", &ValueHeap::push, py::arg("rank"), py::arg("value"))
      .def("push_many", &ValueHeap::push_many, py::arg("ranks"), py::arg("values"))
      .def("pop", &ValueHeap::pop)
      .def("pop_many", &ValueHeap::pop_many, py::arg("count"))
      .def("peek", &ValueHeap::peek)
      .def("cancel", &ValueHeap::cancel, py::arg("handle"))
      .def("rerank", &ValueHeap::rerank, py::arg("handle"), py::arg("rank"))
      .def("__len__", &ValueHeap::size);
}

}  // namespace penstock::bindings
