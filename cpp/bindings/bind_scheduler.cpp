#include "binding.hpp"
#include "interpreter.hpp"
#include "column.hpp"
#include "scheduler_values.hpp"

namespace penstock::bindings {
namespace {

py::tuple submit(Door& door, std::size_t count, const py::object& shape, const py::object& priority,
                 const py::object& indptr, const py::object& indices, const py::object& expected,
                 const py::object& deadline, const py::object& timeout, const py::object& tolerant,
                 const py::object& forgiven, const py::object& place, Now now) {
  const Column<std::uint32_t> shapes(shape, "shape"), places(place, "place");
  const Column<double> priorities(priority, "priority");
  const Column<std::int64_t> starts(indptr, "indptr"), predecessors(indices, "indices"), expecteds(expected, "expected"),
      deadlines(deadline, "deadline"), timeouts(timeout, "timeout");
  const Column<std::uint8_t> tolerants(tolerant, "tolerant"), forgivens(forgiven, "forgiven");
  Submission batch;
  batch.count = count;
  batch.shape = {reinterpret_cast<const ShapeId*>(shapes.values().data()), shapes.values().size()};
  batch.priority = priorities.values();
  batch.indptr = starts.values();
  batch.indices = predecessors.values();
  batch.expected = expecteds.values();
  batch.deadline = deadlines.values();
  batch.timeout = timeouts.values();
  batch.place = places.values();
  batch.tolerant = tolerants.values();
  batch.forgiven = forgivens.values();
  std::vector<TaskId> settled;
  TaskId first{};
  if (count == 1) {
    // Quicker than giving the GIL up and getting it back, which a worker may have taken by then. The core waits for
    // nobody who needs it.
    door.host_busy.store(true, std::memory_order_relaxed);
    first = door.submit(batch, or_clock(now), settled);
  } else {
    const WithoutGil release;
    first = door.submit(batch, or_clock(now), settled);
  }
  return py::make_tuple(index(first), plain(settled));
}

py::list take(Door& door, int lane, std::uint32_t worker, std::size_t most, Now now) {
  std::vector<Start> starts(most);
  const std::size_t n = door.take(lane_of(lane), worker, starts, or_clock(now));
  py::list out(n);
  for (std::size_t k = 0; k < n; ++k) {
    const Start& s = starts[k];
    out[k] = py::make_tuple(index(s.task), s.attempt, static_cast<std::uint32_t>(s.lease), s.devices);
  }
  return out;
}

Report report_of(std::uint32_t task, Attempt attempt, std::optional<std::uint32_t> lease, Instant started, Instant finished) {
  return {TaskId{task}, attempt, lease ? LeaseId{*lease} : kNoLease, started, finished};
}

void bind_verbs(DoorClass& c) {
  const auto now = py::arg("now") = py::none();
  c.def("shape", [](Door& d, const std::vector<Amount>& demand, int lane, std::uint32_t family) {
     return static_cast<std::uint32_t>(d.core().shape(demand_of(demand), lane_of(lane), family));
   }, py::arg("demand"), py::arg("lane") = 0, py::arg("family") = 0);
  c.def("submit", &submit, py::arg("count"), py::kw_only(), py::arg("shape") = py::none(), py::arg("priority") = py::none(),
        py::arg("indptr") = py::none(), py::arg("indices") = py::none(), py::arg("expected") = py::none(),
        py::arg("deadline") = py::none(), py::arg("timeout") = py::none(), py::arg("tolerant") = py::none(),
        py::arg("forgiven") = py::none(),
        py::arg("place") = py::none(), now);
  c.def("take", &take, py::arg("lane"), py::arg("worker"), py::arg("most") = 1, now);
  c.def("finish", [](Door& d, std::uint32_t task, Attempt attempt, std::optional<std::uint32_t> lease, Instant started, Instant finished, Now at) {
     const Report report = report_of(task, attempt, lease, started, finished);
     return d.finish({&report, 1}, or_clock(at));
   }, py::arg("task"), py::arg("attempt"), py::arg("lease"), py::arg("started") = 0, py::arg("finished") = 0, now);
  c.def("fail", [](Door& d, std::uint32_t task, Attempt attempt, std::optional<std::uint32_t> lease, int cause,
                   std::optional<Instant> retry_at, Instant started, Instant finished, std::optional<std::uint32_t> shape, Now at) {
     std::vector<TaskId> settled;
     const bool accepted = d.core().fail(report_of(task, attempt, lease, started, finished), static_cast<Cause>(cause),
                                         retry_at.value_or(kNever), or_clock(at), settled, shape ? ShapeId{*shape} : kSameShape);
     d.changed();
     return py::make_tuple(accepted, plain(settled));
   }, py::arg("task"), py::arg("attempt"), py::arg("lease"), py::arg("cause"), py::arg("retry_at") = py::none(),
   py::arg("started") = 0, py::arg("finished") = 0, py::arg("shape") = py::none(), now);
  c.def("suspend", [](Door& d, std::uint32_t task, Attempt attempt, std::uint32_t lease, Now at) {
     const bool done = d.core().suspend({TaskId{task}, attempt, LeaseId{lease}, 0}, or_clock(at));
     d.changed();
     return done;
   }, py::arg("task"), py::arg("attempt"), py::arg("lease"), now);
  c.def("proceed", [](Door& d, std::uint32_t task, Attempt attempt, Now at) {
     const bool done = d.core().proceed({TaskId{task}, attempt, kNoLease, 0}, or_clock(at));
     if (done) d.changed();
     return done;
   }, py::arg("task"), py::arg("attempt"), now);
  c.def("defer", [](Door& d, std::uint32_t task, Attempt attempt, std::optional<std::uint32_t> lease, const Ids& children, Now at) {
     std::vector<TaskId> settled;
     const bool accepted = d.core().defer(report_of(task, attempt, lease, 0, 0), typed(children), or_clock(at), settled);
     d.changed();
     return py::make_tuple(accepted, plain(settled));
   }, py::arg("task"), py::arg("attempt"), py::arg("lease"), py::arg("children"), now);
  c.def("cancel", [](Door& d, const Ids& tasks, int cause, Now at) {
     std::vector<Start> running;
     std::vector<TaskId> settled;
     d.core().cancel(typed(tasks), static_cast<Cause>(cause), or_clock(at), running, settled);
     d.changed();
     std::vector<std::pair<std::uint32_t, Attempt>> ends;
     for (const Start& s : running) ends.emplace_back(index(s.task), s.attempt);
     return py::make_tuple(ends, plain(settled));
   }, py::arg("tasks"), py::arg("cause"), now);
  c.def("release", [](Door& d, const Ids& tasks) { d.core().release(typed(tasks)); }, py::arg("tasks"));
  c.def("release_range", [](Door& d, std::uint32_t first, std::uint32_t last) {
     std::vector<TaskId> tasks;
     for (; first < last; ++first) tasks.push_back(TaskId{first});
     d.core().release(tasks);
   }, py::arg("first"), py::arg("last"), py::call_guard<WithoutGil>());
  c.def("expire", [](Door& d, Now at) {
     std::vector<Overdue> overdue;
     d.core().expire(or_clock(at), overdue);
     std::vector<std::tuple<std::uint32_t, Attempt, int>> out;
     for (const Overdue& o : overdue) out.emplace_back(index(o.task), o.attempt, static_cast<int>(o.lane));
     return out;
   }, now);
}

}  // namespace

void bind_scheduler(py::module_& m) {
  DoorClass c(m, "Scheduler");
  c.def(py::init<int>(), py::arg("devices") = 0);
  bind_verbs(c);
  bind_scheduler_settings(c);
  bind_scheduler_reading(c);
  m.attr("THREAD_SLOTS") = kThreadSlots;
  m.attr("MAX_RESOURCES") = kMaxResources;
  m.attr("NO_TASK") = index(kNoTask);
}

}  // namespace penstock::bindings
