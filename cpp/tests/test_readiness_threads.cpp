#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "penstock/readiness.hpp"

using namespace penstock;

namespace {

// Ready tasks on their way to the completing threads.
class Queue {
 public:
  void push(std::span<const TaskId> tasks) {
    {
      const std::scoped_lock lock(mutex_);
      tasks_.insert(tasks_.end(), tasks.begin(), tasks.end());
    }
    filled_.notify_all();
  }
  void close() {
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
    }
    filled_.notify_all();
  }
  // Some tasks, or none when the queue is closed.
  std::vector<TaskId> pop(std::size_t most) {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [&] { return closed_ || !tasks_.empty(); });
    const auto count = static_cast<std::ptrdiff_t>(std::min(most, tasks_.size()));
    std::vector<TaskId> taken(tasks_.begin(), tasks_.begin() + count);
    tasks_.erase(tasks_.begin(), tasks_.begin() + count);
    return taken;
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<TaskId> tasks_;
  bool closed_ = false;
};

}  // namespace

TEST_CASE("growth races completion: every task is freed once, after all it waits for, and sees their results" *
          doctest::timeout(60)) {
  constexpr std::size_t kTasks = 20'000, kWorkers = 3;
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    Readiness readiness;
    Queue queue;
    std::vector<std::vector<std::uint32_t>> predecessors(kTasks);  // written by the grower before the task is known
    std::vector<std::uint64_t> result(kTasks, 0);  // plain: a result that is not published is a data race
    std::vector<std::atomic<int>> freed(kTasks);
    std::atomic<std::size_t> completed{0};
    std::atomic<int> early{0};

    std::vector<std::thread> workers;
    for (std::size_t w = 0; w < kWorkers; ++w) {
      workers.emplace_back([&, w] {
        for (;;) {
          const std::vector<TaskId> taken = queue.pop(1 + w * 5);
          if (taken.empty()) return;
          std::vector<TaskId> next;
          const auto note = [&](TaskId t) {
            ++freed[index(t)];
            next.push_back(t);
          };
          for (const TaskId task : taken) {
            std::uint64_t sum = 1;
            for (const std::uint32_t p : predecessors[index(task)]) {
              early += result[p] == 0;
              sum = std::max(sum, result[p] + 1);
            }
            result[index(task)] = sum;
          }
          if (w == 0) {
            for (const TaskId task : taken) readiness.complete(task, note);
          } else {
            readiness.complete(taken, note);
          }
          queue.push(next);
          if ((completed += taken.size()) == kTasks) queue.close();
        }
      });
    }

    std::mt19937_64 random(seed);
    for (std::size_t first = 0; first < kTasks;) {
      const std::size_t n = std::min<std::size_t>(kTasks - first, 1 + random() % 40);
      std::vector<std::int64_t> indptr{0}, indices;
      for (std::size_t k = 0; k < n; ++k) {
        const std::size_t task = first + k;
        for (std::size_t e = task == 0 ? 0 : random() % 5; e > 0; --e) {
          // Mostly young ones: those are likely to be completing just now.
          const std::size_t before = task - 1 - random() % std::min<std::size_t>(task, 60);
          predecessors[task].push_back(static_cast<std::uint32_t>(before));
          const auto known = static_cast<std::int64_t>(before), local = static_cast<std::int64_t>(before - first);
          indices.push_back(before < first ? known : ~local);
        }
        indptr.push_back(static_cast<std::int64_t>(indices.size()));
      }
      std::vector<TaskId> ready;
      readiness.grow(n, indptr, indices, ready);
      for (const TaskId t : ready) ++freed[index(t)];
      queue.push(ready);
      first += n;
    }
    for (auto& worker : workers) worker.join();

    CHECK(completed == kTasks);
    CHECK(early == 0);
    CHECK(std::all_of(freed.begin(), freed.end(), [](const auto& times) { return times == 1; }));
    std::size_t wrong = 0;
    for (std::size_t task = 0; task < kTasks; ++task) {
      std::uint64_t expected = 1;
      for (const std::uint32_t p : predecessors[task]) expected = std::max(expected, result[p] + 1);
      wrong += result[task] != expected;
      wrong += readiness.unmet(TaskId{static_cast<std::uint32_t>(task)}) != 0;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("one of many predecessors that complete at once frees the task" * doctest::timeout(60)) {
  constexpr std::size_t kFan = 64;
  for (int round = 0; round < 200; ++round) {
    Readiness readiness;
    std::vector<std::int64_t> indptr(kFan + 1, 0), indices;
    for (std::size_t k = 0; k < kFan; ++k) indices.push_back(~static_cast<std::int64_t>(k));
    indptr.push_back(kFan);
    std::vector<TaskId> ready;
    readiness.grow(kFan + 1, indptr, indices, ready);
    REQUIRE(ready.size() == kFan);
    std::vector<int> result(kFan, 0);  // plain: ThreadSanitizer sees a free that comes without the results
    std::atomic<int> frees{0}, waiting{2}, unseen{0};
    const auto work = [&](std::size_t parity) {
      --waiting;
      while (waiting > 0) std::this_thread::yield();  // begin together
      for (std::size_t k = parity; k < kFan; k += 2) {
        result[k] = 1;
        readiness.complete(TaskId{static_cast<std::uint32_t>(k)}, [&](TaskId) {
          ++frees;
          for (const int r : result) unseen += r != 1;
        });
      }
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    REQUIRE(frees == 1);
    REQUIRE(unseen == 0);
    REQUIRE(readiness.unmet(TaskId{kFan}) == 0);
  }
}

TEST_CASE("a task that defers while its children complete is freed exactly once" * doctest::timeout(60)) {
  constexpr std::uint32_t kChildren = 16;
  for (int round = 0; round < 200; ++round) {
    Readiness readiness;
    std::vector<TaskId> ready;
    readiness.grow(kChildren + 1, {}, {}, ready);  // the last one runs and defers
    const TaskId parent{kChildren};
    std::vector<int> result(kChildren, 0);
    std::atomic<int> frees{0}, waiting{2}, unseen{0};
    const auto freed = [&] {
      ++frees;
      for (const int r : result) unseen += r != 1;
    };
    std::thread worker([&] {
      --waiting;
      while (waiting > 0) std::this_thread::yield();
      for (std::uint32_t k = 0; k < kChildren; ++k) {
        result[k] = 1;
        readiness.complete(TaskId{k}, [&](TaskId t) {
          if (t == parent) freed();
        });
      }
    });
    --waiting;
    while (waiting > 0) std::this_thread::yield();
    readiness.rearm(parent, kChildren + 1);
    for (std::uint32_t k = 0; k < kChildren; ++k) {
      if (!readiness.add_edge(TaskId{k}, parent)) readiness.satisfy(parent);
    }
    if (readiness.satisfy(parent)) freed();
    worker.join();
    REQUIRE(frees == 1);
    REQUIRE(unseen == 0);
    REQUIRE(readiness.unmet(parent) == 0);
  }
}

TEST_CASE("a batch that is being added is freed by its earlier tasks or reported ready, never both" *
          doctest::timeout(60)) {
  for (int round = 0; round < 300; ++round) {
    Readiness readiness;
    std::vector<TaskId> ready;
    readiness.grow(8, {}, {}, ready);
    std::vector<std::atomic<int>> freed(16);
    std::vector<int> result(8, 0);
    std::atomic<int> waiting{2}, unseen{0};
    const auto note = [&](TaskId t) {  // task 8 + k waits for 0 .. k
      ++freed[index(t)];
      for (std::size_t p = 0; p <= index(t) - 8; ++p) unseen += result[p] != 1;
    };
    std::thread worker([&] {
      --waiting;
      while (waiting > 0) std::this_thread::yield();
      for (std::uint32_t k = 0; k < 8; ++k) {
        result[k] = 1;
        readiness.complete(TaskId{k}, note);
      }
    });
    std::vector<std::int64_t> indptr{0}, indices;
    for (std::int64_t k = 0; k < 8; ++k) {
      for (std::int64_t e = 0; e <= k; ++e) indices.push_back(e);
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
    ready.clear();
    --waiting;
    while (waiting > 0) std::this_thread::yield();
    readiness.grow(8, indptr, indices, ready);
    for (const TaskId t : ready) note(t);
    worker.join();
    REQUIRE(unseen == 0);
    for (std::size_t k = 8; k < 16; ++k) REQUIRE(freed[k] == 1);
  }
}

TEST_CASE("a node whose predecessors complete while its batch is added is ready with their results" *
          doctest::timeout(60)) {
  for (int round = 0; round < 50; ++round) {
    Readiness readiness;
    std::vector<TaskId> ready;
    readiness.grow(2, {}, {}, ready);
    // The batch: one node that waits for task 0, and many that wait for task 1, to give task 0 time to complete
    // between the linking of its edge and the end of grow().
    std::vector<std::int64_t> indptr{0}, indices{0};
    for (std::int64_t k = 1; k <= 2000; ++k) {
      indices.push_back(1);
      indptr.push_back(k);
    }
    indptr.push_back(2001);
    int result = 0, found = 0;
    std::atomic<int> frees{0};
    const auto note = [&](TaskId t) {
      if (index(t) != 2) return;
      ++frees;
      found = result;
    };
    std::thread worker([&] {
      while (readiness.edges() == 0) std::this_thread::yield();  // until the first edge is linked
      result = 1;
      readiness.complete(TaskId{0}, note);
    });
    ready.clear();
    readiness.grow(2001, indptr, indices, ready);
    for (const TaskId t : ready) note(t);
    worker.join();
    REQUIRE(frees == 1);
    REQUIRE(found == 1);
  }
}
