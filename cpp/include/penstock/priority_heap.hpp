// PriorityHeap: the lock-free priority queue of ready tasks.
//
// What it is. A queue of (rank, tie, task): the smaller rank leaves first, among equal ranks the smaller tie, so
// ties that count submissions give first in, first out. A queued task can be cancelled or re-ranked. Claims live
// in the task's ticket (tickets.hpp), entries in the heap are immutable hints; so blocks of entries may be copied
// and merged by any thread at any time, and no thread ever waits for another. The blocks: detail/heap_blocks.hpp.
//
// When not to use it. For a few fixed ranks an array of FIFOs is faster. From one thread only, std::priority_queue
// is somewhat faster while it is small, and needs no tickets. For many poppers that need no exact order, a relaxed
// queue scales better: every strict queue has one head.
//
// Progress. push, pop, peek, cancel, rerank and their batches are lock-free: an operation repeats a step only when
// another operation has completed one. size() is wait-free. Calls of the allocator are outside this claim (a steady
// push/pop traffic makes none: see detail/reclaim.hpp).
//
// Order. Linearizable, single operations and batch push alike; strict order and FIFO at rest follow.
//   push        when it publishes its entry in the thread's inbox, or its root exchange succeeds where it has none, or
//               just before the cancel or re-rank that overtakes it
//   batch push  one root exchange for all of it, but for tasks that a cancel or re-rank overtakes meanwhile: those
//               are in just before that
//   pop, peek   at an instant at which the entry was the smallest: it saw every smaller entry of one root and of all
//               inboxes gone, then that root still in place, or replaced by one that got nothing smaller since, and
//               nothing smaller in the inboxes, and then the entry there
//   pop (none)  the same, with every entry of the root and the inboxes gone
//   cancel      the exchange on the ticket
//   rerank      the exchange on the ticket, made when the entry with the new rank is already in the heap: the task
//               is never absent and never there twice
//   batch pop   a sequence of single pops
//   size        exact at rest; while others work, off by the operations under way
//
// Memory. A root exchange retires what it replaced to the Reclaimer, which says who frees it, when, and what a
// stalled thread can hold. An entry that no longer counts is dropped when its block is rebuilt; when those entries
// outnumber the others, pushes and cancels rebuild one run in turn. A heap that was never pushed to owns no block. An
// inbox lives as long as the heap.
//
// Invariants, and the test that checks each (cpp/tests/test_priority_heap*.cpp):
//   1. Exactly one operation takes a pushed entry out.                     concurrent: every task leaves once
//   2. No entry is lost: what was pushed and not taken is in the heap.     concurrent: drain at rest
//   3. No item of a far run is smaller than the last item of `near`.       check(), called throughout
//   4. Front, near and each run are sorted.                                check()
//   5. The items before a `hint` are gone for good.                        check()
//   6. size() == pushes - pops - cancels at rest.                          differential against an ordered set
//   7. Recorded histories have a sequential explanation.                   linearizability checker
//   8. A thread parked at any atomic step stops nobody, and memory stays bounded.   parked-thread test
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/atom.hpp"
#include "penstock/detail/heap_blocks.hpp"
#include "penstock/detail/inbox.hpp"
#include "penstock/detail/reclaim.hpp"
#include "penstock/tickets.hpp"
#include "penstock/types.hpp"

namespace penstock {

// A queued task. Rank first, then tie.
struct HeapEntry {
    TaskId task{};
    Rank rank{};
    std::uint64_t tie = 0;
    friend bool operator==(const HeapEntry&, const HeapEntry&) = default;
};

// The place of an entry in the order.
struct HeapKey {
    Rank rank{};
    std::uint64_t tie = 0;
};

// How large the blocks grow. The defaults are what measured best; a test takes tiny ones, so that a handful of entries
// reaches every path.
struct HeapLimits {
    std::size_t front_items = 64;   // a push copies half of it on average; an overflow comes once in as many pushes
    std::size_t front_keeps = 48;   // survivors of an overflow that still make no body worth having
    std::size_t near_items = 512;   // above that, `near` is cut to near_refill
    std::size_t near_refill = 256;  // so many items are drawn at once, or one a far run where those are more
    std::size_t run_items = 4096;   // largest run that a push makes: bounds the work of one merge
    std::size_t fan_out = 8;        // so many runs of one tier become one of the next
    std::size_t window = 16;        // a pop that meets a new root goes on if no smaller entry came in since; so far back it knows
    std::size_t slack = 4096;       // so many entries that do not count any more are let lie, whatever the size
    std::size_t inbox_items = 16;   // a popper looks at so many for each thread that pushes
    std::size_t inboxes = 8;        // threads with an inbox; others push to the root each time
    bool inbox_at_once = false;     // not only for a thread that has met another

