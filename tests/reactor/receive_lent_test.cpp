// SPDX-License-Identifier: BSL-1.0
// Receives into buffers of the queue's. How many of them are lent is what tells whether one was forgotten.
#include "harvest.hpp"
#include "support/allocations.hpp"
#include "support/system.hpp"

#include <leat/reactor/buffer_pool.hpp>
#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace leat::test::receive_lent_test {
namespace {

struct Fixture {
    Operation receiving() { return Operation::receive_lent(link.source); }

    std::size_t lent() const {
        const detail::BufferPool* pool = poll->completions().buffers;
        return pool != nullptr ? pool->lent() : 0;
    }

    /// Submits `operation`, which waits, and sends it something; then it has ended, and the queue has told.
    void bring(Operation& operation, std::string_view text) {
        BOOST_TEST(!poll->submit(operation));
        write_text(link.peer.get(), text);
        harvest(*poll);
        BOOST_TEST(operation.is_ended());
    }

    /// Of something that waits to be received: the allocation that fails is the attempt's `which`-th.
    void expect_no_memory(std::size_t which) {
        Operation operation = receiving();
        bool has_ended = false;
        {
            FailingAllocation failing(which);
            has_ended = poll->submit(operation);
        }
        BOOST_TEST(has_ended);
        BOOST_TEST((operation.error() == std::errc::not_enough_memory));
        BOOST_TEST(operation.take_buffer().empty());
        BOOST_TEST(lent() == 0u);
    }

    /// What the next receive gives.
    std::string next_text() {
        Operation operation = receiving();
        if (!poll->submit(operation)) harvest(*poll);
        BOOST_TEST(!operation.has_failed());
        return text_of(operation.take_buffer().bytes());
    }

