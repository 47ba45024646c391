// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/branches.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <array>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat {

namespace detail {

template <class T>
ValueOrNone<T> take_for_tuple(Branch& branch) {
    if constexpr (std::is_void_v<T>) {
        take_value<T>(branch.task());
        return std::monostate();
    } else {
        return take_value<T>(branch.task());
    }
}

template <class... T>
class WhenAll : public BranchWait {
public:
    using value_type = std::tuple<ValueOrNone<T>...>;

    explicit WhenAll(Task<T>&&... tasks) noexcept
        : BranchWait(Ends::with_the_last), tasks_(std::move(tasks)...) {}
    WhenAll(WhenAll&& other) noexcept : BranchWait(std::move(other)), tasks_(std::move(other.tasks_)) {}

    void await_suspend(std::coroutine_handle<>) noexcept {
        open(branches_);
        start_all(std::index_sequence_for<T...>());
    }

    value_type await_resume() {
        throw_failure();
        return take_all(std::index_sequence_for<T...>());
    }
    Result<value_type> result() {
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(code_or_tell(executor(), failure));
        return Result<value_type>(take_all(std::index_sequence_for<T...>()));
    }

    std::string describe() const override { return "all of " + BranchWait::describe(); }

private:
    template <std::size_t... I>
    void start_all(std::index_sequence<I...>) noexcept {
        (start(branches_[I], std::get<I>(tasks_).release().promise()), ...);
    }
    template <std::size_t... I>
    value_type take_all(std::index_sequence<I...>) {
        return value_type(take_for_tuple<T>(branches_[I])...);
    }

    std::tuple<Task<T>...> tasks_;
    std::array<Branch, sizeof...(T)> branches_;
};

template <class T>
class WhenAllOf : public BranchWait {
public:
    // A vector of what a task gives; nothing if it gives none.
    using value_type = std::conditional_t<std::is_void_v<T>, void, std::vector<ValueOrNone<T>>>;

    explicit WhenAllOf(std::vector<Task<T>>&& tasks)
        : BranchWait(Ends::with_the_last),
          tasks_(std::move(tasks)),
          branches_(std::make_unique<Branch[]>(tasks_.size())) {}
    WhenAllOf(WhenAllOf&&) noexcept = default;

    void await_suspend(std::coroutine_handle<>) noexcept {
        open(std::span(branches_.get(), tasks_.size()));
        for (std::size_t i = 0; i < tasks_.size(); ++i)
            start(branches_[i], tasks_[i].release().promise());
    }

    value_type await_resume() {
        throw_failure();
        return take_all();
    }
    Result<value_type> result() {
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(code_or_tell(executor(), failure));
        if constexpr (std::is_void_v<T>)
            return Result<value_type>();
        else
            return Result<value_type>(take_all());
    }

    std::string describe() const override { return "all of " + BranchWait::describe(); }

private:
    value_type take_all() {
        if constexpr (!std::is_void_v<T>) {
            value_type values;
            values.reserve(tasks_.size());
            for (std::size_t i = 0; i < tasks_.size(); ++i)
                values.push_back(take_value<T>(branches_[i].task()));
            return values;
        }
    }

    std::vector<Task<T>> tasks_;
    std::unique_ptr<Branch[]> branches_;
};

}  // namespace detail

/// Runs all of these at the same time and gives what they give, as a tuple (a `std::monostate` where that is nothing).
///
///     auto [head, body] = co_await leat::when_all(fetch(first), fetch(second));
///
/// Tasks, leaf waits and requests (`stream.read(buffer)`) alike; they begin in this order. For a number of tasks that is not
/// known beforehand see below, for tasks that come while others run, `task_group`.
///
/// The first failure cancels the others; all are awaited; then it is thrown. What fails after it is attached to it: see
/// `attached_failures`.
///
/// Errors:       the first failure. `std::bad_alloc` before anything has begun.
/// Cancellation: all are cancelled and awaited, and then the awaiting task ends; what some of them gave goes with it. If all of
///               them came to their ends all the same, their values are returned.
/// Complexity:   a frame for each, and for each leaf wait that of a task around it.
template <detail::Awaitable... A>
    requires(sizeof...(A) != 0)
[[nodiscard]] detail::WhenAll<detail::AwaitedValue<A>...> when_all(A&&... awaitables) {
    return detail::WhenAll<detail::AwaitedValue<A>...>(detail::as_task(std::move(awaitables))...);
}

/// The same for any number of tasks of one kind; gives a vector in their order, or nothing if they give nothing.
template <class T>
[[nodiscard]] detail::WhenAllOf<T> when_all(std::vector<Task<T>> tasks) {
    return detail::WhenAllOf<T>(std::move(tasks));
}

}  // namespace leat
