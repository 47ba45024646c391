// SPDX-License-Identifier: BSL-1.0
//
// What it costs to hand values from task to task, beside what a person would write by hand for that one job. The floors
// have no cancellation, no budget and no close; those of oneshot, broadcast and watch nobody waits for. Ping-pong has two:
// one is a channel, for any number of tasks, which go on in the order in which they became ready; the other knows that
// there are two, and whichever suspends transfers to the other (`…_of_two`).
#include "bare_sync.hpp"
#include "no_looks_at_io.hpp"

#include <benchmark/benchmark.h>

#include <leat/runtime/broadcast.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/oneshot.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/watch.hpp>

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace {

constexpr std::int64_t items_a_batch = 1000;
constexpr std::size_t room = 16;

void run_leat(benchmark::State& state, leat::Executor& executor, leat::Task<> first) {
    executor.run_until(std::move(first));
    state.SetItemsProcessed(state.iterations());
}
void run_leat(benchmark::State& state, leat::Executor& executor, leat::Task<> first, leat::Task<> second) {
    leat::Running<void> beside = executor.start(std::move(second));
    executor.run_until(std::move(first));
    executor.run();
    state.SetItemsProcessed(state.iterations());
}

// ---- Two tasks that send each other a value; an item is a message ----

leat::Task<> serve(benchmark::State& state, leat::Channel<std::int64_t>& there,
                   leat::Channel<std::int64_t>& back) {
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(2 * items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            co_await there.send(i);
            std::optional<std::int64_t> value = co_await back.receive();
            sum += *value;
        }
    }
    benchmark::DoNotOptimize(sum);
    there.close();
}

leat::Task<> give_back(leat::Channel<std::int64_t>& there, leat::Channel<std::int64_t>& back) {
    for (;;) {
        std::optional<std::int64_t> value = co_await there.receive();
        if (!value) co_return;
        co_await back.send(*value);
    }
}

void ping_pong(benchmark::State& state, std::size_t capacity) {
    leat::Executor executor;
    leat::Channel<std::int64_t> there(capacity);
    leat::Channel<std::int64_t> back(capacity);
    run_leat(state, executor, serve(state, there, back), give_back(there, back));
}

void ping_pong_with_room(benchmark::State& state) { ping_pong(state, 1); }
void ping_pong_without_room(benchmark::State& state) { ping_pong(state, 0); }
BENCHMARK(ping_pong_with_room)->Name("channel_ping_pong/leat");
BENCHMARK(ping_pong_with_room)->Name("channel_ping_pong_of_two/leat");
BENCHMARK(ping_pong_without_room)->Name("channel_rendezvous/leat");
BENCHMARK(ping_pong_without_room)->Name("channel_rendezvous_of_two/leat");

template <class Channel>
BareTask bare_serve(benchmark::State& state, Channel& there, Channel& back) {
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(2 * items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            co_await there.send(i);
            std::int64_t value = co_await back.receive();
            sum += value;
        }
    }
    benchmark::DoNotOptimize(sum);
    co_await there.send(-1);
}

template <class Channel>
BareTask bare_give_back(Channel& there, Channel& back) {
    for (;;) {
        std::int64_t value = co_await there.receive();
        if (value < 0) co_return;
        co_await back.send(value);
    }
}

// First come, first served on both sides, in room that is taken once.
class BareChannel {
public:
    class Receive : public BareWait {
    public:
        explicit Receive(BareChannel& channel) noexcept : channel_(channel) {}
        bool await_ready() noexcept { return channel_.take(value); }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            channel_.receivers_.append(*this);
        }
        std::int64_t await_resume() const noexcept { return value; }

        std::int64_t value = 0;

    private:
        BareChannel& channel_;
    };

    class Send : public BareWait {
    public:
        Send(BareChannel& channel, std::int64_t v) noexcept : value(v), channel_(channel) {}
        bool await_ready() noexcept { return channel_.put(value); }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            channel_.senders_.append(*this);
        }
        void await_resume() const noexcept {}

        std::int64_t value;

    private:
        BareChannel& channel_;
    };

    BareChannel(BareList& ready, std::size_t capacity) : ready_(ready), places_(capacity) {}
    Send send(std::int64_t value) noexcept { return Send(*this, value); }
    Receive receive() noexcept { return Receive(*this); }

