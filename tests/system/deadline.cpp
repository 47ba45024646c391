// SPDX-License-Identifier: BSL-1.0
#include "deadline.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

namespace leat::test {

Deadline::Deadline(std::chrono::seconds limit) : end_(std::chrono::steady_clock::now() + limit) {}

void Deadline::check(const std::string& awaited) const {
    if (milliseconds_left() == 0) throw std::runtime_error("waited too long for " + awaited);
}

int Deadline::milliseconds_left() const {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - std::chrono::steady_clock::now());
    return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

void wait_ready(int descriptor, short events, const Deadline& deadline, const std::string& awaited) {
    pollfd watched{descriptor, events, 0};
    while (::poll(&watched, 1, deadline.milliseconds_left()) <= 0) {
        deadline.check(awaited);
    }
}

bool is_ready(int descriptor, short events) {
    pollfd watched{descriptor, events, 0};
    return ::poll(&watched, 1, 0) > 0;
}

std::system_error system_failure(const std::string& what) {
    return std::system_error(errno, std::system_category(), what);
}

}  // namespace leat::test
