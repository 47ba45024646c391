// SPDX-License-Identifier: BSL-1.0
#include "harvest.hpp"
#include "support/skip.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::wake_test {
namespace {

struct Fixture {
    Poll poll;
    Registrator registrator = poll.registrator();
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(wake, Fixture)

BOOST_AUTO_TEST_CASE(wake_before_the_poll_ends_it_at_once) {
    registrator.wake();

    Events events;
    BOOST_TEST(poll.poll(events) == PollStatus::woken);
    BOOST_TEST(events.is_empty());
}

BOOST_AUTO_TEST_CASE(wake_that_comes_with_events_is_reported_after_them) {
    Events events;
    registrator.add_timer(poll.clock().now(), Token(1));
    registrator.wake();

    BOOST_TEST(poll.poll(events) == PollStatus::events);
    BOOST_TEST(poll.poll(events) == PollStatus::woken);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(wakes_coalesce_and_are_used_up) {
    registrator.wake();
    registrator.wake();
    registrator.wake();

    BOOST_TEST(harvest(poll).status == PollStatus::woken);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(wake_after_the_last_was_used_up_arrives) {
    for (int i = 0; i < 100; ++i) {
        registrator.wake();
        BOOST_TEST(harvest(poll).status == PollStatus::woken);
    }
}

BOOST_AUTO_TEST_CASE(wake_from_another_thread_ends_a_poll_that_sleeps) {
    const int sleeper = thread_id();
    std::jthread other([&] {
        await_sleeping(sleeper);
        registrator.wake();
    });
    Events events;

    BOOST_TEST(poll.poll(events) == PollStatus::woken);
    other.join();
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(poll_and_every_registrator_wake_the_same_queue) {
    Registrator copy = registrator;
    Registrator assigned = Poll().registrator();
    assigned = copy;

    poll.wake();
    BOOST_TEST(glance(poll).status == PollStatus::woken);
    copy.wake();
    BOOST_TEST(glance(poll).status == PollStatus::woken);
    assigned.wake();
    BOOST_TEST(glance(poll).status == PollStatus::woken);
}

BOOST_AUTO_TEST_CASE(wake_hides_no_event) {
    Link link = stream_link();
    registrator.add(link.source, Token(1), Interest::writable);
    registrator.wake();

    bool reported = false;
    for (int i = 0; i < 2; ++i)
        reported = glance(poll).of(Token(1)) != nullptr || reported;

    BOOST_TEST(reported);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(wake_takes_no_room_from_events) {
    Link link = stream_link();
    registrator.add(link.source, Token(1), Interest::readable);
    Events events(1);
    bool reported = false;

    for (int i = 0; i < 4 && !reported; ++i) {
        write_text(link.peer.get(), "x");
        registrator.wake();
        poll.poll(events, 0ns);
        for (const Event& event : events)
            reported = event.is_readable();
    }

    BOOST_TEST(reported);
}

BOOST_AUTO_TEST_CASE(wake_after_close_and_after_the_poll_is_gone_is_harmless) {
    std::optional<Poll> short_lived(std::in_place);
    Registrator orphan = short_lived->registrator();
    short_lived->close();
    orphan.wake();
    short_lived.reset();
    // Whoever gets the numbers of its descriptors now must not be written to.
    std::vector<Link> strangers;
    for (int i = 0; i < 8; ++i)
        strangers.push_back(pipe_to_read());

    orphan.wake();

    for (Link& stranger : strangers)
        BOOST_TEST(drain(stranger.source) == 0u);
}

BOOST_AUTO_TEST_CASE(no_wake_of_many_is_lost_after_the_last_look) {
    constexpr int rounds = 20000;
    std::atomic<int> posted{0};
    std::atomic<int> taken{0};
    std::jthread other([&] {
        for (int i = 1; i <= rounds; ++i) {
            posted = i;
            registrator.wake();
            // Often the sleeper must be really woken, often it is still awake.
            if (i % 3 == 0)
                while (taken < i)
                    std::this_thread::yield();
        }
    });
    Events events;

    while (taken < rounds) {
        if (posted == taken) poll.poll(events);
        taken = posted.load();
    }

    BOOST_TEST(taken == rounds);
}

BOOST_AUTO_TEST_CASE(wakes_of_many_threads_lose_no_work) {
    constexpr int each = 2000;
    std::atomic<int> posted{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&posted, mine = registrator]() mutable {
            for (int k = 0; k < each; ++k) {
                ++posted;
                mine.wake();
            }
        });
    }
    Events events;
    int seen = 0;

    while (seen < 4 * each) {
        poll.poll(events);
        seen = posted;
    }

    BOOST_TEST(seen == 4 * each);
}

BOOST_AUTO_TEST_CASE(two_queues_wake_each_other_in_turn) {
    constexpr int rounds = 5000;
    Poll echo;
    std::jthread other([&, back = registrator]() mutable {
        Events events;
        for (int i = 0; i < rounds; ++i) {
            echo.poll(events);
            back.wake();
        }
    });
    Registrator there = echo.registrator();
    Events events;
    int answers = 0;

    for (int i = 0; i < rounds; ++i) {
        there.wake();
        if (poll.poll(events) == PollStatus::woken) ++answers;
    }

    BOOST_TEST(answers == rounds);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::wake_test