private:
    bool put(std::int64_t value) noexcept {
        if (BareWait* wait = receivers_.pop()) {
            static_cast<Receive*>(wait)->value = value;
            ready_.append(*wait);
            return true;
        }
        if (size_ == places_.size()) return false;
        push(value);
        return true;
    }

    bool take(std::int64_t& value) noexcept {
        if (size_ == 0) {
            BareWait* wait = senders_.pop();
            if (wait == nullptr) return false;
            value = static_cast<Send*>(wait)->value;
            ready_.append(*wait);
            return true;
        }
        value = places_[first_];
        if (++first_ == places_.size()) first_ = 0;
        --size_;
        if (BareWait* wait = senders_.pop()) {
            push(static_cast<Send*>(wait)->value);
            ready_.append(*wait);
        }
        return true;
    }

    void push(std::int64_t value) noexcept {
        const std::size_t index = first_ + size_++;
        places_[index < places_.size() ? index : index - places_.size()] = value;
    }

    BareList& ready_;
    std::vector<std::int64_t> places_;
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    BareList senders_;
    BareList receivers_;
};

void bare_ping_pong(benchmark::State& state, std::size_t capacity) {
    BareList ready;
    BareChannel there(ready, capacity);
    BareChannel back(ready, capacity);
    bare_give_back(there, back);
    bare_serve(state, there, back);
    run(ready);
    state.SetItemsProcessed(state.iterations());
}
void bare_ping_pong_with_room(benchmark::State& state) { bare_ping_pong(state, 1); }
void bare_ping_pong_without_room(benchmark::State& state) { bare_ping_pong(state, 0); }
BENCHMARK(bare_ping_pong_with_room)->Name("channel_ping_pong/floor");
BENCHMARK(bare_ping_pong_without_room)->Name("channel_rendezvous/floor");

// Who goes on when the running task suspends: of two that play ping-pong, the other one, or nobody.
using Baton = std::coroutine_handle<>;

class BareChannelOfTwo {
public:
    class Receive {
    public:
        explicit Receive(BareChannelOfTwo& channel) noexcept : channel_(channel) {}
        bool await_ready() noexcept {
            if (!channel_.is_full_) return false;
            value = channel_.value_;
            channel_.is_full_ = false;
            if (Send* sender = std::exchange(channel_.sender_, nullptr)) {
                channel_.value_ = sender->value;
                channel_.is_full_ = true;
                channel_.next_ = sender->handle;
            }
            return true;
        }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            channel_.receiver_ = this;
            return std::exchange(channel_.next_, std::noop_coroutine());
        }
        std::int64_t await_resume() const noexcept { return value; }

        std::coroutine_handle<> handle;
        std::int64_t value = 0;

    private:
        BareChannelOfTwo& channel_;
    };

    class Send {
    public:
        Send(BareChannelOfTwo& channel, std::int64_t v) noexcept : value(v), channel_(channel) {}
        bool await_ready() noexcept {
            if (Receive* receiver = std::exchange(channel_.receiver_, nullptr)) {
                receiver->value = value;
                channel_.next_ = receiver->handle;
                return true;
            }
            if (channel_.is_full_) return false;
            channel_.value_ = value;
            channel_.is_full_ = true;
            return true;
        }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            channel_.sender_ = this;
            return std::exchange(channel_.next_, std::noop_coroutine());
        }
        void await_resume() const noexcept {}

        std::coroutine_handle<> handle;
        std::int64_t value;

    private:
        BareChannelOfTwo& channel_;
    };

    explicit BareChannelOfTwo(Baton& next) noexcept : next_(next) {}
    Send send(std::int64_t value) noexcept { return Send(*this, value); }
    Receive receive() noexcept { return Receive(*this); }

private:
    Baton& next_;
    bool is_full_ = false;
    std::int64_t value_ = 0;
    Receive* receiver_ = nullptr;
    Send* sender_ = nullptr;
};

void bare_ping_pong_of_two(benchmark::State& state) {
    Baton next = std::noop_coroutine();
    BareChannelOfTwo there(next);
    BareChannelOfTwo back(next);
    bare_give_back(there, back);
    bare_serve(state, there, back);
    std::exchange(next, std::noop_coroutine()).resume();
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_ping_pong_of_two)->Name("channel_ping_pong_of_two/floor");
BENCHMARK(bare_ping_pong_of_two)->Name("channel_rendezvous_of_two/floor");

// ---- A channel with room: one task fills it and empties it, value by value or at once; an item is a value ----

