// SPDX-License-Identifier: BSL-1.0
// One wake-up and one timer of a bare queue: the reactor without the layers above.
#include <leat/reactor/config.hpp>
#include <leat/reactor/poll.hpp>

#include <chrono>
#include <cstdio>

int main() {
    leat::Poll poll;
    leat::Registrator registrator = poll.registrator();
    leat::Events events;

    registrator.wake();
    bool was_woken = poll.poll(events) == leat::PollStatus::woken;

    registrator.add_timer(leat::steady_clock().now(), leat::Token(42));
    poll.poll(events, std::chrono::seconds(10));
    bool was_timed = false;
    for (const leat::Event& event : events)
        was_timed = event.is_timeout() && event.token() == leat::Token(42);

    std::printf("leat %s: woken %d, timed %d\n", LEAT_VERSION_STRING, was_woken, was_timed);
    return was_woken && was_timed ? 0 : 1;
}
