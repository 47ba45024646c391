// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/serve.hpp>

#include "src/handover.hpp"

#include <cstddef>
#include <memory>

namespace leat::detail {

/// One of the servers that are one server on several threads: `serve`, but its listener, of which it may have none, is closed
/// once nothing more is to be accepted. With a handover it serves what it is given, and number 0 gives what it accepts.
///
/// Lifetime: `listener` and `control` outlive the await.
Task<ServeReport> serve_part(TcpListener* listener, ConnectionHandler handler, ServeOptions options,
                             ServeControl& control, std::shared_ptr<Handover> handover, std::size_t index);

}  // namespace leat::detail
