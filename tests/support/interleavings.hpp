// SPDX-License-Identifier: BSL-1.0
//
// Runs a few threads through every order in which their operations on atomics can take place, under sequential consistency. Code
// that is to be explored takes its atomics from `ModelSync`: each operation on one is a point at which any other thread may
// be next. A run is repeated with another choice at the last point that has one left, until none is: a search in depth, by
// repetition. Where a run comes to a state that was seen before, nothing new can follow, and it goes on without choices. A state
// is what all atomics hold, and what each thread has read so far: as the threads do nothing else that depends on the order,
// that says where each of them is. The threads are contexts of one real thread (makecontext(3)), which sanitizers do not follow.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <ucontext.h>

namespace leat::test {

class Interleavings;
class Observed;

/// The part of a modelled atomic that the exploration sees.
class Observed {
public:
    Observed();
    Observed(const Observed&) = delete;
    Observed& operator=(const Observed&) = delete;
    virtual std::uint64_t raw() const = 0;

protected:
    ~Observed();
};

/// What was explored.
struct Exploration {
    std::size_t runs = 0;
    std::size_t states = 0;
    /// Operations of the longest run.
    std::size_t longest = 0;
    /// Of the first run that failed: why. Empty if none did.
    std::string failure;
};

/// One run's threads, and what is to hold at its end: empty, or what does not.
struct Scenario {
    std::vector<std::function<void()>> threads;
    std::function<std::string()> check;
};

class Interleavings {
public:
    /// Explores all orders of the threads that `make` gives, anew for each run. Stops at the first failure: `check`'s, or that
    /// nobody can go on.
    static Exploration explore(const std::function<Scenario()>& make);

    // For the modelled atomics: of the exploration that runs.
    static Interleavings& current();
    /// Before each operation of a thread.
    void step();
    /// After it: what it has read.
    void note(std::uint64_t read);
    /// The thread is at a point of which `place` says all: what it has read before is of no account any more. So the rounds of
    /// a loop need not be told apart.
    void stand_at(std::uint64_t place);
    /// The thread goes on only after another has done something, or if no other can.
    void yield();
    /// The thread goes on only once `observed` is not zero.
    void wait_for(const Observed& observed);
    std::uint64_t number_of(const void* pointer);

private:
    friend class Observed;
    struct Thread {
        ucontext_t context{};
        std::unique_ptr<std::byte[]> stack;
        std::function<void()> body;
        std::uint64_t history = 0;
        bool has_ended = false;
        bool has_yielded = false;
        const Observed* waits_for = nullptr;
    };
    struct Choice {
        std::vector<std::size_t> open;
        std::size_t taken = 0;
    };

    void run(const std::function<Scenario()>& make);
    static void enter();
    bool go_back();
    std::vector<std::size_t> open_threads() const;
    bool may_go_on(std::size_t thread) const;
    /// Whose turn is next; none if nobody can go on.
    std::size_t choose();
    void pass_on(std::size_t from);
    std::uint64_t state() const;

    static constexpr std::size_t none = static_cast<std::size_t>(-1);
    // A run in which threads only give way to each other is stuck.
    static constexpr std::size_t most_fruitless_yields = 20;

    std::vector<Choice> choices_;
    std::unordered_set<std::uint64_t> seen_;
    Exploration report_;
    // Of this run.
    std::vector<Thread*> threads_;
    std::vector<const Observed*> observed_;
    std::unordered_map<const void*, std::uint64_t> numbers_;
    ucontext_t outside_{};
    std::size_t own_number_ = none;
    std::size_t depth_ = 0;
    std::size_t steps_ = 0;
    std::size_t fruitless_yields_ = 0;
    bool is_known_ = false;
    bool is_running_ = false;
};

/// An atomic of the model, with as much of std::atomic as is used. Its orders are all the strongest.
template <class T>
class ModelAtomic final : Observed {
public:
    ModelAtomic() noexcept = default;
    ModelAtomic(T value) noexcept : value_(value) {}

    T load(std::memory_order = std::memory_order_seq_cst) const {
        Interleavings::current().step();
        return noted(value_);
    }
    void store(T value, std::memory_order = std::memory_order_seq_cst) {
        Interleavings::current().step();
        value_ = value;
    }
    T exchange(T value, std::memory_order = std::memory_order_seq_cst) {
        Interleavings::current().step();
        return noted(std::exchange(value_, value));
    }
    template <class... Orders>
    bool compare_exchange_strong(T& expected, T desired, Orders...) {
        Interleavings::current().step();
        if (noted(value_) == expected) {
            value_ = desired;
            return true;
        }
        expected = value_;
        return false;
    }
    template <class... Orders>
    bool compare_exchange_weak(T& expected, T desired, Orders... orders) {
        return compare_exchange_strong(expected, desired, orders...);
    }
    T fetch_add(T value, std::memory_order = std::memory_order_seq_cst) {
        Interleavings::current().step();
        return noted(std::exchange(value_, value_ + value));
    }
    T fetch_or(T value, std::memory_order = std::memory_order_seq_cst) {
        Interleavings::current().step();
        return noted(std::exchange(value_, value_ | value));
    }

    /// A thread sleeps until somebody stores something else than zero.
    void wait_until_set() const { Interleavings::current().wait_for(*this); }

private:
    T noted(T value) const {
        Interleavings::current().note(raw_of(value));
        return value;
    }
    static std::uint64_t raw_of(T value) {
        if constexpr (std::is_pointer_v<T>)
            return Interleavings::current().number_of(value);
        else
            return static_cast<std::uint64_t>(value);
    }
    std::uint64_t raw() const override { return raw_of(value_); }

    T value_{};
};

/// For an InboxQueue: a block has room for one or two, so that a few posts cross its borders.
template <std::size_t Positions>
struct ModelSync {
    template <class T>
    using Atomic = ModelAtomic<T>;
    static constexpr std::size_t positions_a_block = Positions;
    static void yield() { Interleavings::current().yield(); }
};

}  // namespace leat::test
