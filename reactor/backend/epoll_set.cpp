// SPDX-License-Identifier: BSL-1.0
#include "backend/epoll_set.hpp"

#include "backend/readiness_selector.hpp"

#include <cerrno>
#include <chrono>
#include <climits>
#include <ctime>

namespace leat::detail {

namespace {

std::uint32_t interest_mask(const Slot& slot) noexcept {
    std::uint32_t mask = EPOLLET;
    if ((slot.interest & Slot::wanted_readable) != 0) mask |= EPOLLIN | EPOLLRDHUP;
    if ((slot.interest & Slot::wanted_writable) != 0) mask |= EPOLLOUT;
    if ((slot.interest & Slot::wanted_priority) != 0) mask |= EPOLLPRI;
    if (slot.is_oneshot) mask |= EPOLLONESHOT;
    return mask;
}

std::uint32_t readiness_of(std::uint32_t events) noexcept {
    std::uint32_t flags = 0;
    if ((events & EPOLLIN) != 0) flags |= Readiness::readable;
    if ((events & EPOLLOUT) != 0) flags |= Readiness::writable;
    if ((events & EPOLLPRI) != 0) flags |= Readiness::readable | Readiness::priority;
    if ((events & EPOLLERR) != 0) flags |= Readiness::error;
    if ((events & EPOLLRDHUP) != 0) flags |= Readiness::read_closed;
    if ((events & EPOLLHUP) != 0) flags |= Readiness::read_closed | Readiness::write_closed;
    // An error with nothing else, or on a direction that is otherwise open for writing, is how a pipe tells that its
    // reader has gone.
    if (events == EPOLLERR || (events & (EPOLLOUT | EPOLLERR)) == (EPOLLOUT | EPOLLERR))
        flags |= Readiness::write_closed;
    return flags;
}

}  // namespace

EpollSet::EpollSet() : epoll_(::epoll_create1(EPOLL_CLOEXEC), "leat: epoll_create1") {}

std::error_code EpollSet::add(Slot& slot) noexcept {
    // Counted before an event of it can come.
    interests_.fetch_add(1, std::memory_order_relaxed);
    std::error_code error = control(EPOLL_CTL_ADD, slot, interest_mask(slot), interest_bit);
    if (error) interests_.fetch_sub(1, std::memory_order_relaxed);
    return error;
}

std::error_code EpollSet::modify(Slot& slot) noexcept {
    return control(EPOLL_CTL_MOD, slot, interest_mask(slot), interest_bit);
}

void EpollSet::remove(Slot& slot) noexcept {
    forget(slot);
    interests_.fetch_sub(1, std::memory_order_relaxed);
}

void EpollSet::report(std::span<const epoll_event> events, Harvest& harvest) noexcept {
    harvest.begin_readiness();
    for (const epoll_event& event : events) {
        std::uint32_t index = index_of(event.data.u64);
        if (event.data.u64 == wake_mark || (index & interest_bit) == 0) continue;
        harvest.ready(index & ~interest_bit, generation_of(event.data.u64), readiness_of(event.events));
    }
    harvest.end_readiness();
}

std::error_code EpollSet::control(int action, Slot& slot, std::uint32_t mask, std::uint32_t mode) noexcept {
    epoll_event event{};
    event.events = mask;
    event.data.u64 = mark_of(slot, mode);
    if (::epoll_ctl(epoll_.get(), action, slot.handle, &event) == 0) return {};
    // The kernel remembers otherwise: what we want is the same either way. It is no other source of this
    // queue (`HandleSet`). But an entry that is in the way of a new interest may belong to whoever shares the
    // set's descriptor, and must not fall silent: an error.
    if (action == EPOLL_CTL_ADD && errno == EEXIST && mode == 0)
        action = EPOLL_CTL_MOD;
    else if (action == EPOLL_CTL_MOD && errno == ENOENT)
        action = EPOLL_CTL_ADD;
    else
        return last_error();
    if (::epoll_ctl(epoll_.get(), action, slot.handle, &event) == 0) return {};
    return last_error();
}

void EpollSet::forget(Slot& slot) noexcept {
    epoll_event ignored{};
    // ENOENT and EBADF: it is gone already, which is what we want.
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, slot.handle, &ignored);
}

int EpollSet::wait(std::span<epoll_event> events, std::optional<Duration> timeout) noexcept {
    const int wanted = static_cast<int>(events.size());
    if (!timeout) return ::epoll_wait(epoll_.get(), events.data(), wanted, -1);
    if (*timeout <= Duration::zero()) return ::epoll_wait(epoll_.get(), events.data(), wanted, 0);
    if (has_nanoseconds_) {
        auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*timeout);
        timespec limit{};
        limit.tv_sec = static_cast<std::time_t>(seconds.count());
        limit.tv_nsec = static_cast<long>((*timeout - seconds).count());
        int count = ::epoll_pwait2(epoll_.get(), events.data(), wanted, &limit, nullptr);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
        // Linux before 5.11, some tracers, and filters of system calls that do not know it (they say EPERM,
        // which the call itself never does, epoll_pwait2(2)): from here on in milliseconds.
        has_nanoseconds_ = false;
    }
    auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(*timeout).count();
    int limit = milliseconds > INT_MAX ? INT_MAX : static_cast<int>(milliseconds);
    return ::epoll_wait(epoll_.get(), events.data(), wanted, limit);
}

}  // namespace leat::detail
