// SPDX-License-Identifier: BSL-1.0
// What only POSIX systems have: signals, numbers of descriptors, duplicates.
#include "harvest.hpp"
#include "support/posix.hpp"
#include "support/skip.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::posix_test {
namespace {

std::atomic<int> alarms{0};

// Sends SIGALRM every millisecond, to a handler that asks for no restart.
class SignalStorm {
public:
    SignalStorm() {
        alarms = 0;
        struct sigaction action{};
        action.sa_handler = [](int) { ++alarms; };
        ::sigaction(SIGALRM, &action, &before_);
        const itimerval each_millisecond{{0, 1000}, {0, 1000}};
        ::setitimer(ITIMER_REAL, &each_millisecond, nullptr);
    }
    SignalStorm(const SignalStorm&) = delete;
    SignalStorm& operator=(const SignalStorm&) = delete;
    ~SignalStorm() {
        const itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
        ::sigaction(SIGALRM, &before_, nullptr);
    }

private:
    struct sigaction before_{};
};

struct Fixture {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = stream_link();
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(posix, Fixture)

BOOST_AUTO_TEST_CASE(signals_neither_end_a_poll_nor_prolong_its_timeout_for_ever) {
    Events events;
    const TimePoint due = steady_clock().now() + 30ms;

    const SignalStorm storm;
    const PollStatus status = poll.poll(events, 30ms);

    BOOST_TEST(status == PollStatus::timed_out);
    BOOST_TEST((steady_clock().now() >= due));
    BOOST_TEST(alarms > 0);
}

BOOST_AUTO_TEST_CASE(signals_do_not_end_a_poll_without_a_timeout) {
    Events events;
    const SignalStorm storm;
    std::jthread waker([&] {
        // Blocked here, so that the storm hits the thread that polls.
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
        const int start = alarms;
        while (alarms < start + 10)
            std::this_thread::yield();
        poll.wake();
    });

    BOOST_TEST(poll.poll(events) == PollStatus::woken);
}

BOOST_AUTO_TEST_CASE(saturated_wake_counter_still_wakes) {
    const std::set<NativeHandle> before = open_handles();
    Poll fresh;
    glance(fresh);
    int counter = -1;
    for (const int fd : open_handles())
        if (!before.contains(fd) && kind_of(fd) == "anon_inode:[eventfd]") counter = fd;
    if (counter < 0) return skip("eventfd", "this backend wakes otherwise");

    // Up to the limit of 2^64 - 2, wherever it stands now.
    for (std::uint64_t more = std::uint64_t{1} << 63; more > 0; more /= 2)
        while (::write(counter, &more, sizeof more) == static_cast<ssize_t>(sizeof more)) {
        }
    fresh.set_asleep();
    fresh.wake();
    fresh.wake();

    BOOST_TEST(harvest(fresh).status == PollStatus::woken);
    fresh.wake();
    BOOST_TEST(harvest(fresh).status == PollStatus::woken);
    BOOST_TEST(glance(fresh).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(orphaned_registrator_never_touches_who_got_its_descriptors_number) {
    std::optional<Poll> short_lived(std::in_place);
    Registrator orphan = short_lived->registrator();
    short_lived.reset();
    // Epoll descriptors of somebody else, one of which has the number that the Poll's had.
    std::vector<OwnedHandle> strangers;
    for (int i = 0; i < 4; ++i)
        strangers.emplace_back(checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
    write_text(link.peer.get(), "x");
    std::error_code error;

    orphan.add(link.source, Token(1), Interest::readable, Mode::persistent, error);

    BOOST_TEST((error == errc::closed));
    epoll_event event{};
    for (const OwnedHandle& stranger : strangers)
        BOOST_TEST(::epoll_wait(stranger.get(), &event, 1, 0) == 0);
}

BOOST_AUTO_TEST_CASE(regular_file_is_refused_and_nothing_is_registered) {
    Source file(checked(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open"));
    std::error_code error;

    registrator.add(file, Token(1), Interest::readable, Mode::persistent, error);

    BOOST_TEST((error == std::errc::operation_not_permitted));
    registrator.remove(file, error);
    BOOST_TEST((error == errc::not_registered));
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(refused_source_may_be_registered_elsewhere) {
    Source file(checked(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open"));
    Poll other;
    std::error_code error;
    registrator.add(file, Token(1), Interest::readable, Mode::persistent, error);

    other.registrator().add(file, Token(1), Interest::readable, Mode::persistent, error);

    BOOST_TEST((error == std::errc::operation_not_permitted));
}

BOOST_AUTO_TEST_CASE(closed_source_that_lives_on_in_a_duplicate_gives_no_events) {
    registrator.add(link.source, Token(1), Interest::readable);
    const OwnedHandle duplicate(checked(::fcntl(link.source.native_handle(), F_DUPFD_CLOEXEC, 0), "fcntl"));

    link.source.close();
    write_text(link.peer.get(), "for the duplicate");

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
    BOOST_TEST(read_text(duplicate.get()) == "for the duplicate");
}

BOOST_AUTO_TEST_CASE(broken_pipe_is_an_error_and_kills_nobody) {
    const int status = run_in_child([] {
        ::signal(SIGPIPE, SIG_DFL);
        Poll own;
        Link stream = stream_link();
        Link pipe = pipe_to_write();
        stream.peer.reset();
        pipe.peer.reset();
        const std::array<ConstBuffer, 2> vectors{ConstBuffer(bytes_of("a")), ConstBuffer(bytes_of("b"))};
        Operation send = Operation::send(stream.source, bytes_of("x"));
        Operation send_vector = Operation::send(stream.source, vectors);
        Operation write = Operation::write(pipe.source, bytes_of("x"));
        bool well = true;
        for (Operation* each : {&send, &send_vector, &write})
            well = own.submit(*each) && each->error() == std::errc::broken_pipe && well;

        // And the signal is neither pending nor blocked afterwards.
        sigset_t set;
        ::sigpending(&set);
        well = well && sigismember(&set, SIGPIPE) == 0;
        ::pthread_sigmask(SIG_BLOCK, nullptr, &set);
        return well && sigismember(&set, SIGPIPE) == 0;
    });

    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::posix_test
