// The one header that includes pybind11. A binding file turns Python values into core values and back; it decides
// nothing.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>

namespace py = pybind11;

namespace penstock::bindings {

void bind_event_log(py::module_& m);
void bind_scheduler(py::module_& m);
void bind_object_table(py::module_& m);
void bind_crew(py::module_& m);
void bind_readiness(py::module_& m);
void bind_ledger(py::module_& m);
void bind_ranking(py::module_& m);
void bind_planner(py::module_& m);
void bind_priority_heap(py::module_& m);
void bind_simulator(py::module_& m);

}  // namespace penstock::bindings
