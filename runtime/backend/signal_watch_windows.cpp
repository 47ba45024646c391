// SPDX-License-Identifier: BSL-1.0
//
// Windows has two things by the name of signal. Control events of the console (Ctrl+C, Ctrl+Break, closing it, logging off,
// shutting down) come in a thread that the system makes; they are told as SIGINT, SIGBREAK (or SIGTERM, if nobody watches that)
// and, the three that end the process, SIGTERM. What a program raises itself (raise, in the C library) runs in the thread that raises it.
//
// Either notes a bit for each watcher that wants the signal, and rings its bell: a datagram to a socket that is connected to
// itself, so that nobody else can ring it.

#include "backend/signal_watch.hpp"

#include <leat/reactor/error.hpp>

#include <winsock2.h>

#include <array>
#include <atomic>
#include <bit>
#include <csignal>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include <windows.h>
#include <ws2tcpip.h>

namespace leat::detail {

namespace {

[[noreturn]] void throw_socket_error(const char* what) {
    throw std::system_error(native_error(static_cast<unsigned long>(::WSAGetLastError())), what);
}

/// A socket that hears what it says.
SOCKET open_bell() {
    // Once a process: Winsock ends with it.
    static const int winsock = [] {
        WSADATA data;
        return ::WSAStartup(MAKEWORD(2, 2), &data);
    }();
    if (winsock != 0)
        throw std::system_error(native_error(static_cast<unsigned long>(winsock)), "leat: WSAStartup");
    SOCKET bell = ::WSASocketW(AF_INET, SOCK_DGRAM, IPPROTO_UDP, nullptr, 0,
                               WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (bell == INVALID_SOCKET) throw_socket_error("leat: socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    auto* name = reinterpret_cast<sockaddr*>(&address);
    int size = sizeof address;
    u_long non_blocking = 1;
    if (::bind(bell, name, size) == 0 && ::getsockname(bell, name, &size) == 0 &&
        ::connect(bell, name, size) == 0 &&
        ::ioctlsocket(bell, static_cast<long>(FIONBIO), &non_blocking) == 0)
        return bell;
    const int error = ::WSAGetLastError();
    ::closesocket(bell);
    ::WSASetLastError(error);
    throw_socket_error("leat: a socket to itself");
}

struct Place {
    std::atomic<std::uint64_t> wanted{0};
    std::atomic<std::uint64_t> pending{0};
    // The watcher's own; while `ringers` is not zero somebody may use it.
    std::atomic<SOCKET> bell{INVALID_SOCKET};
    std::atomic<int> ringers{0};
    // Under the lock.
    bool is_taken = false;
};

constexpr int signal_limit = 65;
constexpr std::uint64_t bit_of(int signal) noexcept { return std::uint64_t{1} << (signal - 1); }

std::array<Place, 64> places;

using Handler = void (*)(int);

// Under the lock: how many watchers a signal has, and what it had before the first.
std::mutex lock;
std::array<int, signal_limit> watchers{};
std::array<Handler, signal_limit> former{};

// Signals that a destroyed watcher wanted to keep from their default.
std::atomic<std::uint64_t> kept{0};

/// Whether anybody wanted it.
bool note_signal(int signal) noexcept {
    bool is_wanted = (kept.load() & bit_of(signal)) != 0;
    for (Place& place : places) {
        if ((place.wanted.load() & bit_of(signal)) == 0) continue;
        is_wanted = true;
        place.pending.fetch_or(bit_of(signal));
        // Pairs with the end of a watcher, which takes the bell away first and then waits for whoever rings.
        place.ringers.fetch_add(1);
        if (SOCKET bell = place.bell.load(); bell != INVALID_SOCKET) ::send(bell, "", 1, 0);
        place.ringers.fetch_sub(1);
    }
    return is_wanted;
}

extern "C" void leat_handle_signal(int signal) {
    // The C library has put the default back.
    if (note_signal(signal)) std::signal(signal, leat_handle_signal);
}

BOOL WINAPI handle_control_event(DWORD event) {
    switch (event) {
    case CTRL_C_EVENT:
        return note_signal(SIGINT) ? TRUE : FALSE;
    case CTRL_BREAK_EVENT:
        // The one that a process can send to others: who does not know of it is asked to end.
        return note_signal(SIGBREAK) || note_signal(SIGTERM) ? TRUE : FALSE;
    default:
        if (!note_signal(SIGTERM)) return FALSE;
        // The process ends when this returns; until the system loses its patience, it may come to its own end.
        ::Sleep(INFINITE);
        return TRUE;
    }
}

/// Once a process, and never undone: taking a handler away waits for those that run, and one that was told of the process's end
/// does not return. What nobody wants it leaves to others.
void watch_console() {
    static const DWORD error = ::SetConsoleCtrlHandler(handle_control_event, TRUE) ? 0 : ::GetLastError();
    if (error != 0) throw std::system_error(native_error(error), "leat: SetConsoleCtrlHandler");
}

[[noreturn]] void throw_for(int signal) {
    throw std::system_error(make_error_code(std::errc::invalid_argument),
                            "leat: cannot watch signal " + std::to_string(signal));
}

void add_watcher(int signal) {
    if (watchers[static_cast<std::size_t>(signal)] != 0) {
        ++watchers[static_cast<std::size_t>(signal)];
        return;
    }
    Handler before = std::signal(signal, leat_handle_signal);
    if (before == SIG_ERR) throw_for(signal);
    former[static_cast<std::size_t>(signal)] = before;
    ++watchers[static_cast<std::size_t>(signal)];
}

void remove_watchers(std::uint64_t wanted) noexcept {
    for (; wanted != 0; wanted &= wanted - 1) {
        int signal = std::countr_zero(wanted) + 1;
        if (--watchers[static_cast<std::size_t>(signal)] == 0)
            std::signal(signal, former[static_cast<std::size_t>(signal)]);
    }
}

int take_place() {
    for (std::size_t i = 0; i < places.size(); ++i)
        if (!places[i].is_taken) return static_cast<int>(i);
    throw std::system_error(make_error_code(std::errc::resource_unavailable_try_again),
                            "leat: too many watchers of signals");
}

void silence(Place& place) noexcept {
    place.wanted.store(0);
    place.bell.store(INVALID_SOCKET);
    while (place.ringers.load() != 0)
        ::SwitchToThread();
}

}  // namespace

SignalWatch::SignalWatch(std::initializer_list<int> signals) : process_(0) {
    watch_console();
    std::lock_guard guard(lock);
    int place_number = take_place();
    Place& place = places[static_cast<std::size_t>(place_number)];
    source_ = Source(open_bell());
    place.pending.store(0);
    place.bell.store(source_.native_handle());
    try {
        for (int signal : signals) {
            if (signal <= 0 || signal >= signal_limit) throw_for(signal);
            if ((wanted_ & bit_of(signal)) != 0) continue;
            // Wanted first: the handler may run before `signal` has returned.
            place.wanted.fetch_or(bit_of(signal));
            add_watcher(signal);
            wanted_ |= bit_of(signal);
        }
    } catch (...) {
        silence(place);
        remove_watchers(wanted_);
        throw;
    }
    place.is_taken = true;
    place_ = place_number;
}

SignalWatch::~SignalWatch() {
    std::lock_guard guard(lock);
    Place& place = places[static_cast<std::size_t>(place_)];
    silence(place);
    remove_watchers(wanted_ & ~kept_);
    place.is_taken = false;
    source_.close();
}

void SignalWatch::keep_installed() noexcept {
    kept_ = wanted_;
    kept.fetch_or(kept_);
}

bool SignalWatch::is_forked() const noexcept { return false; }

int SignalWatch::take() noexcept {
    std::atomic<std::uint64_t>& pending = places[static_cast<std::size_t>(place_)].pending;
    std::uint64_t bits = pending.load();
    if (bits == 0) return 0;
    std::uint64_t lowest = bits & (~bits + 1);
    pending.fetch_and(~lowest);
    return std::countr_zero(lowest) + 1;
}

void SignalWatch::clear() noexcept {
    std::array<char, 16> rung;
    while (::recv(source_.native_handle(), rung.data(), static_cast<int>(rung.size()), 0) >= 0) {
    }
}

}  // namespace leat::detail
