// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "child_process.hpp"
#include "endpoint.hpp"
#include "strace.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace leat::test {

/// A folder of its own for what a test writes; it vanishes with the object.
class TemporaryFolder {
public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;

    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

private:
    std::filesystem::path path_;
};

struct ServerSetup {
    std::string listen = "127.0.0.1:0";
    std::vector<std::string> arguments{};
    std::optional<Injection> injection{};
    std::optional<unsigned> descriptor_limit{};
    /// A program that becomes the server, and its arguments.
    std::vector<std::string> launcher{};
    /// Instead of the bundled server.
    std::string program{};
    /// Its standard error; -1: captured.
    int errors_descriptor = -1;
};

/// The path of a bundled program, "echo_server" for one, from the environment variable LEAT_ECHO_SERVER.
std::string program_path(const std::string& name);
std::string echo_server_path();

/// Runs the echo server with faults that do not let it get ready.
Finished run_to_its_end(const ServerSetup& setup);

/// A bundled server in a process of its own, ready when the constructor returns.
class Server {
public:
    Server(const std::string& program, const ServerSetup& setup);
    ~Server();

    const Endpoint& endpoint() const { return endpoint_; }
    const std::string& ready_line() const { return ready_line_; }
    ChildProcess& process() { return process_; }
    Trace trace() const { return Trace(folder_ / "trace"); }

    bool is_running() { return process_.is_running(); }
    void signal(int number) { process_.signal(number); }
    /// Lines that it wrote on its standard error so far.
    std::size_t complaints();

    /// Asks it to end and waits for that: its exit code.
    int stop();

    /// Waits until it has taken note of everything that reached it, and sleeps in its wait for more, or ended.
    void wait_until_idle() const;

    std::size_t open_descriptors() const;
    /// The same, once it is idle.
    std::size_t descriptors_at_rest() const;
    std::uint64_t resident_bytes() const;

private:
    TemporaryFolder folder_;
    ChildProcess process_;
    std::string ready_line_;
    Endpoint endpoint_;
};

class EchoServer : public Server {
public:
    explicit EchoServer(const ServerSetup& setup = {});
    explicit EchoServer(const Injection& injection);

    /// Waits until it holds no more than `baseline` descriptors. Meanwhile a client keeps it turning.
    void wait_for_descriptors(std::size_t baseline);
};

}  // namespace leat::test
