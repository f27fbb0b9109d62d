// Reclaimer: decides when a block that was taken out of a lock-free structure may be freed.
//
// What it is. Hazard eras (Ramalhete and Correia, 2017), one reservation a thread. A clock of eras ticks as blocks
// are retired. A block carries the era of its birth and of its retirement; a thread publishes the era in which it
// reads. A retired block is freed once no published era lies in [birth, death]. One reservation protects all that
// is reachable from the pointer protect() returned, because all of it was alive in that era.
//
// When not to use it: for blocks reached through a pointer that changes after protect() returned, or held across a
// second protect(): the second call moves the reservation, and the first pointer must not be followed any more.
//
// Progress. retire() and leave() are wait-free but for the loop over the records; protect() is lock-free: it
// repeats only when another thread retired blocks meanwhile. Real allocation is the allocator's and outside the claim;
// blocks of the shelved sizes are recycled by the thread, so that a steady state does not allocate.
//
// Memory: who frees, and when. The thread that retired a block frees it, in a sweep that comes after every few of
// its own retirements. A stalled thread holds what was alive in its era, and the few blocks that it had retired
// itself; nothing born later. An idle thread may keep its reservation (that makes the next protect() free of
// any fence) only while the process holds less than kLight bytes of blocks; otherwise leave() gives it up.
// Records are never freed: there are as many as there were threads at once. There is one Reclaimer for each Atom,
// which lives until the process ends (the Atom of a model check ends it earlier).
//
// Invariants, and what checks them (test_priority_heap_memory.cpp):
//   1. A block is freed once, and only when unreachable.              AddressSanitizer on all tests
//   2. At rest, after every thread swept, nothing retired is left.     held_bytes(), by each case there
//   3. What a stalled thread holds does not grow with time.            held_bytes(); test_priority_heap_parked.cpp
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "penstock/atom.hpp"
#include "penstock/detail/pages.hpp"

namespace penstock::detail {

// The head of every block that a Reclaimer frees. Its fields belong to the Reclaimer.
struct Block {
    Block() noexcept {}  // leaves them unset: make() sets what is needed

    std::uint64_t birth;
    std::uint64_t death;
    Block* next;
    std::uint32_t bytes;
    std::uint32_t shelf;  // where it is kept for reuse; the number of shelves: nowhere
};

// How lazily blocks are freed. The defaults are what measured best; a model check takes ones that free at once.
struct ReclaimLimits {
    std::uint32_t sweep_every = 8;   // retirements of one thread
    std::uint32_t tick_every = 8;    // retirements of one thread
    std::uint32_t shelf_depth = 16;  // blocks of one size that a thread keeps for reuse
    std::int64_t light = 256 * 1024; // bytes in all below which an idle thread may keep its reservation
};

// Those that the Atom brings, else the defaults.
template <class Atom>
[[nodiscard]] constexpr ReclaimLimits reclaim_limits() noexcept {
    if constexpr (requires { Atom::kReclaimLimits; }) {
        return Atom::kReclaimLimits;
    } else {
        return {};
    }
}

template <class Atom = StdAtom>
class Reclaimer {
public:
    template <class T>
    using atomic = typename Atom::template atomic<T>;

    static constexpr std::array<std::size_t, 3> kShelves{512, 1024, 2048};  // bytes; the sizes kept for reuse
    static constexpr ReclaimLimits kLimits = reclaim_limits<Atom>();
    static constexpr std::int64_t kLight = kLimits.light;

    struct alignas(64) Record {
        atomic<std::uint64_t> era{0};  // 0: reads nothing
        atomic<bool> taken{true};
        Record* older = nullptr;       // constant once the record is published, as is
        std::uint32_t number = 0;      // from 0, in the order of making
        // What follows belongs to the thread that has taken the record.
        std::uint64_t own_era = 0;     // what `era` holds
        Block* retired = nullptr;
        std::uint32_t retired_count = 0;
        std::uint32_t sweep_at = kSweepEvery;
        std::uint32_t until_tick = kTickEvery;
        std::array<Block*, kShelves.size()> shelf{};
        std::array<std::uint32_t, kShelves.size()> shelved{};
    };

    Reclaimer() = default;  // for the Atom, which makes the one of the process
    Reclaimer(const Reclaimer&) = delete;
    Reclaimer& operator=(const Reclaimer&) = delete;

    // Frees all that is left. The product's lives as long as its process; this is for a model check, which begins each
    // execution with a fresh one. Precondition: every thread that used it has ended.
    ~Reclaimer() {
        Record* record = records_.load(std::memory_order_relaxed);  // no other thread is left
        while (record != nullptr) {
            while (Block* const block = record->retired) {
                record->retired = block->next;
                give_memory(block);
            }
            delete std::exchange(record, record->older);
        }
    }

