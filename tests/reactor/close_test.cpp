// SPDX-License-Identifier: BSL-1.0
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <iterator>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::close_test {
namespace {

struct Fixture {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = stream_link();

    std::error_code add(Source& source, Token token = Token(1)) {
        std::error_code error;
        registrator.add(source, token, Interest::readable, Mode::persistent, error);
        return error;
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(close, Fixture)

BOOST_AUTO_TEST_CASE(closed_poll_says_so_every_time) {
    BOOST_TEST(!registrator.is_closed());

    registrator.close();

    BOOST_TEST(registrator.is_closed());
    Events events;
    for (int i = 0; i < 3; ++i)
        BOOST_TEST(poll.poll(events) == PollStatus::closed);
    BOOST_TEST(poll.poll(events, 0ns) == PollStatus::closed);
    BOOST_TEST(poll.poll_until(events, TimePoint::max()) == PollStatus::closed);
}

BOOST_AUTO_TEST_CASE(closing_twice_is_harmless) {
    poll.close();
    poll.close();
    registrator.close();

    BOOST_TEST(harvest(poll).status == PollStatus::closed);
}

BOOST_AUTO_TEST_CASE(close_from_another_thread_ends_a_poll_that_sleeps) {
    const int sleeper = thread_id();
    std::jthread other([&] {
        await_sleeping(sleeper);
        registrator.close();
    });
    Events events;

    BOOST_TEST(poll.poll(events) == PollStatus::closed);
}

BOOST_AUTO_TEST_CASE(what_was_ready_before_close_is_reported_first) {
    add(link.source);
    write_text(link.peer.get(), "x");

    registrator.close();

    const Harvest found = harvest(poll);
    BOOST_TEST(found.status == PollStatus::events);
    BOOST_TEST(found.of(Token(1)) != nullptr);
    BOOST_TEST(harvest(poll).status == PollStatus::closed);
}

BOOST_AUTO_TEST_CASE(more_than_fits_one_batch_is_reported_before_closed) {
    std::vector<Link> links;
    for (std::uint64_t i = 0; i < 20; ++i) {
        links.push_back(stream_link());
        add(links.back().source, Token(i));
        write_text(links.back().peer.get(), "x");
    }
    registrator.close();
    Events events(4);
    std::size_t reported = 0;

    while (poll.poll(events) == PollStatus::events)
        reported += static_cast<std::size_t>(std::ranges::distance(events.begin(), events.end()));

    BOOST_TEST(reported == 20u);
}

BOOST_AUTO_TEST_CASE(due_timer_is_reported_before_closed) {
    registrator.add_timer(poll.clock().now(), Token(1));
    registrator.close();

    BOOST_TEST(harvest(poll).of(Token(1)) != nullptr);
    BOOST_TEST(harvest(poll).status == PollStatus::closed);
}

BOOST_AUTO_TEST_CASE(close_does_not_wait_for_timers_that_are_not_due) {
    registrator.add_timer(poll.clock().now() + 1h, Token(1));

    registrator.close();

    BOOST_TEST(harvest(poll).status == PollStatus::closed);
}

BOOST_AUTO_TEST_CASE(closed_is_stronger_than_woken) {
    poll.wake();
    poll.close();
    poll.wake();

    BOOST_TEST(harvest(poll).status == PollStatus::closed);
    BOOST_TEST(harvest(poll).status == PollStatus::closed);
}

BOOST_AUTO_TEST_CASE(every_change_after_close_fails_with_closed) {
    add(link.source);
    Link fresh = stream_link();
    registrator.close();
    std::error_code error;

    BOOST_TEST((add(fresh.source) == errc::closed));
    registrator.modify(link.source, Token(2), Interest::writable, Mode::persistent, error);
    BOOST_TEST((error == errc::closed));
    BOOST_CHECK_THROW(registrator.add_timer(poll.clock().now(), Token(1)), std::system_error);
    Operation operation = Operation::send(fresh.source, bytes_of("x"));
    BOOST_TEST(poll.submit(operation));
    BOOST_TEST((operation.error() == errc::closed));
}

BOOST_AUTO_TEST_CASE(closed_is_no_system_error_and_no_interruption) {
    registrator.close();
    const std::error_code error = add(link.source);

    BOOST_TEST((error.category() == error_category()));
    BOOST_TEST((error != std::errc::interrupted));
    BOOST_TEST((error != std::errc::operation_canceled));
    BOOST_TEST(!error.message().empty());
}

BOOST_AUTO_TEST_CASE(refused_source_is_untouched) {
    registrator.close();
    add(link.source);

    write_text(link.peer.get(), "x");

    BOOST_TEST(read_text(link.source.native_handle()) == "x");
    Poll other;
    other.registrator().add(link.source, Token(1), Interest::writable);
    BOOST_TEST(glance(other).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(destroyed_poll_is_closed_for_its_registrators) {
    std::optional<Poll> short_lived(std::in_place);
    Registrator orphan = short_lived->registrator();
    orphan.add(link.source, Token(1), Interest::readable);
    short_lived.reset();
    Link fresh = stream_link();
    std::error_code error;

    BOOST_TEST(orphan.is_closed());
    orphan.add(fresh.source, Token(1), Interest::readable, Mode::persistent, error);
    BOOST_TEST((error == errc::closed));
    orphan.modify(link.source, Token(1), Interest::readable, Mode::persistent, error);
    BOOST_TEST((error == errc::closed));
    orphan.remove(link.source, error);
    BOOST_TEST((error == errc::closed));
    BOOST_CHECK_THROW(orphan.add_timer(TimePoint(), Token(1)), std::system_error);
    BOOST_TEST(!orphan.cancel_timer(TimerId(1)));
    orphan.close();
}

BOOST_AUTO_TEST_CASE(add_that_starts_after_close_has_returned_fails) {
    std::vector<Link> links;
    for (int i = 0; i < 100; ++i)
        links.push_back(stream_link());

    for (int round = 0; round < 200; ++round) {
        Poll short_lived;
        std::atomic<bool> closed{false};
        std::atomic<int> mistakes{0};
        std::jthread other([&, mine = short_lived.registrator()]() mutable {
            for (Link& each : links) {
                const bool late = closed;
                std::error_code error;
                mine.add(each.source, Token(1), Interest::readable, Mode::persistent, error);
                if (error && error != errc::closed) ++mistakes;
                if (late && !error) ++mistakes;
                if (error) break;
            }
        });
        if (round % 2 == 0) std::this_thread::yield();
        short_lived.close();
        closed = true;
        other.join();

        BOOST_TEST(mistakes == 0);
        for (Link& each : links)
            each.source = Source(each.source.release());
    }
}

BOOST_AUTO_TEST_CASE(add_that_succeeded_before_close_is_harvested_before_closed) {
    for (int round = 0; round < 200; ++round) {
        Poll short_lived;
        std::vector<Link> links;
        for (int i = 0; i < 8; ++i)
            links.push_back(stream_link());
        std::atomic<int> added{0};
        std::jthread adder([&, mine = short_lived.registrator()]() mutable {
            for (Link& each : links) {
                std::error_code error;
                mine.add(each.source, Token(1), Interest::writable, Mode::oneshot, error);
                if (error) break;
                ++added;
            }
        });
        std::jthread closer([&, mine = short_lived.registrator()]() mutable {
            while (added < round % 8)
                std::this_thread::yield();
            mine.close();
        });
        int reported = 0;
        Events events;
        while (short_lived.poll(events) != PollStatus::closed)
            reported += static_cast<int>(std::ranges::distance(events.begin(), events.end()));
        adder.join();

        BOOST_TEST(reported == added);
    }
}

BOOST_AUTO_TEST_CASE(poll_may_be_destroyed_while_others_still_call_its_registrators) {
    for (int round = 0; round < 100; ++round) {
        std::optional<Poll> short_lived(std::in_place);
        std::vector<std::jthread> threads;
        std::atomic<int> mistakes{0};
        for (int i = 0; i < 2; ++i) {
            threads.emplace_back([&mistakes, mine = short_lived->registrator()]() mutable {
                Link own = stream_link();
                for (;;) {
                    std::error_code error;
                    mine.add(own.source, Token(1), Interest::writable, Mode::persistent, error);
                    if (!error) mine.remove(own.source, error);
                    mine.wake();
                    if (error && error != errc::closed) ++mistakes;
                    if (error) return;
                }
            });
        }
        for (int i = 0; i < 5; ++i)
            glance(*short_lived);

        short_lived.reset();
        threads.clear();

        BOOST_TEST(mistakes == 0);
    }
}

BOOST_AUTO_TEST_CASE(sources_may_close_in_another_thread_while_the_poll_goes_down) {
    for (int round = 0; round < 100; ++round) {
        std::optional<Poll> short_lived(std::in_place);
        std::vector<Link> links;
        for (int i = 0; i < 16; ++i) {
            links.push_back(stream_link());
            short_lived->registrator().add(links.back().source, Token(1), Interest::writable);
        }
        glance(*short_lived);
        std::jthread other([&] {
            for (Link& each : links)
                each.source.close();
        });

        short_lived.reset();
        other.join();

        for (const Link& each : links)
            BOOST_TEST(!each.source.is_open());
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::close_test
