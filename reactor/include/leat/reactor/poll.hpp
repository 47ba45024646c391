// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/backend.hpp>
#include <leat/reactor/clock.hpp>
#include <leat/reactor/error.hpp>
#include <leat/reactor/event.hpp>
#include <leat/reactor/interest.hpp>
#include <leat/reactor/operation.hpp>
#include <leat/reactor/source.hpp>
#include <leat/reactor/token.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>

namespace leat {

class Registrator;

/// Something that is no `Source` itself but knows how to register its parts.
template <class T>
concept CompositeSource =
    requires(T& source, Registrator& registrator, Token token, Interest interest, std::error_code& error) {
        source.add_to(registrator, token, interest, error);
        source.modify_in(registrator, token, interest, error);
        source.remove_from(registrator, error);
    };

/// Why `Poll::poll` returned.
enum class PollStatus {
    /// `events` holds at least one.
    events,
    timed_out,
    /// `Registrator::wake` or `Poll::wake` was called. If there are events too, they come first, and the next
    /// poll that finds none reports the wake.
    woken,
    /// `close` was called; from then on each poll says so, after what was harvested.
    closed,
};

/// Registers sources and timers with a Poll, wakes it and closes it, also while it blocks in `poll`.
///
/// Cheap to copy. `add`, `modify` and `remove` of a `Source` come in two forms: one throws `std::system_error`, one sets an
/// `std::error_code`.
///
/// Thread-safety: any thread; one *source* is to be used by one thread at a time.
/// Lifetime:      may outlive the Poll: what adds or changes then fails with `leat::errc::closed` and touches nothing, what
///                does not say so (`cancel_timer`, `wake`, `close`) still may be called. The same holds in a forked child,
///                with `leat::errc::forked`; nothing that it calls reaches the parent.
class Registrator {
public:
    Registrator(const Registrator& other) noexcept;
    Registrator& operator=(const Registrator& other) noexcept;
    ~Registrator();

    /// Reports the readiness of `source` under `token` from now on: once for each change (edge-triggered), a
    /// readiness that is there already included. After an event, repeat the call until it would block.
    ///
    /// Takes effect at once, also on a poll that blocks. Once it has returned without an error, `close` comes
    /// after it; once `close` has returned, it fails.
    ///
    /// Errors: `already_registered` (with this queue or another), `closed`, `forked`, `std::errc::invalid_argument` for
    ///         an empty interest, the system's (on Linux EPERM for a regular file; ENOSPC, ENOMEM), after which nothing
    ///         is registered.
    void add(Source& source, Token token, Interest interest, Mode mode = Mode::persistent);
    void add(Source& source, Token token, Interest interest, Mode mode, std::error_code& error) noexcept;

    /// Replaces token, interest and mode. What was reported for the old ones and not yet looked at is dropped;
    /// what is ready is reported anew.
    ///
    /// Errors: `not_registered`, `closed`, `forked`, `std::errc::invalid_argument` for an empty interest, the system's.
    void modify(Source& source, Token token, Interest interest, Mode mode = Mode::persistent);
    void modify(Source& source, Token token, Interest interest, Mode mode, std::error_code& error) noexcept;

    /// Ends the registration. Once this has returned, no poll and no iteration gives an event of it.
    ///
    /// Errors: `not_registered`, `closed`, `forked`.
    void remove(Source& source);
    void remove(Source& source, std::error_code& error) noexcept;

    /// The same for what consists of several sources: it registers its parts, and says in what ways that may fail.
    template <CompositeSource S>
    void add(S& source, Token token, Interest interest);
    template <CompositeSource S>
    void modify(S& source, Token token, Interest interest);
    template <CompositeSource S>
    void remove(S& source);

    /// Gives one event with `is_timeout()` once the Poll's clock has reached `deadline`; never early.
    ///
    /// Errors:     `closed`, `forked`, as `std::system_error`; `std::bad_alloc`.
    /// Complexity: O(log n) and an allocation now and then. Coroutines' timers are the executor's wheel.
    TimerId add_timer(TimePoint deadline, Token token);

    /// Takes the timer back. False if there is nothing to take: it has fired, or was cancelled, already, or this is a forked
    /// child. If its event is in the owner's `Events` and the owner calls this, iterating them skips it from
    /// now on.
    bool cancel_timer(TimerId timer);

    /// Ends the poll that runs, or else the next one. Several wakes may end the same poll; none is lost.
    ///
    /// Complexity: no system call unless the Poll sleeps.
    void wake() noexcept;

    /// Ends polling for good: the poll that runs returns, after what it has harvested.
    void close() noexcept;
    bool is_closed() const noexcept;
    /// Whether this process is a forked child of the one that made the Poll.
    bool is_forked() const noexcept;
    /// Whether the calling thread is the owner of the Poll. A Poll that nobody has polled yet has none.
    bool is_owner() const noexcept;

private:
    friend class Poll;
    explicit Registrator(detail::Core& core) noexcept;

