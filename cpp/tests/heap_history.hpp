// Recorded histories of a PriorityHeap and the search for a sequential explanation (Wing and Gong, 1993).
//
// A history is explained when its operations can be put in one order that (1) keeps every operation between its call
// and its return and (2) gives every operation the result that a plain ordered queue would have given. A batch push
// is one operation, except for those of its tasks that a cancel or re-rank overtakes: they may come in just before it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/priority_heap.hpp"

namespace penstock::test {

struct Operation {
    enum Kind : std::uint8_t { push, pop, peek, cancel, rerank, none_before } kind = push;
    std::vector<HeapEntry> given;           // push: all of them at one instant; cancel, rerank, none_before: one
    std::optional<HeapEntry> got;           // pop, peek
    bool answer = false;                    // cancel, rerank
    std::uint64_t called = 0, returned = 0;  // instants, all distinct
};

class History {
public:
    std::vector<Operation> operations;
    std::vector<HeapEntry> before;                // in the queue at first
    std::optional<std::vector<HeapEntry>> after;  // in the queue at last, in order; none: whatever is left will do

    [[nodiscard]] bool explained() {
        seen_.clear();
        std::sort(before.begin(), before.end(), earlier);
        split_overtaken();
        if (operations.size() > 60) throw std::length_error("History: " + std::to_string(operations.size()) + " operations; the search takes 60");
        return search(0, before);
    }

    [[nodiscard]] std::string text() const {
        static constexpr const char* kNames[] = {"push", "pop", "peek", "cancel", "rerank", "none before"};
        const auto entry = [](const HeapEntry& e) {
            return " task " + std::to_string(index(e.task)) + " rank " + std::to_string(e.rank.value) + " tie " +
                   std::to_string(e.tie);
        };
        std::string out;
        for (const Operation& op : operations) {
            out.append("[").append(std::to_string(op.called)).append(", ").append(std::to_string(op.returned));
            out.append("] ").append(kNames[op.kind]);
            for (const HeapEntry& e : op.given) out += entry(e);
            if (op.kind == Operation::pop || op.kind == Operation::peek) out += " ->" + (op.got ? entry(*op.got) : " none");
            if (op.kind == Operation::cancel || op.kind == Operation::rerank) out += op.answer ? " -> true" : " -> false";
            out += "\n";
        }
        return out;
    }

private:
    using Queue = std::vector<HeapEntry>;  // sorted

    static bool earlier(const HeapEntry& a, const HeapEntry& b) {
        return std::pair{a.rank.value, a.tie} < std::pair{b.rank.value, b.tie};
    }
    static Queue::iterator find(Queue& queue, TaskId task) {
        return std::find_if(queue.begin(), queue.end(), [&](const HeapEntry& e) { return e.task == task; });
    }
    static void add(Queue& queue, const HeapEntry& e) {
        queue.insert(std::upper_bound(queue.begin(), queue.end(), e, earlier), e);
    }

    // Makes a push of its own of each entry of a batch that a successful cancel or re-rank met during the push.
    void split_overtaken() {
        const std::vector<Operation> all = std::exchange(operations, {});
        for (const Operation& op : all) {
            if (op.kind != Operation::push || op.given.size() < 2) {
                operations.push_back(op);
                continue;
            }
            Operation batch = op;
            batch.given.clear();
            for (const HeapEntry& e : op.given) {
                const bool overtaken = std::any_of(all.begin(), all.end(), [&](const Operation& other) {
                    return (other.kind == Operation::cancel || other.kind == Operation::rerank) && other.answer &&
                           other.given.front().task == e.task && other.called < op.returned && op.called < other.returned;
                });
                if (!overtaken) {
                    batch.given.push_back(e);
                    continue;
                }
                Operation single = op;
                single.given = {e};
                operations.push_back(std::move(single));
            }
            if (!batch.given.empty()) operations.push_back(std::move(batch));
        }
    }

    // Applies the operation; false when a plain queue would have answered otherwise.
    static bool apply(const Operation& op, Queue& queue) {
        switch (op.kind) {
            case Operation::push:
                for (const HeapEntry& e : op.given) {
                    if (find(queue, e.task) != queue.end()) return false;
                    add(queue, e);
                }
                return true;
            case Operation::pop:
            case Operation::peek:
                if (op.got.has_value() != !queue.empty()) return false;
                if (!op.got) return true;
                if (!(*op.got == queue.front())) return false;
                if (op.kind == Operation::pop) queue.erase(queue.begin());
                return true;
            case Operation::none_before:
                return queue.empty() || !earlier(queue.front(), op.given.front());
            case Operation::cancel:
            case Operation::rerank: {
                const auto at = find(queue, op.given.front().task);
                if (op.answer != (at != queue.end())) return false;
                if (!op.answer) return true;
                queue.erase(at);
                if (op.kind == Operation::rerank) add(queue, op.given.front());
                return true;
            }
        }
        return false;
    }

