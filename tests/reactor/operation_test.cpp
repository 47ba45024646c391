// SPDX-License-Identifier: BSL-1.0
// What each kind of operation does. How operations end, or are ended, is operation_end_test.cpp's.
#include "harvest.hpp"
#include "support/allocations.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <iterator>
#include <new>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::operation_test {
namespace {

struct Fixture {
    Poll poll;
    Link link = stream_link();
    NativeHandle fd = link.source.native_handle();
    std::array<std::byte, 64> buffer{};

    // Submits it, and polls until it has ended.
    void carry_out(Operation& operation) {
        if (!poll.submit(operation)) carry_out_submitted(operation);
    }
    void carry_out_submitted(const Operation& operation) {
        while (!operation.is_ended())
            if (harvest(poll).status != PollStatus::events) return;
    }

    std::string received(const Operation& operation) const {
        return text_of(std::span(buffer).first(operation.transferred()));
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(operation, Fixture)

BOOST_AUTO_TEST_CASE(receive_of_what_waits_ends_at_once_without_an_event) {
    write_text(link.peer.get(), "hello");
    Operation operation = Operation::receive(link.source, buffer);

    BOOST_TEST(poll.submit(operation));

    BOOST_TEST(operation.is_ended());
    BOOST_TEST(!operation.has_failed());
    BOOST_TEST(received(operation) == "hello");
    BOOST_TEST(glance(poll).events.empty());
}

BOOST_AUTO_TEST_CASE(receive_waits_and_the_event_says_that_it_is_done) {
    Operation operation = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(operation));
    BOOST_TEST(!operation.is_ended());
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);

    write_text(link.peer.get(), "later");

    const Harvest found = harvest(poll);
    BOOST_TEST(found.status == PollStatus::events);
    BOOST_TEST_REQUIRE(found.events.size() == 1u);
    BOOST_TEST((found.events[0].operation() == &operation));
    BOOST_TEST((found.events[0].token() == Token()));
    BOOST_TEST(!found.events[0].is_timeout());
    BOOST_TEST(operation.is_ended());
    BOOST_TEST(received(operation) == "later");
    BOOST_TEST(glance(poll).events.empty());
}

BOOST_AUTO_TEST_CASE(event_leads_to_the_state_that_derives_from_the_operation) {
    struct Numbered : Operation {
        Numbered(Operation&& from, int value) : Operation(std::move(from)), number(value) {}
        int number;
    };
    Numbered operation(Operation::receive(link.source, buffer), 42);
    BOOST_TEST(!poll.submit(operation));
    write_text(link.peer.get(), "x");

    const Harvest found = harvest(poll);

    BOOST_TEST_REQUIRE(found.events.size() == 1u);
    BOOST_TEST(static_cast<Numbered*>(found.events[0].operation())->number == 42);
}

BOOST_AUTO_TEST_CASE(source_may_be_moved_between_making_and_submitting_elsewhere) {
    Operation made = Operation::receive(link.source, buffer);
    Operation moved(std::move(made));
    write_text(link.peer.get(), "x");

    BOOST_TEST(poll.submit(moved));

    BOOST_TEST(moved.transferred() == 1u);
    BOOST_TEST((moved.kind() == Operation::Kind::receive));
}

BOOST_AUTO_TEST_CASE(end_of_the_stream_is_zero_bytes_and_no_error) {
    Operation operation = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(operation));

    link.peer.reset();
    harvest(poll);

    BOOST_TEST(operation.is_ended());
    BOOST_TEST(!operation.has_failed());
    BOOST_TEST(operation.transferred() == 0u);
}

BOOST_AUTO_TEST_CASE(send_that_fits_ends_at_once) {
    Operation operation = Operation::send(link.source, bytes_of("hello"));

    BOOST_TEST(poll.submit(operation));

    BOOST_TEST(operation.transferred() == 5u);
    BOOST_TEST(read_text(link.peer.get()) == "hello");
}

