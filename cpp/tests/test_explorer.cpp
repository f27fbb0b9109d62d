// The explorer itself: it counts what it should, finds planted bugs within their bound, and shows them again.
#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "explorer.hpp"
#include "freed_memory.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

template <class T>
using Shared = ExploredAtom::atomic<T>;

// Two threads that each add one by a load and a store: the textbook lost update.
void lost_update() {
    Shared<int> sum{0};
    const auto add = [&] { sum.store(sum.load() + 1); };
    Explorer::together({add, add});
    Explorer::require(sum.load() == 2, "an addition was lost");
}

// n steps a thread, so that schedules can be counted by hand.
std::uint64_t schedules(unsigned preemptions, std::size_t threads, int steps, std::set<std::string>* seen = nullptr) {
    const auto program = [&] {
        Shared<int> any{0};
        std::string order;
        std::vector<std::function<void()>> bodies;
        for (std::size_t k = 0; k < threads; ++k) {
            bodies.emplace_back([&, k] {
                for (int s = 0; s < steps; ++s) {
                    (void)any.load();
                    const Unwatched unwatched;
                    order += static_cast<char>('0' + k);
                }
            });
        }
        Explorer::together(bodies);
        if (seen != nullptr) seen->insert(order);
    };
    const Explorer::Report report = Explorer::explore({.preemptions = preemptions}, program);
    CHECK(report.failure == "");
    CHECK(report.longest == threads * static_cast<std::size_t>(steps));
    return report.schedules;
}

}  // namespace

TEST_CASE("every order within the bound is run, each once") {
    CHECK(schedules(0, 2, 4) == 2);             // who goes first
    CHECK(schedules(0, 3, 4) == 6);
    CHECK(schedules(1, 2, 4) == 2 + 2 * 3);     // one thread is left at one of its 3 inner points
    std::set<std::string> seen;
    CHECK(schedules(9, 2, 4, &seen) == 70);     // more than there are to use up: all interleavings, 8! / (4! 4!)
    CHECK(seen.size() == 70);
    seen.clear();
    CHECK(schedules(9, 3, 2, &seen) == 90);     // 6! / (2! 2! 2!)
    CHECK(seen.size() == 90);
}

TEST_CASE("a lost update is found with one preemption, not without, and shows again by its schedule") {
    CHECK(Explorer::explore({.preemptions = 0}, lost_update).failure == "");
    const Explorer::Report found = Explorer::explore({.preemptions = 1}, lost_update);
    CHECK(found.failure == "an addition was lost");
    CHECK(found.schedule == "0:1 1:2 0:1");
    const Explorer::Report again = Explorer::replay({.preemptions = 1}, found.schedule, lost_update);
    CHECK(again.failure == found.failure);
    CHECK(again.schedule == found.schedule);
    CHECK(Explorer::replay({.preemptions = 1}, "1:2 0:2", lost_update).failure == "");
}

TEST_CASE("a thread that waits for another is found") {
    const auto spin = [] {
        Shared<int> lock{0};
        const auto section = [&] {
            while (lock.exchange(1) != 0) {}
            lock.store(0);
        };
        Explorer::together({section, section});
    };
    const Explorer::Report found = Explorer::explore({.preemptions = 1, .steps = 500}, spin);
    CHECK(found.failure.substr(0, 25) == "no end after 500 accesses");
    CHECK(found.schedule.substr(0, 4) == "0:1 ");  // left inside the section
}

#if !defined(PENSTOCK_FIBRE_ASAN) && !defined(PENSTOCK_FIBRE_TSAN)  // they report it themselves, and end the program
TEST_CASE("an access to memory that another thread has freed is found") {
    struct Node {
        Shared<int> value{7};
    };
    const auto early = [] {
        Shared<Node*> head{new Node};
        int read = 0;
        Explorer::together({[&] { read = head.load()->value.load(); },
                            [&] {
                                Node* const old = head.exchange(new Node);
                                delete old;  // without asking whether somebody reads it
                            }});
        delete head.load();
        Explorer::require(read == 7, "read something else");
    };
    CHECK(Explorer::explore({.preemptions = 1}, early).failure == "an atomic access to freed memory");
}
#endif

TEST_CASE("three threads whose bug needs two preemptions are left alone by one") {
    // Thread 0 sees flag a, later not b; it breaks only when 1 comes in between and 2 has not.
    const auto program = [] {
        Shared<int> a{0}, b{0};
        bool broken = false;
        Explorer::together({[&] {
                                const bool before = a.load() == 0;
                                const bool between = a.load() == 1;
                                const bool after = a.load() == 2;
                                broken = before && between && after;
                            },
                            [&] { a.store(1); },
                            [&] { b.store(1), a.store(2); }});
        Explorer::require(!broken, "broken");
    };
    CHECK(Explorer::explore({.preemptions = 1}, program).failure == "");
    CHECK(Explorer::explore({.preemptions = 2}, program).failure == "broken");
}

TEST_CASE("what exists once a thread is fresh in each execution and gone when its thread ends") {
    struct Counter {
        int value = 0;
    };
    const auto program = [] {
        Shared<int> any{0};
        int first = 0, second = 0;
        const auto count_into = [&](int& seen) {
            (void)any.load();
            ++ExploredAtom::of_thread<Counter>().value;
            (void)any.load();
            seen = ++ExploredAtom::of_thread<Counter>().value;
        };
        Explorer::together({[&] { count_into(first); }, [&] { count_into(second); }});
        Explorer::require(first == 2 && second == 2, "two threads shared one");
        Explorer::require(++ExploredAtom::of_process<Counter>().value == 1, "left over from another execution");
    };
    CHECK(Explorer::explore({.preemptions = 2}, program).failure == "");
}