    [[nodiscard]] static Reclaimer& instance() { return Atom::template of_process<Reclaimer>(); }

    // The record of the calling thread.
    [[nodiscard]] Record& mine() {
        if (Record* const record = own().record) [[likely]] return *record;
        return enlist();
    }

    // The value of `source`, with all that is reachable from it kept until the thread's next protect() or leave().
    template <class T>
    [[nodiscard]] T* protect(Record& record, const atomic<T*>& source) noexcept {
        // All four accesses are seq_cst: the store of the reservation must not sink below the load of the pointer,
        // and sweep()'s load of the reservation must not rise above the exchange that took the block out.
        for (;;) {
            T* pointer = source.load(std::memory_order_seq_cst);
            const std::uint64_t now = clock_.load(std::memory_order_seq_cst);
            if (now == record.own_era) return pointer;
            record.era.store(now, std::memory_order_seq_cst);
            record.own_era = now;
        }
    }

    // Ends an operation: nothing that protect() returned is followed any more.
    void leave(Record& record) noexcept {
        // relaxed: a hint about how much there is to hold; a stale value only delays when the reservation goes.
        if (bytes_.load(std::memory_order_relaxed) < kLight) [[likely]] return;
        // release: pairs with the load in sweep(). Without it, a block could be reused while the reads that this
        // thread has made from it are still under way.
        record.era.store(0, std::memory_order_release);
        record.own_era = 0;
    }

    // Room for a T followed by `tail` bytes. Throws std::bad_alloc.
    template <class T, class... Args>
    [[nodiscard]] T* make(Record& record, std::size_t tail, Args&&... args) {
        static_assert(std::is_base_of_v<Block, T> && std::is_trivially_destructible_v<T>);
        static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
        const std::size_t bytes = sizeof(T) + tail;
        std::uint32_t s = 0;
        while (s < kShelves.size() && kShelves[s] < bytes) ++s;
        void* memory = nullptr;
        const bool reused = s < kShelves.size() && record.shelf[s] != nullptr;
        if (reused) [[likely]] {
            memory = record.shelf[s];
            record.shelf[s] = record.shelf[s]->next;
            --record.shelved[s];
        } else {
            memory = take_memory(s < kShelves.size() ? kShelves[s] : bytes);
        }
        T* block = new (memory) T(std::forward<Args>(args)...);
        block->bytes = static_cast<std::uint32_t>(s < kShelves.size() ? kShelves[s] : bytes);
        block->shelf = s;
        block->birth = clock_.load(std::memory_order_seq_cst);  // before it is published, so protect() sees no less
        return block;
    }

    // Gives back a block that was never published.
    void discard(Record& record, Block* block) noexcept {
        const std::uint32_t s = block->shelf;
        if (s < kShelves.size() && record.shelved[s] < kShelfDepth) [[likely]] {
            block->next = record.shelf[s];
            record.shelf[s] = block;
            ++record.shelved[s];
            return;
        }
        // relaxed: a count, read as a hint and by tests at rest; it orders nothing.
        bytes_.fetch_sub(static_cast<std::int64_t>(block->bytes), std::memory_order_relaxed);
        give_memory(block);
    }

    // Takes over blocks that no thread can reach any more from now on. The caller follows no pointer that it
    // protected before.
    void retire(Record& record, std::span<Block* const> blocks) noexcept {
        const std::uint64_t now = clock_.load(std::memory_order_seq_cst);  // after they were taken out
        for (Block* block : blocks) note_retired(record, block, now);
        if (record.retired_count >= record.sweep_at) sweep(record);
    }
    void retire(Record& record, Block* block) noexcept {
        note_retired(record, block, clock_.load(std::memory_order_seq_cst));  // as above
        if (record.retired_count >= record.sweep_at) [[unlikely]] sweep(record);
    }

    // Frees what the calling thread has retired and nobody reads.
    void sweep(Record& record) noexcept {
        std::array<std::uint64_t, kEras> eras;
        std::size_t count = 0;
        bool all = true;
        for (Record* other = records_.load(std::memory_order_seq_cst); other != nullptr; other = other->older) {
            if (other == &record) continue;  // this thread follows nothing any more, see retire()
            // seq_cst as in protect(); its acquire side pairs with leave() and with the stores in protect().
            const std::uint64_t era = other->era.load(std::memory_order_seq_cst);
            if (era == 0) continue;
            if (count == kEras) { all = false; break; }
            eras[count++] = era;
        }
        if (!all) return sweep_many(record);
        free_unless(record, [&](const Block& block) {
            for (std::size_t k = 0; k < count; ++k) {
                if (block.birth <= eras[k] && eras[k] <= block.death) return true;
            }
            return false;
        });
    }

    // A fresh number, unique in this process.
    [[nodiscard]] std::uint64_t serial() noexcept {
        return serials_.fetch_add(1, std::memory_order_relaxed) + 1;  // relaxed: only unique, publishes nothing
    }

