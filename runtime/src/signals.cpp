// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/signals.hpp>

#include "backend/signal_watch.hpp"

#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>

#include <coroutine>
#include <string>
#include <system_error>

namespace leat {

namespace {

/// Goes on after the next poll for I/O.
class NextPoll final : public Wait {
public:
    NextPoll() noexcept = default;

    bool await_ready() noexcept {
        if (is_stopped()) return false;
        suspend();
        executor().make_ready_after_io(*this);
        return false;
    }
    void await_suspend(TaskHandle) const noexcept {}
    void await_resume() const noexcept {}

    // Its turn comes in any case: the next wait sees the cancellation.
    void cancel() noexcept override {}
    std::string describe() const override { return "the next poll for I/O"; }
};

/// Goes on at once, unless the scope is cancelled.
class CancellationPoint final : public Wait {
public:
    CancellationPoint() noexcept = default;

    bool await_ready() noexcept { return !is_stopped(); }
    void await_suspend(TaskHandle) const noexcept {}
    void await_resume() const noexcept {}

    void cancel() noexcept override {}
    std::string describe() const override { return "nothing"; }
};

}  // namespace

Signals::Signals(std::initializer_list<int> signals)
    : watch_(std::make_unique<detail::SignalWatch>(signals)) {}

Signals::~Signals() = default;

void Signals::keep_installed() noexcept { watch_->keep_installed(); }

Task<int> Signals::next() {
    detail::SignalWatch& watch = *watch_;
    if (watch.is_forked()) throw std::system_error(make_error_code(errc::forked), "leat: signals");
    // Signals may come faster than their task deals with them, and then it never waits for one. What it does
    // may take long (a dump of all tasks): connections are served after each.
    NextPoll poll;
    co_await poll;
    // Who was cancelled meanwhile does not touch what may have gone.
    CancellationPoint point;
    co_await point;
    for (;;) {
        // In this order: a signal that comes after `clear` makes the source readable again.
        watch.clear();
        int signal = watch.take();
        if (signal != 0) co_return signal;
        ReadinessOperation readable = leat::readable(watch.source());
        co_await readable;
    }
}

}  // namespace leat
