// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/catch_cancelled.hpp>

#include "src/failure.hpp"

#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>

#include <system_error>
#include <utility>

namespace leat::detail {

namespace {

bool says_cancelled(const std::exception_ptr& exception) {
    try {
        std::rethrow_exception(exception);
    } catch (const std::system_error& error) {
        return error.code() == make_error_code(errc::cancelled);
    } catch (...) {
        return false;
    }
}

}  // namespace

std::exception_ptr unless_cancelled(Executor& executor, std::exception_ptr exception) {
    if (!says_cancelled(exception)) return exception;
    for (const std::exception_ptr& other : attached_failures(exception))
        if (std::exception_ptr failure = unless_cancelled(executor, other))
            notice_failure(executor, "a failure beside a cancellation", failure);
    return nullptr;
}

}  // namespace leat::detail
