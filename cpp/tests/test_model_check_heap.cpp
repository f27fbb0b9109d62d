// Every pair and many triples of heap operations, under every schedule with a bounded number of preemptions.
//
// The shipped heap, tickets and reclaimer, over atomics that the explorer schedules. Each execution's history must have a
// sequential explanation, the drained heap included; the heap's own check() must hold; and no block may be touched after
// it was freed. Blocks hold two or three entries, an inbox two, and a retired block is freed at the first sweep,
// which comes with each retirement; so a few operations reach every path: overflow, refill, cut, merge, rebuild, an inbox
// that is moved, a thread without one, sweep, a thread's end.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "freed_memory.hpp"
#include "heap_history.hpp"
#include "model_check.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

// Frees as soon as it may: a block that is still read is gone. Every third push of a thread moves its inbox.
struct EagerAtom : ExploredAtom {
    static constexpr HeapLimits kHeap{.front_items = 2, .front_keeps = 1, .near_items = 3, .near_refill = 2, .run_items = 3, .fan_out = 2, .window = 2, .slack = 2, .inbox_items = 2, .inbox_at_once = true};
    static constexpr detail::ReclaimLimits kReclaimLimits{.sweep_every = 1, .tick_every = 1, .shelf_depth = 0, .light = 0};
};
// Reuses as soon as it may: a block that is still read, or whose address is still compared, is another one. Only the
// first two threads have an inbox, and only once they have met another.
struct ReuseAtom : ExploredAtom {
    static constexpr HeapLimits kHeap{.front_items = 2, .front_keeps = 1, .near_items = 3, .near_refill = 2, .run_items = 3, .fan_out = 2, .window = 2, .slack = 2, .inbox_items = 2, .inboxes = 2};
    static constexpr detail::ReclaimLimits kReclaimLimits{.sweep_every = 1, .tick_every = 1, .shelf_depth = 16, .light = 0};
};

HeapEntry entry(std::uint32_t task, double rank) { return {TaskId{task}, Rank{rank}, task}; }

enum class Act : std::uint8_t { push_first, push_last, push_thrice, push_batch, pop, pop_batch, put_back, peek, cancel, cancel_last, rerank_back, rerank_ahead };
constexpr std::array kActs{Act::push_first, Act::push_last, Act::push_thrice, Act::push_batch, Act::pop, Act::pop_batch, Act::put_back, Act::peek, Act::cancel, Act::cancel_last, Act::rerank_back, Act::rerank_ahead};
constexpr std::array kActNames{"push (first)", "push (last)", "three pushes", "batch push", "pop", "batch pop", "pop and push", "peek", "cancel (first)", "cancel (last)", "rerank (back)", "rerank (ahead)"};
constexpr std::array kFewActs{Act::push_first, Act::push_thrice, Act::pop, Act::put_back, Act::peek, Act::cancel, Act::rerank_back, Act::rerank_ahead};
constexpr std::array kTripleActs{Act::push_first, Act::pop, Act::peek, Act::cancel, Act::rerank_back, Act::rerank_ahead};
using Script = std::vector<std::vector<Act>>;  // what each thread does

// What is in the heap before the threads begin.
enum class Start : std::uint8_t { empty, one, two, inboxes, one_inbox, worn };
constexpr std::array kStartNames{"an empty heap", "a heap of one", "a heap of one in near and one in the front", "a heap with entries in root and inboxes", "a heap with entries in root and one inbox", "a heap of all kinds of blocks"};

