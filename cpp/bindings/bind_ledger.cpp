#include "binding.hpp"
#include "penstock/ledger.hpp"
#include "scheduler_values.hpp"

namespace penstock::bindings {
void bind_ledger(py::module_& m) {
  py::class_<Ledger>(m, "Ledger")
      .def(py::init<int>(), py::arg("devices") = 0)
      .def("set_capacity", [](Ledger& l, int resource, std::optional<Amount> amount) {
        l.set_capacity(resource, amount.value_or(kUnlimited));
      }, py::arg("resource"), py::arg("amount"))
      .def("set_device_capacity", &Ledger::set_device_capacity, py::arg("device"), py::arg("share"), py::arg("memory"))
      .def("capacity", &Ledger::capacity, py::arg("resource"))
      .def("held", &Ledger::held, py::arg("resource"))
      .def("free", &Ledger::free, py::arg("resource"))
      .def("try_acquire", [](Ledger& l, const std::vector<Amount>& demand) -> std::optional<std::uint64_t> {
        const std::optional<Grant> grant = l.try_acquire(demand_of(demand));
        return grant ? std::optional<std::uint64_t>(grant->devices) : std::nullopt;
      }, py::arg("demand"))
      .def("release", [](Ledger& l, const std::vector<Amount>& demand, std::uint64_t devices) {
        l.release(demand_of(demand), Grant{devices});
      }, py::arg("demand"), py::arg("devices") = 0)
      .def("lacking", [](const Ledger& l, const std::vector<Amount>& demand) { return l.lacking(demand_of(demand)); },
           py::arg("demand"));
}

}  // namespace penstock::bindings
