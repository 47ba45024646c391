// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/result.hpp>

#include "src/failure.hpp"

#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>

namespace leat::detail {

std::error_code code_or_rethrow(std::exception_ptr exception) {
    try {
        std::rethrow_exception(std::move(exception));
    } catch (const std::system_error& error) {
        return error.code();
    }
}

std::string text_of(const std::exception_ptr& exception) {
    try {
        std::rethrow_exception(exception);
    } catch (const std::exception& error) {
        return error.what();
    } catch (...) {
        return "an exception that is no std::exception";
    }
}

void notice_failure(Executor& executor, const char* what, const std::exception_ptr& exception) noexcept {
    try {
        executor.notice_always(std::string(what) + ": " + printable(describe_failure(exception)));
    } catch (...) {
        // Memory has run out, or the exception's own `what` throws.
        executor.notice_always(what);
    }
}

}  // namespace leat::detail
