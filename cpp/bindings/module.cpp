#include "binding.hpp"

#include "penstock/readiness.hpp"

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  using namespace penstock::bindings;
  m.doc() = "penstock's native core: scheduler, priority heap, readiness, ledger, event log, worker loop.";
  m.attr("__version__") = PENSTOCK_VERSION;
  bind_event_log(m);
  bind_ledger(m);
  bind_ranking(m);
  bind_planner(m);
  bind_readiness(m);
  bind_priority_heap(m);
  bind_scheduler(m);
  bind_object_table(m);
  bind_crew(m);
  bind_simulator(m);
}
