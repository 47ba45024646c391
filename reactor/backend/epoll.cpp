// SPDX-License-Identifier: BSL-1.0
//
// The Linux backend on epoll(7).
//
// Each source has one entry in the kernel's set.

#include "backend/descriptor_posix.hpp"
#include "backend/readiness_selector.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <ctime>
#include <system_error>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

class EpollSelector final : public ReadinessSelector {
public:
    explicit EpollSelector(const SelectorContext& context)
        : ReadinessSelector(context),
          epoll_(::epoll_create1(EPOLL_CLOEXEC), "leat: epoll_create1"),
          // Never read and so never zero: every write is an edge, and re-arming alone is one too.
          wake_(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), "leat: eventfd") {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        event.data.u64 = wake_mark;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0)
            throw std::system_error(last_error(), "leat: epoll_ctl");
        // Take the edge of that registration: nobody has woken anybody yet.
        epoll_event first;
        while (::epoll_wait(epoll_.get(), &first, 1, 0) < 0 && errno == EINTR) {
        }
    }

    std::error_code add(Slot& slot) noexcept override {
        // Counted before an event of it can come.
        interests_.fetch_add(1, std::memory_order_relaxed);
        std::error_code error = control(EPOLL_CTL_ADD, slot, interest_mask(slot), interest_bit);
        if (error) interests_.fetch_sub(1, std::memory_order_relaxed);
        return error;
    }
    std::error_code modify(Slot& slot) noexcept override {
        return control(EPOLL_CTL_MOD, slot, interest_mask(slot), interest_bit);
    }
    void remove(Slot& slot) noexcept override {
        forget(slot);
        interests_.fetch_sub(1, std::memory_order_relaxed);
    }

    void wait(Harvest& harvest, std::optional<Duration> timeout) override {
        int wanted = static_cast<int>(std::min(harvest.room(), events_.size()));
        if (wanted == 0) return;
        int count = wait_for_events(wanted, timeout);
        if (count < 0) {
            if (errno == EINTR) return;
            throw std::system_error(last_error(), "leat: epoll_wait");
        }
        // Readiness first: there is room for one entry an event, and what operations add beyond that can wait.
        if (interests_.load(std::memory_order_relaxed) != 0) report_readiness(harvest, count);
        advance_operations(count);
    }

    void wake() noexcept override {
        const std::uint64_t one = 1;
        if (::write(wake_.get(), &one, sizeof one) == sizeof one) return;
        // The counter is at its limit, or something refuses the write: re-arming reports it all the same.
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        event.data.u64 = wake_mark;
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, wake_.get(), &event);
    }

    NativeHandle native_handle() const noexcept override { return epoll_.get(); }

