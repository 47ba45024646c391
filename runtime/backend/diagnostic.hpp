// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string_view>

namespace leat::detail {

/// Writes a line to standard error if that can take it at once; drops it otherwise. Never blocks, never raises SIGPIPE.
void write_notice(std::string_view text);

}  // namespace leat::detail
