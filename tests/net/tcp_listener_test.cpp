// SPDX-License-Identifier: BSL-1.0
#include "support/loopback_pair.hpp"
#include "support/sweep.hpp"
#include "support/system.hpp"

#include <leat/net/tcp_listener.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/sleep.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>

namespace leat::test::net::tcp_listener_test {
namespace {

struct ListenerAndExecutor {
    Executor executor;
    TcpListener listener = TcpListener::bind(Address::loopback(0));

    template <class Body>
    auto run(Body&& body) {
        return executor.run_until(body());
    }
};

Task<> accept_two() {
    TcpListener listener = TcpListener::bind(Address::loopback(0));
    auto accept = [&]() -> Task<> {
        TcpStream first = co_await listener.accept();
        TcpStream second = co_await listener.accept();
    };
    auto connect = [&]() -> Task<> {
        co_await yield();
        TcpStream first = co_await TcpStream::connect(listener.local_address());
        TcpStream second = co_await TcpStream::connect(listener.local_address());
    };
    co_await together(accept, connect);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(tcp_listener, ListenerAndExecutor)

// ---- Binding ----

BOOST_AUTO_TEST_CASE(port_zero_becomes_a_real_one) {
    BOOST_TEST(listener.local_address().is_loopback());
    BOOST_TEST(listener.local_address().port() != 0);
}

BOOST_AUTO_TEST_CASE(default_listener_is_closed) {
    TcpListener none;

    BOOST_TEST(!none.is_open());
    BOOST_TEST((error_of([&] { none.local_address(); }) == std::errc::bad_file_descriptor));
}

BOOST_AUTO_TEST_CASE(listener_and_its_streams_neither_block_nor_outlive_exec) {
    Connected connected(listener);

    for (NativeHandle handle : {listener.native_handle(), connected.server.native_handle()}) {
        BOOST_TEST(is_non_blocking(handle));
        BOOST_TEST(!is_inherited(handle));
    }
}

BOOST_AUTO_TEST_CASE(second_bind_of_an_address_fails_and_names_it) {
    Address taken = listener.local_address();

    try {
        TcpListener::bind(taken);
        BOOST_FAIL("it was bound twice");
    } catch (const std::system_error& error) {
        BOOST_TEST((error.code() == std::errc::address_in_use));
        BOOST_TEST(std::string(error.what()).find(to_string(taken)) != std::string::npos, error.what());
    }
}

// Windows has no such option.
BOOST_AUTO_TEST_CASE(port_can_be_shared_when_all_ask_for_it, *boost::unit_test::label("posix")) {
    ListenOptions shared;
    shared.reuse_port = true;
    TcpListener first = TcpListener::bind(Address::loopback(0), shared);

    TcpListener second = TcpListener::bind(first.local_address(), shared);

    BOOST_TEST((second.local_address() == first.local_address()));
}

BOOST_AUTO_TEST_CASE(address_can_be_bound_again_while_its_old_connections_linger) {
    Address address = listener.local_address();
    Connected connected(listener);
    // Who closes first keeps the connection in TIME_WAIT: that is the server here.
    connected.server.close();
    connected.client.close();
    listener.close();

    TcpListener again = TcpListener::bind(address);

    BOOST_TEST((again.local_address() == address));
}

BOOST_AUTO_TEST_CASE(address_of_another_machine_is_refused) {
    // 192.0.2.0/24 is for documentation: no interface has it.
    Address stranger = Address::ipv4({192, 0, 2, 1}, 0);

    BOOST_TEST((error_of([&] { TcpListener::bind(stranger); }) == std::errc::address_not_available));
}

BOOST_AUTO_TEST_CASE(failed_bind_leaks_no_descriptor) {
    std::set<NativeHandle> before = open_handles();

    error_of([&] { TcpListener::bind(listener.local_address()); });

    BOOST_TEST(open_handles() == before);
}

BOOST_AUTO_TEST_CASE(ipv6_is_listened_on) {
    if (!has_ipv6()) return;
    TcpListener ipv6 = TcpListener::bind(Address::loopback(0, Address::Family::ipv6));

    Connected connected(ipv6);

    BOOST_TEST(connected.server.peer_address().is_ipv6());
    BOOST_TEST((connected.server.peer_address() == connected.client.local_address()));
}

// However the listener came to be, and whoever asks for the address.
BOOST_AUTO_TEST_CASE(ipv4_peer_of_an_ipv6_listener_has_an_ipv4_address) {
    if (!has_ipv6()) return;
    TcpListener bound = TcpListener::bind(Address::any(0, Address::Family::ipv6));
    TcpListener adopted =
        TcpListener::adopt(TcpListener::bind(Address::any(0, Address::Family::ipv6)).release());
    for (TcpListener* each : {&bound, &adopted}) {
        TcpListener& both = *each;
        run([&]() -> Task<> {
            const Address address = Address::loopback(both.local_address().port());
            TcpStream client = co_await TcpStream::connect(address);
            TcpStream server = co_await both.accept();

            BOOST_TEST(server.peer_address() == client.local_address());
            BOOST_TEST(server.local_address() == address);
            BOOST_TEST(client.peer_address() == address);
            BOOST_TEST(to_string(server.peer_address()).starts_with("127.0.0.1:"));

            TcpStream other = TcpStream::start_connect(address);
            std::optional<TcpStream> tried;
            while (!tried)
                tried = both.try_accept();
            BOOST_TEST_REQUIRE(tried.has_value());
            BOOST_TEST(tried->peer_address() == other.local_address());
        });
    }
}

BOOST_AUTO_TEST_CASE(mapped_address_can_be_listened_on_and_connected_to) {
    if (!has_ipv6()) return;
    TcpListener mapped = TcpListener::bind(Address::parse("[::ffff:127.0.0.1]:0"));
    const std::uint16_t port = mapped.local_address().port();
    BOOST_TEST(mapped.local_address() == Address::loopback(port));

    run([&]() -> Task<> {
        const Address address = Address::parse("[::ffff:127.0.0.1]:" + std::to_string(port));
        TcpStream client = co_await TcpStream::connect(address);
        TcpStream server = co_await mapped.accept();
        BOOST_TEST(server.peer_address() == client.local_address());
        BOOST_TEST(client.peer_address() == Address::loopback(port));

        ConnectOptions options;
        options.local = Address::parse("[::ffff:127.0.0.1]:0");
        TcpStream from = co_await TcpStream::connect(address, options);
        BOOST_TEST(from.peer_address() == Address::loopback(port));
    });
}

BOOST_AUTO_TEST_CASE(any_ipv6_takes_ipv4_too_unless_told_otherwise) {
    if (!has_ipv6()) return;
    ListenOptions one_family;
    one_family.dual_stack = false;
    TcpListener both = TcpListener::bind(Address::any(0, Address::Family::ipv6));
    TcpListener only = TcpListener::bind(Address::any(0, Address::Family::ipv6), one_family);
    auto connect_by_ipv4 = [&](const TcpListener& to) {
        auto connect = [&]() -> Task<> {
            TcpStream stream = co_await TcpStream::connect(Address::loopback(to.local_address().port()));
        };
        return error_of([&] { run(connect); });
    };

    BOOST_TEST(!connect_by_ipv4(both));
    BOOST_TEST((connect_by_ipv4(only) == std::errc::connection_refused));
}

BOOST_AUTO_TEST_CASE(ttl_can_be_set_and_has_a_default) {
    BOOST_TEST(listener.ttl() > 0);

    listener.set_ttl(17);

    BOOST_TEST(listener.ttl() == 17);
}

// ---- Handles ----

BOOST_AUTO_TEST_CASE(handle_can_be_released_and_adopted) {
    Address address = listener.local_address();
    NativeHandle handle = listener.release();
    BOOST_TEST(!listener.is_open());

    TcpListener adopted = TcpListener::adopt(handle);

    BOOST_TEST((adopted.local_address() == address));
    Connected connected(adopted);
    BOOST_TEST(connected.server.is_open());
}

BOOST_AUTO_TEST_CASE(blocking_socket_is_adopted_as_a_non_blocking_one) {
    NativeHandle handle = listener.release();
    make_blocking_and_inherited(handle);

    TcpListener adopted = TcpListener::adopt(handle);

    BOOST_TEST(is_non_blocking(handle));
    BOOST_TEST(!is_inherited(handle));
}

BOOST_AUTO_TEST_CASE(what_does_not_listen_is_not_adopted_and_stays_the_callers) {
    Connected connected(listener);
    OwnedHandle datagrams = udp_socket();
    NativeHandle stream = connected.client.native_handle();

    BOOST_TEST((error_of([&] { TcpListener::adopt(stream); }) == std::errc::invalid_argument));
    BOOST_TEST((error_of([&] { TcpListener::adopt(datagrams.get()); }) == std::errc::invalid_argument));
    BOOST_TEST((error_of([&] { TcpListener::adopt(invalid_handle); }) == std::errc::bad_file_descriptor));

    BOOST_TEST(!is_inherited(stream));
    BOOST_TEST(!is_inherited(datagrams.get()));
}

// ---- Accepting ----

BOOST_AUTO_TEST_CASE(accept_gives_a_connection_that_waits_already) {
    TcpStream client = TcpStream::start_connect(listener.local_address());

    run([&]() -> Task<> {
        TcpStream server = co_await listener.accept();

        BOOST_TEST((server.peer_address() == client.local_address()));
        BOOST_TEST((server.local_address() == listener.local_address()));
    });
}

BOOST_AUTO_TEST_CASE(accept_waits_for_a_connection) {
    bool is_accepted = false;
    auto accept = [&]() -> Task<> {
        TcpStream server = co_await listener.accept();
        is_accepted = true;
        co_await server.write_all(bytes_of("hello"));
    };
    auto connect = [&]() -> Task<> {
        co_await yield();
        BOOST_TEST(!is_accepted);
        TcpStream client = co_await TcpStream::connect(listener.local_address());
        std::string greeting = co_await read_to_end(client);
        BOOST_TEST(greeting == "hello");
    };

    executor.run_until(together(accept, connect));
}

BOOST_AUTO_TEST_CASE(connections_are_accepted_one_after_the_other) {
    std::deque<TcpStream> clients;
    for (int i = 0; i < 5; ++i)
        clients.push_back(TcpStream::start_connect(listener.local_address()));

    run([&]() -> Task<> {
        for (const TcpStream& client : clients) {
            TcpStream server = co_await listener.accept();
            BOOST_TEST((server.peer_address() == client.local_address()));
        }
    });
}

BOOST_AUTO_TEST_CASE(connection_after_an_empty_backlog_is_accepted_too) {
    run([&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            std::optional<TcpStream> accepted;
            auto accept = [&]() -> Task<> {
                TcpStream server = co_await listener.accept();
                accepted = std::move(server);
            };
            auto connect = [&]() -> Task<> {
                co_await yield();
                TcpStream client = co_await TcpStream::connect(listener.local_address());
            };
            co_await together(accept, connect);
            BOOST_TEST(accepted.has_value());
        }
    });
}

BOOST_AUTO_TEST_CASE(second_accept_at_the_same_time_is_busy) {
    auto first = [&]() -> Task<> { TcpStream server = co_await listener.accept(); };
    auto second = [&]() -> Task<> {
        co_await yield();
        Result<TcpStream> result = co_await as_result(listener.accept());
        BOOST_TEST((!result && result.error() == errc::busy));
        TcpStream client = co_await TcpStream::connect(listener.local_address());
    };

    executor.run_until(together(first, second));
}

BOOST_AUTO_TEST_CASE(accept_on_a_closed_listener_fails_with_closed) {
    listener.close();

    BOOST_TEST((error_of([&] { run([&]() -> Task<> { TcpStream server = co_await listener.accept(); }); }) ==
                errc::closed));
}

BOOST_AUTO_TEST_CASE(close_ends_an_accept_that_waits_once) {
    int ends = 0;
    auto accept = [&]() -> Task<> {
        Result<TcpStream> result = co_await as_result(listener.accept());
        BOOST_TEST((!result && result.error() == errc::closed));
        ++ends;
    };
    auto close = [&]() -> Task<> {
        co_await yield();
        listener.close();
    };

    executor.run_until(together(accept, close));

    BOOST_TEST(ends == 1);
}

BOOST_AUTO_TEST_CASE(closed_listener_refuses_connections) {
    Address address = listener.local_address();
    listener.close();

    auto connect = [&]() -> Task<> { TcpStream stream = co_await TcpStream::connect(address); };

    BOOST_TEST((error_of([&] { run(connect); }) == std::errc::connection_refused));
}

BOOST_AUTO_TEST_CASE(peer_that_was_reset_before_its_accept_keeps_none_from_the_next) {
    {
        TcpStream gone = TcpStream::start_connect(listener.local_address());
        reset(gone);
    }
    TcpStream client = TcpStream::start_connect(listener.local_address());
    await_writable(client.native_handle());
    client.try_write(bytes_of("abc"));

    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        TcpStream server = co_await listener.accept();
        Result<std::size_t> received = co_await as_result(server.read(buffer));
        if (!received) {
            server = co_await listener.accept();
            received = co_await as_result(server.read(buffer));
        }
        BOOST_TEST((received && *received == 3u));
    });
}