BOOST_AUTO_TEST_CASE(send_into_a_full_buffer_waits_until_there_is_room) {
    fill(fd);
    Operation operation = Operation::send(link.source, bytes_of("hello"));
    BOOST_TEST(!poll.submit(operation));
    BOOST_TEST(glance(poll).events.empty());

    drain(link.peer.get());
    harvest(poll);

    BOOST_TEST(operation.is_ended());
    BOOST_TEST(operation.transferred() == 5u);
    BOOST_TEST(read_text(link.peer.get()) == "hello");
}

BOOST_AUTO_TEST_CASE(receive_all_waits_until_the_buffer_is_full) {
    Operation operation = Operation::receive_all(link.source, std::span(buffer).first(6));
    BOOST_TEST(!poll.submit(operation));

    write_text(link.peer.get(), "abc");
    BOOST_TEST(glance(poll).events.empty());
    BOOST_TEST(!operation.is_ended());
    write_text(link.peer.get(), "defgh");
    harvest(poll);

    BOOST_TEST(operation.is_ended());
    BOOST_TEST(!operation.has_failed());
    BOOST_TEST(received(operation) == "abcdef");
    BOOST_TEST(read_text(fd) == "gh");
}

BOOST_AUTO_TEST_CASE(receive_all_of_what_waits_ends_at_once) {
    write_text(link.peer.get(), "abcdef");
    Operation operation = Operation::receive_all(link.source, std::span(buffer).first(6));

    BOOST_TEST(poll.submit(operation));

    BOOST_TEST(received(operation) == "abcdef");
}

BOOST_AUTO_TEST_CASE(receive_all_tells_an_early_end_and_how_far_it_came) {
    Operation operation = Operation::receive_all(link.source, std::span(buffer).first(6));
    BOOST_TEST(!poll.submit(operation));

    write_text(link.peer.get(), "abc");
    link.peer.reset();
    harvest(poll);

    BOOST_TEST((operation.error() == errc::unexpected_end));
    BOOST_TEST(received(operation) == "abc");
}

BOOST_AUTO_TEST_CASE(cancelled_receive_all_tells_how_far_it_came) {
    Operation operation = Operation::receive_all(link.source, std::span(buffer).first(6));
    BOOST_TEST(!poll.submit(operation));
    write_text(link.peer.get(), "abc");
    glance(poll);

    if (!poll.cancel(operation)) harvest(poll);

    BOOST_TEST((operation.error() == std::errc::operation_canceled));
    BOOST_TEST(received(operation) == "abc");
}

BOOST_AUTO_TEST_CASE(send_all_goes_on_until_everything_is_sent) {
    shrink_send_buffer(fd);
    const std::string text(500000, 's');
    Operation operation = Operation::send_all(link.source, bytes_of(text));
    BOOST_TEST(!poll.submit(operation));
    std::size_t got = 0;

    while (!operation.is_ended()) {
        got += drain(link.peer.get());
        glance(poll);
    }
    got += drain(link.peer.get());

    BOOST_TEST(!operation.has_failed());
    BOOST_TEST(operation.transferred() == text.size());
    BOOST_TEST(got == text.size());
}

BOOST_AUTO_TEST_CASE(send_all_of_vectors_goes_on_until_everything_is_sent_in_order) {
    shrink_send_buffer(fd);
    std::string expected;
    for (int i = 0; i < 3000; ++i)
        expected += std::string(static_cast<std::size_t>(i % 100), static_cast<char>('a' + i % 26));
    std::vector<ConstBuffer> pieces;
    for (std::size_t at = 0, i = 0; i < 3000; at += i % 100, ++i)
        pieces.emplace_back(bytes_of(std::string_view(expected).substr(at, i % 100)));
    Operation operation = Operation::send_all(link.source, std::span(pieces));
    std::string got;

    bool ended = poll.submit(operation);
    std::array<char, 4096> piece{};
    while (!ended || got.size() < expected.size()) {
        std::error_code error;
        got.append(piece.data(), try_read(link.peer.get(), piece, error));
        glance(poll);
        ended = operation.is_ended();
    }

    BOOST_TEST(operation.transferred() == expected.size());
    BOOST_TEST((got == expected));
}

