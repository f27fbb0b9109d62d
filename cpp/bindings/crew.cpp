#include "crew.hpp"

#include <pthread.h>

#include <algorithm>
#include <ctime>

#include "interpreter.hpp"

namespace penstock::bindings {
namespace {

/// A worker in a batch of tiny tasks does not read the thread's CPU clock (a system call), and a shorter task than
/// this is not worth an event.
constexpr Instant kMeasureNs = 100'000;
/// How long an idle worker leaves another's hand alone before it helps itself, and, when the machine has no room for
/// that, at most between two looks.
constexpr Instant kHelpNs = 1'000'000;
constexpr Instant kMostHelpNs = 64'000'000;

Instant thread_cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<Instant>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

/// How many forks this process came out of: a worker that finds one more is the copy of a worker, in a process that its
/// task has forked. Cheaper than asking the system for the process's id after every task.
std::atomic<std::uint32_t>& forks() {
  static std::atomic<std::uint32_t> count{0};
  static const int registered = pthread_atfork(nullptr, nullptr, [] { count.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(registered);
  return count;
}

/// How deep a result is looked into here; what is deeper is left to `hooks.deferred`, as is a container that holds itself.
constexpr int kMostDepth = 32;

bool is_atom(PyTypeObject* type) {
  return type == Py_TYPE(Py_None) || type == &PyLong_Type || type == &PyFloat_Type || type == &PyUnicode_Type ||
         type == &PyBool_Type || type == &PyBytes_Type;
}

struct Entered {
  Entered(const Start& start) : before(current()) {
    current() = {static_cast<std::int64_t>(index(start.task)), start.attempt, start.devices};
  }
  ~Entered() { current() = before; }
  Current before;
};

}  // namespace

Current& current() {
  thread_local Current now;
  return now;
}

Crew::Crew(std::shared_ptr<Door> door, Table functions, Table arguments, Table results, std::shared_ptr<Watch> watch,
           py::object deferred, py::object hooks, std::size_t most_workers, bool tell_each)
    : door_(std::move(door)), functions_(std::move(functions)), arguments_(std::move(arguments)),
      results_(std::move(results)), watch_(std::move(watch)), deferred_(std::move(deferred)),
      hooks_(std::move(hooks)),
      inputs_type_(reinterpret_cast<PyTypeObject*>(py::type::of<Inputs>().ptr())),
      tell_each_(tell_each), forks_(forks().load(std::memory_order_relaxed)) {
  for (std::size_t w = 0; w < most_workers; ++w) hands_.push_back(std::make_unique<Hand>());
}

bool Crew::ends_soon(std::uint32_t task) const {
  door_->host_busy.store(false, std::memory_order_relaxed);
  for (int k = 0; k < looks_; ++k) {
    if (is_final(door_->core().state(TaskId{task})) && turnstile_.empty()) return true;
    StdAtom::relax();
  }
  return false;
}

void Crew::stop() {
  stopped_.store(true, std::memory_order_seq_cst);
  door_->workers.ring_all();
}

void Crew::work(std::uint32_t worker) {
  PyThreadState* state = PyEval_SaveThread();
  try {
    work_without_gil(worker, state);
  } catch (...) {
    interpreter_call([&] { PyEval_RestoreThread(state); });
    throw;
  }
  interpreter_call([&] { PyEval_RestoreThread(state); });
}

void Crew::work_without_gil(std::uint32_t worker, PyThreadState*& state) {
  Hand& hand = *hands_.at(worker);
  TaskClock clock;
  std::vector<Report> reports;
  reports.reserve(kMostAtOnce);
  Instant help_ns = kHelpNs;
  bool left_alone = false;  // another's hand has had its help_ns
  // Whether looking before sleeping pays: it does while work keeps coming within moments, and an idle worker soon stops.
  int luck = 1;
  Instant task_ns = kBatchNs;  // what a task of this worker takes, to the next power of two or so
  while (!stopped_.load(std::memory_order_seq_cst)) {
    const std::uint64_t epoch = door_->workers.epoch();
    const std::size_t most = static_cast<std::size_t>(std::clamp<Instant>(kBatchNs / std::max<Instant>(task_ns, 1), 1, kMostAtOnce));
    const Instant taken = clock_now();
    hand.drawing.store(true, std::memory_order_seq_cst);
    const std::size_t n = door_->take(Lane::threads, worker, {hand.starts.data(), most}, taken);
    if (n == 0) {
      hand.drawing.store(false, std::memory_order_seq_cst);
      const bool cards = others_have_cards(worker);
      if (cards && left_alone) {
        turnstile_.enter(state, door_->host_busy);
        const bool helped = steal(worker);
        state = turnstile_.leave();
        if (helped) continue;
      }
      // Timers are the control thread's: it wakes a worker when one makes something ready.
      const Instant until = cards ? taken + help_ns : kNever;
      help_ns = cards ? std::min(2 * help_ns, kMostHelpNs) : kHelpNs;
      const bool came = door_->workers.wait(epoch, until, luck > 0 && !cards ? looks_ : 0);
      if (!cards) luck = came ? std::min(luck + 1, 4) : std::max(luck - 1, 0);
      left_alone = cards && clock_now() >= until;
      continue;
    }
    help_ns = kHelpNs;
    left_alone = false;
    hand.next.store(0, std::memory_order_seq_cst);
    hand.end.store(n, std::memory_order_seq_cst);
    hand.drawing.store(false, std::memory_order_seq_cst);
    turnstile_.enter(state, door_->host_busy);
    const Instant begun = clock.begin();
    Instant finished = begun;  // one reading ends a task and begins the next
    std::size_t done = 0;
    for (;;) {
      const std::size_t k = claim_next(hand);
      if (k >= n) break;
      Report one{};
      if (run_one(hand.starts[k], worker, n == 1, clock, finished, one)) reports.push_back(one);
      ++done;
      // A long task: say what is finished before going on, or its dependants would wait for the whole hand.
      if (finished - begun > kBatchNs && !reports.empty() && k + 1 < n) settle(report(reports));
    }
    hand.end.store(0, std::memory_order_seq_cst);
    // Somebody may look for the end of a single task, see ends_soon(): tell him before the GIL is free.
    if (n == 1) settle(report(reports));
    state = turnstile_.leave();
    if (const std::vector<std::uint32_t> ended = report(reports); !ended.empty()) {
      turnstile_.enter(state, door_->host_busy);
      settle(ended);
      state = turnstile_.leave();
    }
    const Instant each = (finished - begun) / static_cast<Instant>(std::max<std::size_t>(done, 1));
    // Grow the batch by at most 4 at a time, so that one quick task does not fill the hand behind it; shrink at once.
    task_ns = std::max(each, task_ns / 4);
    if (n == 1) luck = std::max(luck, 1);  // the next may come as soon as this one is known to be done
  }
}

std::size_t Crew::claim_next(Hand& hand) {
  const std::scoped_lock lock(hand.claiming);
  return hand.next.fetch_add(1, std::memory_order_seq_cst);
}

/// True: `report` is to be sent. False: it failed or stands for further work, and a hook has dealt with it.
bool Crew::run_one(const Start& start, std::uint32_t worker, bool measure, TaskClock& clock, Instant& time,
                   Report& report) {
  const auto id = static_cast<py::ssize_t>(index(start.task));
  const Instant started = time;
  const Instant cpu_before = measure ? thread_cpu_ns() : 0;
  py::object value;
  {
    const Entered entered(start);
    value = call(start);
  }
  if (forks().load(std::memory_order_relaxed) != forks_) end_if_copy(value ? nullptr : py::error_already_set().value().ptr());
  const Instant finished = time = clock.now();
  if (measure && finished - started >= kMeasureNs) {
    Event used{};
    used.time = finished;
    used.value = thread_cpu_ns() - cpu_before;
    used.task = index(start.task);
    used.attempt = start.attempt;
    used.worker = worker;
    used.kind = EventKind::cpu_used;
    used.state = State::running;
    used.version = kEventVersion;
    door_->log()->log->append(used);
  }
  const auto lease = static_cast<std::uint32_t>(start.lease);
  if (!value) {
    py::error_already_set error;
    // Before Python 3.12 a fetched error and its traceback are two objects, and users see the error alone.
    if (error.trace()) PyException_SetTraceback(error.value().ptr(), error.trace().ptr());
    hook([&] { hooks_.attr("failed")(id, start.attempt, lease, error.value(), started, finished); });
    return false;
  }
  if (tell_each_ || may_hold_work(value.ptr(), 0)) {
    hook([&] { hooks_.attr("deferred")(id, start.attempt, lease, value, started, finished); });
    return false;
  }
  // A late value (its attempt has timed out or was cancelled) is nobody's: not a later attempt's, and not a result that a
  // dependant with needs="any" could find. Looked at within the table's lock: a later attempt sets its own after that, so
  // this one cannot come on top of it.
  const Scheduler& core = door_->core();
  results_->set_if(index(start.task), value.release().ptr(), [&] {
    return core.attempt(start.task) == start.attempt && core.state(start.task) == State::running;
  });
  report = {start.task, start.attempt, start.lease, started, finished};
  return true;
}

py::object Crew::call(const Start& start) {
  const auto id = static_cast<py::ssize_t>(index(start.task));
  // Held for the call: whatever runs meanwhile may change the tables.
  const auto steal_object = [](PyObject* result) { return py::reinterpret_steal<py::object>(result); };
  const py::object callable = steal_object(functions_->get(index(start.task)));
  const py::object arguments = steal_object(arguments_->get(index(start.task)));
  PyObject* function = callable.ptr();
  if (arguments.is_none()) return steal_object(interpreter_call([&] { return PyObject_CallNoArgs(function); }));
  if (PyTuple_CheckExact(arguments.ptr())) {
    return steal_object(interpreter_call([&] { return PyObject_Call(function, arguments.ptr(), nullptr); }));
  }
  if (Py_TYPE(arguments.ptr()) == inputs_type_) {
    // What pybind11's cast would find after two hash look-ups; the type has the simple layout.
    const auto* holder = reinterpret_cast<const py::detail::instance*>(arguments.ptr());
    return call_with_results(function, *static_cast<const Inputs*>(holder->simple_value_holder[0]), index(start.task));
  }
  const py::object bound = steal_object(
      interpreter_call([&] { return PyObject_CallMethod(hooks_.ptr(), "bind", "nO", id, arguments.ptr()); }));
  if (!bound) return {};
  return steal_object(interpreter_call([&] {
    return PyObject_Call(function, PyTuple_GET_ITEM(bound.ptr(), 0), PyTuple_GET_ITEM(bound.ptr(), 1));
  }));
}

py::object Crew::call_with_results(PyObject* function, const Inputs& inputs, std::uint32_t task) {
  const std::size_t k = task - inputs.first;
  const std::size_t begin = inputs.indptr[k], end = inputs.indptr[k + 1];
  constexpr std::size_t kOnStack = 16;
  std::array<PyObject*, kOnStack + 1> few{};
  std::vector<PyObject*> many;
  PyObject** values = few.data();
  if (end - begin > kOnStack) {
    many.resize(end - begin + 1);
    values = many.data();
  }
  for (std::size_t e = begin; e < end; ++e) {
    values[e - begin + 1] = results_->get(inputs.indices[e]);
  }
  PyObject* result = interpreter_call([&] {
    return PyObject_Vectorcall(function, values + 1, (end - begin) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
  });
  for (std::size_t e = begin; e < end; ++e) Py_DECREF(values[e - begin + 1]);
  return py::reinterpret_steal<py::object>(result);
}

/// Whether a value, or what is in it however deep, may stand for further work; `hooks.deferred` looks closely. A glance for
/// what most tasks return, a type check for each element of a container.
bool Crew::may_hold_work(PyObject* value, int depth) const {
  PyTypeObject* type = Py_TYPE(value);
  if (is_atom(type)) return false;
  const auto inside = [&](PyObject* element) { return may_hold_work(element, depth + 1); };
  if (kFreeThreaded && (PyList_Check(value) || PyDict_Check(value))) return copy_may_hold_work(value, depth);
  if (PyList_Check(value) || PyTuple_Check(value)) {
    const Py_ssize_t size = Py_SIZE(value);
    PyObject** elements = PySequence_Fast_ITEMS(value);
    return depth >= kMostDepth || std::any_of(elements, elements + size, inside);
  }
  if (PyDict_Check(value)) {
    if (depth >= kMostDepth) return true;
    PyObject *key = nullptr, *element = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(value, &at, &key, &element) != 0;) {
      if (inside(key) || inside(element)) return true;
    }
    return false;
  }
  if (PyAnySet_Check(value)) {
    const auto elements = py::reinterpret_steal<py::object>(PySet_Type.tp_iter(value));  // not a subclass's own
    while (const auto element = py::reinterpret_steal<py::object>(PyIter_Next(elements.ptr()))) {
      if (inside(element.ptr())) return true;
    }
    if (PyErr_Occurred() == nullptr) return false;
    PyErr_Clear();  // another thread changes it
    return true;
  }
  return PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(deferred_.ptr())) != 0;
}

/// The same of a list or dict that other threads may change meanwhile.
bool Crew::copy_may_hold_work(PyObject* value, int depth) const {
  if (depth >= kMostDepth) return true;
  const auto copy = py::reinterpret_steal<py::object>(PyDict_Check(value) ? PyDict_Items(value) : PyList_AsTuple(value));
  if (copy) {
    // A tuple of the list's elements, or a list of pairs; nobody else knows of either.
    PyObject** elements = PySequence_Fast_ITEMS(copy.ptr());
    const int inner = PyDict_Check(value) ? depth : depth + 1;  // the pair is looked into one deeper
    return std::any_of(elements, elements + Py_SIZE(copy.ptr()), [&](PyObject* e) { return may_hold_work(e, inner); });
  }
  PyErr_Clear();  // no memory
  return true;
}

/// Calls Python code of ours that runs a user's callbacks, one of which may fork.
template <class F>
void Crew::hook(F&& call) {
  interpreter_call(call);
  if (forks().load(std::memory_order_relaxed) != forks_) end_if_copy(nullptr);
}

/// Ends a process that came out of a fork in a task or callback and has come back from it: the run is its parent's.
void Crew::end_if_copy(PyObject* error) {
  interpreter_call([&] { hooks_.attr("end_copy")(error == nullptr ? py::object(py::none()) : py::reinterpret_borrow<py::object>(error)); });
}

/// Sends what has finished, with or without the GIL. Returns which of the tasks somebody waits for.
std::vector<std::uint32_t> Crew::report(std::vector<Report>& reports) {
  if (reports.empty()) return {};
  door_->finish(reports, reports.back().finished);
  std::vector<std::uint32_t> ended = watch_->ended(door_->core(), reports);
  reports.clear();
  return ended;
}

void Crew::settle(const std::vector<std::uint32_t>& ended) {
  if (!ended.empty()) hook([&] { hooks_.attr("settled")(py::cast(ended)); });
}

bool Crew::others_have_cards(std::uint32_t worker) const {
  for (std::size_t w = 0; w < hands_.size(); ++w) {
    const Hand& hand = *hands_[w];
    if (w == worker) continue;
    if (hand.drawing.load(std::memory_order_seq_cst)) return true;  // it may have some in a moment
    if (hand.next.load(std::memory_order_seq_cst) < hand.end.load(std::memory_order_seq_cst)) return true;
  }
  return false;
}

/// Moves one card of another worker's hand to the thief, if the machine has room for it.
std::optional<Start> Crew::take_card(Hand& hand, std::uint32_t thief) {
  // Nobody else claims a card between here and the fetch_add; the lease comes first because a claimed card must run.
  const std::scoped_lock lock(hand.claiming);
  const std::size_t k = hand.next.load(std::memory_order_seq_cst);
  if (k >= hand.end.load(std::memory_order_seq_cst)) return {};
  const std::optional<Start> mine = door_->core().split(hand.starts[k], thief, clock_now());
  if (mine) hand.next.fetch_add(1, std::memory_order_seq_cst);
  return mine;
}

/// Runs one task that another worker has taken and not begun.
bool Crew::steal(std::uint32_t thief) {
  for (std::size_t w = 0; w < hands_.size(); ++w) {
    Hand& hand = *hands_[w];
    if (w == thief) continue;
    const std::optional<Start> mine = take_card(hand, thief);
    if (!mine) continue;
    std::vector<Report> reports;
    Report one{};
    TaskClock clock;
    Instant time = clock.begin();
    if (run_one(*mine, thief, true, clock, time, one)) reports.push_back(one);
    settle(report(reports));
    return true;
  }
  return false;
}

}  // namespace penstock::bindings
