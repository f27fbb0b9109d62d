#include <stdexcept>

#include "binding.hpp"
#include "interpreter.hpp"
#include "column.hpp"
#include "crew.hpp"

namespace penstock::bindings {
namespace {

Inputs make_inputs(std::uint32_t first, const py::object& indptr, const py::object& indices) {
  const Column<std::int64_t> starts(indptr, "indptr"), predecessors(indices, "indices");
  Inputs inputs{first, {}, {}};
  if (predecessors.values().size() > UINT32_MAX) throw std::length_error("a batch has at most 2**32 - 1 edges; submit several");
  inputs.indptr.reserve(starts.values().size());
  for (const std::int64_t start : starts.values()) inputs.indptr.push_back(static_cast<std::uint32_t>(start));
  inputs.indices.reserve(predecessors.values().size());
  for (const std::int64_t p : predecessors.values()) {
    inputs.indices.push_back(p >= 0 ? static_cast<std::uint32_t>(p) : first + static_cast<std::uint32_t>(~p));
  }
  return inputs;
}

}  // namespace

void bind_crew(py::module_& m) {
  py::class_<Inputs>(m, "Inputs")
      .def(py::init(&make_inputs), py::arg("first"), py::arg("indptr"), py::arg("indices"))
      .def("of", [](const Inputs& i, std::uint32_t task) {
        const std::size_t k = task - i.first;
        const std::uint32_t end = i.indptr.at(k + 1);
        return std::vector<std::uint32_t>(i.indices.begin() + i.indptr[k], i.indices.begin() + end);
      }, py::arg("task"));
  py::class_<Watch, std::shared_ptr<Watch>>(m, "Watch")
      .def(py::init<>())
      .def("add", &Watch::add, py::arg("task"))
      .def("remove", &Watch::remove, py::arg("task"));
  py::class_<Crew>(m, "Crew")
      .def(py::init<std::shared_ptr<Door>, Crew::Table, Crew::Table, Crew::Table, std::shared_ptr<Watch>, py::object, py::object, std::size_t, bool>(),
           py::arg("scheduler"), py::kw_only(), py::arg("functions"), py::arg("arguments"), py::arg("results"),
           py::arg("watch"), py::arg("deferred"), py::arg("hooks"), py::arg("most_workers"),
           py::arg("tell_each") = false)
      .def("work", &Crew::work, py::arg("worker"))
      .def("ends_soon", &Crew::ends_soon, py::arg("task"), py::call_guard<WithoutGil>())
      .def("stop", &Crew::stop);
  m.def("current_task", [] { return current().task; });
  m.def("current_attempt", [] { return current().attempt; });
  m.def("current_devices", [] { return current().devices; });
}

}  // namespace penstock::bindings