    // Runs of the top tier are not merged any more: 64 -> 512 -> 4096.
    static constexpr std::uint32_t kTopTier = 2;
    [[nodiscard]] constexpr std::uint32_t tier_of(std::size_t count) const noexcept {
        const std::size_t small = front_items + front_items / 4;
        return count <= small ? 0 : count <= fan_out * small ? 1 : kTopTier;
    }
};

template <class Atom = StdAtom, HeapLimits Limits = HeapLimits{}>
class BasicPriorityHeap {
public:
    using Entry = HeapEntry;
    using Key = HeapKey;
    using Tickets = BasicTickets<Atom>;

    // Several heaps may share one table; a task is queued in at most one of them. The table outlives the heap.
    // Throws std::length_error when the table has opened 65535 heaps.
    // `inboxes`: as in the limits, or fewer; 0 where poppers matter more than threads that push at once.
    explicit BasicPriorityHeap(Tickets& tickets, std::size_t inboxes = Limits.inboxes)
        : tickets_(tickets), queue_(tickets.open_queue()), most_inboxes_(std::min(inboxes, Limits.inboxes)) {}
    BasicPriorityHeap(const BasicPriorityHeap&) = delete;
    BasicPriorityHeap& operator=(const BasicPriorityHeap&) = delete;
    ~BasicPriorityHeap();

    // Queues a task. Throws std::logic_error when it is queued already (in whichever heap), std::bad_alloc; then
    // nothing was pushed. Precondition: the rank is not NaN.
    void push(const Entry& entry);

    // Queues all of them at one instant, in any order given. Throws as above; then none was pushed.
    void push(std::span<const Entry> entries);

    // Takes the smallest entry, or nothing when the heap is empty.
    [[nodiscard]] std::optional<Entry> pop();

    // Takes the smallest entries in order, as many as fit in `out`, as there are, and as are smaller than `before`.
    // Returns how many.
    std::size_t pop(std::span<Entry> out, const std::optional<Key>& before = {});

    // The smallest entry at some instant during the call; it stays queued.
    [[nodiscard]] std::optional<Entry> peek();

    // Takes the task out. True exactly when this call did it; false when it is not queued in this heap.
    bool cancel(TaskId task);

    // Gives a queued task a new rank and tie. False, and nothing changed, when it is not queued in this heap.
    bool rerank(const Entry& entry);

    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }

    // Checks invariants 3 to 5 on a heap at rest and returns what is broken, or an empty string. For tests.
    [[nodiscard]] std::string check();

private:
    using Item = detail::Item;
    using Block = detail::Block;
    using Run = detail::Run<Atom>;
    using Far = detail::Far<Atom>;
    using Body = detail::Body<Atom>;
    using Front = detail::Front<Atom>;
    using Inbox = detail::Inbox<Atom, Limits.inbox_items>;
    using Reclaimer = detail::Reclaimer<Atom>;
    using Record = typename Reclaimer::Record;
    template <class T>
    using atomic = typename Atom::template atomic<T>;

    enum class Hold : std::uint8_t { live, gone, pending };
    enum class Verdict : std::uint8_t { again, left, taken };  // what was done with the head: nothing yet, left in, claimed

    // One operation of the calling thread.
    struct Visit {
        Reclaimer& all = Reclaimer::instance();
        Record& record = all.mine();
        Visit() = default;
        Visit(const Visit&) = delete;
        Visit& operator=(const Visit&) = delete;
        ~Visit() { all.leave(record); }
    };

    // Doubling pauses after a lost exchange, bounded; so the winner gets some work done before the next collision.
    class Pauses {
    public:
        void rest() noexcept {
            for (unsigned k = 0; k < count_; ++k) Atom::relax();
            if (count_ < 512) count_ *= 2;
        }

    private:
        unsigned count_ = 8;
    };

    // What the next root or body is made of, and which blocks it makes superfluous.
    struct Draft {
        Run* near = nullptr;
        std::vector<Far> far;
        std::vector<Block*> made;
        std::vector<Block*> replaced;
    };

    // What the inboxes held when a look began.
    struct Inboxes {
        std::uint32_t count = 0;
        std::array<std::uint64_t, Limits.inboxes> published, moved;  // NOLINT: valid below count
    };

    // The smallest live item that a look found, and where.
    struct Look {
        const Item* item = nullptr;              // null: none
        atomic<std::uint32_t>* hint = nullptr;   // of the block it lies in; null when items before it may yet count
        std::uint32_t index = 0;
        std::uint32_t pending = 0;               // so many smaller items may come to count without a new root
        bool dry = false;                        // near must be refilled before the smallest item can be told
    };

