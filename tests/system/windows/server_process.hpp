// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>

#include <memory>
#include <string>
#include <vector>

namespace leat::test {

/// The bundled echo server in a process of its own, with a console's group of its own, so that its control events are
/// nobody else's.
class ServerProcess {
public:
    /// Starts it at a port of its choice and waits until it listens. Throws `std::runtime_error` if it does not.
    explicit ServerProcess(const std::vector<std::string>& arguments = {});
    ServerProcess(const ServerProcess&) = delete;
    ServerProcess& operator=(const ServerProcess&) = delete;
    /// Ends it the hard way, if it still runs.
    ~ServerProcess();

    const Address& address() const noexcept { return address_; }

    /// Ctrl+Break, which its group can be sent. False: there is no console, which has the keyboard.
    [[nodiscard]] bool press_break();
    /// Waits for its end; its exit code.
    int wait();
    /// What it has printed after the line that says where it listens. After its end.
    std::string rest_of_output();

private:
    struct Handles;

    std::string read_line();

    std::unique_ptr<Handles> handles_;
    Address address_;
};

}  // namespace leat::test