template <class Heap>
void begin(Heap& heap, Start start, std::size_t threads, Operation& given) {
    given.kind = Operation::push;
    const auto push = [&](std::uint32_t task, double rank) {
        heap.push(entry(task, rank));
        given.given.push_back(entry(task, rank));
    };
    if (start == Start::empty) return;
    if (start == Start::one) return push(0, 5);
    if (start == Start::two) {
        const std::array all{entry(20, 1), entry(21, 1), entry(0, 5)};
        heap.push(std::span<const HeapEntry>(all));  // too many for a front
        (void)heap.pop();
        (void)heap.pop();
        heap.push(entry(3, 9));
        (void)heap.rerank(entry(3, 6));
        given.given.insert(given.given.end(), {entry(0, 5), entry(3, 6)});
        return;
    }
    if (start == Start::inboxes || start == Start::one_inbox) {
        // The last thread's inbox has the first entry, that of the first thread, which poppers look at before, the last.
        // Or the first thread is yet to get one, which they look at after that.
        const std::array in_root{entry(1, 6), entry(2, 6.5)};
        heap.push(std::span<const HeapEntry>(in_root));
        given.given.assign(in_root.begin(), in_root.end());
        if (start == Start::inboxes) Explorer::as_thread(0, [&] { push(3, 7); });
        return Explorer::as_thread(threads - 1, [&] { push(0, 5); });
    }
    // Task 0 leads. A front, near and far runs, and in each some entries that do not count any more.
    for (std::uint32_t k = 20; k < 24; ++k) heap.push(entry(k, k % 2 == 0 ? 5.5 : 1));
    push(0, 5);
    push(1, 6);
    push(2, 8);
    push(3, 7);
    heap.push(entry(24, 6.5));
    heap.push(entry(25, 5.2));
    (void)heap.rerank(entry(20, 9));
    given.given.push_back(entry(20, 9));
    (void)heap.cancel(TaskId{22});
    (void)heap.cancel(TaskId{24});
    (void)heap.cancel(TaskId{25});
    (void)heap.pop();  // the two of rank 1
    (void)heap.pop();
}

template <class Heap>
class Player {
public:
    Player(Heap& heap, std::uint32_t number) : heap_(heap), number_(number) {}

    void play(const std::vector<Act>& acts) {
        for (const Act act : acts) one(act);
    }
    void one(Act act) {
        const std::uint32_t made = mine(fresh_);
        switch (act) {
            case Act::push_first: ++fresh_; return record(Operation::push, {entry(made, 4)}, [&](Operation& op) { heap_.push(op.given.front()); });
            case Act::push_last: ++fresh_; return record(Operation::push, {entry(made, 10)}, [&](Operation& op) { heap_.push(op.given.front()); });
            case Act::push_thrice:
                for (const double rank : {10.0, 4.0, 4.2}) {
                    record(Operation::push, {entry(mine(fresh_++), rank)}, [&](Operation& op) { heap_.push(op.given.front()); });
                }
                return;
            case Act::push_batch:
                fresh_ += 2;
                return record(Operation::push, {entry(made, 10), entry(made + 1, 4.5)},
                              [&](Operation& op) { heap_.push(std::span<const HeapEntry>(op.given)); });
            case Act::pop: return record(Operation::pop, {}, [&](Operation& op) { op.got = heap_.pop(); });
            case Act::pop_batch: return pop_batch();
            case Act::put_back:  // the task is the popper's, until it pushes it again
                record(Operation::pop, {}, [&](Operation& op) { op.got = heap_.pop(); });
                if (!done.back().got) return;
                return record(Operation::push, {entry(index(done.back().got->task), 5.5)}, [&](Operation& op) { heap_.push(op.given.front()); });
            case Act::peek: return record(Operation::peek, {}, [&](Operation& op) { op.got = heap_.peek(); });
            case Act::cancel: return record(Operation::cancel, {entry(0, 5)}, [&](Operation& op) { op.answer = heap_.cancel(TaskId{0}); });
            case Act::cancel_last: return record(Operation::cancel, {entry(3, 7)}, [&](Operation& op) { op.answer = heap_.cancel(TaskId{3}); });
            case Act::rerank_back: return rerank(0, 6.2);
            case Act::rerank_ahead: return rerank(3, 3);
        }
    }
    void drain() {
        do one(Act::pop);
        while (done.back().got);
    }

    std::vector<Operation> done;

private:
    [[nodiscard]] std::uint32_t mine(std::uint32_t k) const { return 30 + 10 * number_ + k; }

