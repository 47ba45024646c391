// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/serve.hpp>

#include "src/handover.hpp"

#include <cstddef>
#include <memory>

namespace leat::detail {

/// The server on several threads, as its parts see it.
class WholeServer {
public:
    /// A part accepts no more. Its failure is thrown only when its connections have ended; the others need
    /// not wait for that.
    ///
    /// Thread-safety: any thread.
    virtual void part_failed() noexcept = 0;

protected:
    ~WholeServer() = default;
};

/// One of the servers that are one server on several threads: `serve`, but its listener, of which it may have none, is closed
/// once nothing more is to be accepted. With a handover it serves what it is given, and number 0 gives what it accepts.
///
/// Lifetime: `listener`, `control` and `whole` outlive the await.
Task<ServeReport> serve_part(TcpListener* listener, ConnectionHandler handler, ServeOptions options,
                             ServeControl& control, WholeServer& whole, std::shared_ptr<Handover> handover,
                             std::size_t index);

}  // namespace leat::detail
