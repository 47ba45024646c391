// SPDX-License-Identifier: BSL-1.0
//
// The Linux backend on epoll(7).
//
// Each source has one entry in the kernel's set.

#include "backend/descriptor_posix.hpp"
#include "backend/epoll_set.hpp"
#include "backend/readiness_selector.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <system_error>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace leat::detail {

namespace {

class EpollSelector final : public ReadinessSelector {
public:
    explicit EpollSelector(const SelectorContext& context)
        : ReadinessSelector(context),
          // Never read and so never zero: every write is an edge, and re-arming alone is one too.
          wake_(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), "leat: eventfd") {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        event.data.u64 = wake_mark;
        if (::epoll_ctl(set_.descriptor(), EPOLL_CTL_ADD, wake_.get(), &event) != 0)
            throw std::system_error(last_error(), "leat: epoll_ctl");
        // Take the edge of that registration: nobody has woken anybody yet.
        epoll_event first;
        while (::epoll_wait(set_.descriptor(), &first, 1, 0) < 0 && errno == EINTR) {
        }
    }

    std::error_code add(Slot& slot) noexcept override { return set_.add(slot); }
    std::error_code modify(Slot& slot) noexcept override { return set_.modify(slot); }
    void remove(Slot& slot) noexcept override { set_.remove(slot); }

    void wait(Harvest& harvest, std::optional<Duration> timeout) override {
        std::size_t wanted = std::min(harvest.room(), events_.size());
        if (wanted == 0) return;
        int count = set_.wait(std::span(events_).first(wanted), timeout);
        if (count < 0) {
            if (errno == EINTR) return;
            throw std::system_error(last_error(), "leat: epoll_wait");
        }
        // Readiness first: there is room for one entry an event, and what operations add beyond that can wait.
        if (set_.has_interests())
            EpollSet::report(std::span(events_).first(static_cast<std::size_t>(count)), harvest);
        advance_operations(count);
    }

    void wake() noexcept override {
        const std::uint64_t one = 1;
        if (::write(wake_.get(), &one, sizeof one) == sizeof one) return;
        // The counter is at its limit, or something refuses the write: re-arming reports it all the same.
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        event.data.u64 = wake_mark;
        ::epoll_ctl(set_.descriptor(), EPOLL_CTL_MOD, wake_.get(), &event);
    }

    NativeHandle native_handle(std::error_code&) noexcept override { return set_.descriptor(); }

private:
    static std::uint32_t operation_mask(bool is_listener) noexcept {
        // A listener is never written to.
        if (is_listener) return EPOLLIN | EPOLLET;
        return EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
    }

    std::error_code watch(Slot& slot, bool is_listener) noexcept override {
        return set_.control(EPOLL_CTL_ADD, slot, operation_mask(is_listener), 0);
    }
    std::error_code watch_anew(Slot& slot, bool is_listener) noexcept override {
        return set_.control(EPOLL_CTL_MOD, slot, operation_mask(is_listener), 0);
    }
    void forget(Slot& slot) noexcept override { set_.forget(slot); }

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

    EpollSet set_;
    Descriptor wake_;
    std::array<epoll_event, 256> events_;
};

}  // namespace

std::unique_ptr<Selector> make_selector_epoll(const SelectorContext& context) {
    return std::make_unique<EpollSelector>(context);
}

}  // namespace leat::detail
