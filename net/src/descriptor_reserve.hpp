// SPDX-License-Identifier: BSL-1.0
//
// Descriptors are the process's, and so is the one that its servers hold in reserve: a reserve for each
// thread would be spent by one and taken by the accept of another, and the peer that it was spent for would
// wait in silence.
#pragma once

#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>

#include <optional>
#include <system_error>

namespace leat::detail {

/// A server's share in the descriptor that the process holds in reserve: it is held while there is a share.
/// Where the system gives none of this kind for another reason than a shortage (a filter of system calls may
/// allow no sockets but those of the network), there is no reserve, and every connection is kept.
///
/// Thread-safety: any thread; one closes, accepts and opens again before another begins.
class ReserveShare {
public:
    ReserveShare() noexcept = default;
    ReserveShare(const ReserveShare&) = delete;
    ReserveShare& operator=(const ReserveShare&) = delete;
    ~ReserveShare();

    /// Begins the share. `refusal`: why the system gives no reserve, if that is not a shortage.
    void open(std::error_code& refusal) noexcept;

    /// Makes sure that the reserve is held, before one more connection is kept. If there is no descriptor for
    /// it, closes `accepted`, whose descriptor becomes the reserve, and gives false.
    bool keep(TcpStream& accepted, std::error_code& refusal) noexcept;

    /// What `accept_surplus` came to.
    enum class Surplus {
        /// `accepted` is to be served: there was room after all.
        kept,
        /// Its peer has seen a close.
        closed,
        /// Nobody waited any more. The reserve stays spent until the next connection comes, to whichever
        /// server: with it held, an accept that finds nobody would fail because no descriptor is left, again
        /// and again, instead of waiting.
        nobody,
        /// There is no reserve.
        nothing_to_spend,
        /// `error` says why; something else in the process may have taken the descriptor.
        failed,
    };
    /// For a listener whose accept has found no descriptor: spends the reserve on the next peer, and takes it
    /// back.
    Surplus accept_surplus(TcpListener& listener, std::optional<TcpStream>& accepted,
                           std::error_code& error) noexcept;

private:
    bool is_open_ = false;
};

}  // namespace leat::detail
