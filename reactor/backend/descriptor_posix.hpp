// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cerrno>
#include <system_error>

#include <unistd.h>

namespace leat::detail {

inline std::error_code last_error() noexcept { return std::error_code(errno, std::system_category()); }

/// A descriptor of the library's own, closed with its owner.
class Descriptor {
public:
    /// Of what a call gave. Errors: the call's, named `what`, if that is negative.
    Descriptor(int fd, const char* what) : fd_(fd) {
        if (fd < 0) throw std::system_error(last_error(), what);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const noexcept { return fd_; }
    /// Its number is somebody else's from here on.
    void release() noexcept { fd_ = -1; }

private:
    int fd_;
};

}  // namespace leat::detail
