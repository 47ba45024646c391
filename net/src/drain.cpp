// SPDX-License-Identifier: BSL-1.0
#include "src/drain.hpp"

#include <leat/net/drain.hpp>

#include "backend/socket.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

namespace leat {

namespace detail {

namespace {

// Its address names the kind.
constexpr char kind_of_signal = 0;

}  // namespace

DrainSignal::DrainSignal() noexcept : TaskContext(&kind_of_signal) {}

DrainSignal* DrainSignal::find(const Environment& environment) noexcept {
    return static_cast<DrainSignal*>(environment.find_context(&kind_of_signal));
}

void Drain::begin() noexcept {
    if (signal_.is_set()) return;
    signal_.set();
    if (options_.lame_duck <= Duration::zero()) return finish();
    executor_.timers().arm(*this, saturating_add(executor_.now(), options_.lame_duck));
}

void Drain::finish() noexcept {
    if (is_finishing_) return;
    if (!signal_.is_set()) signal_.set();
    stop();
}

void Drain::stop() noexcept {
    if (is_finishing_) return;
    disarm();
    is_finishing_ = true;
    set_deadline();
    server_.begin_to_finish();
}

void Drain::set_deadline() noexcept {
    deadline_ = std::min(deadline_, saturating_add(executor_.now(), options_.drain_timeout));
}

void Remainder::add(NativeHandle connection) {
    if (++connections_ > most_names) {
        if (connections_ == most_names + 1) names_ += ", …";
        return;
    }
    // Closed by its handler, which goes on, or reset by its peer.
    std::error_code error;
    Address peer = socket::peer_address(connection, error);
    if (!names_.empty()) names_ += ", ";
    names_ += error ? "one without a peer" : to_string(peer);
}

std::string Remainder::describe() const {
    std::string text = "cancels " + std::to_string(connections_);
    text += connections_ == 1 ? " connection" : " connections";
    if (!names_.empty()) text += " (" + names_ + ")";
    if (lingering_ != 0)
        text += " and closes " + std::to_string(lingering_) + " whose peers have not had everything";
    return text;
}

}  // namespace detail

bool IsDrainingOperation::await_resume() const noexcept {
    const detail::DrainSignal* signal = detail::DrainSignal::find(environment());
    return signal != nullptr && signal->is_set();
}

bool DrainRequestedOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    signal_ = detail::DrainSignal::find(environment());
    if (signal_ == nullptr) {
        waits_alone_ = true;
        suspend();
        return false;
    }
    if (!signal_->is_set()) return wait_in(signal_->waiters());
    return go_on();
}

void DrainRequestedOperation::cancel() noexcept {
    if (signal_ != nullptr ? leave(signal_->waiters()) : std::exchange(waits_alone_, false)) withdrawn();
}

}  // namespace leat