leat::Task<> fill_and_empty(benchmark::State& state, leat::Channel<std::int64_t>& channel) {
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(items_a_batch * static_cast<std::int64_t>(room))) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            for (std::size_t place = 0; place < room; ++place)
                co_await channel.send(i);
            for (std::size_t place = 0; place < room; ++place) {
                std::optional<std::int64_t> value = co_await channel.receive();
                sum += *value;
            }
        }
    }
    benchmark::DoNotOptimize(sum);
}

void buffered(benchmark::State& state) {
    leat::Executor executor;
    leat::Channel<std::int64_t> channel(room);
    run_leat(state, executor, fill_and_empty(state, channel));
}
BENCHMARK(buffered)->Name("channel_buffered/leat");

leat::Task<> fill_and_take_all(benchmark::State& state, leat::Channel<std::int64_t>& channel) {
    std::int64_t sum = 0;
    std::vector<std::int64_t> batch;
    while (state.KeepRunningBatch(items_a_batch * static_cast<std::int64_t>(room))) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            for (std::size_t place = 0; place < room; ++place)
                co_await channel.send(i);
            batch.clear();
            std::size_t count = co_await channel.receive_many(batch, room);
            for (std::size_t place = 0; place < count; ++place)
                sum += batch[place];
        }
    }
    benchmark::DoNotOptimize(sum);
}

void batches(benchmark::State& state) {
    leat::Executor executor;
    leat::Channel<std::int64_t> channel(room);
    run_leat(state, executor, fill_and_take_all(state, channel));
}
BENCHMARK(batches)->Name("channel_batches/leat");

// A ring, and the test whether it is full or empty; nobody waits for it here.
class BareRing {
public:
    class Send {
    public:
        Send(BareRing& ring, std::int64_t value) noexcept : ring_(ring), value_(value) {}
        bool await_ready() noexcept {
            if (ring_.size_ == room) return false;
            ring_.places_[(ring_.first_ + ring_.size_++) % room] = value_;
            return true;
        }
        void await_suspend(std::coroutine_handle<> suspended) noexcept { ring_.waiting_ = suspended; }
        void await_resume() const noexcept {}

    private:
        BareRing& ring_;
        std::int64_t value_;
    };
    class Receive {
    public:
        explicit Receive(BareRing& ring) noexcept : ring_(ring) {}
        bool await_ready() const noexcept { return ring_.size_ != 0; }
        void await_suspend(std::coroutine_handle<> suspended) noexcept { ring_.waiting_ = suspended; }
        std::int64_t await_resume() noexcept {
            std::int64_t value = ring_.places_[ring_.first_];
            ring_.first_ = (ring_.first_ + 1) % room;
            --ring_.size_;
            if (ring_.waiting_) std::exchange(ring_.waiting_, nullptr).resume();
            return value;
        }

    private:
        BareRing& ring_;
    };

    Send send(std::int64_t value) noexcept { return Send(*this, value); }
    Receive receive() noexcept { return Receive(*this); }

private:
    std::array<std::int64_t, room> places_{};
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    std::coroutine_handle<> waiting_;
};

BareTask bare_fill_and_empty(benchmark::State& state, BareRing& ring) {
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(items_a_batch * static_cast<std::int64_t>(room))) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            for (std::size_t place = 0; place < room; ++place)
                co_await ring.send(i);
            for (std::size_t place = 0; place < room; ++place) {
                std::int64_t value = co_await ring.receive();
                sum += value;
            }
        }
    }
    benchmark::DoNotOptimize(sum);
}

void bare_buffered(benchmark::State& state) {
    BareRing ring;
    bare_fill_and_empty(state, ring);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_buffered)->Name("channel_buffered/floor");
BENCHMARK(bare_buffered)->Name("channel_batches/floor");

// ---- A oneshot: made, sent, received ----

leat::Task<> send_oneshots(benchmark::State& state) {
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            leat::Oneshot<std::int64_t> ends;
            bool was_sent = ends.sender.send(std::int64_t{i});
            benchmark::DoNotOptimize(was_sent);
            std::int64_t value = co_await ends.receiver.receive();
            sum += value;
        }
    }
    benchmark::DoNotOptimize(sum);
}

void oneshots(benchmark::State& state) {
    leat::Executor executor;
    run_leat(state, executor, send_oneshots(state));
}
BENCHMARK(oneshots)->Name("oneshot/leat");

// The place of the value is shared and counted, as `std::shared_ptr` would, without atomics; it comes from a free list.
struct BarePlace {
    std::int64_t value = 0;
    bool is_full = false;
    int ends = 2;
    std::coroutine_handle<> waiting;
    BarePlace* next = nullptr;
};

