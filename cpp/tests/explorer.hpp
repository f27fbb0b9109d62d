// Explorer: runs a small concurrent program under every schedule that a bound on preemptions allows.
//
// What it is. A stateless model checker in the manner of CHESS (Musuvathi and Qadeer, 2007) and of loom. The threads of
// the program are fibres of one OS thread. Before each atomic access the running fibre may be preempted; the search goes
// depth first through all such choices with at most `preemptions` of them in an execution. A thread that ends is
// followed by each of the others. So within the bound the search is exhaustive, and it says how many schedules it ran.
//
// What it finds. Whatever the program itself calls wrong (require), exceptions, an execution that does not end
// (`steps`: with no lock there is nothing to wait for, so a thread that runs alone must finish), an atomic access to
// memory that has been freed (AddressSanitizer finds the other accesses), and a program that is not a function of its
// schedule. A failure comes with its schedule, which replay() runs again.
//
// What it does not find. Reorderings: accesses happen in the order of the program, sequentially consistent. But under
// ThreadSanitizer the fibres are threads that synchronise by nothing but the atomics' own memory orders, so an order that
// is too weak to publish what it should is reported as a data race, in a schedule chosen on purpose.
//
// Not preempted: a thread that has made no step since it got the turn. Whoever gets the turn then could have had it
// before, for one preemption less, with the same effect.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

#include "hooked_atomic.hpp"
#include "penstock/atom.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define PENSTOCK_FIBRE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PENSTOCK_FIBRE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define PENSTOCK_FIBRE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PENSTOCK_FIBRE_TSAN 1
#endif
#endif
#ifdef PENSTOCK_FIBRE_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef PENSTOCK_FIBRE_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace penstock::test {

