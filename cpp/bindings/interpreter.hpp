// Calls that may wait for the GIL, made from a thread that may outlive the interpreter.
//
// A task on a thread cannot be stopped, so a process may end while one still runs. Once the interpreter is gone, CPython
// before 3.14 ends a thread that asks for the GIL with pthread_exit, whose unwinding runs the destructors of our frames;
// those touch Python objects, and the process dies of it. CPython 3.14 parks such threads instead, and so does this.
#pragma once

#include "binding.hpp"

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#include <unistd.h>
#endif

namespace penstock::bindings {

template <class F>
auto interpreter_call(F&& call) {
#if defined(__GLIBCXX__)
  try {
    return call();
  } catch (abi::__forced_unwind&) {
    for (;;) pause();  // leaving this block without a rethrow is not allowed, and it is not left
  }
#else
  return call();
#endif
}

/// No GIL while it lives, as pybind11's gil_scoped_release; but that takes it back in a destructor which the thread's end,
/// as described above, turns into the end of the process.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() {
    interpreter_call([this] { PyEval_RestoreThread(state_); });
  }

 private:
  PyThreadState* state_;
};

}  // namespace penstock::bindings