    // Bytes of all blocks: in use, retired, or shelved for reuse.
    [[nodiscard]] std::int64_t held_bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }

private:
    static constexpr std::uint32_t kSweepEvery = kLimits.sweep_every;
    static constexpr std::uint32_t kTickEvery = kLimits.tick_every;
    static constexpr std::uint32_t kShelfDepth = kLimits.shelf_depth;
    static constexpr std::size_t kEras = 64;

    // The record that the calling thread has taken. Apart from Lease, so that looking at it costs no guard.
    struct Own {
        Record* record = nullptr;
    };
    [[nodiscard]] static Own& own() noexcept { return Atom::template of_thread<Own>(); }

    // Gives the record back when its thread ends; the next new thread takes it over with what is left in it.
    struct Lease {
        Record* record = nullptr;
        ~Lease() {
            if (record == nullptr) return;
            Reclaimer& all = instance();
            all.sweep(*record);
            for (std::size_t s = 0; s < kShelves.size(); ++s) {
                while (Block* block = record->shelf[s]) {
                    record->shelf[s] = block->next;
                    all.bytes_.fetch_sub(static_cast<std::int64_t>(block->bytes), std::memory_order_relaxed);  // as in discard()
                    give_memory(block);
                }
                record->shelved[s] = 0;
            }
            record->own_era = 0;
            record->era.store(0, std::memory_order_release);  // as in leave()
            own().record = nullptr;
            // release: hands the owner's fields to the thread that takes the record in enlist() (acquire).
            // With relaxed, that thread could read a half-written list of retired blocks.
            record->taken.store(false, std::memory_order_release);
        }
    };

    [[nodiscard]] Record& enlist() {
        Lease& lease = Atom::template of_thread<Lease>();
        Record* record = records_.load(std::memory_order_seq_cst);
        for (; record != nullptr; record = record->older) {
            bool taken = false;
            // acquire: pairs with the release in ~Lease.
            if (record->taken.compare_exchange_strong(taken, true, std::memory_order_acquire, std::memory_order_relaxed)) break;
        }
        if (record == nullptr) {
            record = new Record;
            record->number = record_count_.fetch_add(1, std::memory_order_relaxed);  // only unique; see records_
            record->older = records_.load(std::memory_order_seq_cst);
            while (!records_.compare_exchange_weak(record->older, record, std::memory_order_seq_cst)) {}
        }
        lease.record = own().record = record;
        return *record;
    }

    void note_retired(Record& record, Block* block, std::uint64_t now) noexcept {
        block->death = now;
        block->next = record.retired;
        record.retired = block;
        ++record.retired_count;
        if (--record.until_tick == 0) {
            record.until_tick = kTickEvery;
            clock_.fetch_add(1, std::memory_order_seq_cst);
        }
    }

    [[nodiscard, gnu::noinline]] void* take_memory(std::size_t bytes) {
        if (bytes > 0xFFFFFFFF) throw std::bad_alloc();  // Block counts in 32 bits; no block comes near
        void* memory = bytes < kLarge ? ::operator new(bytes) : allocate_pages(bytes, alignof(std::max_align_t));
        bytes_.fetch_add(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);  // as in discard()
        return memory;
    }

    static void give_memory(Block* block) noexcept {
        const std::size_t bytes = block->bytes;
        void* const memory = block;
        bytes < kLarge ? ::operator delete(memory) : free_pages(memory, bytes, alignof(std::max_align_t));
    }

    // The way of sweep() when more threads read than the array holds: asks every record for every block.
    void sweep_many(Record& record) noexcept {
        Record* const newest = records_.load(std::memory_order_seq_cst);
        free_unless(record, [&](const Block& block) {
            for (Record* other = newest; other != nullptr; other = other->older) {
                const std::uint64_t era = other->era.load(std::memory_order_seq_cst);  // as in sweep()
                if (other != &record && block.birth <= era && era <= block.death) return true;
            }
            return false;
        });
    }

    template <class Read>
    void free_unless(Record& record, Read&& is_read) noexcept {
        Block* block = std::exchange(record.retired, nullptr);
        record.retired_count = 0;
        while (block != nullptr) {
            Block* const next = block->next;
            if (is_read(*block)) {
                block->next = record.retired;
                record.retired = block;
                ++record.retired_count;
            } else {
                discard(record, block);
            }
            block = next;
        }
        record.sweep_at = 2 * record.retired_count + kSweepEvery;  // so that what is held is not asked about each time
    }

    alignas(64) atomic<std::uint64_t> clock_{1};
    alignas(64) atomic<Record*> records_{nullptr};
    atomic<std::uint32_t> record_count_{0};
    atomic<std::uint64_t> serials_{0};
    atomic<std::int64_t> bytes_{0};
};

}  // namespace penstock::detail
