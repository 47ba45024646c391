// SPDX-License-Identifier: BSL-1.0
// What only POSIX systems have: a signal for who writes to nobody, memory that is not there before it is touched, listeners that can be
// shut down.
#include "server.hpp"
#include "support/child.hpp"
#include "support/loopback_pair.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include <leat/net/serve.hpp>
#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <sys/mman.h>

#include <array>
#include <chrono>
#include <csignal>
#include <deque>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::posix_test {
BOOST_FIXTURE_TEST_SUITE(posix, Server)

// ---- Streams ----

BOOST_FIXTURE_TEST_CASE(buffer_of_more_than_two_gibibytes_is_read_into, LoopbackPair) {
    constexpr std::size_t size = std::size_t{3} << 30;
    // Address space only: nothing but what is received is ever touched.
    void* memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    BOOST_REQUIRE(memory != MAP_FAILED);
    std::span<std::byte> buffer(static_cast<std::byte*>(memory), size);

    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("hello"));
        std::size_t received = co_await server.read(buffer);
        BOOST_TEST(text_of(buffer.first(received)) == "hello");
    });

    ::munmap(memory, size);
}

namespace {

/// How a child ends that awaits what `make(pair)` gives twice.
template <class Make>
ChildEnd end_of_second_await(Make make) {
    return end_of_child([&] {
        LoopbackPair pair;
        pair.run([&]() -> Task<> {
            co_await pair.client.write_all(bytes_of("hello"));
            auto operation = make(pair);
            co_await operation;
            co_await operation;
        });
    });
}

}  // namespace

BOOST_AUTO_TEST_CASE(operation_of_a_socket_that_is_awaited_twice_says_so_and_aborts) {
    std::array<std::byte, 2> buffer{};
    const std::array<MutableBuffer, 1> incoming{MutableBuffer(buffer)};
    const std::array<ConstBuffer, 1> outgoing{ConstBuffer(bytes_of("x"))};
    std::array<ConstBuffer, 1> all{ConstBuffer(bytes_of("x"))};
    Progress progress;
    TcpStream first = TcpStream::start_connect(listener.local_address());
    TcpStream second = TcpStream::start_connect(listener.local_address());
    const std::vector<std::pair<const char*, ChildEnd>> ends{
        {"peek", end_of_second_await([&](LoopbackPair& pair) { return pair.server.peek(buffer); })},
        {"read_exactly",
         end_of_second_await([&](LoopbackPair& pair) { return pair.server.read_exactly(buffer); })},
        {"tracked read_exactly",
         end_of_second_await([&](LoopbackPair& pair) { return pair.server.read_exactly(buffer, progress); })},
        {"read of several buffers",
         end_of_second_await([&](LoopbackPair& pair) { return pair.server.read(incoming); })},
        {"read until a drain",
         end_of_second_await([&](LoopbackPair& pair) { return pair.server.read(buffer, until_drain); })},
        {"receive", end_of_second_await([&](LoopbackPair& pair) { return pair.server.receive(); })},
        {"readable", end_of_second_await([&](LoopbackPair& pair) { return pair.server.readable(); })},
        {"writable", end_of_second_await([&](LoopbackPair& pair) { return pair.server.writable(); })},
        {"write of several buffers",
         end_of_second_await([&](LoopbackPair& pair) { return pair.client.write(outgoing); })},
        {"write_all of several buffers",
         end_of_second_await([&](LoopbackPair& pair) { return pair.client.write_all(all); })},
        {"tracked write_all", end_of_second_await([&](LoopbackPair& pair) {
             return pair.client.write_all(bytes_of("x"), progress);
         })},
        {"wrapped read",
         end_of_second_await([&](LoopbackPair& pair) { return as_result(pair.server.read(buffer)); })},
        {"read with a timeout",
         end_of_second_await([&](LoopbackPair& pair) { return timeout(1h, pair.server.read(buffer)); })},
        {"accept", end_of_second_await([&](LoopbackPair&) { return listener.accept(); })},
        {"connect",
         end_of_second_await([&](LoopbackPair&) { return TcpStream::connect(listener.local_address()); })},
    };

    for (const auto& [name, end] : ends) {
        BOOST_TEST(end.signal == SIGABRT, name);
        BOOST_TEST(end.text.find("is awaited a second time") != std::string::npos, name << ": " << end.text);
    }
}

// They are requests, of which each await makes an operation of its own.
BOOST_FIXTURE_TEST_CASE(read_and_write_that_are_awaited_twice_are_two_reads_and_writes, LoopbackPair) {
    std::array<std::byte, 2> buffer{};
    run([&]() -> Task<> {
        auto write = client.write(bytes_of("ab"));
        auto write_all = client.write_all(bytes_of("cd"));
        auto read = server.read(buffer);
        for (const char* expected : {"ab", "ab", "cd", "cd"}) {
            if (expected[0] == 'a')
                co_await write;
            else
                co_await write_all;
            std::size_t received = co_await read;
            BOOST_TEST(text_of(std::span(buffer).first(received)) == expected);
        }
    });
}

BOOST_AUTO_TEST_CASE(writing_to_a_peer_that_has_gone_ends_in_an_error_and_raises_no_signal) {
    int status = run_in_child([] {
        std::signal(SIGPIPE, SIG_DFL);
        LoopbackPair pair;
        pair.server.close();
        std::error_code error = error_of([&] {
            pair.run([&]() -> Task<> {
                std::vector<std::byte> bytes = pattern(1000);
                for (;;)
                    co_await pair.client.write_all(bytes);
            });
        });
        return error == std::errc::broken_pipe || error == std::errc::connection_reset;
    });

    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(vectored_write_to_a_peer_that_has_gone_raises_no_signal) {
    int status = run_in_child([] {
        std::signal(SIGPIPE, SIG_DFL);
        LoopbackPair pair;
        pair.server.close();
        std::error_code error = error_of([&] {
            pair.run([&]() -> Task<> {
                std::vector<std::byte> bytes = pattern(1000);
                for (;;) {
                    std::array<ConstBuffer, 2> pieces{std::span<const std::byte>(bytes),
                                                      std::span<const std::byte>(bytes)};
                    co_await pair.client.write_all(std::span<ConstBuffer>(pieces));
                }
            });
        });
        return error == std::errc::broken_pipe || error == std::errc::connection_reset;
    });

    BOOST_TEST(status == 0);
}

// ---- Servers ----

BOOST_AUTO_TEST_CASE(socket_that_does_not_listen_is_a_fatal_error) {
    TcpListener broken = TcpListener::adopt(listener.release());
    // Shutting a listening socket down takes it out of listening.
    shut(broken.native_handle(), Direction::both);

    auto attempt = [&] { executor.run_until(leat::serve(broken, echo)); };

    BOOST_TEST((error_of(attempt) == std::errc::invalid_argument));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::posix_test
