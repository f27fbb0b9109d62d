// One column of a batch: None, one number for all, or anything with the buffer protocol (numpy, array, memoryview).
// A buffer of the wanted type is read in place; another integer type is converted once.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "binding.hpp"

namespace penstock::bindings {

template <class T>
class Column {
 public:
  Column(const py::object& source, const char* name) {
    if (source.is_none()) return;
    if (py::isinstance<py::int_>(source) || py::isinstance<py::float_>(source)) {
      owned_.push_back(py::cast<T>(source));
      values_ = owned_;
      return;
    }
    if (!PyObject_CheckBuffer(source.ptr())) {
      throw py::type_error(std::string(name) + " is a " + Py_TYPE(source.ptr())->tp_name +
                           "; give None, a number, or a one-dimensional array (numpy, array.array, memoryview)");
    }
    buffer_ = py::reinterpret_borrow<py::buffer>(source).request();
    if (buffer_.ndim != 1 || (buffer_.shape[0] > 1 && buffer_.strides[0] != buffer_.itemsize)) {
      throw py::value_error(std::string(name) + " is not a contiguous one-dimensional array; see numpy.ascontiguousarray");
    }
    const auto n = static_cast<std::size_t>(buffer_.shape[0]);
    const char kind = buffer_.format.empty() ? 'B' : buffer_.format.back();
    constexpr bool floating = std::is_floating_point_v<T>;
    const bool given_floating = kind == 'd' || kind == 'f';
    if (floating && kind == 'd') {
      values_ = {static_cast<const T*>(buffer_.ptr), n};
    } else if (!floating && !given_floating && static_cast<std::size_t>(buffer_.itemsize) == sizeof(T)) {
      values_ = {static_cast<const T*>(buffer_.ptr), n};
    } else if (!floating && !given_floating) {
      owned_.resize(n);
      for (std::size_t i = 0; i < n; ++i) owned_[i] = static_cast<T>(integer(i));
      values_ = owned_;
    } else {
      throw py::type_error(std::string(name) + " has items of format '" + buffer_.format + "'; give " +
                           (floating ? "float64" : "integers"));
    }
  }
  std::span<const T> values() const { return values_; }

 private:
  std::int64_t integer(std::size_t i) const {
    const char* at = static_cast<const char*>(buffer_.ptr) + i * static_cast<std::size_t>(buffer_.itemsize);
    const auto read = [&]<class I>(I value) {
      std::memcpy(&value, at, sizeof value);
      return static_cast<std::int64_t>(value);
    };
    switch (buffer_.itemsize) {
      case 1: return read(std::uint8_t{});
      case 2: return read(std::int16_t{});
      case 4: return read(std::int32_t{});
      default: return read(std::int64_t{});
    }
  }
  py::buffer_info buffer_;
  std::vector<T> owned_;
  std::span<const T> values_;
};

}  // namespace penstock::bindings
