// SPDX-License-Identifier: BSL-1.0
#include "checksum.hpp"

#include <stdexcept>

namespace leat::test {
namespace {

Command reading_from(const Descriptor& source) {
    Command command;
    command.words = {"sha256sum"};
    command.input_descriptor = source.get();
    return command;
}

}  // namespace

Checksum::Checksum(Pipe pipe) : input_(std::move(pipe.sink)), process_(reading_from(pipe.source)) {}

void Checksum::add(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        ssize_t written = ::write(input_.get(), bytes.data(), bytes.size());
        if (written < 0) throw system_failure("write to sha256sum");
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

std::string Checksum::result() {
    input_.reset();
    if (process_.wait() != 0) throw std::runtime_error("sha256sum failed: " + process_.errors());
    return process_.output();
}

}  // namespace leat::test
