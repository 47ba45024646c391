// SPDX-License-Identifier: BSL-1.0
#include "harvest.hpp"
#include "support/allocations.hpp"
#include "support/skip.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <iterator>
#include <new>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::poll_test {
namespace {

// The queue's own handle, where the backend has one; else that is what the call says.
NativeHandle handle_of(const Poll& poll) {
    try {
        return poll.native_handle();
    } catch (const std::system_error& error) {
        BOOST_TEST((error.code() == std::errc::operation_not_supported));
        return invalid_handle;
    }
}

bool gives_busy(Poll& poll) {
    Events events;
    try {
        poll.poll(events, Duration::zero());
    } catch (const std::system_error& error) {
        return error.code() == errc::busy;
    }
    return false;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(poll)

BOOST_AUTO_TEST_CASE(poll_with_nothing_registered_times_out) {
    Poll poll;
    Events events;

    BOOST_TEST(poll.poll(events, 1ms) == PollStatus::timed_out);
    BOOST_TEST(events.is_empty());
}

BOOST_AUTO_TEST_CASE(poll_with_nothing_registered_and_no_timeout_sleeps_until_it_is_woken) {
    Poll poll;
    const int sleeper = thread_id();
    std::jthread waker([&] {
        await_sleeping(sleeper);
        poll.wake();
    });
    Events events;

    BOOST_TEST(poll.poll(events) == PollStatus::woken);
}

BOOST_AUTO_TEST_CASE(zero_timeout_still_harvests) {
    Poll poll;
    Link link = stream_link();
    poll.registrator().add(link.source, Token(3), Interest::writable);

    const Harvest found = harvest(poll, 0ns);

    BOOST_TEST(found.status == PollStatus::events);
    BOOST_TEST(found.of(Token(3)) != nullptr);
}

BOOST_AUTO_TEST_CASE(zero_and_negative_timeouts_look_once) {
    Poll poll;
    Events events;

    for (const Duration timeout : {0ns, -1ns, Duration(-1h), Duration::min()})
        BOOST_TEST(poll.poll(events, timeout) == PollStatus::timed_out);
    BOOST_TEST(poll.poll_until(events, TimePoint::min()) == PollStatus::timed_out);
    BOOST_TEST(poll.poll_until(events, poll.clock().now()) == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(timeouts_are_never_early) {
    Poll poll;
    Events events;
    int early = 0;

    for (const Duration timeout :
         {Duration(1ns), Duration(999ns), Duration(1us), Duration(100us), Duration(999'999ns), Duration(1ms),
          Duration(1'000'001ns), Duration(1500us), Duration(3ms)}) {
        for (int i = 0; i < 20; ++i) {
            const TimePoint due = steady_clock().now() + timeout;
            if (poll.poll(events, timeout) != PollStatus::timed_out || steady_clock().now() < due) ++early;
        }
    }

    BOOST_TEST(early == 0);
}

BOOST_AUTO_TEST_CASE(deadlines_are_never_early) {
    Poll poll;
    Events events;
    int early = 0;

    for (int i = 0; i < 100; ++i) {
        const TimePoint due = steady_clock().now() + i * 17us;
        if (poll.poll_until(events, due) != PollStatus::timed_out || steady_clock().now() < due) ++early;
    }

    BOOST_TEST(early == 0);
}

BOOST_AUTO_TEST_CASE(huge_timeouts_neither_overflow_nor_end_at_once) {
    Poll poll;
    Events events;
    const int sleeper = thread_id();

    // Past the int of milliseconds, past 32-bit seconds, and the largest there is.
    for (const Duration timeout : {Duration(25 * 24h), Duration(50 * 24h), Duration(70 * 365 * 24h),
                                   Duration(140 * 365 * 24h), Duration::max() - 1ns, Duration::max()}) {
        std::jthread waker([&] {
            await_sleeping(sleeper);
            poll.wake();
        });
        BOOST_TEST(poll.poll(events, timeout) == PollStatus::woken);
    }
}

BOOST_AUTO_TEST_CASE(last_instant_is_no_deadline_at_all) {
    Poll poll;
    Events events;
    const int sleeper = thread_id();
    std::jthread waker([&] {
        await_sleeping(sleeper);
        poll.wake();
    });

    BOOST_TEST(poll.poll_until(events, TimePoint::max()) == PollStatus::woken);
}

BOOST_AUTO_TEST_CASE(second_thread_gets_busy_and_the_owner_goes_on) {
    Poll poll;
    Link link = stream_link();
    poll.registrator().add(link.source, Token(1), Interest::writable);
    Events events;
    poll.poll(events, 0ns);

    bool busy = false;
    std::jthread([&] { busy = gives_busy(poll); }).join();

    BOOST_TEST(busy);
    write_text(link.peer.get(), "x");
    poll.registrator().modify(link.source, Token(2), Interest::readable);
    BOOST_TEST(harvest(poll).of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(second_thread_gets_busy_while_the_owner_sleeps) {
    Poll poll;
    const int sleeper = thread_id();
    bool busy = false;
    std::jthread other([&] {
        await_sleeping(sleeper);
        busy = gives_busy(poll);
        poll.wake();
    });
    Events events;

    BOOST_TEST(poll.poll(events) == PollStatus::woken);
    other.join();
    BOOST_TEST(busy);
}

BOOST_AUTO_TEST_CASE(of_many_threads_one_becomes_the_owner) {
    for (int round = 0; round < 50; ++round) {
        Poll poll;
        std::atomic<int> owners{0};
        std::atomic<int> refused{0};
        {
            std::vector<std::jthread> threads;
            for (int i = 0; i < 4; ++i)
                threads.emplace_back([&] { gives_busy(poll) ? ++refused : ++owners; });
        }

        BOOST_TEST(owners == 1);
        BOOST_TEST(refused == 3);
    }
}

BOOST_AUTO_TEST_CASE(poll_made_by_one_thread_may_be_owned_by_another) {
    Poll poll;
    PollStatus status = PollStatus::closed;

    std::jthread([&] {
        Events events;
        status = poll.poll(events, 0ns);
    }).join();

    BOOST_TEST(status == PollStatus::timed_out);
    BOOST_TEST(gives_busy(poll));
}

BOOST_AUTO_TEST_CASE(polls_that_come_and_go_leak_no_descriptor) {
    const std::set<NativeHandle> before = open_handles();

    for (int i = 0; i < 2000; ++i) {
        Poll poll;
        Link link = stream_link();
        poll.registrator().add(link.source, Token(1), Interest::readable);
        poll.wake();
        glance(poll);
    }

    BOOST_TEST((open_handles() == before));
}

BOOST_AUTO_TEST_CASE(descriptors_close_on_exec) {
    const std::set<NativeHandle> before = open_handles();
    Poll poll;
    glance(poll);

    for (const NativeHandle handle : open_handles())
        if (!before.contains(handle)) BOOST_TEST(!is_inherited(handle));
}

// Windows has no limit that could be set.
BOOST_AUTO_TEST_CASE(construction_fails_when_descriptors_run_out_and_leaves_none_behind,
                     *boost::unit_test::label("posix")) {
    const std::set<NativeHandle> before = open_handles();
    std::vector<std::error_code> failures;

    for (int spare = 0; spare < 4; ++spare) {
        const HandleShortage scarce(spare);
        try {
            const Poll poll;
            break;
        } catch (const std::system_error& error) {
            failures.push_back(error.code());
        }
    }

    BOOST_TEST(!failures.empty());
    for (const std::error_code& failure : failures)
        BOOST_TEST((failure == std::errc::too_many_files_open));
    BOOST_TEST((open_handles() == before));
}

BOOST_AUTO_TEST_CASE(construction_for_which_there_is_no_memory_leaves_nothing_behind) {
    const std::set<NativeHandle> before = open_handles();
    const std::size_t blocks = outstanding_allocations();

    for (std::size_t which = 1;; ++which) {
        const FailingAllocation shortage(which);
        try {
            const Poll poll;
            break;
        } catch (const std::bad_alloc&) {
        }
    }

    BOOST_TEST(outstanding_allocations() == blocks);
    BOOST_TEST((open_handles() == before));
}

BOOST_AUTO_TEST_CASE(one_poll_gives_at_most_the_capacity_and_the_next_ones_the_rest) {
    Poll poll;
    Registrator registrator = poll.registrator();
    std::vector<Link> links;
    for (std::uint64_t i = 0; i < 100; ++i) {
        links.push_back(stream_link());
        registrator.add(links.back().source, Token(i), Interest::writable);
    }
    Events events(16);
    std::multiset<std::uint64_t> seen;

    while (poll.poll(events, 0ns) == PollStatus::events) {
        BOOST_TEST(std::ranges::distance(events.begin(), events.end()) <= 16);
        for (const Event& event : events)
            seen.insert(event.token().value());
    }

    BOOST_TEST(seen.size() == 100u);
    BOOST_TEST((std::set(seen.begin(), seen.end()).size() == 100u));
}

BOOST_AUTO_TEST_CASE(busy_sources_do_not_starve_others) {
    Poll poll;
    Registrator registrator = poll.registrator();
    std::vector<Link> links;
    for (std::uint64_t i = 0; i < 64; ++i) {
        links.push_back(stream_link());
        registrator.add(links.back().source, Token(i), Interest::readable);
        write_text(links.back().peer.get(), "x");
    }
    Events events(8);
    std::set<std::uint64_t> seen;

    // Whoever was reported is ready again at once; eight rounds would be the fair share.
    for (int round = 0; round < 16; ++round) {
        poll.poll(events, 0ns);
        for (const Event& event : events) {
            seen.insert(event.token().value());
            write_text(links[event.token().value()].peer.get(), "x");
        }
    }

    BOOST_TEST(seen.size() == 64u);
}

BOOST_AUTO_TEST_CASE(one_busy_source_does_not_starve_another_in_a_batch_of_one) {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link firehose = stream_link();
    Link modest = stream_link();
    registrator.add(firehose.source, Token(1), Interest::readable);
    registrator.add(modest.source, Token(2), Interest::readable);
    write_text(firehose.peer.get(), "x");
    write_text(modest.peer.get(), "x");
    Events events(1);
    bool served = false;

    for (int round = 0; round < 4 && !served; ++round) {
        poll.poll(events, 0ns);
        for (const Event& event : events)
            served = event.token() == Token(2);
        write_text(firehose.peer.get(), "x");
    }

    BOOST_TEST(served);
}

// An emulator of Windows would take minutes.
BOOST_AUTO_TEST_CASE(nine_thousand_connections_are_all_reported, *boost::unit_test::label("posix")) {
    constexpr std::size_t count = 9000;
    if (raise_handle_limit(2 * count + 200) < 2 * count + 200)
        return skip("descriptors", "needs 18 200 of them");
    Poll poll;
    Registrator registrator = poll.registrator();
    std::vector<Link> links;
    for (std::uint64_t i = 0; i < count; ++i) {
        links.push_back(stream_link());
        registrator.add(links.back().source, Token(i), Interest::readable);
        write_text(links.back().peer.get(), "x");
    }
    Events events(64);
    std::set<std::uint64_t> seen;

    while (poll.poll(events, 0ns) == PollStatus::events)
        for (const Event& event : events)
            seen.insert(event.token().value());

    BOOST_TEST(seen.size() == count);
}

BOOST_AUTO_TEST_CASE(destroyed_sources_leave_a_working_poll) {
    Poll poll;
    {
        Link link = stream_link();
        poll.registrator().add(link.source, Token(1), Interest::readable | Interest::writable);
    }

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(poll_may_be_destroyed_before_its_sources) {
    Link link = stream_link();
    {
        Poll poll;
        poll.registrator().add(link.source, Token(1), Interest::readable);
    }

    write_text(link.peer.get(), "still here");

    BOOST_TEST(read_text(link.source.native_handle()) == "still here");
}

BOOST_AUTO_TEST_CASE(two_polls_do_not_see_each_other) {
    Poll one;
    Poll other;
    Link link = stream_link();
    one.registrator().add(link.source, Token(1), Interest::writable);
    other.wake();

    BOOST_TEST(glance(one).status == PollStatus::events);
    BOOST_TEST(glance(other).status == PollStatus::woken);
    BOOST_TEST(glance(one).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(handle_is_readable_in_another_loop_while_something_is_to_report) {
    Poll poll;
    Link link = stream_link();
    poll.registrator().add(link.source, Token(1), Interest::readable);
    const NativeHandle handle = handle_of(poll);
    if (handle == invalid_handle) return;

    BOOST_TEST(!is_readable(handle));
    write_text(link.peer.get(), "x");
    BOOST_TEST(is_readable(handle));
    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
    BOOST_TEST(!is_readable(handle));
}

BOOST_AUTO_TEST_CASE(wake_reaches_the_handle_of_a_poll_that_sleeps_elsewhere) {
    Poll poll;
    glance(poll);
    const NativeHandle handle = handle_of(poll);
    if (handle == invalid_handle) return;
    poll.set_asleep();
    BOOST_TEST(!is_readable(handle));

    poll.wake();

    BOOST_TEST(is_readable(handle));
    BOOST_TEST(glance(poll).status == PollStatus::woken);
    BOOST_TEST(!is_readable(handle));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::poll_test
