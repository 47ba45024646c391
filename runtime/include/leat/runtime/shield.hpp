// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <string>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

/// A task in a scope that nothing around it reaches.
template <class T>
class ShieldedTask : public ScopeWait {
public:
    using value_type = T;

    explicit ShieldedTask(Task<T>&& task) noexcept : task_(std::move(task)) {}
    ShieldedTask(ShieldedTask&&) noexcept = default;

    void await_suspend(TaskHandle) noexcept { run_apart(task_.release().promise()); }

    T await_resume() { return take_outcome<T>(body()); }
    ResultOf<T> result() { return take_result<T>(body()); }

    // The next wait sees it.
    TaskFrame* cancel_or_pass(CancelWalk&) noexcept override { return nullptr; }
    std::string describe() const override { return "a shielded task"; }

private:
    Task<T> task_;
};

}  // namespace detail

/// Awaits `awaitable` to its end, whatever is cancelled around it meanwhile.
///
///     co_await leat::shield(say_goodbye(peer));
///
/// For what must not stop half-way, and is short: who cancels waits for it. Deadlines around it do not reach inside either,
/// so give it one of its own where it might hang: `shield(timeout(1s, …))`.
///
/// It runs even in a scope that was cancelled before; its value is returned, and the task then ends at its next wait.
///
/// Errors:       those of the awaitable.
/// Cancellation: not inside; the next wait sees it.
/// Complexity:   O(1); for a leaf wait (a write, say) also the frame of a task.
template <detail::Awaitable A>
[[nodiscard]] detail::ShieldedTask<detail::AwaitedValue<A>> shield(A&& awaitable) {
    return detail::ShieldedTask<detail::AwaitedValue<A>>(detail::as_task(std::move(awaitable)));
}
// What does not fit, with a sentence.
template <class A>
    requires(!detail::Runnable<A>)
detail::RefusedAwaitable<A> shield(A&&) noexcept {
    return detail::RefusedAwaitable<A>();
}

}  // namespace leat

#pragma GCC diagnostic pop
