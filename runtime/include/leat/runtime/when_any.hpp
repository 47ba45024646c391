// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/branches.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <utility>
#include <vector>

namespace leat {

namespace detail {

struct AnyOf {
    static constexpr BranchWait::Ends ends = BranchWait::Ends::with_the_first;
    static constexpr const char* name = "any of ";
    template <class T>
    using Value = Maybe<T>;
    template <class T>
    using Values = std::vector<Value<T>>;

    template <class T>
    static Value<T> take(Branch& branch) {
        if (!branch.has_value()) return Value<T>();
        return take_maybe<T>(branch.task());
    }
};

}  // namespace detail

/// Runs all of these at the same time until the first of them has ended; the others are then cancelled and awaited.
///
/// Gives a tuple of what may be missing: an `optional` for each, or a bool where there is no value, or a
/// pointer to what a reference refers to. More than one may be there: a result that came before a loser
/// could be cancelled is handed over, so nothing that was received, taken or locked is lost.
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
[[nodiscard]] detail::TupleOfBranches<detail::AnyOf, detail::AwaitedValue<A>...> when_any(A&&... awaitables) {
    return detail::TupleOfBranches<detail::AnyOf, detail::AwaitedValue<A>...>(
        detail::as_task(std::move(awaitables))...);
}

/// The same for any number of tasks of one kind; gives a vector in their order. Of no tasks at once.
template <class T>
[[nodiscard]] detail::RangeOfBranches<detail::AnyOf, T> when_any(std::vector<Task<T>>&& tasks) {
    return detail::RangeOfBranches<detail::AnyOf, T>(std::move(tasks));
}

// What does not fit, with a sentence.
template <class... A>
    requires(!detail::are_runnable<A...>)
detail::RefusedAwaitables<A...> when_any(A&&...) noexcept {
    return detail::RefusedAwaitables<A...>();
}

}  // namespace leat
