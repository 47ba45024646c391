// SPDX-License-Identifier: BSL-1.0
// Connects to each address that it is given, and prints for each a line: what came of it, and how many descriptors more
// than before are open afterwards. For connect_faults_test.cpp, which runs it where the network has faults.
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <exception>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <string>

namespace {

std::ptrdiff_t open_descriptors() {
    std::filesystem::directory_iterator entries("/proc/self/fd");
    return std::distance(begin(entries), end(entries));
}

leat::Task<std::string> outcome_of_connect(leat::Address address) {
    leat::Result<leat::TcpStream> stream = co_await as_result(leat::TcpStream::connect(address));
    if (stream) co_return "connected";
    co_return stream.error().message();
}

}  // namespace

int main(int argc, char* argv[]) {
    try {
        leat::Executor executor;
        for (int i = 1; i < argc; ++i) {
            std::ptrdiff_t before = open_descriptors();
            std::string outcome = executor.run_until(outcome_of_connect(leat::Address::parse(argv[i])));
            std::cout << argv[i] << ": " << outcome << ", " << open_descriptors() - before << '\n';
        }
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "connector: " << error.what() << '\n';
        return 1;
    }
}
