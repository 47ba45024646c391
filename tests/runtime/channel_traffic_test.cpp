// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/stress.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace channel_traffic_test {

namespace {

// What a sender, which has a number, sends as its n-th value.
struct Letter {
    Letter(std::size_t s, std::size_t n) noexcept : sender(s), number(n) {}
    std::size_t sender;
    std::size_t number;
};

// Senders and receivers, single and in batches, all of which are cut off now and then, in the wait or around it. Each
// value comes once, and to each receiver in the order of its sender.
struct Traffic {
    static constexpr std::size_t senders = 4;
    static constexpr std::size_t receivers = 4;

    Traffic(std::size_t capacity, std::size_t values_a_sender, std::uint64_t seed)
        : channel(capacity), random(seed), values(values_a_sender), sent(senders), seen(senders) {
        for (std::vector<bool>& each : seen)
            each.resize(values);
        last.assign(receivers, std::vector<std::size_t>(senders));
    }

    Task<> send_one(std::size_t sender) {
        co_await channel.send(Letter(sender, sent[sender]));
        ++sent[sender];
    }
    Task<> send_all(std::size_t sender) {
        while (sent[sender] != values) {
            if (random.once_in(8)) co_await sleep_for(random.below(3) * 1ms);
            if (random.once_in(4)) {
                Letter letter(sender, sent[sender]);
                if (channel.try_send(letter)) ++sent[sender];
            } else if (random.once_in(2)) {
                bool was_sent = co_await try_timeout(random.below(3) * 1ms, channel.send(letter_of(sender)));
                sent[sender] += was_sent;
            } else {
                co_await try_timeout(random.below(3) * 1ms, send_one(sender));
            }
        }
    }
    Letter letter_of(std::size_t sender) const { return Letter(sender, sent[sender]); }

    void note(std::size_t receiver, const Letter& letter) {
        is_broken = is_broken || seen[letter.sender][letter.number];
        seen[letter.sender][letter.number] = true;
        ++received;
        // The number of the next one that may come.
        std::size_t& next = last[receiver][letter.sender];
        is_broken = is_broken || letter.number < next;
        next = letter.number + 1;
    }
    Task<bool> receive_one(std::size_t receiver) {
        std::optional<Letter> letter = co_await channel.receive();
        if (letter) note(receiver, *letter);
        co_return letter.has_value();
    }
    Task<bool> receive_some(std::size_t receiver) {
        std::vector<Letter> batch;
        std::size_t count = co_await channel.receive_many(batch, 1 + random.below(5));
        is_broken = is_broken || count != batch.size();
        for (const Letter& letter : batch)
            note(receiver, letter);
        co_return count != 0;
    }
    Task<> receive_all(std::size_t receiver) {
        for (bool is_open = true; is_open;) {
            if (random.once_in(8)) co_await sleep_for(random.below(3) * 1ms);
            Duration limit = random.below(3) * 1ms;
            std::optional<bool> more;
            if (random.once_in(2))
                more = co_await try_timeout(limit, receive_one(receiver));
            else
                more = co_await try_timeout(limit, receive_some(receiver));
            is_open = more.value_or(true);
        }
    }

    Task<> run() {
        auto send = [this](std::size_t sender) { return send_all(sender); };
        auto receive = [this](std::size_t receiver) { return receive_all(receiver); };
        auto sending = [&](TaskGroup& group) -> Task<> {
            for (std::size_t i = 0; i < senders; ++i)
                group.spawn(send, i);
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (std::size_t i = 0; i < receivers; ++i)
                group.spawn(receive, i);
            co_await task_group(sending);
            channel.close();
        };
        co_await task_group(body);
    }

    Channel<Letter> channel;
    Random random;
    std::size_t values;
    std::vector<std::size_t> sent;
    std::vector<std::vector<bool>> seen;
    std::vector<std::vector<std::size_t>> last;
    std::size_t received = 0;
    bool is_broken = false;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(channel_traffic)

BOOST_FIXTURE_TEST_CASE(random_traffic_brings_each_value_once_and_in_order, VirtualTime) {
    for (std::size_t capacity : {std::size_t{0}, std::size_t{1}, std::size_t{5}}) {
        Traffic traffic(capacity, stress_iterations(20'000) / (3 * Traffic::senders), capacity + 1);

        executor.run_until(traffic.run());

        BOOST_TEST(traffic.received == traffic.values * Traffic::senders);
        BOOST_TEST(!traffic.is_broken);
        BOOST_TEST(traffic.channel.size() == 0u);
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace channel_traffic_test
