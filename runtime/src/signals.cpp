// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/signals.hpp>

#include "backend/signal_watch.hpp"

#include <leat/runtime/io_operation.hpp>

#include <system_error>

namespace leat {

Signals::Signals(std::initializer_list<int> signals)
    : watch_(std::make_unique<detail::SignalWatch>(signals)) {}

Signals::~Signals() = default;

void Signals::keep_installed() noexcept { watch_->keep_installed(); }

Task<int> Signals::next() {
    detail::SignalWatch& watch = *watch_;
    if (watch.is_forked()) throw std::system_error(make_error_code(errc::forked), "leat: signals");
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
