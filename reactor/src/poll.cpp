// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/poll.hpp>

#include "src/core.hpp"

#include <utility>

namespace leat {

namespace {

void throw_if(const std::error_code& error, const char* what) {
    if (error) throw std::system_error(error, what);
}

}  // namespace

Registrator::Registrator(detail::Core& core) noexcept : core_(&core) { core_->retain(); }

Registrator::Registrator(const Registrator& other) noexcept : core_(other.core_) { core_->retain(); }

Registrator& Registrator::operator=(const Registrator& other) noexcept {
    other.core_->retain();
    std::exchange(core_, other.core_)->release();
    return *this;
}

Registrator::~Registrator() { core_->release(); }

void Registrator::add(Source& source, Token token, Interest interest, Mode mode) {
    throw_if(core_->add(source, token, interest, mode), "leat: cannot register the source");
}

void Registrator::add(Source& source, Token token, Interest interest, Mode mode,
                      std::error_code& error) noexcept {
    error = core_->add(source, token, interest, mode);
}

void Registrator::modify(Source& source, Token token, Interest interest, Mode mode) {
    throw_if(core_->modify(source, token, interest, mode), "leat: cannot change the source's registration");
}

void Registrator::modify(Source& source, Token token, Interest interest, Mode mode,
                         std::error_code& error) noexcept {
    error = core_->modify(source, token, interest, mode);
}

void Registrator::remove(Source& source) {
    throw_if(core_->remove(source), "leat: cannot remove the source");
}

void Registrator::remove(Source& source, std::error_code& error) noexcept { error = core_->remove(source); }

TimerId Registrator::add_timer(TimePoint deadline, Token token) { return core_->add_timer(deadline, token); }

bool Registrator::cancel_timer(TimerId timer) { return core_->cancel_timer(timer); }

void Registrator::wake() noexcept { core_->wake(); }

void Registrator::close() noexcept { core_->close(); }

bool Registrator::is_closed() const noexcept { return core_->is_closed(); }

bool Registrator::is_forked() const noexcept { return core_->is_forked(); }

bool Registrator::is_owner() const noexcept { return core_->is_owner(); }

Poll::Poll(Backend backend, const Clock& clock)
    : core_(new detail::Core(backend, clock)), completions_(core_) {}

Poll::~Poll() {
    core_->end();
    core_->release();
}

Registrator Poll::registrator() const noexcept { return Registrator(*core_); }

Backend Poll::backend() const noexcept { return core_->backend(); }

const std::string& Poll::passed_over() const noexcept { return core_->passed_over(); }

const Clock& Poll::clock() const noexcept { return core_->clock(); }

PollStatus Poll::poll(Events& events, std::optional<Duration> timeout) {
    using Kind = detail::Core::Limit::Kind;
    if (!timeout) return core_->poll(events, {Kind::none, {}}, false);
    if (*timeout <= Duration::zero()) return core_->poll(events, {Kind::immediate, {}}, false);
    return core_->poll(events, {Kind::until, saturating_add(clock().now(), *timeout)}, false);
}

PollStatus Poll::poll_until(Events& events, TimePoint deadline) {
    return core_->poll(events, {detail::Core::Limit::Kind::until, deadline}, false);
}

std::error_code Poll::own() noexcept { return core_->own(); }
bool Poll::has_other_owner() const noexcept { return core_->has_other_owner(); }

PollStatus Poll::wait(Events& events, std::optional<TimePoint> deadline) {
    using Kind = detail::Core::Limit::Kind;
    if (deadline) return core_->poll(events, {Kind::until, *deadline}, true);
    return core_->poll(events, {Kind::none, {}}, true);
}

PollStatus Poll::look(Events& events) {
    return core_->poll(events, {detail::Core::Limit::Kind::immediate, {}}, true);
}

bool Poll::submit(Operation& operation) noexcept {
    if (std::error_code refusal = own()) {
        detail::OperationAccess::end(operation, static_cast<errc>(refusal.value()));
        return true;
    }
    const bool has_ended = core_->submit(operation);
    core_->flush_if_watched();
    return has_ended;
}

bool Poll::submit_owned(detail::OperationRecord& operation) noexcept { return core_->submit(operation); }

std::error_code Poll::bind(Source& source) noexcept { return core_->bind(source); }

bool Poll::cancel(detail::OperationRecord& operation) noexcept { return core_->cancel(operation); }

void Poll::wake() noexcept { core_->wake(); }

void Poll::close() noexcept { core_->close(); }

NativeHandle Poll::native_handle() const {
    std::error_code error;
    NativeHandle handle = core_->native_handle(error);
    if (error) throw std::system_error(error, "leat: poll handle");
    return handle;
}

void Poll::set_asleep() noexcept { core_->set_asleep(); }

}  // namespace leat
