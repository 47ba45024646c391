// SPDX-License-Identifier: BSL-1.0
// What only the backend on kqueue does. The suites that run over every backend are the rest of its test; the shim under it
// ends the program where a kernel would misbehave in silence.
#include "harvest.hpp"
#include "support/kqueue_shim/kqueue_shim.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <cerrno>
#include <optional>
#include <system_error>

namespace leat::test::kqueue_test {
namespace {

struct Fixture {
    ~Fixture() {
        kqueue_shim::make_noise(0);
        kqueue_shim::fail_change(0, 0);
    }

    void wait_for(const Operation& operation) {
        while (!operation.is_ended())
            harvest(poll);
    }
    void finish(Operation& operation) {
        if (!poll.submit(operation)) wait_for(operation);
    }

    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = stream_link();
    std::array<std::byte, 16> buffer{};
    std::error_code error;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(kqueue, Fixture)

BOOST_AUTO_TEST_CASE(source_has_one_entry_for_each_direction_that_is_asked_for) {
    registrator.add(link.source, Token(1), Interest::readable);
    BOOST_TEST(kqueue_shim::entries() == 1);
    registrator.modify(link.source, Token(1), Interest::readable | Interest::writable);
    BOOST_TEST(kqueue_shim::entries() == 2);
    registrator.modify(link.source, Token(1), Interest::writable);
    BOOST_TEST(kqueue_shim::entries() == 1);

    registrator.remove(link.source);

    BOOST_TEST(kqueue_shim::entries() == 0);
}

BOOST_AUTO_TEST_CASE(entries_go_before_their_descriptor_does) {
    registrator.add(link.source, Token(1), Interest::readable | Interest::writable | Interest::priority);
    Link parked = stream_link();
    Operation read = Operation::receive(parked.source, buffer);
    BOOST_TEST(!poll.submit(read));
    BOOST_TEST(kqueue_shim::entries() == 6);

    // The shim ends the program if one is left.
    link.source.close();
    parked.source.close();

    BOOST_TEST(kqueue_shim::entries() == 0);
}

BOOST_AUTO_TEST_CASE(registration_of_which_one_half_is_refused_leaves_nothing) {
    for (int half : {1, 2}) {
        kqueue_shim::fail_change(half, ENOMEM);

        registrator.add(link.source, Token(1), Interest::readable | Interest::writable, Mode::persistent,
                        error);

        BOOST_TEST((error == std::errc::not_enough_memory));
        BOOST_TEST(kqueue_shim::entries() == 0);
    }

    registrator.add(link.source, Token(2), Interest::writable);
    BOOST_TEST(glance(poll).of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(change_of_which_one_half_is_refused_leaves_the_former_registration) {
    registrator.add(link.source, Token(1), Interest::readable);
    kqueue_shim::fail_change(2, ENOMEM);

    registrator.modify(link.source, Token(2), Interest::readable | Interest::writable, Mode::persistent,
                       error);

    BOOST_TEST((error == std::errc::not_enough_memory));
    BOOST_TEST(kqueue_shim::entries() == 1);
    write_text(link.peer.get(), "x");
    const Harvest found = glance(poll);
    BOOST_TEST(found.of(Token(1)) != nullptr);
    BOOST_TEST(found.of(Token(2)) == nullptr);
}

BOOST_AUTO_TEST_CASE(operation_whose_registration_is_refused_fails_and_leaves_nothing) {
    for (int part : {1, 2, 3}) {
        kqueue_shim::fail_change(part, ENOMEM);
        Operation read = Operation::receive(link.source, buffer);

        BOOST_TEST(poll.submit(read));

        BOOST_TEST((read.error() == std::errc::not_enough_memory));
        BOOST_TEST(kqueue_shim::entries() == 0);
    }
}

BOOST_AUTO_TEST_CASE(oneshot_source_that_was_reported_has_no_entry_until_it_is_modified) {
    registrator.add(link.source, Token(1), Interest::readable | Interest::writable, Mode::oneshot);
    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
    BOOST_TEST(kqueue_shim::entries() == 0);

    write_text(link.peer.get(), "x");
    BOOST_TEST(glance(poll).events.empty());
    registrator.modify(link.source, Token(1), Interest::readable, Mode::oneshot);

    BOOST_TEST(kqueue_shim::entries() == 1);
    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(directions_of_one_batch_are_one_event) {
    registrator.add(link.source, Token(1), Interest::readable | Interest::writable);
    write_text(link.peer.get(), "x");

    const Harvest found = glance(poll);

    BOOST_REQUIRE(found.events.size() == 1u);
    BOOST_TEST(found.events.front().is_readable());
    BOOST_TEST(found.events.front().is_writable());
}

// The number of the parent's queue is free in the child, and the child's own queue may be given it.
BOOST_AUTO_TEST_CASE(child_that_gives_its_parent_s_queue_back_closes_nothing_of_its_own) {
    std::optional<Poll> inherited{std::in_place};

    const int status = run_in_child([&] {
        Poll own;
        inherited.reset();
        Registrator of_own = own.registrator();
        Link fresh = stream_link();
        of_own.add(fresh.source, Token(5), Interest::writable);
        return glance(own).of(Token(5)) != nullptr;
    });

    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(operation_waits_on_a_pipe_which_tells_of_no_urgent_data) {
    Link pipe = pipe_to_read();
    Operation read = Operation::read(pipe.source, buffer);
    BOOST_TEST(!poll.submit(read));
    write_text(pipe.peer.get(), "abc");

    wait_for(read);

    BOOST_TEST(read.transferred() == 3u);
    registrator.add(link.source, Token(1), Interest::priority);
    Link other = pipe_to_read();
    registrator.add(other.source, Token(2), Interest::priority, Mode::persistent, error);
    BOOST_TEST((error == std::errc::invalid_argument));
}

BOOST_AUTO_TEST_CASE(events_for_nothing_end_no_operation) {
    kqueue_shim::make_noise(7);
    Link busy = stream_link();
    Operation idle = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(idle));
    for (int i = 0; i < 200; ++i) {
        std::array<std::byte, 1> byte{};
        Operation read = Operation::receive(busy.source, byte);
        if (!poll.submit(read)) {
            write_text(busy.peer.get(), "x");
            wait_for(read);
        }
        BOOST_TEST(read.transferred() == 1u);
        BOOST_TEST(idle.is_in_flight());
    }
}

BOOST_AUTO_TEST_CASE(end_that_is_announced_with_data_comes_after_it) {
    kqueue_shim::make_noise(3);
    for (int i = 0; i < 50; ++i) {
        Link each = stream_link();
        std::array<std::byte, 4> four{};
        Operation first = Operation::receive(each.source, four);
        BOOST_TEST(!poll.submit(first));
        write_text(each.peer.get(), "abcdef");
        each.peer.reset();
        wait_for(first);
        Operation second = Operation::receive(each.source, four);
        finish(second);
        Operation third = Operation::receive(each.source, four);
        finish(third);

        BOOST_TEST(first.transferred() == 4u);
        BOOST_TEST(second.transferred() == 2u);
        BOOST_TEST(!third.has_failed());
        BOOST_TEST(third.transferred() == 0u);
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::kqueue_test
