// The reclaimer by itself, under every schedule with a bounded number of preemptions: one slot that threads read and
// replace. The heap's own model check has it too, among much else; here the bound reaches further.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "freed_memory.hpp"
#include "model_check.hpp"
#include "penstock/detail/reclaim.hpp"

using namespace penstock;
using namespace penstock::test;

namespace {

struct EagerAtom : ExploredAtom {
    static constexpr detail::ReclaimLimits kReclaimLimits{.sweep_every = 1, .tick_every = 1, .shelf_depth = 0, .light = 0};
};
struct ReuseAtom : ExploredAtom {
    static constexpr detail::ReclaimLimits kReclaimLimits{.sweep_every = 1, .tick_every = 1, .shelf_depth = 16, .light = 0};
};
// An idle thread keeps its reservation, as in a process that holds little.
struct LazyAtom : ExploredAtom {
    static constexpr detail::ReclaimLimits kReclaimLimits{.sweep_every = 1, .tick_every = 2, .shelf_depth = 0, .light = 1 << 20};
};

template <class Atom>
struct Slot {
    struct Node : detail::Block {
        explicit Node(std::uint64_t value_) : value(value_), check(~value_) {}
        std::uint64_t value;  // plain: AddressSanitizer and ThreadSanitizer see who reads it too late
        std::uint64_t check;
        typename Atom::template atomic<int> touched{0};
    };
    using Reclaimer = detail::Reclaimer<Atom>;

    typename Atom::template atomic<Node*> node{nullptr};

    explicit Slot(std::uint64_t value) {
        Reclaimer& all = Reclaimer::instance();
        node.store(all.template make<Node>(all.mine(), 0, value));
    }
    ~Slot() {
        Reclaimer& all = Reclaimer::instance();
        all.discard(all.mine(), node.load());
    }

    std::uint64_t read() {
        Reclaimer& all = Reclaimer::instance();
        auto& record = all.mine();
        Node* const seen = all.protect(record, node);
        (void)seen->touched.fetch_add(1);
        const std::uint64_t value = seen->value;
        (void)seen->touched.fetch_add(1);
        Explorer::require(seen->value == value && seen->check == ~value, "a node changed while it was read");
        all.leave(record);
        return value;
    }
    void replace(std::uint64_t value) {
        Reclaimer& all = Reclaimer::instance();
        auto& record = all.mine();
        Node* const fresh = all.template make<Node>(record, 0, value);
        all.retire(record, node.exchange(fresh));
        all.leave(record);
    }
};

template <class Atom>
void check_slot(const std::string& what) {
    check_all(what + ", a reader and a writer", kThorough, [] {
        Slot<Atom> slot(1);
        Explorer::together({[&] { (void)slot.read(), (void)slot.read(); }, [&] { slot.replace(2), slot.replace(3), slot.replace(4); }});
        Explorer::require(slot.read() == 4, "the last value is lost");
    });
    check_all(what + ", a reader and two writers", kUsual, [] {
        Slot<Atom> slot(1);
        Explorer::together({[&] { (void)slot.read(); }, [&] { slot.replace(2), slot.replace(3); }, [&] { slot.replace(4), slot.replace(5); }});
        const std::uint64_t last = slot.read();
        Explorer::require(last == 3 || last == 5, "the last value is lost");
    });
}

}  // namespace

TEST_CASE("what a thread reads is not freed, not reused, and not changed") {
    check_slot<EagerAtom>("freed at once");
    check_slot<ReuseAtom>("reused at once");
    check_slot<LazyAtom>("reservations kept");
}

TEST_CASE("no two threads that live at once have one record") {
    check_all("records", kThorough, [] {
        using Reclaimer = detail::Reclaimer<EagerAtom>;
        std::array<typename Reclaimer::Record*, 3> held{};
        const auto live = [&](std::size_t me) {
            auto* const mine = &Reclaimer::instance().mine();
            {
                const Unwatched unwatched;
                for (const auto* other : held) Explorer::require(other != mine, "two threads have one record");
                held[me] = mine;
            }
            Explorer::step();
            const Unwatched unwatched;
            held[me] = nullptr;  // right before the end of the thread, which gives the record back
        };
        Explorer::together({[&] { live(0); }, [&] { live(1); }, [&] { live(2); }});
    });
}
