// SPDX-License-Identifier: BSL-1.0
// What only the backend on epoll does when the kernel's set and ours disagree: somebody meddled with it behind our back,
// or with a descriptor. Each is mended, or ends in a clean error; none harms the queue.
#include "harvest.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <random>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::epoll_test {
namespace {

struct Fixture {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = stream_link();
    NativeHandle fd = link.source.native_handle();

    // As somebody else would who holds the same epoll descriptor.
    void meddle(int operation, int target, std::uint32_t mask = EPOLLIN, std::uint64_t data = 0) const {
        epoll_event event{};
        event.events = mask;
        event.data.u64 = data;
        checked(::epoll_ctl(poll.native_handle(), operation, target, &event), "epoll_ctl");
    }

    void check_that_the_queue_works() {
        Link fresh = stream_link();
        registrator.add(fresh.source, Token(99), Interest::writable);
        BOOST_TEST(glance(poll).of(Token(99)) != nullptr);
        registrator.remove(fresh.source);
        poll.wake();
        BOOST_TEST(harvest(poll).status == PollStatus::woken);
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(epoll, Fixture)

BOOST_AUTO_TEST_CASE(modify_mends_a_registration_that_the_kernel_has_lost) {
    registrator.add(link.source, Token(1), Interest::readable);
    meddle(EPOLL_CTL_DEL, fd);
    std::error_code error;

    registrator.modify(link.source, Token(2), Interest::writable, Mode::persistent, error);

    BOOST_TEST(!error);
    BOOST_TEST(glance(poll).of(Token(2)) != nullptr);
    check_that_the_queue_works();
}

// Whose it is nobody can tell: to take it over could silence another source of the same descriptor.
BOOST_AUTO_TEST_CASE(add_of_what_the_kernel_has_already_is_refused_and_changes_nothing) {
    meddle(EPOLL_CTL_ADD, fd);
    std::error_code error;

    registrator.add(link.source, Token(1), Interest::writable, Mode::persistent, error);

    BOOST_TEST((error == std::errc::file_exists));
    BOOST_TEST(glance(poll).events.empty());
    registrator.remove(link.source, error);
    BOOST_TEST((error == errc::not_registered));
    // The entry is still there to be deleted, and then the source is as any other.
    meddle(EPOLL_CTL_DEL, fd);
    registrator.add(link.source, Token(1), Interest::writable);
    BOOST_TEST(glance(poll).of(Token(1)) != nullptr);
    check_that_the_queue_works();
}

BOOST_AUTO_TEST_CASE(remove_of_what_the_kernel_has_lost_succeeds) {
    registrator.add(link.source, Token(1), Interest::readable);
    meddle(EPOLL_CTL_DEL, fd);

    registrator.remove(link.source);

    registrator.add(link.source, Token(2), Interest::writable);
    BOOST_TEST(glance(poll).of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(close_of_what_the_kernel_has_lost_is_clean) {
    registrator.add(link.source, Token(1), Interest::readable);
    meddle(EPOLL_CTL_DEL, fd);

    link.source.close();

    BOOST_TEST(read_text(link.peer.get()).empty());
    check_that_the_queue_works();
}

BOOST_AUTO_TEST_CASE(descriptor_that_somebody_else_closed_is_removed_in_peace) {
    registrator.add(link.source, Token(1), Interest::readable);
    ::close(fd);
    std::error_code error;

    registrator.remove(link.source, error);

    BOOST_TEST(!error);
    // The number belongs to nobody now; the source must not close a stranger's later.
    (void)link.source.release();
    check_that_the_queue_works();
}

BOOST_AUTO_TEST_CASE(first_operation_on_a_file_descriptor_that_cannot_be_polled_still_tries_it) {
    Source file(checked(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open"));
    std::array<std::byte, 4> buffer{};

    Operation operation = Operation::read(file, buffer);
    const bool ended = poll.submit(operation);

    // Either it is read at once, since a file never blocks, or the kernel's refusal is told.
    BOOST_TEST(ended);
    if (operation.has_failed()) {
        BOOST_TEST((operation.error() == std::errc::operation_not_permitted));
    } else {
        BOOST_TEST(text_of(buffer) == "\x7f"
                                      "ELF");
    }
}

BOOST_AUTO_TEST_CASE(foreign_entries_in_the_kernels_set_are_passed_over) {
    registrator.add(link.source, Token(1), Interest::readable);
    std::mt19937_64 random(7);
    std::vector<Link> strangers;
    for (int i = 0; i < 32; ++i) {
        strangers.push_back(stream_link());
        // A generation that no slot can have reached, with and without what marks a registration for interest.
        constexpr unsigned interest_bit = 5;
        const std::uint64_t forged = (0xfffffff0 + random() % 8) << 32 | (random() % 2) << interest_bit;
        meddle(EPOLL_CTL_ADD, strangers.back().source.native_handle(), EPOLLOUT | EPOLLET, forged);
    }

    // And slots that never were.
    for (std::uint64_t index : {std::uint64_t{31}, std::uint64_t{1} << 31, std::uint64_t{64} * 64}) {
        strangers.push_back(stream_link());
        meddle(EPOLL_CTL_ADD, strangers.back().source.native_handle(), EPOLLOUT | EPOLLET,
               index | std::uint64_t{1} << 5);
    }

    BOOST_TEST(glance(poll).events.empty());

    strangers.clear();
    check_that_the_queue_works();
}

BOOST_AUTO_TEST_CASE(events_of_a_duplicate_whose_original_was_removed_behind_our_back_reach_nobody) {
    registrator.add(link.source, Token(1), Interest::readable);
    const OwnedHandle duplicate(checked(::fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl"));
    // Somebody closes our number: the kernel keeps reporting the open description, and nobody can remove it.
    ::close(fd);
    std::error_code error;
    registrator.remove(link.source, error);
    (void)link.source.release();
    Link next = stream_link();
    registrator.add(next.source, Token(2), Interest::readable);

    write_text(link.peer.get(), "stale");

    const Harvest found = glance(poll);
    BOOST_TEST(found.of(Token(1)) == nullptr);
    BOOST_TEST(found.of(Token(2)) == nullptr);
}

BOOST_AUTO_TEST_CASE(stale_events_do_not_end_a_poll_early) {
    registrator.add(link.source, Token(1), Interest::readable);
    const OwnedHandle duplicate(checked(::fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl"));
    ::close(fd);
    std::error_code error;
    registrator.remove(link.source, error);
    (void)link.source.release();
    write_text(link.peer.get(), "stale");
    const TimePoint due = steady_clock().now() + 5ms;

    BOOST_TEST(harvest(poll, 5ms).status == PollStatus::timed_out);
    BOOST_TEST((steady_clock().now() >= due));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::epoll_test