    [[nodiscard]] static Item item_of(const Entry& entry, std::uint32_t version) noexcept {
        return {ordered_bits(entry.rank), entry.tie, std::uint64_t{version} << 32 | index(entry.task)};
    }
    [[nodiscard]] static Entry entry_of(const Item& item) noexcept {
        return {item.task(), rank_from_bits(item.rank), item.tie};
    }

    [[nodiscard]] Hold hold(const Item& item) noexcept {
        return hold(item, Ticket{tickets_.word(item.task()).load(std::memory_order_seq_cst)});
    }
    [[nodiscard]] Hold hold(const Item& item, Ticket ticket) const noexcept {
        if (ticket.queue() != queue_) return Hold::gone;
        if (ticket.version() == item.version()) return Hold::live;
        return static_cast<std::int32_t>(item.version() - ticket.version()) > 0 ? Hold::pending : Hold::gone;
    }

    [[nodiscard]] std::uint32_t enqueue(TaskId task);
    void undo(std::span<const Item> items) noexcept;
    bool insert(Visit& visit, std::span<const Item> items, std::uint64_t pushed);
    [[nodiscard, gnu::noinline]] bool insert_by_absorbing(Visit& visit, Front* front, std::span<const Item> items, std::uint64_t pushed);
    [[nodiscard]] Front* with_items(Visit& visit, Front* front, std::span<const Item> items);
    [[nodiscard]] Front* absorbed(Visit& visit, Front* front, std::span<const Item> items, Draft& draft);
    void count_in(Front& fresh, const Front* front, std::span<const Item> items, std::uint64_t pushed) noexcept;

    [[nodiscard, gnu::always_inline]] inline const Item* first_live(const Item* items, std::uint32_t count, atomic<std::uint32_t>& hint, Look& look) noexcept;
    [[nodiscard, gnu::always_inline]] inline Look least(Front* front) noexcept;
    template <class Decide>
    [[nodiscard, gnu::always_inline]] inline std::optional<Item> head(Visit& visit, Decide&& decide);
    [[nodiscard]] Inbox* inbox(const Record& record) const noexcept;
    void open_inbox(const Record& record) noexcept;
    void empty_inbox(Visit& visit, Inbox& inbox);
    [[nodiscard]] Inboxes look_into_inboxes(Item& least, bool& found) noexcept;
    [[nodiscard]] bool nothing_smaller_since(const Inboxes& seen, const Item& item) noexcept;
    [[nodiscard]] std::uint64_t taken() const noexcept;
    void count_out(const Record& record, std::size_t count) noexcept;
    void come_to_pop(const Record& record) noexcept;
    [[nodiscard]] std::uint64_t pushes(const Front* front) const noexcept;
    [[nodiscard]] bool claim(const Item& item) noexcept;
    [[nodiscard]] Verdict leave(const Item& item) noexcept;

    [[nodiscard]] bool sifts(Front* front) const noexcept;
    void collect(detail::Items& out, const Item* items, std::size_t begin, std::size_t end, bool sift);
    [[nodiscard]] Run* make_run(Visit& visit, Draft& draft, std::span<const Item> items);
    void add_runs(Visit& visit, Draft& draft, std::span<const Item> items);
    static void place(std::vector<Far>& far, const Far& added);
    void draw_near(Visit& visit, Draft& draft, std::span<const Item> rest, bool sift);
    [[nodiscard]] Body* make_body(Visit& visit, Draft& draft);
    [[gnu::noinline]] void refill(Visit& visit, Front* front);
    [[nodiscard]] Front* with_body(Visit& visit, Front* front, Body* body);
    void tend(Visit& visit);
    void rebuild(Visit& visit, const std::vector<Far>& sources, bool sift);
    void drop(Visit& visit, Draft& draft) noexcept;

    Tickets& tickets_;
    const std::uint32_t queue_;
    const std::size_t most_inboxes_;
    alignas(64) atomic<Front*> root_{nullptr};
    alignas(64) atomic<std::uint64_t> taken_{0};  // cancels, and pops but those of the first popper
    atomic<std::uint32_t> turn_{0};               // which run is looked at next for entries that are gone
    alignas(64) atomic<std::uint64_t> poppers_{0};  // a bit for each thread that has popped; threads may share one
    atomic<std::uint32_t> first_popper_{0};         // the number of its record, from 1
    atomic<std::uint32_t> inbox_count_{0};          // those at or above it are null
    std::array<atomic<Inbox*>, Limits.inboxes> inboxes_{};
    atomic<std::uint64_t> taken_by_first_{0};       // apart from `taken_`, on a line that others hardly read
};

using PriorityHeap = BasicPriorityHeap<>;

}  // namespace penstock

#include "penstock/detail/heap_inbox.hpp"
#include "penstock/detail/heap_pop.hpp"
#include "penstock/detail/heap_push.hpp"
#include "penstock/detail/heap_tend.hpp"
