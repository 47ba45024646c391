// SPDX-License-Identifier: BSL-1.0
//
// Prints how many bytes things take in a task's frame, one a line: each wait as it lies in the frame of who awaits it, the
// objects waited for, and whole frames, as the pool of frames is asked for them.
#include <leat/runtime/barrier.hpp>
#include <leat/runtime/broadcast.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/condition.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/latch.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/oneshot.hpp>
#include <leat/runtime/semaphore.hpp>
#include <leat/runtime/shared_mutex.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/watch.hpp>

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

namespace {

std::size_t last_allocation = 0;

}  // namespace

// Blocks that the pool of frames does not have come from here, a header less than a multiple of its granularity.
void* operator new(std::size_t size) {
    last_allocation = size;
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using Value = std::size_t;

leat::Task<> empty() { co_return; }
leat::Task<Value> gives(Value value) { co_return value; }
leat::Task<> awaits_a_task() { co_await empty(); }
leat::Task<> locks(leat::Mutex& mutex) { leat::MutexGuard guard = co_await mutex.lock(); }
leat::Task<> sleeps() { co_await leat::sleep_for(std::chrono::seconds(1)); }
leat::Task<> receives(leat::Channel<Value>& channel) { co_await channel.receive(); }
leat::Task<> receives_in_time(leat::Channel<Value>& channel) {
    co_await leat::try_timeout(std::chrono::seconds(1), channel.receive());
}

void print(const char* name, std::size_t bytes) { fmt::print("{}: {}\n", name, bytes); }

template <class T>
void print_size(const char* name) {
    print(name, sizeof(T));
}

/// Of the task that `make` makes.
template <class Make>
void print_frame(const char* name, Make make) {
    leat::detail::FramePool::trim();
    last_allocation = 0;
    auto task = make();
    print(name, last_allocation);
}

}  // namespace

int main() {
    print_size<leat::YieldOperation>("wait: yield");
    print_size<leat::SleepOperation>("wait: sleep");
    print_size<leat::LockOperation>("wait: mutex");
    print_size<leat::AcquireOperation>("wait: semaphore");
    print_size<leat::SharedLockOperation>("wait: shared mutex");
    print_size<leat::EventWaitOperation>("wait: manual reset event");
    print_size<leat::ConditionWaitOperation>("wait: condition");
    print_size<leat::LatchWaitOperation>("wait: latch");
    print_size<leat::BarrierOperation>("wait: barrier");
    print_size<leat::ChannelSendOperation<Value>>("wait: channel, send of 8 bytes");
    print_size<leat::ChannelReceiveOperation<Value>>("wait: channel, receive of 8 bytes");
    print_size<leat::ChannelReceiveManyOperation<Value>>("wait: channel, receive of many");
    print_size<leat::OneshotReceiveOperation<Value>>("wait: oneshot, receive of 8 bytes");
    print_size<leat::BroadcastOperation<Value>>("wait: broadcast");
    print_size<leat::WatchOperation<Value>>("wait: watch");
    print_size<leat::IoOperation>("wait: input or output");
    print_size<decltype(leat::timeout(leat::Duration(), std::declval<leat::Mutex&>().lock()))>(
        "wait: mutex, with a deadline");

    print_size<leat::Mutex>("object: mutex");
    print_size<leat::Semaphore>("object: semaphore");
    print_size<leat::SharedMutex>("object: shared mutex");
    print_size<leat::ManualResetEvent>("object: manual reset event");
    print_size<leat::Condition>("object: condition");
    print_size<leat::Latch>("object: latch");
    print_size<leat::Barrier>("object: barrier");
    print_size<leat::Channel<Value>>("object: channel, beside its room");
    print_size<leat::detail::OneshotState<Value>>("object: oneshot of 8 bytes");
    print_size<leat::Broadcast<Value>>("object: broadcast, beside its room");
    print_size<leat::Watch<Value>>("object: watch of 8 bytes");

    leat::Mutex mutex;
    leat::Channel<Value> channel(1);
    print_frame("frame: a task that does nothing", [] { return empty(); });
    print_frame("frame: a task that gives 8 bytes", [] { return gives(1); });
    print_frame("frame: a task that awaits another", [] { return awaits_a_task(); });
    print_frame("frame: a task that locks a mutex", [&] { return locks(mutex); });
    print_frame("frame: a task that sleeps", [] { return sleeps(); });
    print_frame("frame: a task that receives 8 bytes", [&] { return receives(channel); });
    print_frame("frame: the same with a deadline", [&] { return receives_in_time(channel); });
}