    detail::Core* core_;
};

/// The event queue: waits until registered sources are ready, timers are due or operations are done.
///
/// The first thread that calls `poll` or `submit` owns the Poll for its life; another one gets
/// `leat::errc::busy`. After a `fork`, the child gets `leat::errc::forked` and leaves the parent's queue alone.
///
///     Poll poll;
///     Registrator registrator = poll.registrator();       // for other threads
///     Events events;
///     while (poll.poll(events) != PollStatus::closed)
///         for (const Event& event : events) handle(event.token());
///
/// Thread-safety: `registrator`, `wake`, `close`, `backend`, `passed_over` from any thread; the rest from the owner's.
/// Lifetime:      destroying it closes it. Sources and Registrators may outlive it. Nobody may be in `poll`.
class Poll {
public:
    /// Errors: the kernel's (EMFILE, ENOMEM), as `std::system_error`.
    explicit Poll(Backend backend = Backend::best(), const Clock& clock = steady_clock());
    Poll(const Poll&) = delete;
    Poll& operator=(const Poll&) = delete;
    ~Poll();

    Registrator registrator() const noexcept;
    Backend backend() const noexcept;
    /// Why `backend` is not the best one: of an automatic choice that the system has refused. Empty otherwise.
    const std::string& passed_over() const noexcept;
    const Clock& clock() const noexcept;

    /// Blocks until something is to report, `wake` or `close` is called, or `timeout` has passed.
    ///
    /// Replaces the content of `events`. Without a timeout it waits for as long as it takes, also with nothing
    /// registered. A timeout of zero looks once; a negative one counts as zero; fractions are rounded up to
    /// what the kernel can wait, so it never returns early. A signal does not end it.
    ///
    /// Errors:     `busy`, `forked`; the kernel's.
    /// Complexity: one system call, O(1) an event, no allocation.
    PollStatus poll(Events& events, std::optional<Duration> timeout = std::nullopt);

    /// The same with an instant of the Poll's clock.
    PollStatus poll_until(Events& events, TimePoint deadline);

    /// Makes the calling thread the owner, as the first `poll` would. Errors: `busy`, `forked`.
    std::error_code own() noexcept;
    /// Whether another thread than the caller's is the owner.
    bool has_other_owner() const noexcept;

    /// Starts `operation`. True: it has ended already and gives no event. False: an event will tell.
    ///
    /// Failures are results of the operation: `busy` where another one waits in that direction on the source
    /// or another thread owns the Poll, `closed`, `already_registered` (with another Poll), the system's.
    bool submit(Operation& operation) noexcept;

    /// Binds `source` for operations, as the first `submit` on it would.
    ///
    /// Errors: as results of `submit`.
    std::error_code bind(Source& source) noexcept;

    /// Withdraws an operation. True: it has ended with `std::errc::operation_canceled` and gives no event.
    /// False: its event is still to come, with the result that won, or with `operation_canceled`.
    bool cancel(detail::OperationRecord& operation) noexcept;

    /// Operations that were submitted and whose end nobody has been told yet.
    std::size_t in_flight() const noexcept { return completions_->in_flight; }

    // ---- For an executor, which has made itself the owner. ----

    /// Like `poll`, but operations that have ended are not made events: they stay in the `completions()`.
    PollStatus wait(Events& events, std::optional<TimePoint> deadline);
    /// Like `poll` with a timeout of zero, in the same way.
    PollStatus look(Events& events);
    detail::Completions& completions() const noexcept { return *completions_; }
    /// `submit` without asking which thread calls.
    bool submit_owned(detail::OperationRecord& operation) noexcept;

    void wake() noexcept;
    void close() noexcept;

    /// For another event loop: readable when `poll` has something to report (timers apart). Makes the calling
    /// thread the owner, as the first `poll` would.
    ///
    /// Errors: `std::errc::operation_not_supported` where a backend has no such handle (IOCP);
    ///         `leat::errc::busy` on another thread than the owner's, `leat::errc::forked` in a forked child;
    ///         the system's when the handle is made, such as `std::errc::too_many_files_open`.
    NativeHandle native_handle() const;

    /// While set, every `wake` makes `native_handle()` readable, as if `poll` were sleeping in it. For whoever
    /// sleeps in another loop; cleared by the next poll.
    void set_asleep() noexcept;

private:
    detail::Core* core_;
    detail::Completions* completions_;
};

template <CompositeSource S>
void Registrator::add(S& source, Token token, Interest interest) {
    std::error_code error;
    source.add_to(*this, token, interest, error);
    if (error) throw std::system_error(error, "leat: cannot register the source");
}

template <CompositeSource S>
void Registrator::modify(S& source, Token token, Interest interest) {
    std::error_code error;
    source.modify_in(*this, token, interest, error);
    if (error) throw std::system_error(error, "leat: cannot change the source's registration");
}

template <CompositeSource S>
void Registrator::remove(S& source) {
    std::error_code error;
    source.remove_from(*this, error);
    if (error) throw std::system_error(error, "leat: cannot remove the source");
}

}  // namespace leat
