// SPDX-License-Identifier: BSL-1.0
#include "backend/thread_name.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include <pthread.h>
#if defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
#include <pthread_np.h>
#endif

namespace leat::detail {

void name_thread(const std::string& name) noexcept {
    // Linux refuses more than this (pthread_setname_np(3)); others cut it off.
    std::array<char, 16> shortened{};
    std::copy_n(name.data(), std::min(name.size(), shortened.size() - 1), shortened.data());
#if defined(__APPLE__)
    ::pthread_setname_np(shortened.data());
#elif defined(__linux__)
    ::pthread_setname_np(::pthread_self(), shortened.data());
#elif defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
    ::pthread_set_name_np(::pthread_self(), shortened.data());
#endif
}

}  // namespace leat::detail
