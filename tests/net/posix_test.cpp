// SPDX-License-Identifier: BSL-1.0
// What only POSIX systems have: a signal for who writes to nobody, memory that is not there before it is touched, numbers of
// descriptors and their limit, listeners that can be shut down.
#include "server.hpp"
#include "support/loopback_pair.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include <leat/net/serve.hpp>
#include <leat/net/tcp_stream.hpp>

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <csignal>
#include <deque>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net {
namespace {

// Lets this process have no more descriptors than those that are open and `spare` others.
class DescriptorLimit {
public:
    // No number at all, those in use included.
    static constexpr int nothing = -1;

    explicit DescriptorLimit(int spare) {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        // The limit is one of numbers, and some of the lower ones may be free.
        int numbers = 0;
        for (int free = 0; spare != nothing; ++numbers) {
            if (::fcntl(numbers, F_GETFD) < 0 && ++free > spare) break;
        }
        rlimit limit = before_;
        limit.rlim_cur = static_cast<rlim_t>(numbers);
        ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    DescriptorLimit(const DescriptorLimit&) = delete;
    DescriptorLimit& operator=(const DescriptorLimit&) = delete;
    ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

}  // namespace

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

BOOST_AUTO_TEST_CASE(without_descriptors_surplus_connections_are_closed_and_the_others_served) {
    constexpr std::size_t clients = 20;
    constexpr int spare = 10;
    std::deque<TcpStream> streams;
    for (std::size_t i = 0; i < clients; ++i) {
        streams.push_back(TcpStream::start_connect(listener.local_address()));
    }
    DescriptorLimit limit(spare);

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        std::size_t served = 0;
        std::size_t closed = 0;
        std::deque<TcpStream> alive;
        for (TcpStream& stream : streams) {
            co_await stream.write_all(bytes_of("abc"));
            std::array<std::byte, 3> buffer;
            Result<void> answer = co_await as_result(stream.read_exactly(buffer));
            if (answer) {
                ++served;
                alive.push_back(std::move(stream));
            } else {
                ++closed;
            }
        }
        // One of the spare descriptors is the reserve.
        BOOST_TEST(served == static_cast<std::size_t>(spare) - 1);
        BOOST_TEST(closed == clients - served);
        BOOST_TEST(control.report().shed == closed);

        // The closed clients' own descriptors are free now, and so there is room again.
        streams.clear();
        co_await wait_for_connections(served);
        TcpStream late = co_await connect();
        std::string answer = co_await ask(late, "abc");
        BOOST_TEST(answer == "abc");
        for (TcpStream& stream : alive) {
            std::string still = co_await ask(stream, "abc");
            BOOST_TEST(still == "abc");
        }
    });

    BOOST_TEST(report.accept_errors >= 1u);
    BOOST_TEST(report.accept_errors <= 20u);
    BOOST_TEST(notices.size() >= 1u);
    BOOST_TEST(notices.size() <= 3u);
}

BOOST_AUTO_TEST_CASE(accepting_goes_on_as_soon_as_a_connection_ends) {
    // So long that nothing but the end of a connection can end it.
    options.shortest_pause = 1h;
    options.longest_pause = 1h;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream first = co_await connect();
        co_await ask(first, "abc");
        TcpStream second = TcpStream::start_connect(listener.local_address());
        {
            // Not even the number of the reserve may be used.
            DescriptorLimit none(DescriptorLimit::nothing);
            while (control.report().accept_errors < 2)
                co_await yield();
        }
        first.close();
        std::string answer = co_await ask(second, "abc");
        BOOST_TEST(answer == "abc");
    });

    BOOST_TEST(report.accepted == 2u);
    BOOST_TEST(report.accept_errors == 2u);
    BOOST_TEST(report.shed == 0u);
}

BOOST_AUTO_TEST_CASE(pauses_grow_while_accepting_fails) {
    options.shortest_pause = 1ms;
    options.longest_pause = 1h;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream first = co_await connect();
        co_await ask(first, "abc");
        TcpStream second = TcpStream::start_connect(listener.local_address());
        TimePoint start = executor.now();
        {
            DescriptorLimit none(DescriptorLimit::nothing);
            while (control.report().accept_errors < 5)
                co_await yield();
        }
        // Two at once, and then after 1, 2 and 4 ms.
        BOOST_TEST((executor.now() - start >= 7ms));
        std::string answer = co_await ask(second, "abc");
        BOOST_TEST(answer == "abc");
    });

    BOOST_TEST(report.accept_errors <= 6u);
    BOOST_TEST(notices.size() == 1u);
}

BOOST_AUTO_TEST_CASE(notice_of_one_kind_holds_none_of_another_back) {
    options.on_failure = [](std::exception_ptr) { throw std::runtime_error("not even this works"); };
    auto fail = [](TcpStream) -> Task<> {
        co_await yield();
        throw std::runtime_error("as it may");
    };

    serve_during(fail, [&]() -> Task<> {
        TcpStream first = co_await connect();
        co_await wait_for_failures(1);
        TcpStream second = TcpStream::start_connect(listener.local_address());
        DescriptorLimit none(DescriptorLimit::nothing);
        while (control.report().accept_errors < 2)
            co_await yield();
    });

    BOOST_TEST_REQUIRE(notices.size() == 2u);
    BOOST_TEST(notices[0].find("on_failure") != std::string::npos, notices[0]);
    BOOST_TEST(notices[1].find("accept") != std::string::npos, notices[1]);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net
