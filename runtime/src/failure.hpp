// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <exception>
#include <string>

namespace leat::detail {

/// What an exception says of itself, without what is attached to it.
std::string text_of(const std::exception_ptr& exception);

}  // namespace leat::detail
