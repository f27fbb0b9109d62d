// PythonMutex: what guards Python objects in our tables: the GIL where there is one, and a mutex where there is none.
//
// Never held while Python code may run: dropping the last reference to an object runs its destructor, so references are
// dropped after unlocking. A thread that waits for it on a free-threaded interpreter lets the garbage collector stop it.
#pragma once

#include "binding.hpp"

namespace penstock::bindings {

#if defined(Py_GIL_DISABLED)
inline constexpr bool kFreeThreaded = true;

class PythonMutex {
 public:
  void lock() { PyMutex_Lock(&mutex_); }
  void unlock() { PyMutex_Unlock(&mutex_); }

 private:
  PyMutex mutex_ = {0};
};
#else
inline constexpr bool kFreeThreaded = false;

class PythonMutex {
 public:
  void lock() {}
  void unlock() {}
};
#endif

}  // namespace penstock::bindings