    void rerank(std::uint32_t task, double rank) {
        HeapEntry changed = entry(task, rank);
        changed.tie = 100 + number_;
        record(Operation::rerank, {changed}, [&](Operation& op) { op.answer = heap_.rerank(changed); });
    }
    void pop_batch() {  // a sequence of single pops; each may come anywhere within the call
        std::array<HeapEntry, 2> out{};
        Explorer::step();
        Operation op;
        op.kind = Operation::pop;
        op.called = Explorer::tick();
        const std::size_t got = heap_.pop(std::span<HeapEntry>(out));
        op.returned = Explorer::tick();
        for (std::size_t k = 0; k < std::min(got + 1, out.size()); ++k) {
            op.got = k < got ? std::optional(out[k]) : std::nullopt;
            done.push_back(op);
        }
    }
    template <class Do>
    void record(Operation::Kind kind, std::vector<HeapEntry> given, Do&& act) {
        Operation op;
        op.kind = kind;
        op.given = std::move(given);
        Explorer::step();  // so that an operation need not begin where the one before it ended
        op.called = Explorer::tick();
        act(op);
        op.returned = Explorer::tick();
        done.push_back(std::move(op));
    }

    Heap& heap_;
    std::uint32_t number_, fresh_ = 0;
};

// Many schedules leave the same history; each is explained once.
class Explained {
public:
    void check(const std::vector<Operation>& operations) {
        key_.clear();
        const auto note = [&](std::uint64_t value) { key_.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
        for (const Operation& op : operations) {
            note(op.called << 32 | op.returned << 8 | std::uint64_t{op.kind} << 1 | (op.answer ? 1 : 0));
            note(op.got ? ordered_bits(op.got->rank) ^ op.got->tie << 8 ^ index(op.got->task) : 0);
        }
        if (known_.contains(key_)) return;
        History history;
        history.operations = operations;
        Explorer::require(history.explained(), "a history without an explanation:\n" + history.text());
        known_.insert(key_);
    }
    [[nodiscard]] std::size_t size() const { return known_.size(); }

private:
    std::unordered_set<std::string> known_;
    std::string key_;
};

template <class Atom>
void execute(const Script& script, Start start, Explained& explained) {
    using Heap = BasicPriorityHeap<Atom, Atom::kHeap>;
    std::vector<Operation> history;
    {
        typename Heap::Tickets tickets;
        Heap heap(tickets);
        std::vector<Player<Heap>> players;
        std::vector<std::function<void()>> bodies;
        for (std::uint32_t k = 0; k <= script.size(); ++k) players.emplace_back(heap, k);
        for (std::size_t k = 0; k < script.size(); ++k) bodies.emplace_back([&, k] { players[k].play(script[k]); });
        Operation given;
        given.called = Explorer::tick();
        begin(heap, start, script.size(), given);
        given.returned = Explorer::tick();
        if (!given.given.empty()) history.push_back(given);
        Explorer::together(bodies);
        const std::string broken = heap.check();
        Explorer::require(broken.empty(), broken);
        const std::size_t counted = heap.size();
        players.back().drain();
        Explorer::require(players.back().done.size() == counted + 1, "size() was " + std::to_string(counted) + " and " +
                                                                         std::to_string(players.back().done.size() - 1) + " were left");
        for (const auto& player : players) history.insert(history.end(), player.done.begin(), player.done.end());
    }
    explained.check(history);
}

std::string named(const Script& script) {
    std::string out;
    for (const auto& acts : script) {
        out += out.empty() ? "" : " | ";
        for (std::size_t k = 0; k < acts.size(); ++k) out.append(k == 0 ? "" : ", ").append(kActNames[static_cast<std::size_t>(acts[k])]);
    }
    return out;
}

struct Totals {
    std::uint64_t scripts = 0, schedules = 0, longest = 0, histories = 0;
    void show(const std::string& what) const {
        MESSAGE(what << ": " << scripts << " programs, " << schedules << " schedules, up to " << longest << " atomic accesses each, " << histories << " different histories");
    }
};

template <class Atom>
void check(const Script& script, Start start, unsigned preemptions, Totals& totals) {
    // Where a thread does as much as three others, one preemption less, but for the long form.
    const bool much = std::any_of(script.begin(), script.end(), [](const auto& acts) {
        return std::find(acts.begin(), acts.end(), Act::push_thrice) != acts.end();
    });
    if (much && preemptions > 0 && !long_form()) --preemptions;
    Explained explained;
    const auto report = Explorer::explore({.preemptions = preemptions}, [&] { execute<Atom>(script, start, explained); });
    ++totals.scripts;
    totals.schedules += report.schedules;
    totals.longest = std::max(totals.longest, report.longest);
    totals.histories += explained.size();
    if (report.failure.empty()) return;
    FAIL(named(script) << " on " << kStartNames[static_cast<std::size_t>(start)] << ", schedule " << report.schedule << ":\n" << report.failure);
}

template <class Acts, class Visit>
void each_pair(const Acts& acts, Visit&& visit) {
    for (std::size_t a = 0; a < acts.size(); ++a) {
        for (std::size_t b = a; b < acts.size(); ++b) visit(acts[a], acts[b]);
    }
}
template <class Acts, class Visit>
void each_triple(const Acts& acts, Visit&& visit) {
    for (std::size_t a = 0; a < acts.size(); ++a) {
        for (std::size_t b = a; b < acts.size(); ++b) {
            for (std::size_t c = b; c < acts.size(); ++c) visit(acts[a], acts[b], acts[c]);
        }
    }
}

template <class Atom>
void check_triples(Start start, unsigned preemptions) {
    Totals totals;
    const auto visit = [&](Act a, Act b, Act c) { check<Atom>({{a}, {b}, {c}}, start, preemptions, totals); };
    long_form() ? each_triple(kActs, visit) : each_triple(kTripleActs, visit);
    totals.show("triples");
}

}  // namespace

