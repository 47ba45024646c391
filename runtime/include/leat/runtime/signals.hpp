// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/task.hpp>

#include <initializer_list>
#include <memory>

namespace leat {

namespace detail {
class SignalWatch;
}

/// Signals of the process as something to await.
///
///     leat::Signals signals{SIGTERM, SIGINT};
///     int signal = co_await signals.next();
///
/// While it lives, these signals have a handler that only notes them; afterwards they have what they had
/// before, unless `keep_installed` was called. Several objects may watch the same signal: each sees it.
/// Signals that come in between are kept, one of a kind.
///
/// On Windows these are SIGINT (Ctrl+C), SIGBREAK (Ctrl+Break; SIGTERM if nobody watches that), SIGTERM (the console is closed, the
/// user logs off, the system shuts down: the process has some seconds then; "HandlerRoutine callback function") and whatever
/// the program raises itself.
///
/// In a forked child a watched signal does what it did before it was watched. The child may watch signals with an object of
/// its own; those that it inherited are its parent's, and their `next` fails with `leat::errc::forked`.
///
/// Thread-safety: one executor's thread; a signal may come to any thread.
/// Lifetime:      outlives the tasks that wait on it.
/// Errors:        `std::system_error` for a signal that cannot be handled (SIGKILL), naming it; EAGAIN beyond 64 objects at a
///                time in the process; EMFILE, ENFILE.
/// Cancellation:  a signal that has come stays for the next call.
class Signals {
public:
    Signals(std::initializer_list<int> signals);
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    ~Signals();

    /// The number of the next signal. One task at a time (`leat::errc::busy`). I/O is polled for before each,
    /// however fast they come.
    Task<int> next();

    /// Leaves the handlers in place when this object is destroyed, for the rest of the process's life: a
    /// signal that nobody watches then does nothing. For a program that has begun to end and must not be
    /// killed by an impatient second signal.
    ///
    /// Thread-safety: as `next`.
    void keep_installed() noexcept;

private:
    std::unique_ptr<detail::SignalWatch> watch_;
};

/// Tells the tasks of the executor whenever one of `signals` comes, and never ends: to be spawned beside the rest of a
/// program.
///
///     leat::Signals signals{SIGUSR1};
///     group.spawn(leat::dump_on_signal, std::ref(signals));
///
/// What `Executor::dump_tasks` gives goes to `ExecutorOptions::diagnostic` in one call. If there is none, it goes to standard
/// error, all of it: while nobody reads that, this task waits, and the others go on.
///
/// Lifetime:     `signals` outlives the task.
/// Cancellation: at once; what is not written then is left out.
Task<> dump_on_signal(Signals& signals);

}  // namespace leat
