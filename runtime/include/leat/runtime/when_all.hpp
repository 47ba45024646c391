// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/branches.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <type_traits>
#include <utility>
#include <vector>

namespace leat {

namespace detail {

struct AllOf {
    static constexpr BranchWait::Ends ends = BranchWait::Ends::with_the_last;
    static constexpr const char* name = "all of ";
    template <class T>
    using Value = ValueOrNone<T>;
    // Nothing of tasks that give nothing.
    template <class T>
    using Values = std::conditional_t<std::is_void_v<T>, void, std::vector<HeldOrNone<T>>>;

    template <class T>
    static Value<T> take(Branch& branch) {
        if constexpr (std::is_void_v<T>)
            return Value<T>();
        else
            return take_value<T>(branch.task());
    }
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
[[nodiscard]] detail::TupleOfBranches<detail::AllOf, detail::AwaitedValue<A>...> when_all(A&&... awaitables) {
    return detail::TupleOfBranches<detail::AllOf, detail::AwaitedValue<A>...>(
        detail::as_task(std::move(awaitables))...);
}

/// The same for any number of tasks of one kind; gives a vector in their order, or nothing if they give
/// nothing. Where they give references, the vector holds `std::reference_wrapper`s.
template <class T>
[[nodiscard]] detail::RangeOfBranches<detail::AllOf, T> when_all(std::vector<Task<T>>&& tasks) {
    return detail::RangeOfBranches<detail::AllOf, T>(std::move(tasks));
}

// What does not fit, with a sentence.
template <class... A>
    requires(!detail::are_runnable<A...>)
detail::RefusedAwaitables<A...> when_all(A&&...) noexcept {
    return detail::RefusedAwaitables<A...>();
}

}  // namespace leat