private:
    static std::uint32_t operation_mask(bool is_listener) noexcept {
        // A listener is never written to.
        if (is_listener) return EPOLLIN | EPOLLET;
        return EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
    }

    std::error_code watch(Slot& slot, bool is_listener) noexcept override {
        return control(EPOLL_CTL_ADD, slot, operation_mask(is_listener), 0);
    }
    std::error_code watch_anew(Slot& slot, bool is_listener) noexcept override {
        return control(EPOLL_CTL_MOD, slot, operation_mask(is_listener), 0);
    }
    void forget(Slot& slot) noexcept override {
        epoll_event ignored{};
        // ENOENT and EBADF: it is gone already, which is what we want.
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, slot.handle, &ignored);
    }

    // Apart from the wait, so that the loop has all registers to itself.
    [[gnu::noinline]] void advance_operations(int count) noexcept {
        Completions::Batch batch(completions_);
        const epoll_event* end = events_.data() + count;
        for (const epoll_event* event = events_.data(); event != end; ++event) {
            std::uint32_t index = static_cast<std::uint32_t>(event->data.u64);
            if ((index & interest_bit) != 0) continue;  // The wake mark has this bit too.
            Slot& slot = slots_.at(index);
            if (slot.generation.load(std::memory_order_relaxed) != event->data.u64 >> 32) continue;
            // What a message brings: an edge of one direction carries the other one too.
            if (event->events == (EPOLLIN | EPOLLOUT) && slot.bits == Slot::waits_for_message) [[likely]] {
                if (receive_message(slot)) [[likely]] {
                    batch.push(*slot.reader);
                    continue;
                }
            }
            batch.interrupt(completions_);
            advance(slot, *event);
            batch.resume(completions_);
        }
        batch.interrupt(completions_);
    }

    /// One event of a slot in operation mode: keeps what it says, and lets who waits try again.
    [[gnu::noinline]] void advance(Slot& slot, const epoll_event& event) noexcept {
        const std::uint32_t events = event.events;
        // A read stops at the mark of urgent data: however short it was, from then on it does not prove that nothing is
        // left, as at an end.
        constexpr std::uint32_t any_end = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI;
        if ((events & (EPOLLIN | any_end)) != 0) {
            slot.set(Slot::readable);
            if ((events & any_end) != 0) slot.set(Slot::read_closed);
            try_again(slot, false);
        }
        if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
            slot.set(Slot::writable);
            if ((events & (EPOLLHUP | EPOLLERR)) != 0) slot.set(Slot::write_closed);
            try_again(slot, true);
        }
    }

    std::error_code control(int action, Slot& slot, std::uint32_t mask, std::uint32_t mode) noexcept {
        epoll_event event{};
        event.events = mask;
        event.data.u64 = mark_of(slot, mode);
        if (::epoll_ctl(epoll_.get(), action, slot.handle, &event) == 0) return {};
        // The kernel remembers otherwise: what we want is the same either way. An entry that stands in the way of a new
        // interest, though, may be that of another source of this descriptor, which must not fall silent: an error.
        if (action == EPOLL_CTL_ADD && errno == EEXIST && mode == 0)
            action = EPOLL_CTL_MOD;
        else if (action == EPOLL_CTL_MOD && errno == ENOENT)
            action = EPOLL_CTL_ADD;
        else
            return last_error();
        if (::epoll_ctl(epoll_.get(), action, slot.handle, &event) == 0) return {};
        return last_error();
    }

    [[gnu::noinline]] void report_readiness(Harvest& harvest, int count) noexcept {
        harvest.begin_readiness();
        for (int i = 0; i < count; ++i) {
            const epoll_event& event = events_[static_cast<std::size_t>(i)];
            std::uint32_t index = static_cast<std::uint32_t>(event.data.u64);
            if (event.data.u64 == wake_mark || (index & interest_bit) == 0) continue;
            harvest.ready(index & ~interest_bit, static_cast<std::uint32_t>(event.data.u64 >> 32),
                          readiness_of(event.events));
        }
        harvest.end_readiness();
    }

    int wait_for_events(int wanted, std::optional<Duration> timeout) noexcept {
        if (!timeout) return ::epoll_wait(epoll_.get(), events_.data(), wanted, -1);
        if (*timeout <= Duration::zero()) return ::epoll_wait(epoll_.get(), events_.data(), wanted, 0);
        if (has_nanoseconds_) {
            auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*timeout);
            timespec limit{};
            limit.tv_sec = static_cast<std::time_t>(seconds.count());
            limit.tv_nsec = static_cast<long>((*timeout - seconds).count());
            int count = ::epoll_pwait2(epoll_.get(), events_.data(), wanted, &limit, nullptr);
            if (count >= 0 || errno != ENOSYS) return count;
            // Linux before 5.11, and some tracers: from here on in milliseconds.
            has_nanoseconds_ = false;
        }
        auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(*timeout).count();
        int limit = milliseconds > INT_MAX ? INT_MAX : static_cast<int>(milliseconds);
        return ::epoll_wait(epoll_.get(), events_.data(), wanted, limit);
    }

    Descriptor epoll_;
    Descriptor wake_;
    // Slots in interest mode; an executor has none, and then no event is looked at twice.
    std::atomic<std::uint32_t> interests_{0};
    bool has_nanoseconds_ = true;
    std::array<epoll_event, 256> events_;
};

}  // namespace

std::unique_ptr<Selector> make_selector_epoll(const SelectorContext& context) {
    return std::make_unique<EpollSelector>(context);
}

}  // namespace leat::detail
