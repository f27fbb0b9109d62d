#include "object_table.hpp"

#include <string>

namespace penstock::bindings {
namespace {

std::size_t from_start(const ObjectTable& table, py::ssize_t i) {
  return static_cast<std::size_t>(i < 0 ? i + static_cast<py::ssize_t>(table.size()) : i);  // what stays negative is past any end
}

[[noreturn]] void refuse(const ObjectTable& table) {
  throw py::index_error("the table has " + std::to_string(table.size()) + " entries");
}

py::object item(const ObjectTable& table, py::ssize_t i) {
  PyObject* const entry = table.get(from_start(table, i));
  if (entry == nullptr) refuse(table);
  return py::reinterpret_steal<py::object>(entry);
}

void set_item(ObjectTable& table, py::ssize_t i, const py::object& value) {
  if (!table.set(from_start(table, i), Py_NewRef(value.ptr()))) refuse(table);
}

py::list slice(const ObjectTable& table, const py::slice& which) {
  std::size_t start = 0, stop = 0, step = 0, count = 0;
  if (!which.compute(table.size(), &start, &stop, &step, &count)) throw py::error_already_set();
  py::list out(count);
  for (std::size_t k = 0; k < count; ++k, start += step) {
    PyObject* const entry = table.get(start);
    if (entry == nullptr) refuse(table);  // it was truncated meanwhile
    PyList_SET_ITEM(out.ptr(), static_cast<py::ssize_t>(k), entry);
  }
  return out;
}

void extend(ObjectTable& table, const py::iterable& objects) {
  for (const py::handle object : objects) table.append(object.ptr());
}

/// pybind11's types are unknown to the garbage collector unless they say what they hold, and a table holds whatever
/// users give to tasks, which may well hold the runtime.
void make_collectable(PyHeapTypeObject* heap_type) {
  PyTypeObject& type = heap_type->ht_type;
  type.tp_flags |= Py_TPFLAGS_HAVE_GC;
  type.tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!py::detail::is_holder_constructed(self)) return 0;
    return py::cast<const ObjectTable&>(py::handle(self)).traverse(visit, arg);
  };
  type.tp_clear = [](PyObject* self) {
    if (py::detail::is_holder_constructed(self)) py::cast<ObjectTable&>(py::handle(self)).truncate(0);
    return 0;
  };
}

}  // namespace

void bind_object_table(py::module_& m) {
  py::class_<ObjectTable, std::shared_ptr<ObjectTable>>(m, "ObjectTable", py::custom_type_setup(&make_collectable))
      .def(py::init<>())
      .def("__len__", &ObjectTable::size)
      .def("__iter__", [](const py::object& self) { return py::reinterpret_steal<py::object>(PySeqIter_New(self.ptr())); })
      .def("__getitem__", &item, py::arg("index"))
      .def("__getitem__", &slice, py::arg("index"))
      .def("__setitem__", &set_item, py::arg("index"), py::arg("value"))
      .def("append", [](ObjectTable& t, const py::object& value) { t.append(value.ptr()); }, py::arg("value"))
      .def("fill", [](ObjectTable& t, const py::object& value, std::size_t count) { t.fill(value.ptr(), count); }, py::arg("value"), py::arg("count"))
      .def("extend", &extend, py::arg("values"))
      .def("set_range", [](ObjectTable& t, std::size_t first, std::size_t last, const py::object& value) {
         t.set_range(first, last, value.ptr());
       }, py::arg("first"), py::arg("last"), py::arg("value"))
      .def("share", &ObjectTable::share, py::arg("first"), py::arg("last"))
      .def("truncate", &ObjectTable::truncate, py::arg("size"));
}

}  // namespace penstock::bindings
