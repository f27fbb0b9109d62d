#include "binding.hpp"
#include "interpreter.hpp"
#include "door.hpp"

namespace penstock::bindings {
namespace {

py::bytes read_bytes(const WatchedLog& log, std::uint64_t start, std::int64_t limit) {
  const std::uint64_t size = log.log->size();
  const std::uint64_t available = start < size ? size - start : 0;
  const std::uint64_t n = limit < 0 ? available : std::min(available, static_cast<std::uint64_t>(limit));
  py::bytes out(static_cast<const char*>(nullptr), n * sizeof(Event));
  auto* rows = reinterpret_cast<Event*>(PyBytes_AS_STRING(out.ptr()));
  const std::size_t got = log.log->read(start, {rows, static_cast<std::size_t>(n)});
  return got == n ? out : py::bytes(PyBytes_AS_STRING(out.ptr()), got * sizeof(Event));
}

std::uint64_t append(WatchedLog& log, int kind, std::uint32_t task, Attempt attempt, std::uint32_t worker,
                     std::int64_t value, int cause, int state, std::optional<Instant> time) {
  Event event{};
  event.time = time ? *time : clock_now();
  event.value = value;
  event.task = task;
  event.attempt = attempt;
  event.worker = worker;
  event.kind = static_cast<EventKind>(kind);
  event.cause = static_cast<Cause>(cause);
  event.state = static_cast<State>(state);
  event.version = kEventVersion;
  const std::uint64_t at = log.log->append(event);
  log.appended();
  return at;
}

/// Blocks until there is more than `seen`, the log is closed, or the timeout; `settle_s` lets a burst gather first,
/// so that a reader of a busy log wakes a few times a second and not once an event.
std::uint64_t wait(WatchedLog& log, std::uint64_t seen, std::optional<double> timeout_s, double settle_s) {
  const Instant until = timeout_s ? clock_now() + static_cast<Instant>(*timeout_s * 1e9) : kNever;
  for (;;) {
    const std::uint64_t epoch = log.bell.epoch();
    if (log.closed.load() || log.log->size() > seen || clock_now() >= until) break;
    log.bell.wait(epoch, until);
  }
  if (settle_s > 0) {
    const Instant settled = std::min(until, clock_now() + static_cast<Instant>(settle_s * 1e9));
    while (!log.closed.load() && clock_now() < settled) log.quiet.wait(log.quiet.epoch(), settled);
  }
  return log.log->size();
}

}  // namespace

void bind_event_log(py::module_& m) {
  m.attr("EVENT_VERSION") = static_cast<int>(kEventVersion);
  m.attr("EVENT_SIZE") = sizeof(Event);
  py::class_<WatchedLog, std::shared_ptr<WatchedLog>>(m, "EventLog")
      .def(py::init([] { return std::make_shared<WatchedLog>(std::make_shared<EventLog>()); }))
      .def("__len__", [](const WatchedLog& log) { return log.log->size(); })
      .def("read_bytes", &read_bytes, py::arg("start"), py::arg("limit") = -1)
      .def("append", &append, py::arg("kind"), py::kw_only(), py::arg("task") = index(kNoTask), py::arg("attempt") = 0,
           py::arg("worker") = 0, py::arg("value") = 0, py::arg("cause") = 0, py::arg("state") = 0,
           py::arg("time") = py::none())
      .def("wait", &wait, py::arg("seen"), py::arg("timeout_s") = py::none(), py::arg("settle_s") = 0.0,
           py::call_guard<WithoutGil>())
      .def("trim", [](WatchedLog& log, std::uint64_t before) { log.log->trim(before); }, py::arg("before"))
      .def_property_readonly("first", [](const WatchedLog& log) { return log.log->first(); })
      .def("close", [](WatchedLog& log) {
        log.closed.store(true);
        log.bell.ring_all();
        log.quiet.ring_all();
      })
      .def_property_readonly("closed", [](const WatchedLog& log) { return log.closed.load(); });
}

}  // namespace penstock::bindings
