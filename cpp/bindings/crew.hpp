// Crew: the native worker loop of the threads lane. It takes ids from the door, calls the Python callables that
// belong to them and reports back, without a Python frame of its own between two tasks.
//
// Batches. A worker takes as many tasks at once as it expects to run in `kBatchNs`, judged by what its last tasks
// took: one when they are long, up to kMostAtOnce when they are tiny. What a worker has taken and not begun lies in
// its hand, and an idle worker may move a task from there to itself (Scheduler::split), so that a long task does
// not keep short ones waiting behind it.
//
// The GIL. Tables hold Python objects and are touched with the GIL held only; a worker has it while it runs the tasks in
// its hand, and takes, reports and sleeps without. So while one worker runs Python, the other does the core's part,
// which takes about as long for tiny tasks. Nothing that the core locks is held by a thread that waits for the GIL.
// On a free-threaded interpreter "with the GIL held" means attached to the interpreter, and what the GIL guards elsewhere
// has a PythonMutex: the tables, and each hand's claims.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "binding.hpp"
#include "door.hpp"
#include "object_table.hpp"
#include "python_mutex.hpp"
#include "task_clock.hpp"
#include "turnstile.hpp"
#include "watch.hpp"

namespace penstock::bindings {

inline constexpr std::size_t kMostAtOnce = 1024;
inline constexpr Instant kBatchNs = 200'000;

/// The positional arguments of a batch's tasks are the results of their predecessors, in order.
struct Inputs {
  std::uint32_t first;  // id of the batch's first task
  std::vector<std::uint32_t> indptr;
  std::vector<std::uint32_t> indices;  // ids
};

class Crew {
 public:
  using Table = std::shared_ptr<ObjectTable>;

  /// `functions`, `arguments`, `results`: by task id. An arguments entry is None, a tuple, an Inputs, or
  /// anything else for `hooks.bind(task, entry) -> (args, kwargs)`. `deferred`: the type that, anywhere in a result,
  /// stands for further work. `hooks` has bind, failed, deferred, settled, end_copy. `tell_each`: deferred gets
  /// every result, and reports those that stand for nothing but themselves.
  Crew(std::shared_ptr<Door> door, Table functions, Table arguments, Table results, std::shared_ptr<Watch> watch,
       py::object deferred, py::object hooks, std::size_t most_workers, bool tell_each);

  void work(std::uint32_t worker);  // runs on a Python thread until `stop`
  void stop();

  /// Looks for a moment, without the GIL, whether a task ends and its worker has given the GIL up; returns whether.
  bool ends_soon(std::uint32_t task) const;

 private:
  struct Hand {
    std::array<Start, kMostAtOnce> starts;
    PythonMutex claiming;  // of its owner's next card, and of a card that another worker moves to itself
    std::atomic<std::size_t> next{0}, end{0};
    // Its owner is taking cards, which do not lie here yet. Whoever finds nothing left to take because of that must not
    // sleep as if there were none: set before the take and cleared after `end` is written, it is seen with either.
    std::atomic<bool> drawing{false};
  };

  void work_without_gil(std::uint32_t worker, PyThreadState*& state);
  bool run_one(const Start& start, std::uint32_t worker, bool measure, TaskClock& clock, Instant& time, Report& report);
  py::object call(const Start& start);
  py::object call_with_results(PyObject* function, const Inputs& inputs, std::uint32_t task);
  bool may_hold_work(PyObject* value, int depth) const;
  bool copy_may_hold_work(PyObject* value, int depth) const;
  template <class F>
  void hook(F&& call);
  void end_if_copy(PyObject* error);
  static std::size_t claim_next(Hand& hand);
  std::optional<Start> take_card(Hand& hand, std::uint32_t thief);
  bool steal(std::uint32_t thief);
  bool others_have_cards(std::uint32_t worker) const;
  std::vector<std::uint32_t> report(std::vector<Report>& reports);
  void settle(const std::vector<std::uint32_t>& ended);

  std::shared_ptr<Door> door_;
  Table functions_, arguments_, results_;
  std::shared_ptr<Watch> watch_;
  py::object deferred_, hooks_;
  PyTypeObject* inputs_type_;
  const bool tell_each_;
  const std::uint32_t forks_;  // that this process came out of when the crew was made
  std::vector<std::unique_ptr<Hand>> hands_;
  Turnstile turnstile_;
  const int looks_ = std::thread::hardware_concurrency() > 1 ? 1500 : 0;  // of one who waits: some 60 us
  std::atomic<bool> stopped_{false};
};

/// What runs on this thread now; task is -1 outside of a task.
struct Current {
  std::int64_t task = -1;
  Attempt attempt = 0;
  std::uint64_t devices = 0;
};
Current& current();

}  // namespace penstock::bindings