BOOST_AUTO_TEST_CASE(send_all_to_a_peer_that_goes_tells_how_far_it_came) {
    const std::string text(4000000, 's');
    Operation operation = Operation::send_all(link.source, bytes_of(text));
    BOOST_TEST(!poll.submit(operation));

    link.peer.reset();
    harvest(poll);

    BOOST_TEST(operation.has_failed());
    BOOST_TEST(operation.transferred() > 0u);
    BOOST_TEST(operation.transferred() < text.size());
}

BOOST_AUTO_TEST_CASE(zero_length_receive_is_no_end_of_stream_and_never_waits) {
    Operation without_data = Operation::receive(link.source, std::span<std::byte>());
    BOOST_TEST(poll.submit(without_data));
    BOOST_TEST(!without_data.has_failed());
    BOOST_TEST(without_data.transferred() == 0u);

    write_text(link.peer.get(), "x");
    Operation with_data = Operation::receive(link.source, std::span<std::byte>());
    BOOST_TEST(poll.submit(with_data));
    BOOST_TEST(!with_data.has_failed());
    BOOST_TEST(with_data.transferred() == 0u);

    Operation real = Operation::receive(link.source, buffer);
    BOOST_TEST(poll.submit(real));
    BOOST_TEST(received(real) == "x");
}

BOOST_AUTO_TEST_CASE(zero_length_send_and_vectors_end_at_once) {
    fill(fd);
    Operation nothing = Operation::send(link.source, std::span<const std::byte>());
    BOOST_TEST(poll.submit(nothing));
    BOOST_TEST(!nothing.has_failed());
    BOOST_TEST(nothing.transferred() == 0u);

    Operation no_vectors = Operation::send(link.source, std::span<const ConstBuffer>());
    BOOST_TEST(poll.submit(no_vectors));
    BOOST_TEST(!no_vectors.has_failed());

    Operation no_room = Operation::receive(link.source, std::span<const MutableBuffer>());
    BOOST_TEST(poll.submit(no_room));
    BOOST_TEST(!no_room.has_failed());
    BOOST_TEST(no_room.transferred() == 0u);
}

BOOST_AUTO_TEST_CASE(vectors_without_a_byte_between_them_end_at_once) {
    const std::array<MutableBuffer, 2> no_room{};
    const std::array<ConstBuffer, 2> nothing{};
    Operation used_up = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(used_up));
    withdraw(poll, used_up);
    fill(fd);

    Operation receiving = Operation::receive(link.source, no_room);
    Operation sending = Operation::send(link.source, nothing);
    BOOST_TEST(poll.submit(receiving));
    BOOST_TEST(poll.submit(sending));

    BOOST_TEST(!receiving.has_failed());
    BOOST_TEST(!sending.has_failed());
}

BOOST_AUTO_TEST_CASE(zero_length_receive_does_not_swallow_the_readiness_of_the_next) {
    Operation waiting = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(waiting));
    write_text(link.peer.get(), "a");
    harvest(poll);
    Operation nothing = Operation::receive(link.source, std::span<std::byte>());
    BOOST_TEST(poll.submit(nothing));

    write_text(link.peer.get(), "b");
    Operation next = Operation::receive(link.source, buffer);
    carry_out(next);

    BOOST_TEST(received(next) == "b");
}

BOOST_AUTO_TEST_CASE(vectors_are_sent_and_received_in_order) {
    const std::array<ConstBuffer, 3> outgoing{ConstBuffer(bytes_of("one ")), ConstBuffer(bytes_of("")),
                                              ConstBuffer(bytes_of("two"))};
    Operation sending = Operation::send(link.source, outgoing);
    BOOST_TEST(poll.submit(sending));
    BOOST_TEST(sending.transferred() == 7u);
    Source other_end(link.peer.release());
    const std::array<MutableBuffer, 2> incoming{MutableBuffer(std::span(buffer).first(2)),
                                                MutableBuffer(std::span(buffer).subspan(2))};

    Operation receiving = Operation::receive(other_end, incoming);
    BOOST_TEST(poll.submit(receiving));

    BOOST_TEST(received(receiving) == "one two");
}

