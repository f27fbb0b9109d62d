#include "binding.hpp"
#include "penstock/ranking.hpp"

namespace penstock::bindings {

void bind_ranking(py::module_& m) {
  m.def("squash", &squash, py::arg("priority"));
  m.def("urgency", &urgency, py::arg("priority"));
  m.def("frozen_rank", [](int form, bool raw, double w_priority, double w_demand, double w_critical_path, double w_age,
                          double w_deadline, double w_fit, double w_submitted, Instant, double priority, double demand,
                          double bottom_level, Instant submitted, std::optional<Instant> deadline, Instant remaining) {
    const Policy policy{static_cast<Form>(form),
                        {w_priority, w_demand, w_critical_path, w_age, w_deadline, w_fit, w_submitted}, raw, -1};
    return frozen_rank(policy, {priority, demand, bottom_level, submitted, deadline.value_or(kNever), remaining}).value;
  }, py::arg("form"), py::arg("priority_raw"), py::arg("w_priority"), py::arg("w_demand"), py::arg("w_critical_path"),
  py::arg("w_age"), py::arg("w_deadline"), py::arg("w_fit"), py::arg("w_submitted"), py::arg("reserve_after"),
  py::kw_only(), py::arg("priority") = 0.0, py::arg("demand") = 0.0, py::arg("bottom_level") = 0.0,
  py::arg("submitted") = 0, py::arg("deadline") = py::none(), py::arg("remaining") = 0);
}

}  // namespace penstock::bindings
