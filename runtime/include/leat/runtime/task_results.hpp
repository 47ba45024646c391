// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

template <class T>
class NextResultOperation;

namespace detail {

/// What the tasks and those who wait for their results share: it outlives both.
template <class T>
struct ResultQueue {
    std::deque<T> results;
    std::size_t in_flight = 0;
    WaitList waiting;

    void put(T&& result) {
        if (waiting.is_empty()) {
            results.push_back(std::move(result));
            return;
        }
        static_cast<NextResultOperation<T>&>(waiting.first()).result_.emplace(std::move(result));
        waiting.hand_over();
    }
    /// One that is in flight has ended, with a result or without.
    void land() noexcept {
        --in_flight;
        while (in_flight == 0 && !waiting.is_empty())
            waiting.hand_over();
    }
};

/// Held by the frame of a task from the call on that starts it until the end, whatever that is.
template <class T>
class InFlight {
public:
    explicit InFlight(std::shared_ptr<ResultQueue<T>> queue) noexcept : queue_(std::move(queue)) {
        ++queue_->in_flight;
    }
    InFlight(InFlight&&) noexcept = default;
    ~InFlight() {
        if (queue_ != nullptr) queue_->land();
    }

    void put(T&& result) { queue_->put(std::move(result)); }

private:
    std::shared_ptr<ResultQueue<T>> queue_;
};

template <class T, class Callable, class... Arguments>
Task<void> run_for_result(TaskGroup* group, InFlight<T> in_flight, Callable callable,
                          Arguments... arguments) {
    try {
        Task<T> task = std::invoke(callable, std::move(arguments)...);
        T result = co_await std::move(task);
        in_flight.put(std::move(result));
    } catch (...) {
        // Before it lands: who waits for a result is cancelled then, and not told that all have come.
        group->fail(std::current_exception());
    }
}

}  // namespace detail

/// What `TaskResults::next` gives.
template <class T>
class [[nodiscard]] NextResultOperation : public detail::QueuedWait {
public:
    using value_type = std::optional<T>;

    explicit NextResultOperation(std::shared_ptr<detail::ResultQueue<T>> queue) noexcept
        : queue_(std::move(queue)) {}
    NextResultOperation(NextResultOperation&&) noexcept = default;

    bool await_ready() noexcept {
        if (is_stopped()) return false;
        if (!queue_->results.empty()) {
            result_.emplace(std::move(queue_->results.front()));
            queue_->results.pop_front();
            return go_on();
        }
        // Of one that is awaited again, what it brought last.
        result_.reset();
        if (queue_->in_flight != 0) return wait_in(queue_->waiting);
        return go_on();
    }
    std::optional<T> await_resume() noexcept { return std::move(result_); }
    Result<std::optional<T>> result() noexcept { return std::move(result_); }

    void cancel() noexcept override {
        if (leave(queue_->waiting)) withdrawn();
    }
    std::string describe() const override {
        return "the next result of " + std::to_string(queue_->in_flight) + " tasks";
    }

private:
    friend struct detail::ResultQueue<T>;

    std::shared_ptr<detail::ResultQueue<T>> queue_;
    std::optional<T> result_;
};

/// The values of a group's children, in the order in which they end.
///
///     auto body = [&](leat::TaskGroup& group) -> leat::Task<> {
///         leat::TaskResults<Page> pages(group);
///         for (const Url& url : urls)
///             pages.spawn(fetch, url);
///         for (;;) {
///             std::optional<Page> page = co_await pages.next();
///             if (!page) co_return;
///             ...
///         }
///     };
///     co_await leat::task_group(body);
///
/// The children are the group's: the first that fails cancels the group, and its failure is thrown there. For failures as
/// values let the children give `Result<T>`.
///
/// `T` is moved without throwing.
///
/// Thread-safety: the executor's thread.
/// Lifetime:      the group outlives it. Results that nobody has taken go with it.
/// Complexity:    O(1) a result.
template <class T>
class TaskResults {
    static_assert(std::is_object_v<T> && !std::is_array_v<T>,
                  "leat: results are objects: give pointers, not references");
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "leat: a result that could fail to move could be lost: give a std::unique_ptr of it");

public:
    /// Errors: `std::bad_alloc`.
    explicit TaskResults(TaskGroup& group)
        : group_(group), queue_(std::make_shared<detail::ResultQueue<T>>()) {}
    TaskResults(const TaskResults&) = delete;
    TaskResults& operator=(const TaskResults&) = delete;

    /// Starts `callable(arguments…)`, which gives a `Task<T>`, as `TaskGroup::spawn` does; but it is called in the child, whose
    /// failure what it throws is.
    template <class Callable>
    void spawn(Callable&& callable, std::source_location caller = std::source_location::current()) {
        spawn_at(caller, std::forward<Callable>(callable));
    }
    template <class Callable, class A>
    void spawn(Callable&& callable, A&& a, std::source_location caller = std::source_location::current()) {
        spawn_at(caller, std::forward<Callable>(callable), std::forward<A>(a));
    }
    template <class Callable, class A, class B>
    void spawn(Callable&& callable, A&& a, B&& b,
               std::source_location caller = std::source_location::current()) {
        spawn_at(caller, std::forward<Callable>(callable), std::forward<A>(a), std::forward<B>(b));
    }

    /// For more arguments, or for a helper that passes its own caller on.
    template <class Callable, class... Arguments>
    void spawn_at(std::source_location caller, Callable&& callable, Arguments&&... arguments) {
        if constexpr (detail::ChildCall<Task<T>, void(), Callable, Arguments...>::is_right)
            group_.spawn_at(caller,
                            detail::run_for_result<T, std::decay_t<Callable>, std::decay_t<Arguments>...>,
                            &group_, detail::InFlight<T>(queue_), std::forward<Callable>(callable),
                            std::forward<Arguments>(arguments)...);
    }

    /// The same as `TaskGroup::spawn_when_free`.
    template <class Callable, class... Arguments>
    AdmitOperation spawn_when_free(Callable&& callable, Arguments&&... arguments) {
        static_assert(detail::check_moved<Callable, Arguments...>());
        if constexpr (detail::ChildCall<Task<T>, void(), Callable, Arguments...>::is_right)
            return group_.spawn_when_free(
                detail::run_for_result<T, std::decay_t<Callable>, std::decay_t<Arguments>...>, &group_,
                detail::InFlight<T>(queue_), std::forward<Callable>(callable),
                std::forward<Arguments>(arguments)...);
        else
            std::terminate();
    }

    /// Waits for the next value; empty once none is left and no task is on its way to one.
    ///
    /// Cancellation: no value is lost: one that was handed over already is returned.
    NextResultOperation<T> next() noexcept { return NextResultOperation<T>(queue_); }

    /// Tasks that have not ended.
    std::size_t in_flight() const noexcept { return queue_->in_flight; }
    /// Values that nobody has taken.
    std::size_t size() const noexcept { return queue_->results.size(); }

private:
    TaskGroup& group_;
    std::shared_ptr<detail::ResultQueue<T>> queue_;
};

}  // namespace leat

#pragma GCC diagnostic pop