BOOST_AUTO_TEST_CASE(vectors_wait_as_single_buffers_do) {
    const std::array<MutableBuffer, 2> incoming{MutableBuffer(std::span(buffer).first(1)),
                                                MutableBuffer(std::span(buffer).subspan(1))};
    Operation receiving = Operation::receive(link.source, incoming);
    BOOST_TEST(!poll.submit(receiving));
    write_text(link.peer.get(), "xyz");
    harvest(poll);
    BOOST_TEST(received(receiving) == "xyz");

    fill(fd);
    const std::array<ConstBuffer, 2> outgoing{ConstBuffer(bytes_of("a")), ConstBuffer(bytes_of("b"))};
    Operation sending = Operation::send(link.source, outgoing);
    BOOST_TEST(!poll.submit(sending));
    drain(link.peer.get());
    harvest(poll);
    BOOST_TEST(sending.transferred() == 2u);
}

BOOST_AUTO_TEST_CASE(more_vectors_than_the_system_takes_are_sent_as_far_as_it_goes) {
    const std::string letters(3000, 'v');
    std::vector<ConstBuffer> outgoing;
    for (std::size_t i = 0; i < letters.size(); ++i)
        outgoing.emplace_back(bytes_of(std::string_view(letters).substr(i, 1)));
    Operation sending = Operation::send(link.source, outgoing);

    BOOST_TEST(poll.submit(sending));

    BOOST_TEST(!sending.has_failed());
    BOOST_TEST(sending.transferred() > 0u);
    BOOST_TEST(read_text(link.peer.get()) == std::string(sending.transferred(), 'v'));
}

BOOST_AUTO_TEST_CASE(more_vectors_than_the_system_takes_are_filled_as_far_as_it_goes) {
    std::vector<std::byte> room(3000);
    std::vector<MutableBuffer> incoming;
    for (std::size_t i = 0; i < room.size(); ++i)
        incoming.emplace_back(std::span(room).subspan(i, 1));
    write_text(link.peer.get(), std::string(3000, 'v'));
    Operation receiving = Operation::receive(link.source, incoming);

    BOOST_TEST(poll.submit(receiving));

    BOOST_TEST(!receiving.has_failed());
    BOOST_TEST(receiving.transferred() > 0u);
}

// The system takes some 1024 buffers in one call.
BOOST_AUTO_TEST_CASE(empty_buffers_do_not_count_however_many_there_are_and_wherever) {
    for (std::size_t before : {1u, 1023u, 1024u, 1025u, 5000u}) {
        std::vector<ConstBuffer> outgoing(before + 2000);
        outgoing[before] = ConstBuffer(bytes_of("one"));
        std::vector<MutableBuffer> incoming(before + 2000);
        incoming[before] = MutableBuffer(std::span(buffer));

        Operation sending = Operation::send(link.source, std::span<const ConstBuffer>(outgoing));
        carry_out(sending);
        BOOST_TEST(!sending.has_failed());
        BOOST_TEST(sending.transferred() == 3u, before);
        BOOST_TEST(read_text(link.peer.get()) == "one");

        write_text(link.peer.get(), "two");
        Operation receiving = Operation::receive(link.source, std::span<const MutableBuffer>(incoming));
        carry_out(receiving);
        BOOST_TEST(!receiving.has_failed());
        BOOST_TEST(received(receiving) == "two", before);
    }
}

