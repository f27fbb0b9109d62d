#include <atomic>
#include <cmath>

#include "binding.hpp"
#include "interpreter.hpp"
#include "column.hpp"
#include "doorbell.hpp"
#include "penstock/planner.hpp"

namespace penstock::bindings {
namespace {

/// Raised from any thread, it ends a plan that is being made.
struct StopFlag {
  std::atomic<bool> raised{false};
};

/// Says when to stop: time is up, the flag is raised, or Python has a signal to handle (Ctrl-C), which is looked for
/// with the GIL, every kLook. Any call after that says so too.
class Budget {
 public:
  static constexpr Instant kLook = 20'000'000;

  Budget(Instant begun, std::optional<double> budget_s, const StopFlag* flag)
      : until_(budget_s ? begun + static_cast<Instant>(std::min(*budget_s, 1e9) * 1e9) : kNever),
        look_at_(begun + kLook),
        flag_(flag) {}

  bool spent() {
    if (stopped_) return true;
    const Instant now = clock_now();
    stopped_ = now >= until_ || (flag_ != nullptr && flag_->raised.load(std::memory_order_relaxed));
    if (now >= look_at_ && !stopped_) {
      look_at_ = now + kLook;
      const py::gil_scoped_acquire gil;
      if (PyErr_CheckSignals() != 0) {
        error_.emplace();  // takes the exception, so that the GIL can be given up
        stopped_ = true;
      }
    }
    return stopped_;
  }
  void raise_what_came() {
    if (error_) throw std::move(*error_);
  }

 private:
  Instant until_, look_at_;
  const StopFlag* flag_;
  bool stopped_ = false;
  std::optional<py::error_already_set> error_;
};

template <class T>
py::bytes bytes_of(const std::vector<T>& items) {
  return {reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T)};
}

/// The arrays of a problem, kept while it is worked on.
struct Given {
  Given(const py::object& durations_, const py::object& demands_, const py::object& capacity_, const py::object& indptr_,
        const py::object& indices_, const py::object& release_)
      : durations(durations_, "durations"), demands(demands_, "demands"), capacity(capacity_, "capacity"),
        indptr(indptr_, "indptr"), indices(indices_, "indices"), release(release_, "release") {}
  planner::Problem problem() const {
    return {durations.values(), demands.values(), capacity.values(), indptr.values(), indices.values(), release.values()};
  }
  Column<std::int64_t> durations, demands, capacity, indptr, indices, release;
};

py::tuple result_of(const planner::Plan& made) {
  return py::make_tuple(made.complete, bytes_of(made.start), bytes_of(made.order), made.makespan, made.lower_bound, made.schedules);
}

template <class Work>
auto without_gil(Budget& budget, const Work& work) {
  const planner::ShouldStop should_stop = [&] { return budget.spent(); };
  decltype(work(should_stop)) made{};
  {
    const WithoutGil release;
    made = work(should_stop);
  }
  budget.raise_what_came();
  return made;
}

}  // namespace

void bind_planner(py::module_& m) {
  py::class_<StopFlag, std::shared_ptr<StopFlag>>(m, "StopFlag")
      .def(py::init([] { return std::make_shared<StopFlag>(); }))
      .def("set", [](StopFlag& f) { f.raised.store(true); })
      .def("is_set", [](const StopFlag& f) { return f.raised.load(); });
  const auto none = py::none();
  m.def("make_plan", [](const py::object& durations, const py::object& demands, const py::object& capacity,
                        const py::object& indptr, const py::object& indices, const py::object& release,
                        std::optional<double> budget_s, std::uint64_t iterations, std::uint64_t seed, bool greedy,
                        const std::shared_ptr<StopFlag>& stop) {
    Budget budget(clock_now(), budget_s, stop.get());
    const Given given(durations, demands, capacity, indptr, indices, release);
    return result_of(without_gil(budget, [&](const planner::ShouldStop& should_stop) {
      return planner::plan(given.problem(), {seed, iterations, greedy}, should_stop);
    }));
  }, py::arg("durations"), py::arg("demands"), py::arg("capacity"), py::arg("indptr") = none, py::arg("indices") = none,
  py::arg("release") = none, py::kw_only(), py::arg("budget_s") = none, py::arg("iterations") = 0, py::arg("seed") = 0,
  py::arg("greedy") = false,
  py::arg("stop") = none);
  m.def("list_schedule", [](const py::object& durations, const py::object& demands, const py::object& capacity,
                            const py::object& ranks, const py::object& indptr, const py::object& indices,
                            const py::object& release, bool serial) {
    Budget budget(clock_now(), {}, nullptr);
    const Given given(durations, demands, capacity, indptr, indices, release);
    const Column<double> rank(ranks, "ranks");
    return result_of(without_gil(budget, [&](const planner::ShouldStop& should_stop) {
      return planner::dispatch(given.problem(), rank.values(), serial ? planner::Scheme::serial : planner::Scheme::parallel, should_stop);
    }));
  }, py::arg("durations"), py::arg("demands"), py::arg("capacity"), py::arg("ranks"), py::arg("indptr") = none,
  py::arg("indices") = none, py::arg("release") = none, py::kw_only(), py::arg("serial") = false);
  m.def("plan_levels", [](const py::object& durations, const py::object& indptr, const py::object& indices,
                          std::optional<double> budget_s) -> std::optional<py::bytes> {
    Budget budget(clock_now(), budget_s, nullptr);
    const Column<std::int64_t> lengths(durations, "durations"), starts(indptr, "indptr"), before(indices, "indices");
    std::vector<Instant> levels(lengths.values().size());
    const bool whole = without_gil(budget, [&](const planner::ShouldStop& should_stop) {
      return planner::bottom_levels(lengths.values(), starts.values(), before.values(), levels, should_stop);
    });
    if (!whole) return {};
    return bytes_of(levels);
  }, py::arg("durations"), py::arg("indptr") = none, py::arg("indices") = none, py::kw_only(), py::arg("budget_s") = none);
}

}  // namespace penstock::bindings
