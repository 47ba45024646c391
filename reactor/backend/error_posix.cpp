// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/error.hpp>

namespace leat::detail {

// errno's numbers, which the standard library knows as `std::errc`.
std::error_code native_error(unsigned long number) noexcept {
    return error_of_number(static_cast<int>(number));
}

std::error_code error_of_number(int number) noexcept { return {number, std::system_category()}; }

int error_number(const std::error_code& error) noexcept { return error.value(); }

}  // namespace leat::detail
