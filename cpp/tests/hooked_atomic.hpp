// std::atomic with a hook before each access, for the Atom seam of the lock-free structures.
#pragma once

#include <atomic>
#include <cstdint>

namespace penstock::test {

// `Hook::step()`, or `Hook::step(address, bytes)` where there is one, is called before each access. A weak exchange never fails by itself, so that a run can be repeated.
template <class T, class Hook>
class HookedAtomic {
public:
    HookedAtomic() noexcept = default;
    HookedAtomic(T value) noexcept : value_(value) {}  // NOLINT: as std::atomic
    T load(std::memory_order order = std::memory_order_seq_cst) const {
        before();
        return value_.load(order);
    }
    void store(T value, std::memory_order order = std::memory_order_seq_cst) {
        before();
        value_.store(value, order);
    }
    T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
        before();
        return value_.exchange(value, order);
    }
    bool compare_exchange_strong(T& expected, T value, std::memory_order order = std::memory_order_seq_cst) {
        before();
        return value_.compare_exchange_strong(expected, value, order);
    }
    bool compare_exchange_strong(T& expected, T value, std::memory_order success, std::memory_order failure) {
        before();
        return value_.compare_exchange_strong(expected, value, success, failure);
    }
    bool compare_exchange_weak(T& expected, T value, std::memory_order order = std::memory_order_seq_cst) {
        return compare_exchange_strong(expected, value, order);
    }
    bool compare_exchange_weak(T& expected, T value, std::memory_order success, std::memory_order failure) {
        return compare_exchange_strong(expected, value, success, failure);
    }
    T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst) {
        before();
        return value_.fetch_add(value, order);
    }
    T fetch_or(T value, std::memory_order order = std::memory_order_seq_cst) {
        before();
        return value_.fetch_or(value, order);
    }
    T fetch_sub(T value, std::memory_order order = std::memory_order_seq_cst) {
        before();
        return value_.fetch_sub(value, order);
    }

private:
    void before() const {
        if constexpr (requires { Hook::step(static_cast<const void*>(nullptr), sizeof(T)); }) {
            Hook::step(static_cast<const void*>(&value_), sizeof(T));
        } else {
            Hook::step();
        }
    }

    std::atomic<T> value_{};
};

}  // namespace penstock::test
