// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/reactor/poll.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat {

class Executor;

namespace detail {

/// A function object that is called once; small ones are kept in place.
class PostedFunction {
public:
    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, PostedFunction>)
    explicit PostedFunction(F&& function) {
        using Stored = std::decay_t<F>;
        if constexpr (sizeof(Stored) <= sizeof(place_) && alignof(Stored) <= alignof(void*) &&
                      std::is_nothrow_move_constructible_v<Stored>) {
            ::new (static_cast<void*>(place_)) Stored(std::forward<F>(function));
            if constexpr (std::is_trivially_copyable_v<Stored>)
                table_ = &plain<Stored>;
            else
                table_ = &in_place<Stored>;
        } else {
            ::new (static_cast<void*>(place_)) Stored*(new Stored(std::forward<F>(function)));
            table_ = &on_heap<Stored>;
        }
    }
    PostedFunction(PostedFunction&& other) noexcept : table_(std::exchange(other.table_, nullptr)) {
        // Most are a lambda with a pointer or two: bytes to copy, and nothing to destroy.
        if (table_ == nullptr || table_->relocate == nullptr)
            std::memcpy(place_, other.place_, sizeof(place_));
        else
            table_->relocate(other.place_, place_);
    }
    PostedFunction& operator=(PostedFunction&&) = delete;
    ~PostedFunction() {
        if (table_ != nullptr && table_->destroy != nullptr) table_->destroy(place_);
    }

    void operator()() { table_->call(place_); }

private:
    struct Table {
        void (*call)(void*);
        // Null: as bytes, and not at all.
        void (*relocate)(void* from, void* to) noexcept;
        void (*destroy)(void*) noexcept;
    };

    template <class F>
    static constexpr Table plain{[](void* place) { (*static_cast<F*>(place))(); }, nullptr, nullptr};

    template <class F>
    static constexpr Table in_place{
        [](void* place) { (*static_cast<F*>(place))(); },
        [](void* from, void* to) noexcept {
            ::new (to) F(std::move(*static_cast<F*>(from)));
            static_cast<F*>(from)->~F();
        },
        [](void* place) noexcept { static_cast<F*>(place)->~F(); },
    };
    template <class F>
    static constexpr Table on_heap{
        [](void* place) { (**static_cast<F**>(place))(); },
        [](void* from, void* to) noexcept { ::new (to) F*(*static_cast<F**>(from)); },
        [](void* place) noexcept { delete *static_cast<F**>(place); },
    };

    alignas(void*) std::byte place_[40]{};
    const Table* table_;
};

/// What other threads leave for an executor.
class Inbox {
public:
    Inbox(const Registrator& registrator, bool wakes_for_last_holder)
        : registrator_(registrator), wakes_for_last_holder_(wakes_for_last_holder) {}

    /// False, with `function` untouched, once closed.
    bool push(PostedFunction&& function);

    /// Whether `take` would find something; exact for what happened before.
    bool has_mail() const noexcept { return has_mail_.load(std::memory_order_acquire); }
    /// For the executor: what waits, to be called and cleared before the next call. The two vectors swap places and keep
    /// their memory.
    std::vector<PostedFunction>& take() noexcept;

    void close() noexcept;

    /// Whether a Remote is held: somebody may still bring work. To be asked before `has_mail`, since the last holder
    /// may post and go in between.
    bool is_held() const noexcept { return holders_.load(std::memory_order_acquire) != 0; }
    void hold() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
    void let_go() noexcept {
        // Release: whoever then sees that nobody holds it, in `is_held`, sees what was posted.
        if (holders_.fetch_sub(1, std::memory_order_release) == 1 && wakes_for_last_holder_)
            registrator_.wake();
    }

private:
    std::mutex mutex_;
    std::vector<PostedFunction> waiting_;
    // The executor's.
    std::vector<PostedFunction> taken_;
    // Set by the push that finds nothing waiting, which is also the one that wakes; cleared by `take`.
    std::atomic<bool> has_mail_{false};
    bool is_closed_ = false;
    std::atomic<int> holders_{0};
    Registrator registrator_;
    // An executor on a virtual clock may go on when the last one has gone.
    bool wakes_for_last_holder_;
};

}  // namespace detail

/// An executor as other threads see it.
///
/// While one is held, the executor's virtual clock (in tests) neither jumps nor reports a deadlock.
///
/// Thread-safety: any thread. Copying is cheap.
/// Lifetime:      may outlive the executor: its calls then fail with `leat::errc::closed`.
class Remote {
public:
    Remote(const Remote& other) noexcept : inbox_(other.inbox_) {
        if (inbox_ != nullptr) inbox_->hold();
    }
    Remote(Remote&& other) noexcept : inbox_(std::move(other.inbox_)) {}
    Remote& operator=(Remote other) noexcept {
        std::swap(inbox_, other.inbox_);
        return *this;
    }
    ~Remote() {
        if (inbox_ != nullptr) inbox_->let_go();
    }

    /// Calls `function()` soon on the executor's thread, outside any task, in the order of posting. It does not block
    /// and does not throw there (an exception becomes a notice).
    ///
    /// Errors:     `closed` if the executor is gone: the function is not called. What is posted before it shuts down is
    ///             called.
    /// Complexity: a short lock; no allocation for small functions; a system call only if the executor sleeps, and
    ///             then one for all that is posted until it is awake.
    template <class F>
    void post(F&& function) {
        if (!try_post(std::forward<F>(function))) throw_closed();
    }

    /// The same; false instead of the error.
    template <class F>
    [[nodiscard]] bool try_post(F&& function) {
        return inbox_->push(detail::PostedFunction(std::forward<F>(function)));
    }

private:
    friend class Executor;
    explicit Remote(std::shared_ptr<detail::Inbox> inbox) noexcept : inbox_(std::move(inbox)) {
        inbox_->hold();
    }

    [[noreturn]] static void throw_closed();

    std::shared_ptr<detail::Inbox> inbox_;
};

}  // namespace leat
