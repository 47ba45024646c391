// SPDX-License-Identifier: BSL-1.0
#include "harvest.hpp"
#include "support/allocations.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace leat::test::registrator_test {
namespace {

auto code(std::error_code wanted) {
    return [wanted](const std::system_error& error) { return error.code() == wanted; };
}

// Two streams that are registered as one, and the arguments that they were given.
struct TwoStreams {
    Link left = stream_link();
    Link right = stream_link();
    std::error_code failure;

    void add_to(Registrator& registrator, Token token, Interest interest, std::error_code& error) {
        error = failure;
        if (error) return;
        registrator.add(left.source, token, interest, Mode::persistent, error);
        if (!error)
            registrator.add(right.source, Token(token.value() + 1), interest, Mode::persistent, error);
    }
    void modify_in(Registrator& registrator, Token token, Interest interest, std::error_code& error) {
        registrator.modify(left.source, token, interest, Mode::persistent, error);
        if (!error)
            registrator.modify(right.source, Token(token.value() + 1), interest, Mode::persistent, error);
    }
    void remove_from(Registrator& registrator, std::error_code& error) {
        registrator.remove(left.source, error);
        if (!error) registrator.remove(right.source, error);
    }
};

struct Fixture {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = stream_link();
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(registrator, Fixture)

BOOST_AUTO_TEST_CASE(readiness_that_is_there_already_is_reported) {
    write_text(link.peer.get(), "early");

    registrator.add(link.source, Token(1), Interest::readable);

    const Harvest found = glance(poll);
    BOOST_TEST_REQUIRE(found.of(Token(1)) != nullptr);
    BOOST_TEST(found.of(Token(1))->is_readable());
}

BOOST_AUTO_TEST_CASE(both_directions_are_registered_at_once) {
    write_text(link.peer.get(), "x");

    registrator.add(link.source, Token(1), Interest::readable | Interest::writable);

    bool readable = false;
    bool writable = false;
    for (const Event& event : glance(poll).events) {
        readable = readable || event.is_readable();
        writable = writable || event.is_writable();
    }
    BOOST_TEST(readable);
    BOOST_TEST(writable);
}

BOOST_AUTO_TEST_CASE(interest_that_was_not_asked_for_is_not_reported) {
    write_text(link.peer.get(), "x");

    registrator.add(link.source, Token(1), Interest::writable);

    for (const Event& event : glance(poll).events)
        BOOST_TEST(!event.is_readable());
}

BOOST_AUTO_TEST_CASE(registration_persists_over_events) {
    registrator.add(link.source, Token(1), Interest::readable);

    for (int i = 0; i < 10; ++i) {
        write_text(link.peer.get(), "again");
        BOOST_TEST(harvest(poll).of(Token(1)) != nullptr);
        BOOST_TEST(drain(link.source) == 5u);
        BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    }
}

// On Windows a direction that was not found empty is not reported again (Source::rearm).
BOOST_AUTO_TEST_CASE(partial_read_is_followed_by_silence_until_new_data, *boost::unit_test::label("posix")) {
    registrator.add(link.source, Token(1), Interest::readable);
    write_text(link.peer.get(), "0123456789");
    harvest(poll);

    read_text(link.source, 1);

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    write_text(link.peer.get(), "x");
    BOOST_TEST(harvest(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(room_to_write_is_reported_anew_after_would_block) {
    registrator.add(link.source, Token(1), Interest::writable);
    harvest(poll);
    const std::size_t filled = fill(link.source);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);

    BOOST_TEST(drain(link.peer.get()) == filled);

    BOOST_TEST(harvest(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(oneshot_gives_one_event_until_it_is_modified) {
    registrator.add(link.source, Token(1), Interest::readable, Mode::oneshot);
    write_text(link.peer.get(), "x");
    BOOST_TEST(harvest(poll).events.size() == 1u);

    write_text(link.peer.get(), "y");
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);

    registrator.modify(link.source, Token(2), Interest::readable, Mode::oneshot);
    BOOST_TEST(glance(poll).of(Token(2)) != nullptr);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(persistent_registration_may_become_oneshot_and_back) {
    registrator.add(link.source, Token(1), Interest::readable);
    registrator.modify(link.source, Token(1), Interest::readable, Mode::oneshot);
    write_text(link.peer.get(), "x");
    harvest(poll);
    write_text(link.peer.get(), "x");
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);

    registrator.modify(link.source, Token(1), Interest::readable);

    BOOST_TEST(glance(poll).status == PollStatus::events);
    drain(link.source);
    write_text(link.peer.get(), "x");
    BOOST_TEST(glance(poll).status == PollStatus::events);
}

BOOST_AUTO_TEST_CASE(second_add_is_refused_and_the_first_stands) {
    registrator.add(link.source, Token(1), Interest::writable);

    BOOST_CHECK_EXCEPTION(registrator.add(link.source, Token(1), Interest::writable), std::system_error,
                          code(errc::already_registered));
    BOOST_CHECK_EXCEPTION(registrator.add(link.source, Token(2), Interest::readable), std::system_error,
                          code(errc::already_registered));

    const Harvest found = glance(poll);
    BOOST_TEST(found.events.size() == 1u);
    BOOST_TEST(found.of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(source_of_one_queue_is_refused_by_another) {
    Poll other;
    registrator.add(link.source, Token(1), Interest::writable);

    BOOST_CHECK_EXCEPTION(other.registrator().add(link.source, Token(2), Interest::writable),
                          std::system_error, code(errc::already_registered));

    BOOST_TEST(glance(other).status == PollStatus::timed_out);
    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(source_of_one_queue_is_unknown_to_another) {
    Poll other;
    registrator.add(link.source, Token(1), Interest::writable);

    BOOST_CHECK_EXCEPTION(other.registrator().modify(link.source, Token(2), Interest::writable),
                          std::system_error, code(errc::not_registered));
    BOOST_CHECK_EXCEPTION(other.registrator().remove(link.source), std::system_error,
                          code(errc::not_registered));

    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(modify_without_add_is_refused) {
    BOOST_CHECK_EXCEPTION(registrator.modify(link.source, Token(1), Interest::readable), std::system_error,
                          code(errc::not_registered));
}

BOOST_AUTO_TEST_CASE(remove_without_add_is_refused) {
    BOOST_CHECK_EXCEPTION(registrator.remove(link.source), std::system_error, code(errc::not_registered));
}

BOOST_AUTO_TEST_CASE(second_remove_is_refused) {
    registrator.add(link.source, Token(1), Interest::readable);
    registrator.remove(link.source);

    BOOST_CHECK_EXCEPTION(registrator.remove(link.source), std::system_error, code(errc::not_registered));
    BOOST_CHECK_EXCEPTION(registrator.modify(link.source, Token(1), Interest::readable), std::system_error,
                          code(errc::not_registered));
}

BOOST_AUTO_TEST_CASE(error_code_forms_tell_the_same_and_clear_it_on_success) {
    std::error_code error;

    registrator.remove(link.source, error);
    BOOST_TEST((error == errc::not_registered));
    registrator.add(link.source, Token(1), Interest::readable, Mode::persistent, error);
    BOOST_TEST(!error);
    registrator.add(link.source, Token(1), Interest::readable, Mode::persistent, error);
    BOOST_TEST((error == errc::already_registered));
    registrator.modify(link.source, Token(1), Interest::writable, Mode::persistent, error);
    BOOST_TEST(!error);
    registrator.remove(link.source, error);
    BOOST_TEST(!error);
}

BOOST_AUTO_TEST_CASE(empty_interest_is_refused) {
    BOOST_CHECK_EXCEPTION(registrator.add(link.source, Token(1), Interest()), std::system_error,
                          code(std::make_error_code(std::errc::invalid_argument)));
    BOOST_CHECK_EXCEPTION(registrator.remove(link.source), std::system_error, code(errc::not_registered));
}

BOOST_AUTO_TEST_CASE(modify_to_an_empty_interest_is_refused_and_the_old_one_stands) {
    registrator.add(link.source, Token(1), Interest::writable);

    std::error_code error;
    registrator.modify(link.source, Token(2), Interest(), Mode::persistent, error);

    BOOST_TEST((error == std::errc::invalid_argument));
    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(closed_source_is_refused_as_a_bad_descriptor) {
    Source closed;
    std::error_code error;

    registrator.add(closed, Token(1), Interest::readable, Mode::persistent, error);

    BOOST_TEST((error == std::errc::bad_file_descriptor));
}

BOOST_AUTO_TEST_CASE(modify_replaces_token_and_interest) {
    registrator.add(link.source, Token(1), Interest::writable);
    glance(poll);

    registrator.modify(link.source, Token(2), Interest::readable);

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    write_text(link.peer.get(), "x");
    const Harvest found = harvest(poll);
    BOOST_TEST(found.of(Token(1)) == nullptr);
    BOOST_TEST_REQUIRE(found.of(Token(2)) != nullptr);
    BOOST_TEST(found.of(Token(2))->is_readable());
    BOOST_TEST(!found.of(Token(2))->is_writable());
}

BOOST_AUTO_TEST_CASE(modify_reports_anew_what_is_ready) {
    write_text(link.peer.get(), "x");
    registrator.add(link.source, Token(1), Interest::readable);
    glance(poll);

    registrator.modify(link.source, Token(1), Interest::readable);

    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(event_of_the_old_interest_disappears_with_modify) {
    registrator.add(link.source, Token(1), Interest::writable);

    registrator.modify(link.source, Token(1), Interest::readable);

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(pending_data_appears_once_reading_is_asked_for) {
    registrator.add(link.source, Token(1), Interest::writable);
    write_text(link.peer.get(), "x");
    for (const Event& event : glance(poll).events)
        BOOST_TEST(!event.is_readable());

    registrator.modify(link.source, Token(1), Interest::readable);

    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(removed_source_gives_no_more_events_but_still_works) {
    registrator.add(link.source, Token(1), Interest::readable | Interest::writable);
    glance(poll);

    registrator.remove(link.source);
    write_text(link.peer.get(), "x");

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    BOOST_TEST(read_text(link.source.native_handle()) == "x");
}

BOOST_AUTO_TEST_CASE(pending_event_is_not_delivered_after_remove) {
    Listening listening = tcp_listener();
    registrator.add(listening.source, Token(1), Interest::readable);
    const OwnedHandle client = start_connect(listening.endpoint);
    await_readable(listening.source.native_handle());

    registrator.remove(listening.source);
    poll.wake();

    const Harvest found = harvest(poll);
    BOOST_TEST(found.status == PollStatus::woken);
    BOOST_TEST(found.events.empty());
}

BOOST_AUTO_TEST_CASE(removed_source_may_be_added_again_with_another_token) {
    registrator.add(link.source, Token(1), Interest::writable);
    registrator.remove(link.source);

    registrator.add(link.source, Token(2), Interest::writable);

    const Harvest found = glance(poll);
    BOOST_TEST(found.events.size() == 1u);
    BOOST_TEST(found.of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(removed_source_may_be_added_to_another_queue) {
    Poll other;
    registrator.add(link.source, Token(1), Interest::writable);
    registrator.remove(link.source);

    other.registrator().add(link.source, Token(2), Interest::writable);

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    BOOST_TEST(glance(other).of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(composite_source_registers_its_parts) {
    TwoStreams both;

    registrator.add(both, Token(10), Interest::writable);
    Harvest found = glance(poll);
    BOOST_TEST(found.of(Token(10)) != nullptr);
    BOOST_TEST(found.of(Token(11)) != nullptr);

    registrator.modify(both, Token(20), Interest::writable);
    found = glance(poll);
    BOOST_TEST(found.of(Token(20)) != nullptr);
    BOOST_TEST(found.of(Token(21)) != nullptr);

    registrator.remove(both);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(errors_of_a_composite_source_reach_the_caller) {
    TwoStreams both;
    both.failure = std::make_error_code(std::errc::host_unreachable);

    BOOST_CHECK_EXCEPTION(registrator.add(both, Token(1), Interest::readable), std::system_error,
                          code(both.failure));
    BOOST_CHECK_EXCEPTION(registrator.modify(both, Token(1), Interest::readable), std::system_error,
                          code(errc::not_registered));
    BOOST_CHECK_EXCEPTION(registrator.remove(both), std::system_error, code(errc::not_registered));
}

BOOST_AUTO_TEST_CASE(add_from_another_thread_ends_a_poll_that_sleeps) {
    write_text(link.peer.get(), "x");
    const int sleeper = thread_id();
    std::jthread other([&] {
        await_sleeping(sleeper);
        registrator.add(link.source, Token(1), Interest::readable);
    });

    BOOST_TEST(harvest(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(modify_from_another_thread_ends_a_poll_that_sleeps) {
    registrator.add(link.source, Token(1), Interest::readable);
    const int sleeper = thread_id();
    std::jthread other([&] {
        await_sleeping(sleeper);
        registrator.modify(link.source, Token(2), Interest::writable);
    });

    BOOST_TEST(harvest(poll).of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(remove_from_another_thread_silences_a_poll_that_sleeps) {
    registrator.add(link.source, Token(1), Interest::readable);
    const int sleeper = thread_id();
    std::jthread other([&] {
        await_sleeping(sleeper);
        registrator.remove(link.source);
        write_text(link.peer.get(), "x");
        poll.wake();
    });

    const Harvest found = harvest(poll);

    BOOST_TEST(found.status == PollStatus::woken);
    BOOST_TEST(found.events.empty());
}

BOOST_AUTO_TEST_CASE(two_threads_register_through_one_queue_while_a_third_polls) {
    constexpr std::uint64_t each = 200;
    std::array<std::vector<Link>, 2> links;
    std::vector<std::jthread> threads;
    for (std::uint64_t half = 0; half < 2; ++half) {
        threads.emplace_back([&, half, mine = registrator]() mutable {
            for (std::uint64_t i = 0; i < each; ++i) {
                links[half].push_back(stream_link());
                mine.add(links[half].back().source, Token(half * each + i), Interest::writable,
                         Mode::oneshot);
            }
        });
    }

    std::vector<int> seen(2 * each);
    for (std::size_t total = 0; total < 2 * each;) {
        for (const Event& event : harvest(poll).events) {
            ++seen[event.token().value()];
            ++total;
        }
    }

    BOOST_TEST((seen == std::vector<int>(2 * each, 1)));
}

BOOST_AUTO_TEST_CASE(add_modify_and_remove_race_from_three_threads_while_a_fourth_polls) {
    std::atomic<int> running{3};
    std::atomic<int> unexpected{0};
    std::vector<std::jthread> threads;
    for (std::uint64_t index = 0; index < 3; ++index) {
        threads.emplace_back([&, index, mine = registrator]() mutable {
            Link own = stream_link();
            for (std::uint64_t i = 0; i < 500; ++i) {
                std::error_code error;
                mine.add(own.source, Token(index), Interest::readable, Mode::persistent, error);
                unexpected += error ? 1 : 0;
                mine.modify(own.source, Token(index), Interest::readable | Interest::writable, Mode::oneshot,
                            error);
                unexpected += error ? 1 : 0;
                mine.remove(own.source, error);
                unexpected += error ? 1 : 0;
            }
            if (--running == 0) mine.wake();
        });
    }

    while (running > 0) {
        for (const Event& event : harvest(poll).events)
            if (event.token().value() > 2) ++unexpected;
    }
    threads.clear();

    BOOST_TEST(unexpected == 0);
    poll.wake();
    BOOST_TEST(harvest(poll).events.empty());
}

BOOST_AUTO_TEST_CASE(no_event_comes_after_a_remove_that_happened_before_the_poll) {
    std::atomic<bool> removed{false};
    std::atomic<bool> done{false};
    std::atomic<int> late{0};
    std::jthread other([&] {
        for (int i = 0; i < 300; ++i) {
            Link own = stream_link();
            write_text(own.peer.get(), "x");
            removed = false;
            registrator.add(own.source, Token(1), Interest::readable);
            registrator.remove(own.source);
            removed = true;
            while (removed)
                std::this_thread::yield();
        }
        done = true;
        poll.wake();
    });

    while (!done) {
        glance(poll);
        if (!removed) continue;
        if (glance(poll).of(Token(1)) != nullptr) ++late;
        removed = false;
    }

    BOOST_TEST(late == 0);
}

BOOST_AUTO_TEST_CASE(source_for_which_there_is_no_memory_is_refused_and_may_be_added_later) {
    // The first source that a queue ever sees makes its table.
    std::error_code error;
    {
        const FailingAllocation shortage(1);
        registrator.add(link.source, Token(1), Interest::writable, Mode::persistent, error);
    }
    BOOST_TEST_REQUIRE(FailingAllocation::has_struck());
    BOOST_TEST((error == std::errc::not_enough_memory));

    registrator.add(link.source, Token(1), Interest::writable);

    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(released_source_gives_no_events_under_its_new_owner) {
    registrator.add(link.source, Token(1), Interest::readable);

    const OwnedHandle owner(link.source.release());
    write_text(link.peer.get(), "x");

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    BOOST_TEST(read_text(owner.get()) == "x");
}

BOOST_AUTO_TEST_CASE(number_of_a_closed_source_never_brings_its_events_to_the_next_owner) {
    registrator.add(link.source, Token(1), Interest::readable);
    write_text(link.peer.get(), "x");
    const NativeHandle number = link.source.native_handle();
    link.source.close();

    Link next = stream_link();
    BOOST_TEST_REQUIRE(next.source.native_handle() == number);
    registrator.add(next.source, Token(2), Interest::readable);

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    write_text(next.peer.get(), "y");
    const Harvest found = harvest(poll);
    BOOST_TEST(found.of(Token(1)) == nullptr);
    BOOST_TEST(found.of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(full_duplex_stream_moves_both_ways_by_events_alone) {
    constexpr std::size_t wanted = 1 << 20;
    Source far(link.peer.release());
    registrator.add(link.source, Token(0), Interest::readable | Interest::writable);
    registrator.add(far, Token(1), Interest::readable | Interest::writable);
    std::array<std::size_t, 2> sent{};
    std::array<std::size_t, 2> received{};

    while (received[0] < wanted || received[1] < wanted) {
        const Harvest found = harvest(poll);
        BOOST_TEST_REQUIRE(found.status == PollStatus::events);
        for (const Event& event : found.events) {
            const std::size_t index = event.token().value();
            Source& source = index == 0 ? link.source : far;
            if (event.is_readable()) received[index] += drain(source);
            if (event.is_writable() && sent[index] < wanted) sent[index] += fill(source);
        }
    }

    BOOST_TEST(received[0] == sent[1]);
    BOOST_TEST(received[1] == sent[0]);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::registrator_test
