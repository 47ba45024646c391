// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/catch_cancelled.hpp>

#include <system_error>

namespace leat::detail {

std::exception_ptr unless_cancelled(std::exception_ptr exception) {
    try {
        std::rethrow_exception(exception);
    } catch (const std::system_error& error) {
        if (error.code() == make_error_code(errc::cancelled)) return nullptr;
    } catch (...) {
    }
    return exception;
}

}  // namespace leat::detail
