#include "scheduler_values.hpp"
#include "interpreter.hpp"

namespace penstock::bindings {
namespace {

py::dict explain(Door& door, std::uint32_t task, Now now) {
  const Explanation why = door.core().explain(TaskId{task}, or_clock(now));
  py::dict out;
  out["state"] = static_cast<int>(why.state);
  out["cause"] = static_cast<int>(why.cause);
  out["attempt"] = why.attempt;
  out["unmet"] = why.unmet;
  out["retry_at"] = why.retry_at == kNever ? py::object(py::none()) : py::int_(why.retry_at);
  out["paused"] = why.paused;
  out["guarded"] = why.guarded;
  out["suspended"] = why.suspended;
  out["lacking"] = why.lacking < 0 ? py::object(py::none()) : py::int_(why.lacking);
  out["demanded"] = why.demanded;
  out["free"] = why.free;
  out["capacity"] = why.capacity;
  out["reserved_for"] = why.reserved_for == kNoTask ? py::object(py::none()) : py::int_(index(why.reserved_for));
  out["after"] = why.after == kNoTask ? py::object(py::none()) : py::int_(index(why.after));
  out["ahead"] = why.ahead;
  return out;
}

}  // namespace

void bind_scheduler_reading(DoorClass& c) {
  c.def("explain", &explain, py::arg("task"), py::arg("now") = py::none());
  c.def("blocked", [](Door& d, Now at) {
     Ids out;
     for (const TaskId task : d.core().blocked(or_clock(at))) out.push_back(index(task));
     return out;
   }, py::arg("now") = py::none());
  c.def("demand", [](Door& d, std::uint32_t t) {
     const Demand demand = d.core().demand(TaskId{t});
     return std::vector<Amount>(demand.amounts.begin(), demand.amounts.end());
   }, py::arg("task"));
  c.def("open_tasks", [](Door& d, const std::vector<int>& states) {
     std::vector<State> wanted;
     for (const int state : states) wanted.push_back(state_of(state));
     std::vector<TaskId> found;
     {
       const WithoutGil release;
       found = d.core().open_tasks(wanted);
     }
     return plain(found);
   }, py::arg("states"));
  c.def("state", [](Door& d, std::uint32_t t) { return static_cast<int>(d.core().state(TaskId{t})); }, py::arg("task"));
  c.def("cause", [](Door& d, std::uint32_t t) { return static_cast<int>(d.core().cause(TaskId{t})); }, py::arg("task"));
  c.def("attempt", [](Door& d, std::uint32_t t) { return d.core().attempt(TaskId{t}); }, py::arg("task"));
  c.def("priority", [](Door& d, std::uint32_t t) { return d.core().priority(TaskId{t}); }, py::arg("task"));
  c.def("queued", [](Door& d, int lane) { return d.core().queued(lane_of(lane)); }, py::arg("lane"));
  c.def("held", [](Door& d, int r) { return d.core().ledger().held(r); }, py::arg("resource"));
  c.def("free", [](Door& d, int r) { return d.core().ledger().free(r); }, py::arg("resource"));
  c.def("take_peak_held", [](Door& d, int r) { return d.core().take_peak_held(r); }, py::arg("resource"));
  c.def("device_free", [](Door& d, int device) {
     const Ledger& ledger = d.core().ledger();
     return std::pair(ledger.device_free_share(device), ledger.device_free_memory(device));
   }, py::arg("device"));
  c.def("capacity", [](Door& d, int r) { return d.core().ledger().capacity(r); }, py::arg("resource"));
  c.def("successors", [](Door& d, std::uint32_t t) {
     Ids out;
     d.core().readiness().successors(TaskId{t}, [&](TaskId s) { out.push_back(index(s)); });
     return out;
   }, py::arg("task"));
  c.def("count_state", [](Door& d, std::uint32_t first, std::uint32_t last, int state) {
     std::size_t n = 0;
     for (; first < last; ++first) n += static_cast<int>(d.core().state(TaskId{first})) == state ? 1 : 0;
     return n;
   }, py::arg("first"), py::arg("last"), py::arg("state"));
  // One more than the last task of the range that has not ended; `first` when all have.
  c.def("unfinished_up_to", [](Door& d, std::uint32_t first, std::uint32_t last) {
     while (last > first && is_final(d.core().state(TaskId{last - 1}))) --last;
     return last;
   }, py::arg("first"), py::arg("last"));
  c.def("check", [](Door& d) { d.core().check(); });
  c.def("__len__", [](Door& d) { return d.core().size(); });
  c.def_property_readonly("unfinished", [](Door& d) { return d.core().unfinished(); });
  c.def_property_readonly("late_reports", [](Door& d) { return d.core().late_reports(); });
  c.def_property_readonly("next_wakeup", [](Door& d) -> std::optional<Instant> {
    const Instant at = d.core().next_wakeup();
    return at == kNever ? std::optional<Instant>() : at;
  });
  c.def("want_idle", [](Door& d, bool wanted) {
     d.idle_wanted.fetch_add(wanted ? 1 : -1, std::memory_order_seq_cst);
     if (wanted) d.control.ring_all();
   }, py::arg("wanted"));
  c.def("tell_all", [](Door& d) { d.tell_all.store(true, std::memory_order_relaxed); });
  c.def_property_readonly("log", &Door::log);
  // Sleeping: note the epoch, look for work, and wait when there is none.
  c.def("control_epoch", [](Door& d) { return d.control.epoch(); });
  c.def("wait_control", [](Door& d, std::uint64_t seen, std::optional<Instant> until) {
     d.control.wait(seen, until.value_or(kNever));
   }, py::arg("seen"), py::arg("until") = py::none(), py::call_guard<WithoutGil>());
  c.def("ring", &Door::changed);
}

}  // namespace penstock::bindings
