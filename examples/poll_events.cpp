// SPDX-License-Identifier: BSL-1.0
// The bare event queue, without a coroutine: one thread polls and prints what happens, another one registers, writes
// and starts a timer, whose event closes the queue.
//
//     $ poll_events
//
// What to see: a registration takes effect on a poll that sleeps already; the token that was registered comes back with
// each event; an event is a hint after which one reads until nothing is left; `closed` comes after everything else.
#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/poll.hpp>

#include <array>
#include <chrono>
#include <iostream>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>

using namespace std::chrono_literals;

namespace {

constexpr leat::Token door_token(1);
constexpr leat::Token mailbox_token(2);
constexpr leat::Token timer_token(3);

void say(leat::TcpStream& to, std::string_view text) { to.try_write(text); }

// Edge-triggered: the next event comes only after the source was found empty.
void print_what_came(leat::TcpStream& mailbox) {
    std::array<std::byte, 64> buffer;
    for (;;) {
        const std::optional<std::size_t> received = mailbox.try_read(buffer);
        if (!received || *received == 0) return;
        std::cout << "  \"" << std::string_view(reinterpret_cast<const char*>(buffer.data()), *received)
                  << "\"\n";
    }
}

void print_events(leat::Poll& poll, leat::TcpListener& door) {
    leat::Registrator registrator = poll.registrator();
    leat::TcpStream mailbox;
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
            if (event.token() == door_token) {
                if (std::optional<leat::TcpStream> visitor = door.try_accept()) {
                    mailbox = std::move(*visitor);
                    registrator.add(mailbox.source(), mailbox_token, leat::Interest::readable);
                }
            }
            if (event.token() == mailbox_token) print_what_came(mailbox);
            if (event.is_timeout()) poll.close();
        }
    }
}

}  // namespace

int main() {
    leat::Poll poll;
    leat::Registrator registrator = poll.registrator();
    leat::TcpListener door = leat::TcpListener::bind(leat::Address::loopback(0));
    std::thread printer([&] { print_events(poll, door); });

    try {
        registrator.wake();
        registrator.add(door.source(), door_token, leat::Interest::readable);
        leat::TcpStream sender = leat::TcpStream::start_connect(door.local_address());
        std::this_thread::sleep_for(10ms);  // A connection over loopback takes less.
        say(sender, "hello");
        registrator.add_timer(leat::steady_clock().now() + 10ms, timer_token);
        say(sender, " and goodbye");
        printer.join();
    } catch (const std::system_error& error) {
        std::cerr << "poll_events: " << error.what() << '\n';
        registrator.close();
        printer.join();
    }
}
