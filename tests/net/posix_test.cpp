// SPDX-License-Identifier: BSL-1.0
// What only POSIX systems have: a signal for who writes to nobody, memory that is not there before it is touched, listeners that can be
// shut down.
#include "server.hpp"
#include "support/loopback_pair.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include <leat/net/serve.hpp>
#include <leat/net/tcp_stream.hpp>

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
