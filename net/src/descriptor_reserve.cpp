// SPDX-License-Identifier: BSL-1.0
#include "src/descriptor_reserve.hpp"

#include "backend/socket.hpp"

#include <atomic>
#include <cstddef>
#include <mutex>
#include <utility>

namespace leat::detail {

namespace {

/// Under the lock, but for `is_held`, which a server reads at each connection that it accepts.
struct Reserve {
    std::mutex mutex;
    std::size_t shares = 0;
    NativeHandle handle = invalid_handle;
    std::atomic<bool> is_held = false;

    /// False: there is no descriptor for it.
    bool hold(std::error_code& refusal) noexcept {
        refusal.clear();
        if (handle != invalid_handle) return true;
        std::error_code error;
        handle = socket::open_reserve(error);
        is_held = handle != invalid_handle;
        if (!error) return true;
        if (socket::classify_accept_failure(error) == socket::AcceptFailure::no_descriptors) return false;
        refusal = error;
        return true;
    }

    void spend() noexcept {
        is_held = false;
        if (handle != invalid_handle) socket::close(std::exchange(handle, invalid_handle));
    }
};

Reserve& the_reserve() noexcept {
    static Reserve reserve;
    return reserve;
}

}  // namespace

ReserveShare::~ReserveShare() {
    if (!is_open_) return;
    std::lock_guard lock(the_reserve().mutex);
    if (--the_reserve().shares == 0) the_reserve().spend();
}

void ReserveShare::open(std::error_code& refusal) noexcept {
    std::lock_guard lock(the_reserve().mutex);
    is_open_ = true;
    ++the_reserve().shares;
    the_reserve().hold(refusal);
}

bool ReserveShare::keep(TcpStream& accepted, std::error_code& refusal) noexcept {
    refusal.clear();
    if (the_reserve().is_held) return true;
    std::lock_guard lock(the_reserve().mutex);
    if (the_reserve().hold(refusal)) return true;
    accepted.close();
    the_reserve().hold(refusal);
    return false;
}

ReserveShare::Surplus ReserveShare::accept_surplus(TcpListener& listener, std::optional<TcpStream>& accepted,
                                                   std::error_code& error) noexcept {
    std::lock_guard lock(the_reserve().mutex);
    std::error_code ignored;
    the_reserve().hold(ignored);
    if (!the_reserve().is_held) return Surplus::nothing_to_spend;
    the_reserve().spend();
    accepted = listener.try_accept(error);
    if (!accepted && !error) return Surplus::nobody;
    const bool is_held_again = the_reserve().hold(ignored);
    if (error) return Surplus::failed;
    if (is_held_again) return Surplus::kept;
    accepted.reset();
    the_reserve().hold(ignored);
    return Surplus::closed;
}

}  // namespace leat::detail
