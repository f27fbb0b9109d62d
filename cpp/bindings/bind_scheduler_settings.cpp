#include "column.hpp"
#include "scheduler_values.hpp"

namespace penstock::bindings {

void bind_scheduler_settings(DoorClass& c) {
  const auto now = py::arg("now") = py::none();
  c.def("rerank", [](Door& d, const Ids& tasks, const py::object& priorities, Now at) {
     const Column<double> values(priorities, "priorities");
     d.core().rerank(typed(tasks), values.values(), or_clock(at));
     d.changed();
   }, py::arg("tasks"), py::arg("priorities"), now);
  c.def("expect", [](Door& d, const py::object& tasks, const py::object& expected, Now at) {
     const Column<std::uint32_t> ids(tasks, "tasks");
     const Column<std::int64_t> values(expected, "expected");
     d.core().expect({reinterpret_cast<const TaskId*>(ids.values().data()), ids.values().size()}, values.values(),
                     or_clock(at));
     d.changed();
   }, py::arg("tasks"), py::arg("expected"), now);
  c.def("forget_plan", [](Door& d) {
     const bool forgot = d.core().forget_plan();
     d.changed();
     return forgot;
   });
  c.def("set_policy", [](Door& d, int form, bool raw, double priority, double demand, double critical_path, double age,
                         double deadline, double fit, double submitted, Instant reserve_after, Now at) {
     Policy policy{};
     policy.form = static_cast<Form>(form);
     policy.priority_raw = raw;
     policy.weights = {priority, demand, critical_path, age, deadline, fit, submitted};
     policy.reserve_after = reserve_after;
     d.core().set_policy(policy, or_clock(at));
     d.changed();
   }, py::arg("form"), py::arg("priority_raw"), py::arg("priority"), py::arg("demand"), py::arg("critical_path"),
   py::arg("age"), py::arg("deadline"), py::arg("fit"), py::arg("submitted"), py::arg("reserve_after"), now);
  c.def("set_capacity", [](Door& d, int resource, std::optional<Amount> amount, Now at) {
     d.core().set_capacity(resource, amount.value_or(kUnlimited), or_clock(at));
     d.changed();
   }, py::arg("resource"), py::arg("amount"), now);
  c.def("set_demand", [](Door& d, std::uint32_t family, const std::vector<Amount>& demand, Now at) {
     d.core().set_demand(family, demand_of(demand), or_clock(at));
     d.changed();
   }, py::arg("family"), py::arg("demand"), now);
  c.def("set_device_capacity", [](Door& d, int device, Amount share, Amount memory, Now at) {
     d.core().set_device_capacity(device, share, memory, or_clock(at));
     d.changed();
   }, py::arg("device"), py::arg("share"), py::arg("memory"), now);
  c.def("pause", [](Door& d, Now at) { d.core().pause(or_clock(at)); d.changed(); }, now);
  c.def("guard", [](Door& d, bool closed, Amount used, Now at) { d.core().guard(closed, used, or_clock(at)); d.changed(); },
        py::arg("closed"), py::arg("used") = 0, now);
  c.def("resume", [](Door& d, Now at) { d.core().resume(or_clock(at)); d.changed(); }, now);
}

}  // namespace penstock::bindings
