// SPDX-License-Identifier: BSL-1.0
//
// A handler may do little (signal-safety(7)): it sets a bit for each watcher that wants the signal and writes to that
// watcher's eventfd. Watchers have places in a fixed array, since nothing may be allocated or locked there. A place
// keeps its eventfd for good: a handler that is under way on another thread may still write to it.

#include "backend/signal_watch.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace leat::detail {

namespace {

struct Place {
    std::atomic<std::uint64_t> wanted{0};
    std::atomic<std::uint64_t> pending{0};
    std::atomic<int> eventfd{-1};
    // Under the lock.
    bool is_taken = false;
};

constexpr int signal_limit = 65;
constexpr std::uint64_t bit_of(int signal) noexcept { return std::uint64_t{1} << (signal - 1); }

std::array<Place, 64> places;

// Under the lock: how many watchers a signal has, and what it had before the first.
std::mutex lock;
std::array<int, signal_limit> watchers{};
std::array<struct sigaction, signal_limit> former{};

extern "C" void leat_note_signal(int signal) {
    int error = errno;
    for (Place& place : places) {
        if ((place.wanted.load() & bit_of(signal)) == 0) continue;
        place.pending.fetch_or(bit_of(signal));
        const std::uint64_t one = 1;
        // A full counter is readable already.
        [[maybe_unused]] ssize_t written = ::write(place.eventfd.load(), &one, sizeof one);
    }
    errno = error;
}

[[noreturn]] void throw_for(int signal, int error) {
    const char* name = ::strsignal(signal);
    throw std::system_error(error, std::system_category(),
                            "leat: cannot watch signal " + std::to_string(signal) + " (" +
                                (name != nullptr ? name : "unknown") + ")");
}

void add_watcher(int signal) {
    if (watchers[static_cast<std::size_t>(signal)]++ != 0) return;
    struct sigaction action{};
    action.sa_handler = leat_note_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (::sigaction(signal, &action, &former[static_cast<std::size_t>(signal)]) == 0) return;
    --watchers[static_cast<std::size_t>(signal)];
    throw_for(signal, errno);
}

void remove_watcher(int signal) noexcept {
    if (--watchers[static_cast<std::size_t>(signal)] != 0) return;
    ::sigaction(signal, &former[static_cast<std::size_t>(signal)], nullptr);
}

void remove_watchers(std::uint64_t wanted) noexcept {
    for (; wanted != 0; wanted &= wanted - 1)
        remove_watcher(std::countr_zero(wanted) + 1);
}

int take_place() {
    for (std::size_t i = 0; i < places.size(); ++i) {
        Place& place = places[i];
        if (place.is_taken) continue;
        if (place.eventfd.load() < 0) {
            int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            if (fd < 0) throw std::system_error(errno, std::system_category(), "leat: eventfd");
            place.eventfd.store(fd);
        }
        place.is_taken = true;
        return static_cast<int>(i);
    }
    throw std::system_error(EAGAIN, std::system_category(), "leat: too many watchers of signals");
}

}  // namespace

SignalWatch::SignalWatch(std::initializer_list<int> signals) {
    std::lock_guard guard(lock);
    int place_number = take_place();
    Place& place = places[static_cast<std::size_t>(place_number)];
    try {
        // A descriptor of its own for the queue; the place's stays open.
        int own = ::fcntl(place.eventfd.load(), F_DUPFD_CLOEXEC, 0);
        if (own < 0) throw std::system_error(errno, std::system_category(), "leat: fcntl");
        source_ = Source(own);
        place.pending.store(0);
        for (int signal : signals) {
            if (signal <= 0 || signal >= signal_limit) throw_for(signal, EINVAL);
            if ((wanted_ & bit_of(signal)) != 0) continue;
            // Wanted first: the handler may run before `sigaction` has returned.
            place.wanted.fetch_or(bit_of(signal));
            add_watcher(signal);
            wanted_ |= bit_of(signal);
        }
    } catch (...) {
        place.wanted.store(0);
        remove_watchers(wanted_);
        place.is_taken = false;
        throw;
    }
    place_ = place_number;
}

SignalWatch::~SignalWatch() {
    source_.close();
    std::lock_guard guard(lock);
    Place& place = places[static_cast<std::size_t>(place_)];
    remove_watchers(wanted_);
    place.wanted.store(0);
    place.is_taken = false;
}

int SignalWatch::take() noexcept {
    std::atomic<std::uint64_t>& pending = places[static_cast<std::size_t>(place_)].pending;
    std::uint64_t bits = pending.load();
    if (bits == 0) return 0;
    std::uint64_t lowest = bits & (~bits + 1);
    pending.fetch_and(~lowest);
    return std::countr_zero(lowest) + 1;
}

void SignalWatch::clear() noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] ssize_t got = ::read(source_.native_handle(), &count, sizeof count);
}

}  // namespace leat::detail
