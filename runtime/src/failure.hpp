// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <exception>
#include <string>

namespace leat {
class Executor;
class TaskFrame;
}  // namespace leat

namespace leat::detail {

/// What an exception says of itself, without what is attached to it.
std::string text_of(const std::exception_ptr& exception);

/// Gives a notice, whatever the rate limit is: `what`, and what the exception says of itself. Without the latter if there is no memory for it.
void notice_failure(Executor& executor, const char* what, const std::exception_ptr& exception) noexcept;

}  // namespace leat::detail