// While one lives, ThreadSanitizer overlooks plain accesses: those of the explorer itself, which one OS thread makes.
struct Unwatched {
#ifdef PENSTOCK_FIBRE_TSAN
    Unwatched() {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~Unwatched() {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
#else
    Unwatched() {}
    ~Unwatched() {}
#endif
    Unwatched(const Unwatched&) = delete;
    Unwatched& operator=(const Unwatched&) = delete;
};

// Memory that was freed while an execution is under way, kept until its end. A test executable that replaces operator
// delete puts blocks here (see freed_memory.hpp); then no address is given out twice within an execution.
struct FreedMemory {
    static constexpr unsigned char kPattern = 0xDD;
    struct Piece {
        const unsigned char* at;
        std::size_t bytes;
        void* block;
    };
    static inline bool keeping = false;
    static inline std::size_t count = 0;
    static inline std::array<Piece, 4096> pieces{};

    [[nodiscard]] static bool holds(const void* address, std::size_t bytes) {
        const auto* const at = static_cast<const unsigned char*>(address);
        for (std::size_t k = 0; k < bytes; ++k) {
            if (at[k] != kPattern) return false;  // the quick answer, nearly always
        }
        for (std::size_t k = 0; k < count; ++k) {
            if (pieces[k].at <= at && at < pieces[k].at + pieces[k].bytes) return true;
        }
        return false;
    }
};

class Explorer {
public:
    static constexpr std::size_t kMostThreads = 3;

    struct Bounds {
        unsigned preemptions = 2;
        std::uint64_t steps = 20'000;  // of one execution; a program of a few operations makes some hundred
    };

    struct Report {
        std::uint64_t schedules = 0;
        std::uint64_t longest = 0;  // atomic accesses of the longest execution
        std::string failure;        // of the first schedule that failed; empty: none did
        std::string schedule;       // that schedule: "0:12 1:7 0:3" is 12 accesses of thread 0, 7 of thread 1, ...
    };

    // Runs program() once for each schedule, until one fails. The program sets up, calls together() once, and checks.
    template <class Program>
    [[nodiscard]] static Report explore(Bounds bounds, Program&& program) {
        Explorer all(bounds);
        Report report;
        do {
            all.run(program);
            ++report.schedules;
            report.longest = std::max(report.longest, all.steps_);
        } while (all.failure_.empty() && all.backtrack());
        report.failure = all.failure_;
        if (!report.failure.empty()) report.schedule = all.schedule();
        return report;
    }

    // Runs the one schedule that a report names.
    template <class Program>
    [[nodiscard]] static Report replay(Bounds bounds, const std::string& schedule, Program&& program) {
        Explorer one(bounds);
        std::istringstream in(schedule);
        char colon = 0;
        for (Slice slice; in >> slice.thread >> colon >> slice.steps;) one.script_.push_back(slice);
        one.run(program);
        return {1, one.steps_, one.failure_, one.schedule()};
    }

    // Runs the bodies as threads, by the schedule that is being explored. Called by the program, once an execution.
    static void together(const std::vector<std::function<void()>>& bodies) { now().run_threads(bodies); }

    // Does something in the name of thread k of together(), before it begins, undisturbed: what exists once a thread is
    // then that thread's.
    template <class Body>
    static void as_thread(std::size_t k, Body&& body) {
        Explorer& all = now();
        all.undisturbed_ = true;
        all.me_ = k;
        body();
        all.me_ = kMain;
        all.undisturbed_ = false;
    }

    // Calls look() after every access of a thread in together(); what it throws is the failure of the execution. Not under
    // ThreadSanitizer, where its reads would synchronise the threads. Set anew in each execution.
    static void watch(std::function<void()> look) { now().watcher_ = std::move(look); }

    static void require(bool holds, const std::string& what) {
        if (!holds) throw std::runtime_error(what);
    }

    // A number that grows: the instants of a recorded history.
    [[nodiscard]] static std::uint64_t tick() {
        const Unwatched unwatched;
        return ++now().ticks_;
    }

    // A point at which the running thread may be preempted. Not within a thread of the program: does nothing.
    static void step() { step(nullptr, 0); }
    static void step(const void* address, std::size_t bytes) {
        if (now_ != nullptr && now_->me_ != kMain && !now_->undisturbed_) now_->before_access(address, bytes);
    }

    // The Atom's: one for each execution, and one for each thread of it.
    template <class T>
    [[nodiscard]] static T& of_process() {
        const Unwatched unwatched;
        return owned<T>(0);
    }
    template <class T>
    [[nodiscard]] static T& of_thread() {
        const Unwatched unwatched;
        return owned<T>(1 + now().me_);
    }

private:
    static constexpr std::size_t kMain = kMostThreads;  // the program outside of together()
    static constexpr std::size_t kStack = 256 * 1024;

    struct Slice {
        std::size_t thread = 0;
        std::uint64_t steps = 0;
    };

    // Fibres are kept for all explorations; one that was given up in the midst of a body is begun anew.
    struct Fibre {
        ucontext_t context{};
        void* stack = nullptr;
        bool ended = true;
        const std::function<void()>* body = nullptr;
#ifdef PENSTOCK_FIBRE_ASAN
        void* fake_stack = nullptr;
        const void* bottom = nullptr;
        std::size_t size = 0;
#endif
#ifdef PENSTOCK_FIBRE_TSAN
        void* tsan = nullptr;
#endif
    };

    // What of_process() and of_thread() made, destroyed in reverse. Slot 0 is the process, slot 1 + k thread k.
    struct Owned {
        std::size_t slot;
        void (*destroy)(std::size_t slot);
    };
    template <class T>
    struct Slots {
        static inline std::array<T*, kMostThreads + 2> at{};
    };

    explicit Explorer(Bounds bounds) : bounds_(bounds) {
        const Unwatched unwatched;
        if (std::exchange(now_, this) != nullptr) throw std::logic_error("Explorer: an exploration within another");
    }
    ~Explorer() {
        const Unwatched unwatched;
        now_ = nullptr;
    }
    Explorer(const Explorer&) = delete;
    Explorer& operator=(const Explorer&) = delete;

    static Explorer& now() {
        if (now_ == nullptr) throw std::logic_error("Explorer: called outside of an exploration");
        return *now_;
    }

    template <class T>
    static T& owned(std::size_t slot) {
        T*& one = Slots<T>::at[slot];
        if (one == nullptr) {
            one = new T();
            now().owned_.push_back({slot, [](std::size_t s) {
                                        delete Slots<T>::at[s];
                                        Slots<T>::at[s] = nullptr;
                                    }});
        }
        return *one;
    }
    // The destructors may make steps, and call for more objects.
    void destroy_owned(std::size_t slot) {
        for (;;) {
            Owned last{};
            {
                const Unwatched unwatched;
                const auto at = std::find_if(owned_.rbegin(), owned_.rend(), [&](const Owned& o) { return o.slot == slot; });
                if (at == owned_.rend()) return;
                last = *at;
            }
            last.destroy(slot);
            const Unwatched unwatched;
            std::erase_if(owned_, [&](const Owned& o) { return o.slot == slot && o.destroy == last.destroy; });
        }
    }

    template <class Program>
    void run(Program& program) {
        steps_ = ticks_ = 0;
        position_ = 0;
        preempted_ = 0;
        failure_.clear();
        slices_.clear();
        watcher_ = nullptr;
        me_ = kMain;
        FreedMemory::keeping = true;
        try {
            program();
        } catch (const std::exception& error) {
            if (failure_.empty()) failure_ = error.what();
        }
        destroy_owned(1 + kMain);
        for (std::size_t k = 0; k <= kMain; ++k) destroy_owned(1 + k);  // of threads that were given up
        destroy_owned(0);
        release_freed();
        if (failure_.empty() && position_ < choices_.size()) failure_ = "the program is not a function of its schedule";
    }
    static void release_freed() {
        FreedMemory::keeping = false;
        for (std::size_t k = 0; k < FreedMemory::count; ++k) std::free(FreedMemory::pieces[k].block);
        FreedMemory::count = 0;
    }

    // ------------------------------------------------------------------------------------------------- choices

    struct Choice {
        std::uint8_t taken, options;
    };

    std::size_t choose(std::size_t options) {
        if (options == 1) return 0;
        if (position_ == choices_.size()) choices_.push_back({0, static_cast<std::uint8_t>(options)});
        const Choice& choice = choices_[position_++];
        if (choice.options == options) return choice.taken;
        fail("the program is not a function of its schedule");
        return 0;
    }
    bool backtrack() {
        while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().options) choices_.pop_back();
        if (choices_.empty()) return false;
        ++choices_.back().taken;
        return true;
    }

    // The thread whose turn it is now. `current`: the one that has it, kMain when it has ended.
    std::size_t next_thread(std::size_t current) {
        if (!script_.empty()) return scripted(current);
        std::array<std::size_t, kMostThreads + 1> who{};
        std::size_t options = 0;
        if (current != kMain) who[options++] = current;
        if (current == kMain || (preempted_ < bounds_.preemptions && slices_.back().steps > 0)) {
            for (std::size_t k = 0; k < threads_; ++k) {
                if (k != current && !fibres()[k].ended) who[options++] = k;
            }
        }
        const std::size_t taken = choose(options);
        if (current != kMain && taken != 0) ++preempted_;
        return who[taken];
    }
    std::size_t scripted(std::size_t current) {
        if (current != kMain && slices_.back().steps < script_[slices_.size() - 1].steps) return current;
        if (slices_.size() < script_.size()) return script_[slices_.size()].thread;
        if (current != kMain) return current;
        for (std::size_t k = 0; k < threads_; ++k) {
            if (!fibres()[k].ended) return k;
        }
        return kMain;
    }
    [[nodiscard]] std::string schedule() const {
        std::string out;
        for (const Slice& slice : slices_) {
            if (!out.empty()) out += ' ';
            out += std::to_string(slice.thread) + ':' + std::to_string(slice.steps);
        }
        return out;
    }

    // -------------------------------------------------------------------------------------------------- threads

    void run_threads(const std::vector<std::function<void()>>& bodies) {
        if (bodies.size() > kMostThreads) throw std::logic_error("Explorer: it runs 3 threads at most");
        threads_ = bodies.size();
        for (std::size_t k = 0; k < threads_; ++k) prepare(fibres()[k], bodies[k]);
        happens_before(begun_);
        if (threads_ > 0) hand_over(next_thread(kMain));
        happens_after(ended_);
        if (!failure_.empty()) throw std::runtime_error(failure_);
    }

    void before_access(const void* address, std::size_t bytes) {
        std::size_t next = me_;
        {
            const Unwatched unwatched;
            if (++steps_ > bounds_.steps) {
                fail("no end after " + std::to_string(bounds_.steps) + " accesses: a thread waits for another, or they livelock");
            }
            next = next_thread(me_);
            // The execution ends where it stands. Its fibres are never resumed: code that is noexcept cannot be unwound.
            if (!failure_.empty()) next = kMain;
        }
        if (next != me_) hand_over(next);
        bool failed = false;
        {
            const Unwatched unwatched;
            ++slices_.back().steps;
            if (address != nullptr && FreedMemory::holds(address, bytes)) fail("an atomic access to freed memory");
            look();
            failed = !failure_.empty();
        }
        if (failed) hand_over(kMain);
    }
    // Before the access that is due, hence after the one before.
    void look() {
#ifndef PENSTOCK_FIBRE_TSAN
        if (!watcher_) return;
        const std::size_t me = std::exchange(me_, kMain);  // its reads are no steps
        try {
            watcher_();
        } catch (const std::exception& error) {
            fail(error.what());
        }
        me_ = me;
#endif
    }
    void fail(std::string why) {
        if (failure_.empty()) failure_ = std::move(why);
    }

    // What a fibre does: one body an execution.
    static void enter() {
        arrived();
        for (;;) now_->run_body();
    }

    void run_body() {
        happens_after(begun_);
        const std::size_t me = me_;
        Fibre& fibre = fibres()[me];
        try {
            (*fibre.body)();
            destroy_owned(1 + me);
        } catch (const std::exception& error) {
            const Unwatched unwatched;
            fail(error.what());
        }
        std::size_t next = kMain;
        {
            const Unwatched unwatched;
            fibre.ended = true;
            const bool more = std::any_of(fibres().begin(), fibres().begin() + static_cast<std::ptrdiff_t>(threads_),
                                          [](const Fibre& other) { return !other.ended; });
            if (more && failure_.empty()) next = next_thread(kMain);
            if (!failure_.empty()) next = kMain;
        }
        hand_over(next);
    }

    // Gives the turn to a thread of the program, or back to the program itself.
    void hand_over(std::size_t next) {
        if (next != kMain) {
            const Unwatched unwatched;
            slices_.push_back({next, 0});
        }
        switch_to(next);
    }

    // For ThreadSanitizer: what the program did before together() happened before its threads, and they before what
    // comes after it. Between themselves they synchronise by their own accesses only.
    static void happens_before([[maybe_unused]] char& what) {
#ifdef PENSTOCK_FIBRE_TSAN
        __tsan_release(&what);
#endif
    }
    static void happens_after([[maybe_unused]] char& what) {
#ifdef PENSTOCK_FIBRE_TSAN
        __tsan_acquire(&what);
#endif
    }

    void prepare(Fibre& fibre, const std::function<void()>& body) {
        fibre.body = &body;
        if (fibre.stack != nullptr && std::exchange(fibre.ended, false)) return;  // it waits in enter()
        if (fibre.stack == nullptr) {
            fibre.stack = ::mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (fibre.stack == MAP_FAILED) throw std::bad_alloc();
        }
        fibre.ended = false;
        ::getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack;
        fibre.context.uc_stack.ss_size = kStack;
        fibre.context.uc_link = nullptr;
        ::makecontext(&fibre.context, &Explorer::enter, 0);
#ifdef PENSTOCK_FIBRE_ASAN
        fibre.fake_stack = nullptr;
        fibre.bottom = fibre.stack;
        fibre.size = kStack;
#endif
#ifdef PENSTOCK_FIBRE_TSAN
        if (fibre.tsan != nullptr) __tsan_destroy_fiber(fibre.tsan);
        fibre.tsan = __tsan_create_fiber(0);
#endif
    }

    void switch_to(std::size_t next) {
        Fibre& from = fibres()[me_];
        Fibre& to = fibres()[next];
#ifdef PENSTOCK_FIBRE_TSAN
        if (me_ != kMain) happens_before(ended_);
        void* tsan = nullptr;
#endif
        {
            const Unwatched unwatched;
#ifdef PENSTOCK_FIBRE_TSAN
            if (me_ == kMain) from.tsan = __tsan_get_current_fiber();
            tsan = to.tsan;
#endif
            left_ = &from;
            me_ = next;
        }
#ifdef PENSTOCK_FIBRE_ASAN
        __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
#ifdef PENSTOCK_FIBRE_TSAN
        __tsan_switch_to_fiber(tsan, __tsan_switch_to_fiber_no_sync);
#endif
        ::swapcontext(&from.context, &to.context);
        arrived();
    }
    static void arrived() {
#ifdef PENSTOCK_FIBRE_ASAN
        Fibre& here = fibres()[now_->me_];
        const void* bottom = nullptr;
        std::size_t size = 0;
        __sanitizer_finish_switch_fiber(here.fake_stack, &bottom, &size);
        if (now_->left_ == &fibres()[kMain]) {
            fibres()[kMain].bottom = bottom;
            fibres()[kMain].size = size;
        }
#endif
    }

    static std::array<Fibre, kMostThreads + 1>& fibres() {
        static std::array<Fibre, kMostThreads + 1> all;
        return all;
    }

    const Bounds bounds_;
    std::vector<Choice> choices_;
    std::size_t position_ = 0;
    std::vector<Slice> script_, slices_;
    std::vector<Owned> owned_;
    std::size_t threads_ = 0, me_ = kMain;
    unsigned preempted_ = 0;
    bool undisturbed_ = false;
    std::uint64_t steps_ = 0, ticks_ = 0;
    std::string failure_;
    std::function<void()> watcher_;
    Fibre* left_ = nullptr;
    char begun_ = 0, ended_ = 0;  // names for ThreadSanitizer
    static inline Explorer* now_ = nullptr;
};

// The Atom of an explored program.
struct ExploredAtom : StdAtom {
    template <class T>
    using atomic = HookedAtomic<T, Explorer>;
    template <class T>
    [[nodiscard]] static T& of_process() { return Explorer::of_process<T>(); }
    template <class T>
    [[nodiscard]] static T& of_thread() { return Explorer::of_thread<T>(); }
    static void relax() noexcept {}
};

}  // namespace penstock::test
