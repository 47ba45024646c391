// SPDX-License-Identifier: BSL-1.0
// A connect that a signal interrupts goes on by itself (connect(2), EINTR), and is not begun a second time. No signal can be
// timed into a call that does not block, and a tracer that plants an error there keeps the call from being made; so the
// call itself is replaced, in this program, by one that connects and says that it was interrupted.
#include "support/loopback_pair.hpp"
#include "support/system.hpp"

#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/executor.hpp>

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <string>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

bool is_interrupting = false;
int connects = 0;

}  // namespace

// Stands before the C library's.
extern "C" int connect(int socket, const sockaddr* address, socklen_t size) {
    int result = static_cast<int>(::syscall(SYS_connect, socket, address, size));
    if (!is_interrupting) return result;
    ++connects;
    if (result != 0 && errno == EINPROGRESS) errno = EINTR;
    return result;
}

namespace leat::test::net::interrupted_connect_test {
namespace {

struct Interrupting {
    Interrupting() {
        is_interrupting = true;
        connects = 0;
    }
    Interrupting(const Interrupting&) = delete;
    Interrupting& operator=(const Interrupting&) = delete;
    ~Interrupting() { is_interrupting = false; }

    Executor executor;
    TcpListener listener = TcpListener::bind(Address::loopback(0));
    RefusingPort refusing;
    Address refusing_address = Address::loopback(refusing.endpoint.port());
};

Task<std::string> receive_five(TcpStream& stream) {
    std::string text(5, ' ');
    co_await stream.read_exactly(std::as_writable_bytes(std::span(text)));
    co_return text;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(interrupted_connect, Interrupting)

BOOST_AUTO_TEST_CASE(connection_comes_and_is_asked_for_once, *boost::unit_test::label("readiness")) {
    auto both = [&]() -> Task<std::string> {
        TcpStream client = co_await TcpStream::connect(listener.local_address());
        TcpStream server = co_await listener.accept();
        co_await client.write_all(bytes_of("hello"));
        std::string text = co_await receive_five(server);
        co_return text;
    };

    BOOST_TEST(executor.run_until(both()) == "hello");

    BOOST_TEST(connects == 1);
}

BOOST_AUTO_TEST_CASE(refusal_is_told_and_not_contested, *boost::unit_test::label("readiness")) {
    auto connect = [&]() -> Task<> { TcpStream stream = co_await TcpStream::connect(refusing_address); };

    std::error_code error = error_of([&] { executor.run_until(connect()); });

    BOOST_TEST((error == std::errc::connection_refused));
    BOOST_TEST(connects == 1);
}

BOOST_AUTO_TEST_CASE(connection_that_is_only_begun_comes_too) {
    TcpStream client = TcpStream::start_connect(listener.local_address());
    auto both = [&]() -> Task<std::string> {
        co_await client.writable();
        TcpStream server = co_await listener.accept();
        co_await client.write_all(bytes_of("hello"));
        std::string text = co_await receive_five(server);
        co_return text;
    };

    BOOST_TEST(executor.run_until(both()) == "hello");

    BOOST_TEST(connects == 1);
    BOOST_TEST(!client.take_error());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::interrupted_connect_test