    bool search(std::uint64_t done, const Queue& queue) {
        if (done == (std::uint64_t{1} << operations.size()) - 1 && (!after || *after == queue)) return true;
        std::vector<std::uint64_t> state{done};
        for (const HeapEntry& e : queue) state.insert(state.end(), {index(e.task), ordered_bits(e.rank), e.tie});
        if (!seen_.insert(std::move(state)).second) return false;
        std::uint64_t first_return = ~std::uint64_t{0};
        for (std::size_t k = 0; k < operations.size(); ++k) {
            if ((done >> k & 1) == 0) first_return = std::min(first_return, operations[k].returned);
        }
        for (std::size_t k = 0; k < operations.size(); ++k) {
            if ((done >> k & 1) != 0 || operations[k].called > first_return) continue;
            Queue next = queue;
            if (apply(operations[k], next) && search(done | std::uint64_t{1} << k, next)) return true;
        }
        return false;
    }

    std::set<std::vector<std::uint64_t>> seen_;
};

// Does random operations on a heap and records them. One recorder a thread; they share the clock.
template <class Heap>
class Recorder {
public:
    Recorder(Heap& heap, std::atomic<std::uint64_t>& clock, std::uint64_t seed, std::vector<std::uint32_t> hand, unsigned tasks)
        : heap_(heap), clock_(clock), state_(seed * 2654435769U + 12345U), hand_(std::move(hand)), tasks_(tasks) {
        for (unsigned& kind : kinds_) kind = static_cast<unsigned>(draw(9));
    }

    void step() {
        switch (kinds_[draw(kinds_.size())]) {
            case 0:
            case 1: return push(1);
            case 2: return push(2 + draw(3));
            case 3: return draw(2) == 0 ? pop_many(2, {}) : pop_many(3, HeapKey{Rank{static_cast<double>(draw(4))}, 0});
            case 4: return cancel();
            case 5:
            case 6: return rerank();
            case 7: return peek();
            default: return pop();
        }
    }
    void pop() {
        record(Operation::pop, {}, [&](Operation& op) { keep(op.got = heap_.pop()); });
    }
    void push(std::size_t count) {
        std::vector<HeapEntry> entries;
        while (entries.size() < count && !hand_.empty()) {
            const std::size_t k = draw(hand_.size());
            entries.push_back(entry(hand_[k]));
            hand_.erase(hand_.begin() + static_cast<std::ptrdiff_t>(k));
        }
        if (entries.empty()) return pop();
        record(Operation::push, entries, [&](Operation&) {
            if (entries.size() == 1) return heap_.push(entries.front());
            heap_.push(std::span<const HeapEntry>(entries));
        });
    }

    std::vector<Operation> done;

private:
    void pop_many(std::size_t count, const std::optional<HeapKey>& before) {
        // A batch pop is a sequence of single pops; each of them may come anywhere within the call. Where it ends early
        // there was nothing more, or nothing before the bound.
        std::vector<HeapEntry> out(count);
        const std::uint64_t called = tick();
        const std::size_t got = heap_.pop(std::span<HeapEntry>(out), before);
        const std::uint64_t returned = tick();
        for (std::size_t k = 0; k < std::min(got + 1, count); ++k) {
            Operation op;
            op.kind = Operation::pop;
            if (k < got) {
                keep(op.got = out[k]);
            } else if (before) {
                op.kind = Operation::none_before;
                op.given = {{TaskId{0}, before->rank, before->tie}};
            }
            op.called = called;
            op.returned = returned;
            done.push_back(op);
        }
    }
    void cancel() {
        const TaskId task{static_cast<std::uint32_t>(draw(tasks_))};
        record(Operation::cancel, {{task, {}, 0}}, [&](Operation& op) {
            op.answer = heap_.cancel(task);
            if (op.answer) hand_.push_back(index(task));
        });
    }
    void rerank() {
        const HeapEntry changed = entry(static_cast<std::uint32_t>(draw(tasks_)));
        record(Operation::rerank, {changed}, [&](Operation& op) { op.answer = heap_.rerank(changed); });
    }
    void peek() {
        record(Operation::peek, {}, [&](Operation& op) { op.got = heap_.peek(); });
    }

    template <class Do>
    void record(Operation::Kind kind, std::vector<HeapEntry> given, Do&& act) {
        Operation op;
        op.kind = kind;
        op.given = std::move(given);
        op.called = tick();
        act(op);
        op.returned = tick();
        done.push_back(std::move(op));
    }
    void keep(const std::optional<HeapEntry>& entry) {
        if (entry) hand_.push_back(index(entry->task));
    }
    HeapEntry entry(std::uint32_t task) {
        return {TaskId{task}, Rank{static_cast<double>(draw(4))}, clock_.fetch_add(1)};  // few ranks, distinct ties
    }
    std::uint64_t tick() { return clock_.fetch_add(1); }
    std::uint64_t draw(std::uint64_t below) {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return (state_ >> 33) % below;
    }

    Heap& heap_;
    std::array<unsigned, 3> kinds_{};  // a thread does few kinds of operations: races of two of them come up sooner
    std::atomic<std::uint64_t>& clock_;
    std::uint64_t state_;
    std::vector<std::uint32_t> hand_;  // tasks that this thread may push: those it started with and those it took out
    unsigned tasks_;
};

}  // namespace penstock::test
