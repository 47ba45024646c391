// SPDX-License-Identifier: BSL-1.0
// How a program ends that destroys what tasks wait for, or counts wrongly: seen from its parent, in a forked child.
#include <leat/runtime/barrier.hpp>
#include <leat/runtime/broadcast.hpp>
#include <leat/runtime/condition.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/latch.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/oneshot.hpp>
#include <leat/runtime/shared_mutex.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/watch.hpp>

#include "support/child.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <utility>

using namespace leat;
using namespace leat::test;

namespace synchronisation_posix_test {

namespace {

// Starts `wait(*object)`, a task, lets it wait, and destroys the object under it.
template <class T, class Wait>
ChildEnd end_of_destroying(std::function<std::unique_ptr<T>()> make, Wait wait) {
    return end_of_child([&] {
        Executor executor;
        std::unique_ptr<T> object = make();
        Running<void> running = executor.start(wait(*object));
        while (executor.turn()) {
        }
        object.reset();
    });
}

void check(const ChildEnd& end, const char* sentence) {
    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find(sentence) != std::string::npos, end.text);
}

Task<> wait_with_an_empty_guard(Condition& condition) {
    MutexGuard guard;
    co_await condition.wait(guard);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(synchronisation_posix)

BOOST_AUTO_TEST_CASE(shared_mutex_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    auto wait = [](SharedMutex& mutex) -> Task<> {
        SharedGuard one = co_await mutex.lock_shared();
        ExclusiveGuard two = co_await mutex.lock();
    };
    ChildEnd end = end_of_destroying<SharedMutex>([] { return std::make_unique<SharedMutex>(); }, wait);
    check(end, "a shared mutex is destroyed while tasks wait for it");
}

BOOST_AUTO_TEST_CASE(event_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    auto wait = [](ManualResetEvent& event) -> Task<> { co_await event.wait(); };
    ChildEnd end =
        end_of_destroying<ManualResetEvent>([] { return std::make_unique<ManualResetEvent>(); }, wait);
    check(end, "an event is destroyed while tasks wait for it");
}

BOOST_AUTO_TEST_CASE(condition_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    Mutex mutex;
    auto wait = [&](Condition& condition) -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        co_await condition.wait(guard);
    };
    ChildEnd end = end_of_destroying<Condition>([] { return std::make_unique<Condition>(); }, wait);
    check(end, "a condition is destroyed while tasks wait for it");
}

BOOST_AUTO_TEST_CASE(waiting_for_a_condition_without_the_mutex_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Executor executor;
        Condition condition;
        executor.run_until(wait_with_an_empty_guard(condition));
    });
    check(end, "a guard that holds no mutex");
}

BOOST_AUTO_TEST_CASE(latch_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    auto wait = [](Latch& latch) -> Task<> { co_await latch.wait(); };
    ChildEnd end = end_of_destroying<Latch>([] { return std::make_unique<Latch>(1u); }, wait);
    check(end, "a latch is destroyed while tasks wait for it");
}

BOOST_AUTO_TEST_CASE(latch_counted_down_too_far_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Latch latch(1);
        latch.count_down(2);
    });
    check(end, "a latch is counted down below zero");
}

BOOST_AUTO_TEST_CASE(barrier_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    auto wait = [](Barrier& barrier) -> Task<> { co_await barrier.arrive_and_wait(); };
    ChildEnd end = end_of_destroying<Barrier>([] { return std::make_unique<Barrier>(2u); }, wait);
    check(end, "a barrier is destroyed while tasks wait for it");
}

BOOST_AUTO_TEST_CASE(arriving_at_a_barrier_that_all_have_left_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Barrier barrier(1);
        barrier.arrive_and_drop();
        barrier.arrive_and_drop();
    });
    check(end, "a barrier that has no participants any more");
}

BOOST_AUTO_TEST_CASE(oneshot_receiver_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    auto wait = [](Oneshot<int>& ends) -> Task<> { co_await ends.receiver.receive(); };
    ChildEnd end = end_of_destroying<Oneshot<int>>([] { return std::make_unique<Oneshot<int>>(); }, wait);
    check(end, "a oneshot's receiver is destroyed while tasks wait for it");
}

BOOST_AUTO_TEST_CASE(sending_a_second_value_through_a_oneshot_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Oneshot<int> ends;
        (void)ends.sender.send(1);
        (void)ends.sender.send(2);
    });
    check(end, "a oneshot's sender is used that has sent");
}

BOOST_AUTO_TEST_CASE(broadcast_destroyed_under_its_subscribers_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Broadcast<int> broadcast(1);
        // The program ends before anybody could destroy it.
        [[maybe_unused]] auto* subscriber = new BroadcastSubscriber<int>(broadcast.subscribe());
    });
    check(end, "a broadcast is destroyed while it has subscribers");
}

BOOST_AUTO_TEST_CASE(subscriber_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    Broadcast<int> broadcast(1);
    auto wait = [](BroadcastSubscriber<int>& subscriber) -> Task<> { co_await subscriber.receive(); };
    ChildEnd end = end_of_destroying<BroadcastSubscriber<int>>(
        [&] { return std::make_unique<BroadcastSubscriber<int>>(broadcast.subscribe()); }, wait);
    check(end, "a subscriber is destroyed or moved while a task waits with it");
}

BOOST_AUTO_TEST_CASE(watch_destroyed_under_its_receivers_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Watch<int> watch(1);
        [[maybe_unused]] auto* receiver = new WatchReceiver<int>(watch.subscribe());
    });
    check(end, "a watch is destroyed while it has receivers");
}

BOOST_AUTO_TEST_CASE(watch_receiver_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    Watch<int> watch(1);
    auto wait = [](WatchReceiver<int>& receiver) -> Task<> { co_await receiver.changed(); };
    ChildEnd end = end_of_destroying<WatchReceiver<int>>(
        [&] { return std::make_unique<WatchReceiver<int>>(watch.subscribe()); }, wait);
    check(end, "a watch's receiver is destroyed or moved while a task waits with it");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace synchronisation_posix_test