// Windows passes it over.
BOOST_AUTO_TEST_CASE(peer_that_was_reset_before_its_accept_fails_at_its_first_read,
                     *boost::unit_test::label("posix")) {
    {
        TcpStream client = TcpStream::start_connect(listener.local_address());
        reset(client);
    }

    run([&]() -> Task<> {
        TcpStream server = co_await listener.accept();
        std::array<std::byte, 16> buffer;
        Result<std::size_t> received = co_await as_result(server.read(buffer));
        BOOST_TEST((!received && received.error() == std::errc::connection_reset));
    });
}

BOOST_AUTO_TEST_CASE(accepted_connections_send_small_writes_at_once_unless_told_otherwise) {
    ListenOptions delayed;
    delayed.no_delay = false;
    TcpListener patient = TcpListener::bind(Address::loopback(0), delayed);

    BOOST_TEST(Connected(listener).server.no_delay());
    BOOST_TEST(!Connected(patient).server.no_delay());
}

// ---- Cancellation ----

BOOST_AUTO_TEST_CASE(cancelled_accept_leaves_the_connection_to_the_next_one) {
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            TcpStream server = co_await listener.accept();
        };
        TcpStream client = TcpStream::start_connect(listener.local_address());
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);

        TcpStream server = co_await listener.accept();

        BOOST_TEST((server.peer_address() == client.local_address()));
    });
}

BOOST_AUTO_TEST_CASE(cancelled_accept_leaks_no_descriptor_at_any_point) {
    auto descriptors = std::make_shared<std::set<NativeHandle>>();
    SweepOptions options;
    options.before = [&] { *descriptors = open_handles(); };
    options.after = [&] { BOOST_TEST(open_handles() == *descriptors); };

    sweep_all_endings(accept_two, options);
}

BOOST_AUTO_TEST_CASE(waiting_accept_is_told_in_a_dump) {
    auto accept = [&]() -> Task<> {
        Result<TcpStream> result = co_await as_result(listener.accept());
        BOOST_TEST(!result.has_value());
    };
    auto look = [&]() -> Task<> {
        co_await yield();
        std::string dump = executor.dump_tasks();
        BOOST_TEST(dump.find("accept") != std::string::npos, dump);
        listener.close();
    };

    executor.run_until(together(accept, look));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::tcp_listener_test
