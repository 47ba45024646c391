// SPDX-License-Identifier: BSL-1.0
//
// The process has no descriptor left for a while, and more clients come than it has room for.
#include "starved_server.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include <leat/net/serve_threads.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace leat::test::net::out_of_descriptors_test {
namespace {

/// A client whose descriptor is there before there are none.
class EarlyClient {
public:
    void connect(const Address& address) {
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_port = htons(address.port());
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0)
            BOOST_TEST_REQUIRE(errno == EINPROGRESS);
    }

    void send() {
        await_writable(socket_.get());
        write_text(socket_.get(), "abc");
    }

    /// Waits for the answer, or for the end of the connection, and says whether it was the answer.
    bool is_answered() {
        await_readable(socket_.get());
        std::array<char, 3> buffer;
        std::error_code error;
        std::size_t received = try_read(socket_.get(), buffer, error);
        return !error && received == buffer.size();
    }

private:
    OwnedHandle socket_ = tcp_socket();
};

}  // namespace

BOOST_AUTO_TEST_SUITE(out_of_descriptors)

BOOST_AUTO_TEST_CASE(every_surplus_peer_is_served_or_closed_however_many_threads_accept) {
    constexpr std::size_t surplus = 30;
    for (std::size_t threads : {1u, 4u}) {
        for (Sharing sharing : sharings_of(threads)) {
            BOOST_TEST_CONTEXT(threads << " threads") {
                StarvedServer server(threads, sharing);
                std::vector<TcpStream> old;
                for (int i = 0; i < 8; ++i) {
                    old.push_back(server.connect());
                    BOOST_TEST(server.is_answered(old.back()));
                }
                std::vector<EarlyClient> clients(surplus);
                std::size_t served = 0;
                {
                    HandleShortage limit(5);
                    for (EarlyClient& client : clients)
                        client.connect(server.address);
                    for (EarlyClient& client : clients)
                        client.send();
                    for (TcpStream& stream : old)
                        BOOST_TEST(server.is_answered(stream));
                    for (EarlyClient& client : clients)
                        served += client.is_answered();
                    for (TcpStream& stream : old)
                        BOOST_TEST(server.is_answered(stream));
                }

                BOOST_TEST(served >= 5u);
                BOOST_TEST(server.serves());
                clients.clear();
                for (TcpStream& stream : old)
                    BOOST_TEST(server.is_answered(stream));
                server.control.drain();
                ServeReport report = server.join();
                BOOST_TEST(report.shed == surplus - served);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(servers_of_one_process_hold_one_descriptor_in_reserve) {
    TcpListener one = TcpListener::bind(Address::loopback(0));
    TcpListener other = TcpListener::bind(Address::loopback(0));
    Executor executor;
    ServeControl control;
    ServeControl more_control;
    std::size_t with_one = 0;
    std::size_t with_two = 0;
    auto let_it_begin = []() -> Task<> {
        for (int i = 0; i < 10; ++i)
            co_await yield();
    };
    auto body = [&](TaskGroup& group) -> Task<> {
        ServeOptions options;
        options.keep_listener_open = true;
        auto serve_one = [&]() -> Task<> { co_await leat::serve(one, echo, options, control); };
        auto serve_other = [&]() -> Task<> { co_await leat::serve(other, echo, options, more_control); };
        group.spawn(serve_one);
        co_await let_it_begin();
        with_one = open_handles().size();
        group.spawn(serve_other);
        co_await let_it_begin();
        with_two = open_handles().size();
        control.drain();
        more_control.drain();
    };
    auto all = [&]() -> Task<> { co_await task_group(body); };
    std::size_t before = open_handles().size();

    executor.run_until(all());

    BOOST_TEST(with_two == with_one);
    BOOST_TEST(with_one == before + 1);
    BOOST_TEST(open_handles().size() == before);
}

BOOST_AUTO_TEST_CASE(failure_to_accept_is_reported_without_memory) {
    StarvedServer server(1, SharedListener::best_sharing());
    BOOST_TEST(server.serves());
    EarlyClient client;
    {
        HandleShortage none(HandleShortage::nothing);
        server.shortage.begin(0);
        client.connect(server.address);
        while (!server.messages.have("serve: accept: system error"))
            std::this_thread::yield();
        server.shortage.end();
    }
    client.send();
    BOOST_TEST(client.is_answered());
    BOOST_TEST(server.serves());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::out_of_descriptors_test
