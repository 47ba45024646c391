// SPDX-License-Identifier: BSL-1.0
// What only the completion port's backend has.
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <winsock2.h>

#include <windows.h>

#include <array>
#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::iocp_test {
namespace {

struct Fixture {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = stream_link();
    std::array<std::byte, 64> buffer{};
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(iocp, Fixture)

BOOST_AUTO_TEST_CASE(windows_errors_compare_with_those_of_posix) {
    struct Pair {
        unsigned long windows;
        std::errc posix;
    };
    const Pair pairs[] = {{WSAECONNRESET, std::errc::connection_reset},
                          {ERROR_NETNAME_DELETED, std::errc::connection_reset},
                          {WSAECONNREFUSED, std::errc::connection_refused},
                          {ERROR_CONNECTION_REFUSED, std::errc::connection_refused},
                          {ERROR_OPERATION_ABORTED, std::errc::operation_canceled},
                          {WSAEMFILE, std::errc::too_many_files_open},
                          {WSAENOBUFS, std::errc::no_buffer_space},
                          {ERROR_NOT_ENOUGH_MEMORY, std::errc::not_enough_memory},
                          {WSAESHUTDOWN, std::errc::broken_pipe}};

    for (const Pair& pair : pairs) {
        const std::error_code error = detail::native_error(pair.windows);
        BOOST_TEST((error == pair.posix), error);
        BOOST_TEST(static_cast<unsigned long>(error.value()) == pair.windows);
        BOOST_TEST(!error.message().empty());
    }
}

BOOST_AUTO_TEST_CASE(error_survives_the_number_that_a_record_keeps_of_it) {
    const std::error_code unknown_to_posix = detail::native_error(WSASYSNOTREADY);

    BOOST_TEST((detail::error_of_number(detail::error_number(unknown_to_posix)) == unknown_to_posix));
    for (std::errc each :
         {std::errc::operation_canceled, std::errc::not_enough_memory, std::errc::invalid_argument})
        BOOST_TEST((detail::error_of_number(detail::error_number(make_error_code(each))) == each));
}

BOOST_AUTO_TEST_CASE(write_that_is_cancelled_tells_how_far_it_came) {
    const std::vector<std::byte> much(std::size_t{16} << 20);
    Operation writing = Operation::send_all(link.source, much);
    BOOST_TEST_REQUIRE(!poll.submit(writing));
    std::size_t arrived = drain(link.peer.get());
    glance(poll);

    withdraw(poll, writing);

    BOOST_TEST(writing.transferred() > 0u);
    BOOST_TEST(writing.transferred() < much.size());
    link.source.close();
    while (!is_readable(link.peer.get()) || arrived < writing.transferred())
        arrived += drain(link.peer.get());
    BOOST_TEST(arrived == writing.transferred());
}

BOOST_AUTO_TEST_CASE(cancelled_and_abandoned_accepts_leave_no_socket_behind) {
    const Listening unbound = tcp_listener();
    const std::set<NativeHandle> before = open_handles();
    {
        Listening listening = tcp_listener();
        for (int i = 0; i < 20; ++i) {
            Operation cancelled = Operation::accept(listening.source);
            BOOST_TEST(!poll.submit(cancelled));
            withdraw(poll, cancelled);
            Operation abandoned = Operation::accept(listening.source);
            BOOST_TEST(!poll.submit(abandoned));
        }
        Operation closed = Operation::accept(listening.source);
        BOOST_TEST(!poll.submit(closed));
        listening.source.close();
        harvest(poll);
        BOOST_TEST((closed.error() == errc::closed));
    }

    BOOST_TEST((open_handles() == before));
}

BOOST_AUTO_TEST_CASE(queue_ends_with_everything_in_flight) {
    Listening listening = tcp_listener();
    Source connecting(tcp_socket().release());
    Link watched = stream_link();
    std::optional<Poll> short_lived(std::in_place);
    short_lived->registrator().add(watched.source, Token(1), Interest::readable | Interest::writable);
    Operation accept = Operation::accept(listening.source);
    Operation receive = Operation::receive(link.source, buffer);
    Operation wait = Operation::wait_readable(connecting);
    short_lived->submit(accept);
    short_lived->submit(receive);
    short_lived->submit(wait);

    short_lived.reset();

    // Nobody writes to any of it any more.
    write_text(link.peer.get(), "late");
    BOOST_TEST((buffer[0] == std::byte{}));
    BOOST_TEST(accept.is_ended());
    BOOST_TEST(receive.is_ended());
}

BOOST_AUTO_TEST_CASE(source_that_comes_back_is_polled) {
    BOOST_TEST(!poll.bind(link.source));
    Source again(link.source.release());
    Operation receiving = Operation::receive(again, buffer);
    BOOST_TEST(!poll.submit(receiving));

    write_text(link.peer.get(), "hello");
    harvest(poll);

    BOOST_TEST(text_of(std::span(buffer).first(receiving.transferred())) == "hello");
}

BOOST_AUTO_TEST_CASE(readiness_from_before_the_source_was_found_empty_is_not_reported) {
    registrator.add(link.source, Token(1), Interest::readable);
    write_text(link.peer.get(), "x");
    await_readable(link.source.native_handle());

    // The answer to the poll is on its way.
    BOOST_TEST(drain(link.source) == 1u);

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    write_text(link.peer.get(), "y");
    BOOST_TEST(harvest(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(unread_bytes_do_not_spin) {
    registrator.add(link.source, Token(1), Interest::readable);
    write_text(link.peer.get(), "unread");
    harvest(poll);

    for (int i = 0; i < 3; ++i)
        BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(source_of_interest_may_go_to_another_queue) {
    registrator.add(link.source, Token(1), Interest::readable);
    registrator.remove(link.source);
    Poll other;
    other.registrator().add(link.source, Token(2), Interest::readable);

    write_text(link.peer.get(), "x");

    BOOST_TEST(harvest(other).of(Token(2)) != nullptr);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(operation_of_a_closed_source_ends_with_the_queue) {
    std::optional<Poll> short_lived(std::in_place);
    Operation receiving = Operation::receive(link.source, buffer);
    BOOST_TEST(!short_lived->submit(receiving));
    link.source.close();
    BOOST_TEST(!receiving.is_ended());

    short_lived.reset();

    BOOST_TEST((receiving.error() == errc::closed));
}

BOOST_AUTO_TEST_CASE(queue_ends_with_packets_that_nobody_has_looked_at) {
    std::optional<Poll> short_lived(std::in_place);
    Link watched = stream_link();
    short_lived->registrator().add(watched.source, Token(1), Interest::readable);
    write_text(watched.peer.get(), "x");
    await_readable(watched.source.native_handle());
    {
        // What waits for its end takes the other packet too.
        Operation destroyed = Operation::receive(link.source, buffer);
        BOOST_TEST(!short_lived->submit(destroyed));
    }

    short_lived.reset();

    BOOST_TEST(watched.source.is_open());
}

BOOST_AUTO_TEST_CASE(disk_file_is_refused) {
    std::array<char, MAX_PATH> name{};
    BOOST_TEST_REQUIRE(::GetModuleFileNameA(nullptr, name.data(), MAX_PATH) != 0u);
    HANDLE file = ::CreateFileA(name.data(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                                FILE_FLAG_OVERLAPPED, nullptr);
    BOOST_TEST_REQUIRE(file != INVALID_HANDLE_VALUE);
    Source source(reinterpret_cast<NativeHandle>(file));

    BOOST_TEST((poll.bind(source) == std::errc::operation_not_permitted));
}

BOOST_AUTO_TEST_CASE(socket_with_a_linger_time_is_closed_all_the_same) {
    const linger patient{1, 5};
    const NativeHandle handle = link.source.native_handle();
    BOOST_TEST_REQUIRE(::setsockopt(handle, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&patient),
                                    sizeof patient) == 0);
    fill(handle);

    link.source.close();

    BOOST_TEST(!open_handles().contains(handle));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::iocp_test
