// SPDX-License-Identifier: BSL-1.0
// Operations, and queues, that are destroyed while they still have something to do with each other.
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <memory>
#include <optional>
#include <vector>

namespace leat::test::operation_destroyed_test {
namespace {

struct Fixture {
    Poll poll;
    Link link = stream_link();
    NativeHandle fd = link.source.native_handle();
    std::array<std::byte, 64> buffer{};
    std::array<std::byte, 64> other_buffer{};

    Operation reading() { return Operation::receive(link.source, buffer); }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(operation_destroyed, Fixture)

BOOST_AUTO_TEST_CASE(operation_destroyed_in_flight_withdraws_itself) {
    {
        Operation operation = reading();
        BOOST_TEST(!poll.submit(operation));
        BOOST_TEST(poll.in_flight() == 1u);
    }
    BOOST_TEST(poll.in_flight() == 0u);

    write_text(link.peer.get(), "x");

    BOOST_TEST(glance(poll).events.empty());
    Operation next = reading();
    if (!poll.submit(next)) harvest(poll);
    BOOST_TEST(next.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(operation_destroyed_after_its_source_closed_is_not_reported) {
    {
        Operation operation = reading();
        BOOST_TEST(!poll.submit(operation));
        link.source.close();
    }

    BOOST_TEST(glance(poll).events.empty());
    BOOST_TEST(poll.in_flight() == 0u);
}

BOOST_AUTO_TEST_CASE(ended_operation_may_be_destroyed_at_once_and_its_batch_iterated_again) {
    auto operation = std::make_unique<Operation>(reading());
    BOOST_TEST(!poll.submit(*operation));
    write_text(link.peer.get(), "x");
    Events events;
    poll.poll(events, patience);

    for (const Event& event : events)
        if (event.operation() == operation.get()) operation.reset();

    BOOST_TEST(events.is_empty());
}

BOOST_AUTO_TEST_CASE(ended_operation_may_outlive_its_batch_its_source_and_its_queue) {
    for (bool is_emptied : {false, true}) {
        std::optional<Poll> queue(std::in_place);
        Link other = stream_link();
        Operation operation = Operation::receive(other.source, buffer);
        BOOST_TEST(!queue->submit(operation));
        write_text(other.peer.get(), "x");
        {
            Events events;
            queue->poll(events, patience);
            BOOST_TEST(!events.is_empty());
            if (is_emptied) events.clear();
        }
        other.source.close();

        queue.reset();

        BOOST_TEST(operation.is_ended());
        BOOST_TEST(operation.transferred() == 1u);
    }
}

BOOST_AUTO_TEST_CASE(batch_that_goes_on_to_another_queue_leaves_the_operations_of_the_first) {
    std::optional<Poll> first(std::in_place);
    Poll second;
    Link of_first = stream_link();
    Link of_second = stream_link();
    Operation one = Operation::receive(of_first.source, buffer);
    Operation other = Operation::receive(of_second.source, other_buffer);
    {
        Events events;
        BOOST_TEST(!first->submit(one));
        write_text(of_first.peer.get(), "x");
        first->poll(events, patience);
        BOOST_TEST(!second.submit(other));
        write_text(of_second.peer.get(), "y");
        second.poll(events, patience);

        of_first.source.close();
        first.reset();

        BOOST_TEST(!events.is_empty());
        BOOST_TEST((*events.begin()).operation() == &other);
    }
    BOOST_TEST(one.transferred() == 1u);
    BOOST_TEST(other.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(operation_destroyed_by_another_ones_handler_is_passed_over) {
    Link second = stream_link();
    auto one = std::make_unique<Operation>(reading());
    auto other = std::make_unique<Operation>(Operation::receive(second.source, other_buffer));
    BOOST_TEST(!poll.submit(*one));
    BOOST_TEST(!poll.submit(*other));
    write_text(link.peer.get(), "x");
    write_text(second.peer.get(), "y");
    Events events;
    poll.poll(events, patience);
    int reported = 0;

    for (const Event& event : events) {
        ++reported;
        (event.operation() == one.get() ? other : one).reset();
    }

    BOOST_TEST(reported == 1);
}

BOOST_AUTO_TEST_CASE(many_operations_may_be_destroyed_within_one_batch) {
    std::vector<Link> links;
    std::vector<std::unique_ptr<Operation>> operations;
    for (int i = 0; i < 50; ++i) {
        links.push_back(stream_link());
        operations.push_back(std::make_unique<Operation>(Operation::wait_readable(links.back().source)));
        BOOST_TEST(!poll.submit(*operations.back()));
        write_text(links.back().peer.get(), "x");
    }
    Events events;
    poll.poll(events, patience);
    int reported = 0;

    for (const Event& event : events) {
        ++reported;
        const Operation* const mine = event.operation();
        std::erase_if(operations, [&](const auto& each) { return each.get() != mine; });
    }

    BOOST_TEST(reported == 1);
    BOOST_TEST(poll.in_flight() == 0u);
}

BOOST_AUTO_TEST_CASE(destroyed_poll_leaves_waiting_operations_that_can_be_destroyed) {
    std::optional<Poll> short_lived(std::in_place);
    std::optional<Operation> operation(reading());
    BOOST_TEST(!short_lived->submit(*operation));

    short_lived.reset();
    write_text(link.peer.get(), "x");
    operation.reset();

    BOOST_TEST(read_text(fd) == "x");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::operation_destroyed_test
