// SPDX-License-Identifier: BSL-1.0
#include "harvest.hpp"
#include "support/allocations.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <new>
#include <random>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::timer_test {
namespace {

struct Fixture {
    VirtualClock clock;
    Poll poll{Backend::best(), clock};
    Registrator registrator = poll.registrator();
    TimePoint start = clock.now();

    std::vector<std::uint64_t> due_tokens() {
        std::vector<std::uint64_t> tokens;
        for (;;) {
            const Harvest found = glance(poll);
            if (found.events.empty()) return tokens;
            for (const Event& event : found.events)
                tokens.push_back(event.token().value());
        }
    }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(timer)

BOOST_AUTO_TEST_CASE(due_timer_is_an_event_that_says_so) {
    Poll poll;
    const TimerId id = poll.registrator().add_timer(poll.clock().now() + 2ms, Token(7));

    const Harvest found = harvest(poll);

    BOOST_TEST(found.status == PollStatus::events);
    BOOST_TEST_REQUIRE(found.events.size() == 1u);
    const Event& event = found.events[0];
    BOOST_TEST(event.is_timeout());
    BOOST_TEST((event.timer() == id));
    BOOST_TEST((event.token() == Token(7)));
    BOOST_TEST(!event.is_readable());
    BOOST_TEST(!event.is_writable());
    BOOST_TEST((event.operation() == nullptr));
}

BOOST_FIXTURE_TEST_CASE(timer_that_a_handler_of_the_same_batch_cancels_is_not_reported, Fixture) {
    std::vector<TimerId> timers;
    for (std::uint64_t i = 0; i < 3; ++i)
        timers.push_back(registrator.add_timer(start, Token(i)));
    Events events;
    poll.poll(events);

    std::vector<std::uint64_t> reported;
    for (const Event& event : events) {
        reported.push_back(event.token().value());
        if (event.token() == Token(0)) registrator.cancel_timer(timers[1]);
    }

    BOOST_TEST((reported == std::vector<std::uint64_t>{0, 2}));
}

BOOST_AUTO_TEST_CASE(timers_are_never_early) {
    Poll poll;
    Registrator registrator = poll.registrator();
    int early = 0;

    for (int i = 0; i < 200; ++i) {
        const TimePoint deadline = steady_clock().now() + i * 13us + 1ns;
        registrator.add_timer(deadline, Token(1));
        const Harvest found = harvest(poll);
        if (found.events.empty() || steady_clock().now() < deadline) ++early;
    }

    BOOST_TEST(early == 0);
}

BOOST_AUTO_TEST_CASE(earlier_timer_from_another_thread_ends_a_poll_that_sleeps) {
    Poll poll;
    Registrator registrator = poll.registrator();
    registrator.add_timer(steady_clock().now() + 1h, Token(1));
    const int sleeper = thread_id();
    std::jthread other([&] {
        await_sleeping(sleeper);
        registrator.add_timer(steady_clock().now() + 1ms, Token(2));
    });
    Events events;

    BOOST_TEST(poll.poll(events) == PollStatus::events);

    BOOST_TEST((events.begin()->token() == Token(2)));
}

BOOST_AUTO_TEST_CASE(timeout_that_passes_first_ends_the_poll_without_the_timer) {
    Poll poll;
    poll.registrator().add_timer(steady_clock().now() + 1h, Token(1));
    Events events;

    BOOST_TEST(poll.poll(events, 1ms) == PollStatus::timed_out);
    BOOST_TEST(events.is_empty());
}

BOOST_AUTO_TEST_CASE(timers_that_are_not_due_do_not_hide_sources) {
    Poll poll;
    Link link = stream_link();
    poll.registrator().add_timer(steady_clock().now() + 1h, Token(1));
    poll.registrator().add(link.source, Token(2), Interest::writable);

    const Harvest found = harvest(poll);

    BOOST_TEST(found.events.size() == 1u);
    BOOST_TEST(found.of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(busy_source_does_not_hold_timers_up) {
    Poll poll;
    Link link = stream_link();
    poll.registrator().add(link.source, Token(1), Interest::readable);
    poll.registrator().add_timer(steady_clock().now(), Token(2));
    Events events(1);
    bool fired = false;

    for (int i = 0; i < 4 && !fired; ++i) {
        write_text(link.peer.get(), "x");
        poll.poll(events, 0ns);
        for (const Event& event : events)
            fired = fired || event.is_timeout();
    }

    BOOST_TEST(fired);
}

BOOST_AUTO_TEST_CASE(due_timers_do_not_hold_a_source_up) {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = stream_link();
    registrator.add(link.source, Token(1), Interest::writable);
    Events events(1);
    bool reported = false;

    for (int i = 0; i < 4 && !reported; ++i) {
        registrator.add_timer(steady_clock().now(), Token(2));
        poll.poll(events, 0ns);
        for (const Event& event : events)
            reported = reported || event.is_writable();
    }

    BOOST_TEST(reported);
}

BOOST_AUTO_TEST_CASE(timer_of_a_closed_queue_is_refused) {
    Poll poll;
    Registrator registrator = poll.registrator();
    const TimerId id = registrator.add_timer(steady_clock().now() + 1h, Token(1));
    poll.close();

    BOOST_CHECK_EXCEPTION(registrator.add_timer(steady_clock().now(), Token(1)), std::system_error,
                          [](const std::system_error& error) { return error.code() == errc::closed; });
    registrator.cancel_timer(id);
}

BOOST_FIXTURE_TEST_CASE(timer_fires_at_its_instant_and_not_a_nanosecond_before, Fixture) {
    registrator.add_timer(start + 10ms, Token(1));

    clock.advance(10ms - 1ns);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);

    clock.advance(1ns);
    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
}

BOOST_FIXTURE_TEST_CASE(virtual_time_does_not_pass_while_a_poll_sleeps, Fixture) {
    registrator.add_timer(start + 1ms, Token(1));
    const int sleeper = thread_id();
    std::jthread waker([&] {
        await_sleeping(sleeper);
        registrator.wake();
    });
    Events events;

    BOOST_TEST(poll.poll(events, 1ns) == PollStatus::woken);

    clock.advance(1ns);
    BOOST_TEST(poll.poll_until(events, start + 1ns) == PollStatus::timed_out);
}

BOOST_FIXTURE_TEST_CASE(timer_fires_once, Fixture) {
    registrator.add_timer(start, Token(1));

    BOOST_TEST(glance(poll).events.size() == 1u);
    clock.advance(1h);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_FIXTURE_TEST_CASE(deadline_in_the_past_is_due_at_once, Fixture) {
    registrator.add_timer(start - 1h, Token(1));
    registrator.add_timer(TimePoint::min(), Token(2));

    BOOST_TEST(due_tokens().size() == 2u);
}

BOOST_FIXTURE_TEST_CASE(deadline_at_the_end_of_time_does_not_fire, Fixture) {
    registrator.add_timer(TimePoint::max(), Token(1));

    clock.advance(100 * 365 * 24h);

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_FIXTURE_TEST_CASE(timers_come_in_the_order_of_their_deadlines, Fixture) {
    registrator.add_timer(start + 3s, Token(3));
    registrator.add_timer(start + 1s, Token(1));
    registrator.add_timer(start + 2s, Token(2));

    clock.advance(5s);

    BOOST_TEST((due_tokens() == std::vector<std::uint64_t>{1, 2, 3}));
}

BOOST_FIXTURE_TEST_CASE(equal_deadlines_come_in_the_order_of_their_start, Fixture) {
    std::vector<std::uint64_t> started;
    for (std::uint64_t i = 0; i < 50; ++i) {
        registrator.add_timer(start + 1s, Token(i));
        started.push_back(i);
    }

    clock.advance(1s);

    BOOST_TEST((due_tokens() == started));
}

BOOST_FIXTURE_TEST_CASE(more_due_timers_than_capacity_come_with_the_next_polls, Fixture) {
    for (std::uint64_t i = 0; i < 100; ++i)
        registrator.add_timer(start, Token(i));
    Events events(8);
    std::set<std::uint64_t> seen;

    while (poll.poll(events, 0ns) == PollStatus::events)
        for (const Event& event : events)
            seen.insert(event.token().value());

    BOOST_TEST(seen.size() == 100u);
}

BOOST_FIXTURE_TEST_CASE(cancelled_timer_never_fires, Fixture) {
    const TimerId id = registrator.add_timer(start + 1s, Token(1));

    BOOST_TEST(registrator.cancel_timer(id));

    clock.advance(1h);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_FIXTURE_TEST_CASE(cancel_tells_that_a_timer_has_fired_or_was_cancelled_before, Fixture) {
    const TimerId fired = registrator.add_timer(start, Token(1));
    const TimerId cancelled = registrator.add_timer(start + 1s, Token(2));
    glance(poll);

    BOOST_TEST(!registrator.cancel_timer(fired));
    BOOST_TEST(registrator.cancel_timer(cancelled));
    BOOST_TEST(!registrator.cancel_timer(cancelled));
}

BOOST_FIXTURE_TEST_CASE(due_timer_that_no_poll_has_taken_yet_can_still_be_cancelled, Fixture) {
    const TimerId id = registrator.add_timer(start, Token(1));

    BOOST_TEST(registrator.cancel_timer(id));

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_FIXTURE_TEST_CASE(handler_of_one_timer_may_start_and_cancel_others, Fixture) {
    const TimerId later = registrator.add_timer(start + 2s, Token(3));
    registrator.add_timer(start + 1s, Token(1));
    clock.advance(1s);

    for (const Event& event : glance(poll).events) {
        BOOST_TEST((event.token() == Token(1)));
        BOOST_TEST(!registrator.cancel_timer(event.timer()));
        registrator.add_timer(start + 2s, Token(2));
        BOOST_TEST(registrator.cancel_timer(later));
    }

    clock.advance(1s);
    BOOST_TEST((due_tokens() == std::vector<std::uint64_t>{2}));
}

BOOST_FIXTURE_TEST_CASE(identities_are_never_reused, Fixture) {
    std::set<TimerId> seen;

    for (int i = 0; i < 1000; ++i) {
        const TimerId id = registrator.add_timer(start, Token(1));
        BOOST_TEST(seen.insert(id).second);
        if (i % 2 == 0) registrator.cancel_timer(id);
    }
}

BOOST_FIXTURE_TEST_CASE(random_timers_fire_as_a_sorted_list_would, Fixture) {
    std::mt19937_64 random(20240607);
    std::multimap<TimePoint, TimerId> model;
    std::vector<std::multimap<TimePoint, TimerId>::iterator> alive;

    for (int step = 0; step < 20000; ++step) {
        const auto choice = random() % 10;
        if (choice < 6 || alive.empty()) {
            const TimePoint deadline = clock.now() + Duration(random() % 1'000'000);
            alive.push_back(model.emplace(deadline, registrator.add_timer(deadline, Token(random()))));
        } else if (choice < 9) {
            const std::size_t index = random() % alive.size();
            BOOST_TEST_REQUIRE(registrator.cancel_timer(alive[index]->second));
            model.erase(alive[index]);
            alive[index] = alive.back();
            alive.pop_back();
        } else {
            clock.advance(Duration(random() % 100'000));
            for (Harvest found = glance(poll); !found.events.empty(); found = glance(poll)) {
                for (const Event& event : found.events) {
                    BOOST_TEST_REQUIRE(!model.empty());
                    BOOST_TEST_REQUIRE((model.begin()->second == event.timer()));
                    std::erase(alive, model.begin());
                    model.erase(model.begin());
                }
            }
            BOOST_TEST_REQUIRE((model.empty() || model.begin()->first > clock.now()));
        }
    }
}

BOOST_FIXTURE_TEST_CASE(timer_for_which_there_is_no_memory_leaves_nothing_behind, Fixture) {
    registrator.add_timer(start, Token(1));

    for (std::size_t which = 1;; ++which) {
        const FailingAllocation shortage(which);
        try {
            registrator.add_timer(start, Token(2));
            break;
        } catch (const std::bad_alloc&) {
        }
    }

    BOOST_TEST((due_tokens() == std::vector<std::uint64_t>{1, 2}));
}

BOOST_AUTO_TEST_CASE(timers_of_many_threads_all_fire) {
    Poll poll;
    constexpr std::uint64_t each = 300;
    std::vector<std::jthread> threads;
    for (std::uint64_t index = 0; index < 3; ++index) {
        threads.emplace_back([index, registrator = poll.registrator()]() mutable {
            for (std::uint64_t i = 0; i < each; ++i) {
                const TimePoint deadline = steady_clock().now() + Duration((i * 7919) % 1'000'000);
                registrator.add_timer(deadline, Token(index * each + i));
                registrator.cancel_timer(registrator.add_timer(deadline + 1h, Token(~0ull)));
            }
        });
    }

    std::set<std::uint64_t> seen;
    while (seen.size() < 3 * each)
        for (const Event& event : harvest(poll).events)
            seen.insert(event.token().value());

    BOOST_TEST(!seen.contains(~0ull));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::timer_test
