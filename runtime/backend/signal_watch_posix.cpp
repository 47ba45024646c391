// SPDX-License-Identifier: BSL-1.0
//
// A handler may do little (signal-safety(7)): it sets a bit for each watcher that wants the signal and writes to that
// watcher's bell, an eventfd or a pipe. Watchers have places in a fixed array, since nothing may be allocated or locked
// there. A place keeps its bell for good: a handler that is under way on another thread may still ring it.
//
// A forked child inherits the handlers and shares the bells. So a handler asks which process it is in, and in a child
// gives the signal back to what was there before. A child that watches signals itself begins anew.

#include "backend/signal_watch.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/eventfd.h>
#endif

namespace leat::detail {

namespace {

/// What a handler rings: readable from then until it is emptied.
struct Bell {
    /// Errors: the system's, as `std::system_error`.
    void open() {
#if defined(__linux__)
        // One descriptor for both.
        int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0) throw std::system_error(errno, std::system_category(), "leat: eventfd");
        reader = fd;
        writer.store(fd);
#else
        int ends[2];
        if (::pipe(ends) != 0) throw std::system_error(errno, std::system_category(), "leat: pipe");
        for (int end : ends) {
            ::fcntl(end, F_SETFD, FD_CLOEXEC);
            ::fcntl(end, F_SETFL, O_NONBLOCK);
        }
        reader = ends[0];
        writer.store(ends[1]);
#endif
    }
    bool is_open() const noexcept { return writer.load() >= 0; }
    void forget() noexcept { writer.store(-1); }
    /// Called by handlers.
    ssize_t ring() noexcept {
        const std::uint64_t one = 1;
        return ::write(writer.load(), &one, sizeof one);
    }

    std::atomic<int> writer{-1};
    int reader = -1;
};

struct Place {
    std::atomic<std::uint64_t> wanted{0};
    std::atomic<std::uint64_t> pending{0};
    Bell bell;
    // Under the lock.
    bool is_taken = false;
};

constexpr int signal_limit = 65;
constexpr std::uint64_t bit_of(int signal) noexcept { return std::uint64_t{1} << (signal - 1); }

std::array<Place, 64> places;

// The process that watches; in a child of it, what is here is a copy.
std::atomic<pid_t> watching_process{0};

// Under the lock: how many watchers a signal has, and what it had before the first.
std::mutex lock;
std::array<int, signal_limit> watchers{};
std::array<struct sigaction, signal_limit> former{};

void note_signal(int signal) noexcept {
    for (Place& place : places) {
        if ((place.wanted.load() & bit_of(signal)) == 0) continue;
        place.pending.fetch_or(bit_of(signal));
        // A full one is readable already; whatever else may refuse the call is asked again.
        for (int attempts = 3; attempts != 0 && place.bell.ring() < 0;)
            --attempts;
    }
}

void act_as_before(int signal) noexcept {
    ::sigaction(signal, &former[static_cast<std::size_t>(signal)], nullptr);
    // Held back until the handler returns; then it meets what it is to meet.
    ::raise(signal);
}

extern "C" void leat_handle_signal(int signal) {
    int error = errno;
    if (::getpid() == watching_process.load())
        note_signal(signal);
    else
        act_as_before(signal);
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
    action.sa_handler = leat_handle_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    // Noted before the handler is there, which may look at it.
    if (::sigaction(signal, nullptr, &former[static_cast<std::size_t>(signal)]) == 0 &&
        ::sigaction(signal, &action, nullptr) == 0)
        return;
    --watchers[static_cast<std::size_t>(signal)];
    throw_for(signal, errno);
}

/// Puts back what the signal had before, unless the program has given it another handler since.
void restore(int signal) noexcept {
    struct sigaction current{};
    if (::sigaction(signal, nullptr, &current) == 0 && (current.sa_flags & SA_SIGINFO) == 0 &&
        current.sa_handler == leat_handle_signal)
        ::sigaction(signal, &former[static_cast<std::size_t>(signal)], nullptr);
}

void remove_watcher(int signal) noexcept {
    if (--watchers[static_cast<std::size_t>(signal)] == 0) restore(signal);
}

void remove_watchers(std::uint64_t wanted) noexcept {
    for (; wanted != 0; wanted &= wanted - 1)
        remove_watcher(std::countr_zero(wanted) + 1);
}

/// In a forked child: what its parent watches is none of its business.
void begin_anew() noexcept {
    for (std::size_t signal = 1; signal < watchers.size(); ++signal) {
        if (std::exchange(watchers[signal], 0) != 0) restore(static_cast<int>(signal));
    }
    for (Place& place : places) {
        place.wanted.store(0);
        place.is_taken = false;
        // Not closed: a child that has closed what it inherited may have used the number again.
        place.bell.forget();
    }
}

int take_place() {
    for (std::size_t i = 0; i < places.size(); ++i) {
        Place& place = places[i];
        if (place.is_taken) continue;
        if (!place.bell.is_open()) place.bell.open();
        place.is_taken = true;
        return static_cast<int>(i);
    }
    throw std::system_error(EAGAIN, std::system_category(), "leat: too many watchers of signals");
}

}  // namespace

SignalWatch::SignalWatch(std::initializer_list<int> signals) : process_(::getpid()) {
    std::lock_guard guard(lock);
    if (watching_process.load() != ::getpid()) begin_anew();
    watching_process.store(::getpid());
    int place_number = take_place();
    Place& place = places[static_cast<std::size_t>(place_number)];
    try {
        // A descriptor of its own for the queue; the place's stays open.
        int own = ::fcntl(place.bell.reader, F_DUPFD_CLOEXEC, 0);
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
    if (is_forked()) return;
    std::lock_guard guard(lock);
    Place& place = places[static_cast<std::size_t>(place_)];
    remove_watchers(wanted_ & ~kept_);
    place.wanted.store(0);
    place.is_taken = false;
}

// The count of watchers stays one too high, so the handler stays; without a watcher it does nothing.
void SignalWatch::keep_installed() noexcept { kept_ = wanted_; }

bool SignalWatch::is_forked() const noexcept { return process_ != ::getpid(); }

int SignalWatch::take() noexcept {
    std::atomic<std::uint64_t>& pending = places[static_cast<std::size_t>(place_)].pending;
    std::uint64_t bits = pending.load();
    if (bits == 0) return 0;
    std::uint64_t lowest = bits & (~bits + 1);
    pending.fetch_and(~lowest);
    return std::countr_zero(lowest) + 1;
}

void SignalWatch::clear() noexcept {
    // Of an eventfd, one read takes all.
    std::array<std::byte, 256> rung;
    while (::read(source_.native_handle(), rung.data(), rung.size()) == static_cast<ssize_t>(rung.size())) {
    }
}

}  // namespace leat::detail