    std::optional<Poll> poll{std::in_place};
    Link link = stream_link();
    NativeHandle fd = link.source.native_handle();
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(receive_lent, Fixture)

// ---- What it gives ----

BOOST_AUTO_TEST_CASE(receive_of_what_waits_ends_at_once) {
    write_text(link.peer.get(), "hello");
    await_readable(fd);
    Operation operation = receiving();

    BOOST_TEST(poll->submit(operation));

    BOOST_TEST(operation.transferred() == 5u);
    BOOST_TEST(text_of(operation.take_buffer().bytes()) == "hello");
}

BOOST_AUTO_TEST_CASE(operation_that_waits_has_no_buffer) {
    Operation operation = receiving();
    BOOST_TEST(!poll->submit(operation));
    BOOST_TEST(lent() == 0u);

    write_text(link.peer.get(), "hello");
    harvest(*poll);

    BOOST_TEST(lent() == 1u);
    BOOST_TEST(operation.transferred() == 5u);
    BOOST_TEST(text_of(operation.take_buffer().bytes()) == "hello");
    BOOST_TEST(lent() == 0u);
}

BOOST_AUTO_TEST_CASE(more_than_a_buffer_holds_comes_in_several) {
    std::string sent(10'000, '?');
    for (std::size_t i = 0; i < sent.size(); ++i)
        sent[i] = static_cast<char>('a' + i % 23);
    write_text(link.peer.get(), sent);
    std::string all;

    while (all.size() < sent.size()) {
        const std::string text = next_text();
        BOOST_TEST(!text.empty());
        BOOST_TEST(text.size() <= detail::BufferPool::buffer_size);
        if (text.empty()) break;
        all += text;
    }

    BOOST_TEST(all == sent);
    BOOST_TEST(lent() == 0u);
}

BOOST_AUTO_TEST_CASE(end_of_the_stream_is_no_error_and_no_buffer) {
    Operation operation = receiving();
    BOOST_TEST(!poll->submit(operation));

    link.peer.reset();
    harvest(*poll);

    BOOST_TEST(operation.is_ended());
    BOOST_TEST(!operation.has_failed());
    BOOST_TEST(operation.transferred() == 0u);
    BOOST_TEST(lent() == 0u);
    BOOST_TEST(operation.take_buffer().empty());
}

BOOST_AUTO_TEST_CASE(reads_that_end_leave_no_buffer) {
    Operation operation = receiving();
    BOOST_TEST(!poll->submit(operation));
    SourceWatch watch(link.source);

    watch.end_reads();
    harvest(*poll);

    BOOST_TEST(operation.is_ended());
    BOOST_TEST(!operation.has_failed());
    BOOST_TEST(lent() == 0u);
    BOOST_TEST(next_text() == "");
}

BOOST_AUTO_TEST_CASE(operation_gives_its_buffer_once) {
    Operation operation = receiving();
    bring(operation, "x");

    LentBuffer first = operation.take_buffer();
    LentBuffer second = operation.take_buffer();

    BOOST_TEST(text_of(first.bytes()) == "x");
    BOOST_TEST(second.empty());
    BOOST_TEST(lent() == 1u);
}

BOOST_AUTO_TEST_CASE(other_operations_have_no_buffer_to_give) {
    std::array<std::byte, 16> buffer;
    Operation operation = Operation::receive(link.source, buffer);
    bring(operation, "x");

    BOOST_TEST(operation.take_buffer().empty());
    BOOST_TEST((poll->completions().buffers == nullptr));
}

BOOST_AUTO_TEST_CASE(it_counts_as_a_read) {
    Operation first = receiving();
    BOOST_TEST(!poll->submit(first));
    std::array<std::byte, 16> buffer;
    Operation plain = Operation::receive(link.source, buffer);
    Operation second = receiving();

    BOOST_TEST(poll->submit(plain));
    BOOST_TEST(poll->submit(second));

    BOOST_TEST((plain.error() == errc::busy));
    BOOST_TEST((second.error() == errc::busy));
    write_text(link.peer.get(), "x");
    harvest(*poll);
    BOOST_TEST(text_of(first.take_buffer().bytes()) == "x");
}

// ---- Ends without a result ----

BOOST_AUTO_TEST_CASE(cancelled_operation_takes_nothing) {
    Operation operation = receiving();
    BOOST_TEST(!poll->submit(operation));

    withdraw(*poll, operation);
    write_text(link.peer.get(), "x");

    BOOST_TEST(operation.take_buffer().empty());
    BOOST_TEST(lent() == 0u);
    BOOST_TEST(next_text() == "x");
}

BOOST_AUTO_TEST_CASE(closed_source_ends_it_without_a_buffer) {
    Operation operation = receiving();
    BOOST_TEST(!poll->submit(operation));

    link.source.close();
    harvest(*poll);

    BOOST_TEST((operation.error() == errc::closed));
    BOOST_TEST(operation.take_buffer().empty());
    BOOST_TEST(lent() == 0u);
}

// Wine gives the end where a reset was polled for.
BOOST_AUTO_TEST_CASE(failed_receive_gives_its_buffer_back, *boost::unit_test::label("posix")) {
    Link connected = tcp_link();
    Operation operation = Operation::receive_lent(connected.source);
    BOOST_TEST(!poll->submit(operation));

    reset_connection(connected.peer);
    harvest(*poll);

    BOOST_TEST((operation.error() == std::errc::connection_reset));
    BOOST_TEST(operation.take_buffer().empty());
    BOOST_TEST(lent() == 0u);
}

BOOST_AUTO_TEST_CASE(without_memory_it_fails_and_takes_nothing) {
    BOOST_TEST(!poll->bind(link.source));
    write_text(link.peer.get(), "hello");
    await_readable(fd);

    // For the pool, and for its first buffers.
    expect_no_memory(1);
    BOOST_TEST((poll->completions().buffers == nullptr));
    expect_no_memory(2);
    BOOST_TEST((poll->completions().buffers != nullptr));

    BOOST_TEST(next_text() == "hello");
}

// ---- Destroyed in each of its states ----

BOOST_AUTO_TEST_CASE(destroyed_before_it_was_submitted) {
    {
        Operation operation = receiving();
    }

    BOOST_TEST(lent() == 0u);
}

BOOST_AUTO_TEST_CASE(destroyed_in_flight) {
    {
        Operation operation = receiving();
        BOOST_TEST(!poll->submit(operation));
    }

    BOOST_TEST(lent() == 0u);
    write_text(link.peer.get(), "x");
    BOOST_TEST(next_text() == "x");
}

BOOST_AUTO_TEST_CASE(destroyed_when_it_has_ended_and_nobody_was_told) {
    {
        Operation operation = receiving();
        BOOST_TEST(!poll->submit(operation));
        write_text(link.peer.get(), "x");
        await_arrival(fd);
        Events events;
        while (poll->completions().is_empty())
            poll->look(events);
        BOOST_TEST(lent() == 1u);
    }

    BOOST_TEST(lent() == 0u);
    BOOST_TEST(poll->in_flight() == 0u);
    BOOST_TEST(glance(*poll).events.empty());
}

BOOST_AUTO_TEST_CASE(destroyed_with_its_event_before_it_is_looked_at) {
    Events events;
    {
        Operation operation = receiving();
        BOOST_TEST(!poll->submit(operation));
        write_text(link.peer.get(), "x");
        poll->poll(events, patience);
        BOOST_TEST(lent() == 1u);
    }

    BOOST_TEST(lent() == 0u);
    BOOST_TEST(events.is_empty());
}

BOOST_AUTO_TEST_CASE(destroyed_after_its_end_and_never_asked) {
    {
        Operation operation = receiving();
        bring(operation, "x");
        BOOST_TEST(lent() == 1u);
    }

    BOOST_TEST(lent() == 0u);
}

BOOST_AUTO_TEST_CASE(moved_after_its_end_the_buffer_goes_along) {
    std::optional<Operation> operation(receiving());
    bring(*operation, "x");

    Operation moved(std::move(*operation));
    operation.reset();

    BOOST_TEST(lent() == 1u);
    BOOST_TEST(text_of(moved.take_buffer().bytes()) == "x");
    BOOST_TEST(lent() == 0u);
}

BOOST_AUTO_TEST_CASE(destroyed_after_its_queue) {
    const std::size_t before = outstanding_allocations();
    {
        std::optional<Poll> short_lived(std::in_place);
        Link other = stream_link();
        Operation ended = Operation::receive_lent(other.source);
        write_text(other.peer.get(), "x");
        await_readable(other.source.native_handle());
        BOOST_TEST(short_lived->submit(ended));
        Operation waiting = Operation::receive_lent(other.source);
        BOOST_TEST(!short_lived->submit(waiting));

        short_lived.reset();
        other.source.close();

        BOOST_TEST(text_of(ended.take_buffer().bytes()) == "x");
    }

    BOOST_TEST(outstanding_allocations() == before);
}

// ---- The buffer ----

BOOST_AUTO_TEST_CASE(buffer_outlives_its_queue) {
    const std::size_t before = outstanding_allocations();
    {
        LentBuffer chunk;
        {
            Poll short_lived;
            Link other = stream_link();
            Operation operation = Operation::receive_lent(other.source);
            write_text(other.peer.get(), "still here");
            await_readable(other.source.native_handle());
            BOOST_TEST(short_lived.submit(operation));
            chunk = operation.take_buffer();
        }
        BOOST_TEST(text_of(chunk.bytes()) == "still here");
        chunk.data()[0] = std::byte('S');
        BOOST_TEST(text_of(chunk.bytes()) == "Still here");
    }

    BOOST_TEST(outstanding_allocations() == before);
}

BOOST_AUTO_TEST_CASE(buffer_that_was_moved_from_or_reset_is_empty) {
    Operation operation = receiving();
    bring(operation, "x");
    LentBuffer chunk = operation.take_buffer();

    LentBuffer other(std::move(chunk));
    BOOST_TEST(chunk.empty());  // NOLINT(bugprone-use-after-move): that is what is asked.
    BOOST_TEST(chunk.data() == nullptr);
    BOOST_TEST(chunk.size() == 0u);
    BOOST_TEST(text_of(other.bytes()) == "x");
    BOOST_TEST(lent() == 1u);

    other.reset();
    other.reset();
    BOOST_TEST(other.empty());
    BOOST_TEST(other.bytes().empty());
    BOOST_TEST(lent() == 0u);
}

BOOST_AUTO_TEST_CASE(assignment_gives_the_former_buffer_back) {
    Operation one = receiving();
    bring(one, "one");
    LentBuffer chunk = one.take_buffer();
    Operation two = receiving();
    bring(two, "two");
    BOOST_TEST(lent() == 2u);

    chunk = two.take_buffer();

    BOOST_TEST(text_of(chunk.bytes()) == "two");
    BOOST_TEST(lent() == 1u);
    LentBuffer& same = chunk;
    chunk = std::move(same);
    BOOST_TEST(text_of(chunk.bytes()) == "two");
    chunk = LentBuffer();
    BOOST_TEST(lent() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::receive_lent_test
