// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/runtime/deadline.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

namespace leat {

/// How `retry` behaves.
struct RetryOptions {
    RetryOptions() noexcept = default;

    /// How often it is tried in all; at least once.
    std::size_t attempts = 5;
    /// Between the first two tries; then `factor` times as long each time, up to `longest_pause`.
    Duration first_pause = std::chrono::milliseconds(100);
    Duration longest_pause = std::chrono::seconds(10);
    double factor = 2;
    /// The part of each pause that is left to chance, from 0 to 1, so that those who failed together do not come back
    /// together: a pause p becomes something between (1 - jitter) p and p. From `Executor::random`.
    double jitter = 0.5;
    /// Whether a failure may pass. By default every `std::system_error` but `leat::errc::cancelled`: what the world does. Other exceptions
    /// are thrown at once.
    std::function<bool(const std::exception_ptr&)> may_pass;
};

namespace detail {

/// What `RetryOptions::may_pass` throws has the failure attached.
bool may_pass(const RetryOptions& options, const std::exception_ptr& failure, Executor& executor);
/// The pause after the `failures`-th failure in a row.
Duration pause_after(const RetryOptions& options, std::size_t failures, std::uint64_t random) noexcept;

template <class Attempt>
class RefusedAttempt : public RefusedAwait {
    static_assert(gives_task<Attempt&>(), "leat: retry takes a function that takes nothing and returns a "
                                          "leat::Task, to be called for each try");
    static_assert(!gives_task<Attempt&>(),
                  "leat: what retry calls outlives the await: name it in a line before, auto attempt = "
                  "[&] { ... };, and pass the name, attempt");
};

}  // namespace detail

/// Awaits `attempt()`, a task, until it succeeds, with growing pauses between the tries.
///
///     auto connect = [&]() -> leat::Task<leat::TcpStream> { ... };
///     leat::TcpStream stream = co_await leat::retry(connect);
///
/// Gives the value of the try that succeeded. A pause that would outlast the deadline around it (`current_deadline`) is not
/// made: the failure is thrown while there is somebody to hear of it.
///
/// Lifetime:     `attempt` outlives the await: name it first, as above.
/// Errors:       the last failure, with those before it attached (`attached_failures`), which are kept until then. What
///               `may_pass` throws, with the failures attached likewise.
/// Cancellation: that of what it waits for: the try, or the pause.
template <class Attempt>
    requires(detail::gives_task<Attempt&>())
std::invoke_result_t<Attempt&> retry(Attempt& attempt, RetryOptions options) {
    using T = typename std::invoke_result_t<Attempt&>::value_type;
    std::exception_ptr earlier;
    for (std::size_t failures = 1;; ++failures) {
        detail::OutcomeOf<T> outcome = co_await as_outcome(attempt());
        if (outcome) {
            if constexpr (std::is_void_v<T>)
                co_return;
            else if constexpr (std::is_reference_v<T>)
                co_return outcome->get();
            else
                co_return std::move(*outcome);
        }
        std::exception_ptr failure = std::move(outcome.error());
        Environment& environment = co_await detail::CurrentEnvironment();
        Executor& executor = environment.executor();
        if (earlier != nullptr) detail::attach_or_tell(executor, failure, earlier);
        Duration pause = detail::pause_after(options, failures, executor.random());
        bool is_last = failures >= options.attempts || !detail::may_pass(options, failure, executor) ||
                       saturating_add(executor.now(), pause) >= environment.deadline();
        if (is_last) std::rethrow_exception(std::move(failure));
        earlier = std::move(failure);
        co_await sleep_for(pause);
    }
}
template <class Attempt>
    requires(detail::gives_task<Attempt&>())
std::invoke_result_t<Attempt&> retry(Attempt& attempt) {
    return retry(attempt, RetryOptions());
}
// What does not fit, with a sentence.
template <class Attempt, class... Options>
    requires(!std::is_lvalue_reference_v<Attempt> || !detail::gives_task<Attempt&>())
detail::RefusedAttempt<Attempt> retry(Attempt&&, Options&&...) noexcept {
    return detail::RefusedAttempt<Attempt>();
}

}  // namespace leat
