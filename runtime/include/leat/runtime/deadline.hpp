// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/wait.hpp>

#include <optional>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

/// Awaits `task`, and everything that it awaits, for at most `limit`: the time that it has for all of it.
///
///     co_await leat::with_deadline(2s, answer(request));
///
/// It is in force for every wait inside, of tasks and groups too, and can be asked for there: `current_deadline()`. Within
/// another deadline the earlier one counts; a later one inside costs no timer. A `shield` and the clean-up of a `finally` stand
/// outside.
///
/// Once it has passed, what runs is cancelled and waited for, and `leat::errc::deadline_exceeded` is thrown here: where the
/// deadline that passed was set, not where one inside it was. The error's text names the innermost wait and
/// its line: "leat: timeout: store.cpp:12 waits for read fd 7 from 10.0.0.7:5432". A result that is there at
/// the deadline wins.
///
/// This is `timeout` of a task; `timeout_at` and `try_timeout` set the same deadline.
///
/// Errors:       `deadline_exceeded`; the task's.
/// Cancellation: the task's.
/// Complexity:   O(1), at most one timer.
template <class T>
[[nodiscard]] detail::TimedTask<T> with_deadline(Duration limit, Task<T>&& task) noexcept {
    return timeout(limit, std::move(task));
}
/// The same until an instant of the executor's clock.
template <class T>
[[nodiscard]] detail::TimedTask<T> with_deadline(TimePoint deadline, Task<T>&& task) noexcept {
    return timeout_at(deadline, std::move(task));
}
// What does not fit, with a sentence.
template <class Limit, class A>
    requires(detail::is_meant_as_limit<std::remove_cvref_t<Limit>> &&
             !((std::is_convertible_v<Limit, Duration> || std::is_convertible_v<Limit, TimePoint>) &&
               !detail::is_named<A> && detail::is_task<A>))
detail::RefusedDeadline<A, Limit, Duration, TimePoint> with_deadline(Limit&&, A&&) noexcept {
    return detail::RefusedDeadline<A, Limit, Duration, TimePoint>();
}

/// What `current_deadline` gives.
class [[nodiscard]] CurrentDeadline final : public detail::CurrentEnvironment {
public:
    CurrentDeadline() noexcept = default;
    CurrentDeadline(CurrentDeadline&&) noexcept = default;

    std::optional<TimePoint> await_resume() const noexcept {
        TimePoint deadline = environment().deadline();
        if (deadline == TimePoint::max()) return std::nullopt;
        return deadline;
    }
};

/// The instant, by the executor's clock, at which the task will be cancelled; nothing if it may take as long as it likes.
///
///     std::optional<leat::TimePoint> deadline = co_await leat::current_deadline();
///
/// To pass on to another machine, or to leave out what would not end in time. No wait and no cancellation point.
inline CurrentDeadline current_deadline() noexcept { return CurrentDeadline(); }

}  // namespace leat

#pragma GCC diagnostic pop
