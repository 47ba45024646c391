// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/branches.hpp>
#include <leat/runtime/cancel_scope.hpp>
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
Maybe<T> take_if_any(Branch& branch) {
    if (!branch.has_value()) return Maybe<T>();
    return take_maybe<T>(branch.task());
}

template <class... T>
class WhenAny : public BranchWait {
public:
    using value_type = std::tuple<Maybe<T>...>;

    explicit WhenAny(Task<T>&&... tasks) noexcept
        : BranchWait(Ends::with_the_first), tasks_(std::move(tasks)...) {}
    WhenAny(WhenAny&& other) noexcept : BranchWait(std::move(other)), tasks_(std::move(other.tasks_)) {}

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

    std::string describe() const override { return "any of " + BranchWait::describe(); }

private:
    template <std::size_t... I>
    void start_all(std::index_sequence<I...>) noexcept {
        (start(branches_[I], std::get<I>(tasks_).release().promise()), ...);
    }
    template <std::size_t... I>
    value_type take_all(std::index_sequence<I...>) {
        return value_type(take_if_any<T>(branches_[I])...);
    }

    std::tuple<Task<T>...> tasks_;
    std::array<Branch, sizeof...(T)> branches_;
};

template <class T>
class WhenAnyOf : public BranchWait {
public:
    using value_type = std::vector<Maybe<T>>;

    explicit WhenAnyOf(std::vector<Task<T>>&& tasks)
        : BranchWait(Ends::with_the_first),
          tasks_(std::move(tasks)),
          branches_(std::make_unique<Branch[]>(tasks_.size())) {}
    WhenAnyOf(WhenAnyOf&&) noexcept = default;

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
        return Result<value_type>(take_all());
    }

    std::string describe() const override { return "any of " + BranchWait::describe(); }

private:
    value_type take_all() {
        value_type values;
        values.reserve(tasks_.size());
        for (std::size_t i = 0; i < tasks_.size(); ++i)
            values.push_back(take_if_any<T>(branches_[i]));
        return values;
    }

    std::vector<Task<T>> tasks_;
    std::unique_ptr<Branch[]> branches_;
};

}  // namespace detail

/// Runs all of these at the same time until the first of them has ended; the others are then cancelled and awaited.
///
/// Gives a tuple of what may be missing: an `optional` for each, or a bool where there is no value. More than one may be there: a
/// result that came before a loser could be cancelled is handed over, so nothing that was received, taken or locked is lost.
///
///     auto [received, ticked] = co_await leat::when_any(stream.read(buffer), leat::sleep_for(1s));
///     if (received) ...
///     if (ticked) ...
///
/// Look at each, not at the first one alone.
///
/// A failure is an end, too: it cancels the others, and is thrown, and what they gave goes then. Where that must not be lost,
/// take failures as values: `when_any(as_result(stream.read(buffer)), …)`.
///
/// Lifetime:     what a branch was given lives until all have ended. `AsyncGenerator::next` is not to lose a race: the loser, the
///               generator, is unwound.
/// Errors:       the first failure, with those that came after it attached (`attached_failures`). `std::bad_alloc` before
///               anything has begun.
/// Cancellation: all are cancelled and awaited, and then the awaiting task ends, unless one of them had a result all the same:
///               then that is returned.
/// Complexity:   a frame for each, and for each leaf wait that of a task around it. For a deadline on one leaf wait,
///               `try_timeout` needs none.
template <detail::Awaitable... A>
    requires(sizeof...(A) != 0)
[[nodiscard]] detail::WhenAny<detail::AwaitedValue<A>...> when_any(A&&... awaitables) {
    return detail::WhenAny<detail::AwaitedValue<A>...>(detail::as_task(std::move(awaitables))...);
}

/// The same for any number of tasks of one kind; gives a vector in their order. Of no tasks at once.
template <class T>
[[nodiscard]] detail::WhenAnyOf<T> when_any(std::vector<Task<T>> tasks) {
    return detail::WhenAnyOf<T>(std::move(tasks));
}

}  // namespace leat
