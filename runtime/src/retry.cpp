// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/retry.hpp>

#include <leat/reactor/error.hpp>

#include <algorithm>
#include <cmath>
#include <system_error>

namespace leat::detail {

bool may_pass(const RetryOptions& options, const std::exception_ptr& failure, Executor& executor) {
    if (options.may_pass) {
        try {
            return options.may_pass(failure);
        } catch (...) {
            attach_or_tell(executor, std::current_exception(), failure);
            throw;
        }
    }
    try {
        std::rethrow_exception(failure);
    } catch (const std::system_error& error) {
        return error.code() != make_error_code(errc::cancelled);
    } catch (...) {
        return false;
    }
}

Duration pause_after(const RetryOptions& options, std::size_t failures, std::uint64_t random) noexcept {
    const auto longest = static_cast<double>(std::max(options.longest_pause, Duration::zero()).count());
    const auto first = static_cast<double>(std::max(options.first_pause, Duration::zero()).count());
    // Not a number counts as its least value, and infinity as the longest pause there may be.
    double pause = first * std::pow(std::max(options.factor, 1.0), static_cast<double>(failures - 1));
    pause = std::min(std::isnan(pause) ? first : pause, longest);
    // 53 bits are what a double between 0 and 1 holds.
    const double chance = static_cast<double>(random >> 11) * 0x1p-53;
    const double jitter = std::isnan(options.jitter) ? 0 : std::clamp(options.jitter, 0.0, 1.0);
    pause *= 1 - jitter * chance;
    // The largest count is no double: one that large is the longest there is.
    return pause >= 0x1p63 ? Duration::max() : Duration(static_cast<Duration::rep>(pause));
}

}  // namespace leat::detail
