// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class Executor;
template <class Callable, class... Arguments>
class RemoteCallOperation;

namespace detail {

template <class Callable, class... Arguments>
struct CallValue;

/// A function object that is called once; small ones are kept in place.
class PostedFunction {
public:
    static constexpr std::size_t place_size = 40;

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

    alignas(void*) std::byte place_[place_size]{};
    const Table* table_;
};

class CallState;
class Inbox;

}  // namespace detail

/// An executor as other threads see it.
///
/// While one is held, the executor's virtual clock (in tests) neither jumps nor reports a deadlock, unless
/// it is `of_one_thread` (`leat::VirtualClock`).
///
/// Thread-safety: any thread. Copying is cheap.
/// Lifetime:      may outlive the executor: its calls then fail with `leat::errc::closed`. In a forked child they fail with
///                `leat::errc::forked`, and nothing reaches the parent.
class Remote {
public:
    Remote(const Remote& other) noexcept;
    Remote(Remote&& other) noexcept : inbox_(std::move(other.inbox_)) {}
    Remote& operator=(Remote other) noexcept {
        std::swap(inbox_, other.inbox_);
        return *this;
    }
    ~Remote();

    /// Calls `function()` soon on the executor's thread, outside any task, in the order of posting. It does not block
    /// and does not throw there (an exception becomes a notice).
    ///
    /// Errors:     `closed` if the executor is gone, `forked` in a child: the function is not called. What is posted before
    ///             the executor shuts down is called.
    /// Complexity: two atomic exchanges and no lock; no allocation for a small function, but for one block of memory to many
    ///             of them while the executor lags behind; a system call only if the executor sleeps, and then one for
    ///             all that is posted until it is awake.
    template <class F>
    void post(F&& function) const {
        if (!try_post(std::forward<F>(function))) throw_refused();
    }

    /// The same; false instead of the error.
    template <class F>
    [[nodiscard]] bool try_post(F&& function) const {
        return push(detail::PostedFunction(std::forward<F>(function)));
    }

    /// Runs `callable(arguments…)` on the executor's thread and waits for its end, from a task of another executor or of the
    /// same one: include <leat/runtime/remote_call.hpp>, which tells the rest.
    template <class Callable, class... Arguments>
    [[nodiscard]] RemoteCallOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>
    call(Callable&& callable, Arguments&&... arguments);

    /// The same from a thread without an executor, which it blocks: include <leat/runtime/remote_call.hpp>.
    template <class Callable, class... Arguments>
    typename detail::CallValue<std::decay_t<Callable>, std::decay_t<Arguments>...>::type
    block_on(Callable&& callable, Arguments&&... arguments);

    /// For waits: posts what must not be lost, and waits for memory if there is none. False: refused.
    template <class F>
    bool post_surely(F&& function) const noexcept {
        static_assert(sizeof(F) <= detail::PostedFunction::place_size, "it would allocate");
        return push_surely(detail::PostedFunction(std::forward<F>(function)));
    }
    bool is_forked() const noexcept;
    /// Whether the calling thread is the executor's. One that has not run yet has none.
    bool is_own_thread() const noexcept;

private:
    friend class Executor;
    friend class detail::CallState;
    explicit Remote(std::shared_ptr<detail::Inbox> inbox) noexcept;

    bool push(detail::PostedFunction&& function) const;
    bool push_surely(detail::PostedFunction&& function) const noexcept;
    [[noreturn]] void throw_refused() const;

    std::shared_ptr<detail::Inbox> inbox_;
};

}  // namespace leat

#pragma GCC diagnostic pop