BOOST_AUTO_TEST_CASE(empty_buffers_do_not_count_for_those_who_wait) {
    std::vector<MutableBuffer> incoming(2500);
    incoming[2000] = MutableBuffer(std::span(buffer));
    Operation receiving = Operation::receive(link.source, std::span<const MutableBuffer>(incoming));
    BOOST_TEST(!poll.submit(receiving));
    write_text(link.peer.get(), "late");
    carry_out_submitted(receiving);
    BOOST_TEST(received(receiving) == "late");

    fill(fd);
    std::vector<ConstBuffer> outgoing(2500);
    outgoing[2000] = ConstBuffer(bytes_of("x"));
    Operation sending = Operation::send(link.source, std::span<const ConstBuffer>(outgoing));
    BOOST_TEST(!poll.submit(sending));
    drain(link.peer.get());
    carry_out_submitted(sending);
    BOOST_TEST(sending.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(send_all_passes_over_empty_buffers_wherever_they_are) {
    std::vector<ConstBuffer> outgoing(6000);
    outgoing[1500] = ConstBuffer(bytes_of("one "));
    outgoing[1501] = ConstBuffer(bytes_of("two "));
    outgoing[4500] = ConstBuffer(bytes_of("three"));
    Operation sending = Operation::send_all(link.source, outgoing);

    carry_out(sending);

    BOOST_TEST(!sending.has_failed());
    BOOST_TEST(sending.transferred() == 13u);
    BOOST_TEST(read_text(link.peer.get()) == "one two three");
}

BOOST_AUTO_TEST_CASE(more_empty_buffers_than_the_system_takes_end_at_once) {
    const std::vector<MutableBuffer> no_room(3000);
    const std::vector<ConstBuffer> nothing(3000);
    std::vector<ConstBuffer> nothing_at_all(3000);
    Operation receiving = Operation::receive(link.source, std::span<const MutableBuffer>(no_room));
    Operation sending = Operation::send(link.source, std::span<const ConstBuffer>(nothing));

    BOOST_TEST(poll.submit(receiving));
    BOOST_TEST(poll.submit(sending));
    Operation sending_all = Operation::send_all(link.source, nothing_at_all);
    BOOST_TEST(poll.submit(sending_all));

    for (const Operation* operation : {&receiving, &sending, &sending_all}) {
        BOOST_TEST(!operation->has_failed());
        BOOST_TEST(operation->transferred() == 0u);
    }
}

BOOST_AUTO_TEST_CASE(peek_leaves_the_bytes_where_they_are) {
    write_text(link.peer.get(), "hello");
    Operation peeking = Operation::peek(link.source, std::span(buffer).first(2));
    BOOST_TEST(poll.submit(peeking));
    BOOST_TEST(received(peeking) == "he");

    Operation reading = Operation::receive(link.source, buffer);
    BOOST_TEST(poll.submit(reading));

    BOOST_TEST(received(reading) == "hello");
}

BOOST_AUTO_TEST_CASE(peek_that_waited_leaves_the_bytes_too) {
    Operation peeking = Operation::peek(link.source, buffer);
    BOOST_TEST(!poll.submit(peeking));
    write_text(link.peer.get(), "hello");
    harvest(poll);
    BOOST_TEST(received(peeking) == "hello");

    Operation again = Operation::peek(link.source, buffer);
    carry_out(again);
    BOOST_TEST(received(again) == "hello");
    Operation reading = Operation::receive(link.source, buffer);
    carry_out(reading);
    BOOST_TEST(received(reading) == "hello");
}

BOOST_AUTO_TEST_CASE(files_and_pipes_are_read_and_written) {
    Link pipe = pipe_to_read();
    Operation reading = Operation::read(pipe.source, buffer);
    BOOST_TEST(!poll.submit(reading));
    Source writer(pipe.peer.release());

    Operation writing = Operation::write(writer, bytes_of("through"));
    BOOST_TEST(poll.submit(writing));
    harvest(poll);

    BOOST_TEST(writing.transferred() == 7u);
    BOOST_TEST(received(reading) == "through");
}

BOOST_AUTO_TEST_CASE(hang_up_without_readability_wakes_a_reader_of_a_pipe) {
    Link pipe = pipe_to_read();
    Operation reading = Operation::read(pipe.source, buffer);
    BOOST_TEST(!poll.submit(reading));

    pipe.peer.reset();
    harvest(poll);

    BOOST_TEST(reading.is_ended());
    BOOST_TEST(reading.transferred() == 0u);
}

BOOST_AUTO_TEST_CASE(hang_up_wakes_a_writer_of_a_full_pipe) {
    Link pipe = pipe_to_write();
    fill(pipe.source.native_handle());
    Operation writing = Operation::write(pipe.source, bytes_of("x"));
    BOOST_TEST(!poll.submit(writing));

    pipe.peer.reset();
    harvest(poll);

    BOOST_TEST((writing.error() == std::errc::broken_pipe));
}

BOOST_AUTO_TEST_CASE(wait_for_readability_ends_with_data_or_the_end_and_takes_nothing) {
    Operation waiting = Operation::wait_readable(link.source);
    BOOST_TEST(!poll.submit(waiting));
    write_text(link.peer.get(), "x");
    harvest(poll);
    BOOST_TEST(waiting.is_ended());
    BOOST_TEST(!waiting.has_failed());

    Operation reading = Operation::receive(link.source, buffer);
    carry_out(reading);
    BOOST_TEST(received(reading) == "x");
    link.peer.reset();
    Operation end = Operation::wait_readable(link.source);
    carry_out(end);
    BOOST_TEST(end.is_ended());
}

BOOST_AUTO_TEST_CASE(wait_for_readability_of_waiting_data_ends) {
    write_text(link.peer.get(), "x");
    for (int i = 0; i < 3; ++i) {
        Operation waiting = Operation::wait_readable(link.source);
        carry_out(waiting);
        BOOST_TEST(waiting.is_ended());
    }
}

BOOST_AUTO_TEST_CASE(wait_for_writability_ends_once_there_is_room) {
    fill(fd);
    Operation waiting = Operation::wait_writable(link.source);
    BOOST_TEST(!poll.submit(waiting));
    BOOST_TEST(glance(poll).events.empty());

    drain(link.peer.get());
    harvest(poll);

    BOOST_TEST(waiting.is_ended());
    BOOST_TEST(!waiting.has_failed());
}

BOOST_AUTO_TEST_CASE(executor_takes_ended_operations_in_their_order_and_events_apart) {
    Link other = stream_link();
    Link watched = stream_link();
    poll.registrator().add(watched.source, Token(1), Interest::writable);
    std::array<std::byte, 8> other_buffer{};
    Operation first = Operation::receive(link.source, buffer);
    Operation second = Operation::receive(other.source, other_buffer);
    BOOST_TEST(!poll.submit(first));
    BOOST_TEST(!poll.submit(second));
    write_text(link.peer.get(), "x");
    write_text(other.peer.get(), "y");
    Events events;

    BOOST_TEST(poll.look(events) == PollStatus::events);

    BOOST_TEST(!poll.completions().is_empty());
    BOOST_TEST((poll.completions().pop() == &first));
    BOOST_TEST((poll.completions().pop() == &second));
    BOOST_TEST((poll.completions().pop() == nullptr));
    BOOST_TEST(std::ranges::distance(events.begin(), events.end()) == 1);
    BOOST_TEST((events.begin()->operation() == nullptr));
}

BOOST_AUTO_TEST_CASE(submitting_polling_and_waking_allocate_nothing) {
    Events events(64);
    Registrator registrator = poll.registrator();
    Link watched = stream_link();
    registrator.add(watched.source, Token(1), Interest::readable);
    Operation first = Operation::receive(link.source, buffer);
    poll.submit(first);
    withdraw(poll, first);
    poll.poll(events, 0ns);

    const std::size_t before = allocations_made();
    for (int i = 0; i < 100; ++i) {
        Operation reading = Operation::receive(link.source, buffer);
        poll.submit(reading);
        std::error_code error;
        try_write(link.peer.get(), "x", error);
        try_write(watched.peer.get(), "x", error);
        while (!reading.is_ended()) {
            poll.poll(events, patience);
            for (const Event& event : events)
                event.token();
        }
        Operation sending = Operation::send(link.source, bytes_of("y"));
        poll.submit(sending);
        poll.wake();
        poll.poll(events, 0ns);
        poll.poll(events, 0ns);
    }

    BOOST_TEST(allocations_made() - before == 0u);
}

BOOST_AUTO_TEST_CASE(allocations_are_counted_at_all) {
    const std::size_t before = allocations_made();

    // Called by its name: a new-expression whose memory nobody uses may be left out (clang does).
    ::operator delete(::operator new(100));

    BOOST_TEST(allocations_made() - before == 1u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::operation_test