class BarePlaces {
public:
    BarePlace* make() {
        BarePlace* place = std::exchange(free_, free_ != nullptr ? free_->next : nullptr);
        if (place == nullptr) return new BarePlace();
        return ::new (place) BarePlace();
    }
    void drop(BarePlace* place) noexcept {
        if (--place->ends != 0) return;
        place->next = free_;
        free_ = place;
    }
    ~BarePlaces() {
        while (free_ != nullptr)
            delete std::exchange(free_, free_->next);
    }

private:
    BarePlace* free_ = nullptr;
};

class BareReceive {
public:
    explicit BareReceive(BarePlace& place) noexcept : place_(place) {}
    bool await_ready() const noexcept { return place_.is_full; }
    void await_suspend(std::coroutine_handle<> suspended) noexcept { place_.waiting = suspended; }
    std::int64_t await_resume() const noexcept { return place_.value; }

private:
    BarePlace& place_;
};

BareTask bare_send_oneshots(benchmark::State& state, BarePlaces& places) {
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            BarePlace* place = places.make();
            benchmark::DoNotOptimize(place);
            place->value = i;
            place->is_full = true;
            if (place->waiting) place->waiting.resume();
            places.drop(place);
            std::int64_t value = co_await BareReceive(*place);
            sum += value;
            places.drop(place);
        }
    }
    benchmark::DoNotOptimize(sum);
}

void bare_oneshots(benchmark::State& state) {
    BarePlaces places;
    bare_send_oneshots(state, places);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_oneshots)->Name("oneshot/floor");

// ---- A broadcast with one subscriber, and a watch with one receiver: sent, and learnt of ----

leat::Task<> send_to_all(benchmark::State& state, leat::Broadcast<std::int64_t>& broadcast) {
    leat::BroadcastSubscriber<std::int64_t> subscriber = broadcast.subscribe();
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            broadcast.send(i);
            std::optional<leat::BroadcastItem<std::int64_t>> item = co_await subscriber.receive();
            sum += item->value;
        }
    }
    benchmark::DoNotOptimize(sum);
}

void broadcasts(benchmark::State& state) {
    leat::Executor executor;
    leat::Broadcast<std::int64_t> broadcast(room);
    run_leat(state, executor, send_to_all(state, broadcast));
}
BENCHMARK(broadcasts)->Name("broadcast/leat");

leat::Task<> set_repeatedly(benchmark::State& state, leat::Watch<std::int64_t>& watch) {
    leat::WatchReceiver<std::int64_t> receiver = watch.subscribe();
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            watch.set(i);
            co_await receiver.changed();
            sum += receiver.value();
        }
    }
    benchmark::DoNotOptimize(sum);
}

void watches(benchmark::State& state) {
    leat::Executor executor;
    leat::Watch<std::int64_t> watch(0);
    run_leat(state, executor, set_repeatedly(state, watch));
}
BENCHMARK(watches)->Name("watch/leat");

// Numbered values, the latest of which are kept, and one that listens: with one place it is a watch.
template <std::size_t places>
class BareNews {
public:
    class Next : BareWait {
    public:
        Next(BareNews& news, std::uint64_t& seen) noexcept : news_(news), seen_(seen) {}
        bool await_ready() const noexcept { return seen_ != news_.next_; }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            news_.waiters_.append(*this);
        }
        std::int64_t await_resume() const noexcept {
            if (news_.next_ - seen_ > places) seen_ = news_.next_ - places;
            return news_.places_[seen_++ % places];
        }

    private:
        BareNews& news_;
        std::uint64_t& seen_;
    };

    void send(std::int64_t value) noexcept {
        places_[next_++ % places] = value;
        while (BareWait* wait = waiters_.pop())
            wait->handle.resume();
    }
    Next next(std::uint64_t& seen) noexcept { return Next(*this, seen); }

private:
    std::array<std::int64_t, places> places_{};
    std::uint64_t next_ = 0;
    BareList waiters_;
};

template <std::size_t places>
BareTask bare_send_news(benchmark::State& state, BareNews<places>& news) {
    std::uint64_t seen = 0;
    std::int64_t sum = 0;
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            news.send(i);
            std::int64_t value = co_await news.next(seen);
            sum += value;
        }
    }
    benchmark::DoNotOptimize(sum);
}

template <std::size_t places>
void bare_news(benchmark::State& state) {
    BareNews<places> news;
    bare_send_news(state, news);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_news<room>)->Name("broadcast/floor");
BENCHMARK(bare_news<1>)->Name("watch/floor");

}  // namespace
