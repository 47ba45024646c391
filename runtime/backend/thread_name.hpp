// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string>

namespace leat::detail {

/// Names the calling thread for debuggers and process lists, with as much of `name` as the system keeps.
void name_thread(const std::string& name) noexcept;

}  // namespace leat::detail
