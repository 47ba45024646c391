// SPDX-License-Identifier: BSL-1.0
// The bare event queue, without a coroutine: one thread polls and prints what happens, another one registers, writes
// and starts a timer, whose event closes the queue.
//
//     $ poll_events
//
// What to see: a registration takes effect on a poll that sleeps already; the token that was registered comes back with
// each event; an event is a hint after which one reads until nothing is left; `closed` comes after everything else.
#include <leat/reactor/poll.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string_view>
#include <system_error>
#include <thread>

using namespace std::chrono_literals;

namespace {

constexpr leat::Token mailbox_token(1);
constexpr leat::Token timer_token(2);

void say(leat::NativeHandle to, std::string_view text) {
    if (::write(to, text.data(), text.size()) < 0) std::perror("write");
}

// Edge-triggered: the next event comes only after the source was found empty.
void print_what_came(const leat::Source& mailbox) {
    std::array<char, 64> buffer;
    for (;;) {
        const ssize_t received = ::read(mailbox.native_handle(), buffer.data(), buffer.size());
        if (received <= 0) return;
        std::cout << "  \"" << std::string_view(buffer.data(), static_cast<std::size_t>(received)) << "\"\n";
    }
}

void print_events(leat::Poll& poll, const leat::Source& mailbox) {
    leat::Events events;
    for (;;) {
        switch (poll.poll(events)) {
        case leat::PollStatus::closed:
            std::cout << "closed\n";
            return;
        case leat::PollStatus::woken:
            std::cout << "woken\n";
            continue;
        default:
            break;
        }
        for (const leat::Event& event : events) {
            std::cout << event << '\n';
            if (event.token() == mailbox_token) print_what_came(mailbox);
            if (event.is_timeout()) poll.close();
        }
    }
}

}  // namespace

int main() {
    std::array<int, 2> ends;
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) {
        std::perror("socketpair");
        return 1;
    }
    for (int end : ends) {  // What a source takes over never blocks.
        ::fcntl(end, F_SETFL, O_NONBLOCK);
        ::fcntl(end, F_SETFD, FD_CLOEXEC);
    }
    leat::Source mailbox(ends[0]);
    const leat::Source sender(ends[1]);

    leat::Poll poll;
    leat::Registrator registrator = poll.registrator();
    std::thread printer([&] { print_events(poll, mailbox); });

    try {
        registrator.wake();
        registrator.add(mailbox, mailbox_token, leat::Interest::readable);
        say(sender.native_handle(), "hello");
        registrator.add_timer(leat::steady_clock().now() + 10ms, timer_token);
        say(sender.native_handle(), "and goodbye");
    } catch (const std::system_error& error) {
        std::cerr << "poll_events: " << error.what() << '\n';
        registrator.close();
    }
    printer.join();
}
