// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <unistd.h>

#include <utility>

namespace leat::test {

/// Owns a file descriptor.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int value) : value_(value) {}
    Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    ~Descriptor() { reset(); }

    void reset() {
        if (value_ >= 0) ::close(std::exchange(value_, -1));
    }
    bool is_open() const { return value_ >= 0; }
    int get() const { return value_; }

private:
    int value_ = -1;
};

}  // namespace leat::test