TEST_CASE("any two operations on a small heap, preempted up to three times") {
    for (const Start start : {Start::empty, Start::one, Start::two, Start::inboxes}) {
        Totals totals;
        const unsigned preemptions = start == Start::empty || start == Start::one || long_form() ? kThorough : kUsual;
        each_pair(kActs, [&](Act a, Act b) { check<EagerAtom>({{a}, {b}}, start, preemptions, totals); });
        totals.show("pairs");
    }
}

TEST_CASE("any two operations on a heap of all kinds of blocks, preempted up to twice") {
    Totals totals;
    const unsigned preemptions = long_form() ? kThorough : kUsual;
    each_pair(kActs, [&](Act a, Act b) { check<EagerAtom>({{a}, {b}}, Start::worn, preemptions, totals); });
    totals.show("pairs");
    Totals reusing;
    each_pair(kActs, [&](Act a, Act b) { check<ReuseAtom>({{a}, {b}}, Start::worn, preemptions, reusing); });
    reusing.show("pairs, blocks reused at once");
}

TEST_CASE("any three operations, preempted up to twice on a small heap, once on one of all kinds of blocks") {
    check_triples<EagerAtom>(Start::inboxes, kUsual);
    check_triples<EagerAtom>(Start::one_inbox, long_form() ? kUsual : kQuick);
    if (long_form()) check_triples<EagerAtom>(Start::two, kUsual);
    check_triples<EagerAtom>(Start::worn, long_form() ? kUsual : kQuick);
    if (long_form()) check_triples<ReuseAtom>(Start::worn, kUsual);
}

TEST_CASE("any two operations in a row beside any third") {
    const auto check_rows = [](const std::string& what, std::span<const Act> acts, auto&& check_one) {
        Totals totals;
        for (const Act first : acts) {
            for (const Act second : acts) {
                for (const Act other : acts) check_one(Script{{first, second}, {other}}, totals);
            }
        }
        totals.show("two beside one, " + what);
    };
    const unsigned quick = long_form() ? kUsual : kQuick;
    check_rows("a small heap", kActs, [&](const Script& script, Totals& totals) { check<EagerAtom>(script, Start::two, quick, totals); });
    check_rows("inboxes", long_form() ? std::span<const Act>(kActs) : std::span<const Act>(kFewActs),
               [&](const Script& script, Totals& totals) { check<EagerAtom>(script, Start::inboxes, kUsual, totals); });
    check_rows("all kinds of blocks", long_form() ? std::span<const Act>(kActs) : std::span<const Act>(kFewActs),
               [&](const Script& script, Totals& totals) { check<ReuseAtom>(script, Start::worn, quick, totals); });
}
