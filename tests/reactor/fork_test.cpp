// SPDX-License-Identifier: BSL-1.0
// What a child process may do with its parent's queue: nothing, and it is told so.
#include "harvest.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <optional>
#include <system_error>

using namespace std::chrono_literals;

namespace leat::test::fork_test {
namespace {

template <class Call>
bool gives_forked(Call call) {
    try {
        call();
    } catch (const std::system_error& error) {
        return error.code() == errc::forked;
    }
    return false;
}

struct Fixture {
    std::optional<Poll> poll{std::in_place};
    Registrator registrator = poll->registrator();
    Link link = stream_link();

    // The parent's queue still works: with what was registered, and woken by nobody.
    void check_that_the_parent_is_unaffected() {
        Harvest found = glance(*poll);
        BOOST_TEST(found.status == PollStatus::timed_out);
        write_text(link.peer.get(), "x");
        found = harvest(*poll);
        BOOST_TEST(found.of(Token(1)) != nullptr);
        registrator.modify(link.source, Token(2), Interest::readable);
        BOOST_TEST(harvest(*poll).of(Token(2)) != nullptr);
        poll->wake();
        BOOST_TEST(harvest(*poll).status == PollStatus::woken);
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(fork, Fixture)

BOOST_AUTO_TEST_CASE(poll_in_the_child_is_refused) {
    registrator.add(link.source, Token(1), Interest::readable);
    glance(*poll);

    const int status = run_in_child([&] {
        Events events;
        return gives_forked([&] { poll->poll(events); }) &&
               gives_forked([&] { poll->poll_until(events, TimePoint()); });
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(queue_that_was_never_polled_is_refused_in_the_child_too) {
    registrator.add(link.source, Token(1), Interest::readable);

    const int status = run_in_child([&] {
        Events events;
        return gives_forked([&] { poll->poll(events, 0ns); });
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(every_change_in_the_child_is_refused) {
    registrator.add(link.source, Token(1), Interest::readable);

    const int status = run_in_child([&] {
        Link fresh = stream_link();
        return gives_forked([&] { registrator.add(fresh.source, Token(9), Interest::writable); }) &&
               gives_forked([&] { registrator.modify(link.source, Token(9), Interest::writable); }) &&
               gives_forked([&] { registrator.remove(link.source); }) &&
               gives_forked([&] { registrator.add_timer(steady_clock().now(), Token(9)); });
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(timer_is_not_cancelled_in_the_child) {
    registrator.add(link.source, Token(1), Interest::readable);
    const TimerId timer = registrator.add_timer(TimePoint::max(), Token(3));

    const int status = run_in_child([&] { return !registrator.cancel_timer(timer); });

    BOOST_TEST(status == 0);
    BOOST_TEST(registrator.cancel_timer(timer));
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(registrator_knows_in_which_process_it_is) {
    registrator.add(link.source, Token(1), Interest::readable);

    BOOST_TEST(!registrator.is_forked());
    BOOST_TEST(run_in_child([&] { return registrator.is_forked(); }) == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(operation_in_the_child_fails) {
    registrator.add(link.source, Token(1), Interest::readable);
    Link other = stream_link();

    const int status = run_in_child([&] {
        Operation operation = Operation::send(other.source, bytes_of("x"));
        return poll->submit(operation) && operation.error() == errc::forked;
    });

    BOOST_TEST(status == 0);
    BOOST_TEST(drain(other.peer.get()) == 0u);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(wake_and_close_in_the_child_do_not_reach_the_parent) {
    registrator.add(link.source, Token(1), Interest::readable);
    glance(*poll);
    poll->set_asleep();

    const int status = run_in_child([&] {
        registrator.wake();
        poll->wake();
        registrator.close();
        return true;
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(source_closed_in_the_child_stays_registered_in_the_parent) {
    registrator.add(link.source, Token(1), Interest::readable);

    const int status = run_in_child([&] {
        link.source.close();
        return !link.source.is_open();
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(poll_destroyed_in_the_child_lives_on_in_the_parent) {
    registrator.add(link.source, Token(1), Interest::readable);

    const int status = run_in_child([&] {
        poll.reset();
        return true;
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(operation_destroyed_in_the_child_still_ends_in_the_parent) {
    registrator.add(link.source, Token(1), Interest::readable);
    Link other = stream_link();
    std::array<std::byte, 8> buffer{};
    std::optional<Operation> operation(Operation::receive(other.source, buffer));
    BOOST_TEST(!poll->submit(*operation));

    const int status = run_in_child([&] {
        operation.reset();
        other.source.close();
        return true;
    });
    write_text(other.peer.get(), "x");

    BOOST_TEST(status == 0);
    BOOST_TEST_REQUIRE(harvest(*poll).events.size() == 1u);
    BOOST_TEST(operation->is_ended());
    BOOST_TEST(operation->transferred() == 1u);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(child_may_make_a_queue_of_its_own) {
    registrator.add(link.source, Token(1), Interest::readable);

    const int status = run_in_child([&] {
        Poll own;
        Link stream = stream_link();
        own.registrator().add(stream.source, Token(5), Interest::writable);
        return glance(own).of(Token(5)) != nullptr;
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(child_that_ends_does_not_make_the_parents_queue_spin) {
    registrator.add(link.source, Token(1), Interest::readable);
    for (int i = 0; i < 3; ++i)
        BOOST_TEST(run_in_child([] { return true; }) == 0);

    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::fork_test
