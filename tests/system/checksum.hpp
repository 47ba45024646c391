// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "child_process.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace leat::test {

/// The SHA-256 of a stream, computed by sha256sum in a process of its own.
class Checksum {
public:
    Checksum() : Checksum(make_pipe()) {}

    void add(std::span<const std::byte> bytes);
    /// Ends the stream.
    std::string result();

private:
    explicit Checksum(Pipe pipe);

    Descriptor input_;
    ChildProcess process_;
};

}  // namespace leat::test
