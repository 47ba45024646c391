// SPDX-License-Identifier: BSL-1.0
//
// A chat in one room, for `nc 127.0.0.1 7777`: the first line is the name, every other line goes to all. A member has a
// queue of lines that wait to be sent to it. If it grows too long, the member is behind, and whoever speaks
// next waits until nobody is: so a burst of lines costs nobody its place. A member that does not catch up
// within a grace period does not read, or reads too slowly for the room: it is told so and dropped. What the
// server does for a connection is `chat`, the last function before the arguments.
#include "arguments.hpp"
#include "console.hpp"
#include "server.hpp"

#include <leat/net/serve.hpp>
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

struct Settings {
    arguments::Common common;
    /// Bytes of a line, without its end.
    std::size_t longest_line = 1000;
    /// Lines that may wait for a member before it is behind.
    std::size_t longest_queue = 100;
    /// How long a member may be behind.
    leat::Duration grace = std::chrono::seconds(2);
    /// How long a member that is dropped has to read what it is told.
    leat::Duration patience = std::chrono::seconds(5);
};

// One copy, however many it is sent to.
using Line = std::shared_ptr<const std::string>;

auto bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

// ---- Lines ----

/// A line and whether it was too long, in which case it is the last and the text only its beginning.
struct Received {
    std::string text;
    bool is_too_long = false;
};

/// Between two lines it waits no longer than until the server drains.
leat::ReceiveOperation receive_more(leat::TcpStream& peer, const Received& line) {
    if (line.text.empty()) return peer.receive(leat::until_drain);
    return peer.receive();
}

/// Reading from one peer ends after about this many bytes while the server drains.
constexpr std::size_t most_in_a_drain = 65'536;

/// The lines that a peer sends, without their ends; in a drain at most about `most_in_a_drain` bytes of them.
leat::AsyncGenerator<const Received&> lines_from(leat::TcpStream& peer, std::size_t longest) {
    Received line;
    std::size_t read_in_drain = 0;
    for (;;) {
        const bool is_draining = peer.is_draining();
        leat::LentBuffer chunk = co_await receive_more(peer, line);  // empty: the peer closed, or a drain
        if (chunk.empty()) break;
        if (is_draining) read_in_drain += chunk.size();
        for (std::byte byte : chunk) {
            char character = static_cast<char>(byte);
            if (character == '\n') {
                if (line.text.ends_with('\r')) line.text.pop_back();
                co_yield line;
                line.text.clear();
                if (read_in_drain > most_in_a_drain) co_return;
            } else if (line.text.size() > longest) {
                line.is_too_long = true;
                co_yield line;
                co_return;
            } else {
                line.text += character;
            }
        }
    }
    if (!line.text.empty()) co_yield line;
}

// ---- The room ----

class Room;

/// Somebody in the room, from the constructor to the destructor.
class Member {
public:
    Member(Room& room, std::string name, std::size_t longest_queue);
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;
    ~Member();

    const std::string& name() const { return name_; }
    bool is_dropped() const { return is_dropped_; }

    /// Queues a line for it.
    void take(Line line);
    /// Sends what is queued, until the member is dropped, leaves or is gone.
    leat::Task<> deliver(leat::TcpStream& peer);
    /// Drops it if it is ever behind for longer than `grace`. Ends when it leaves or is gone.
    leat::Task<> watch(leat::Duration grace);
    /// It says nothing more.
    void fall_silent();
    /// What is queued is still delivered, and no more comes.
    void leave();
    /// What is queued is not delivered any more.
    void drop();

private:
    leat::Task<> send_lines(leat::TcpStream& peer);
    void begin_to_lag();
    void catch_up();

    Room& room_;
    std::string name_;
    std::size_t longest_queue_;
    std::deque<Line> lines_;
    leat::ManualResetEvent has_news_;
    leat::CancelScope* delivery_ = nullptr;
    bool speaks_ = true;
    bool has_left_ = false;
    bool is_dropped_ = false;
    // Nothing is delivered any more.
    bool is_over_ = false;
    bool is_behind_ = false;
    // What `watch` waits for in turn.
    leat::ManualResetEvent must_be_watched_;
    leat::ManualResetEvent has_caught_up_;
};

class Room {
public:
    bool has(std::string_view name) const {
        return std::ranges::any_of(members_, [&](const Member* member) { return member->name() == name; });
    }

    void enter(Member& member) {
        std::string here = "* here:";
        for (const Member* other : members_)
            here += " " + other->name();
        member.take(std::make_shared<const std::string>(here + "\n"));
        say("* " + member.name() + " has come");
        members_.push_back(&member);
        ++speakers_;
        all_are_silent_.reset();
    }
    void leave(Member& member, const std::string& why = "has gone") {
        if (std::erase(members_, &member) == 0) return;
        say("* " + member.name() + " " + why);
    }

    /// Says a line to everybody but `speaker`, who may be nobody.
    void say(const std::string& text, const Member* speaker = nullptr) {
        const Line line = std::make_shared<const std::string>(text + "\n");
        for (Member* member : members_)
            if (member != speaker) member->take(line);
    }

    /// For who has spoken: waits until nobody is behind. Without this, whoever speaks fast enough could fill
    /// any queue.
    leat::EventWaitOperation wait_for_all() { return nobody_is_behind_.wait(); }
    /// Waits until no member will say anything more: in a drain, when what had been sent has been said.
    leat::EventWaitOperation wait_for_silence() { return all_are_silent_.wait(); }
    void fall_silent() {
        if (--speakers_ == 0) all_are_silent_.set();
    }
    void begin_to_lag() {
        ++members_behind_;
        nobody_is_behind_.reset();
    }
    void catch_up() {
        if (--members_behind_ == 0) nobody_is_behind_.set();
    }

private:
    std::vector<Member*> members_;
    std::size_t speakers_ = 0;
    leat::ManualResetEvent all_are_silent_{true};
    std::size_t members_behind_ = 0;
    leat::ManualResetEvent nobody_is_behind_{true};
};

Member::Member(Room& room, std::string name, std::size_t longest_queue)
    : room_(room), name_(std::move(name)), longest_queue_(longest_queue) {
    room_.enter(*this);
}

Member::~Member() {
    fall_silent();
    catch_up();
    room_.leave(*this);
}

void Member::take(Line line) {
    if (is_over_) return;
    lines_.push_back(std::move(line));
    has_news_.set();
    if (lines_.size() > longest_queue_) begin_to_lag();
}

void Member::fall_silent() {
    if (std::exchange(speaks_, false)) room_.fall_silent();
}

void Member::leave() {
    has_left_ = true;
    has_news_.set();
    room_.leave(*this);
}

void Member::drop() {
    is_dropped_ = true;
    room_.leave(*this, "did not keep up");
    if (delivery_ != nullptr) delivery_->cancel();
}

void Member::begin_to_lag() {
    if (std::exchange(is_behind_, true)) return;
    room_.begin_to_lag();
    has_caught_up_.reset();
    must_be_watched_.set();
}

void Member::catch_up() {
    if (!std::exchange(is_behind_, false)) return;
    room_.catch_up();
    must_be_watched_.reset();
    has_caught_up_.set();
}

leat::Task<> Member::watch(leat::Duration grace) {
    for (;;) {
        co_await must_be_watched_.wait();
        if (is_over_) co_return;
        const bool is_in_time = co_await leat::try_timeout(grace, has_caught_up_.wait());
        if (is_over_) co_return;
        if (!is_in_time) co_return drop();
    }
}

leat::Task<> Member::send_lines(leat::TcpStream& peer) {
    for (;;) {
        while (lines_.empty()) {
            if (has_left_) co_return;
            has_news_.reset();
            co_await has_news_.wait();
        }
        const Line line = std::move(lines_.front());
        lines_.pop_front();
        leat::Result<void> sent = co_await as_result(peer.write_all(bytes_of(*line)));
        if (!sent) co_return;  // Gone, as the reader finds out too.
        // Not at the first line of room: one that reads a line now and then would hold everybody up for ever.
        if (lines_.size() <= longest_queue_ / 2) catch_up();
    }
}

leat::Task<> Member::deliver(leat::TcpStream& peer) {
    // Also where this is cancelled, and nothing after the await runs.
    struct Ending {
        explicit Ending(Member& m) : member(m) {}
        ~Ending() {
            member.delivery_ = nullptr;
            member.is_over_ = true;
            member.lines_.clear();
            member.catch_up();
            // `watch` is to end, too.
            member.must_be_watched_.set();
        }
        Member& member;
    };
    Ending ending(*this);
    auto body = [&](leat::CancelScope& scope) -> leat::Task<> {
        delivery_ = &scope;
        co_await send_lines(peer);
    };
    if (!is_dropped_) co_await leat::cancel_scope(body);
}

// ---- A connection ----

bool is_name(std::string_view text) {
    constexpr std::size_t longest_name = 20;
    return !text.empty() && text.size() <= longest_name && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-';
    });
}

/// A last word, for a peer that may not read: within `patience`, and an error is nobody's concern any more.
leat::Task<> tell(leat::TcpStream& peer, std::string text, leat::Duration patience) {
    // Behind a line that was cut off, perhaps.
    text = "\n* " + text + "\n";
    (void)co_await as_result(leat::timeout(patience, peer.write_all(bytes_of(text))));
}

leat::Task<> send_lines(leat::TcpStream& peer, Member& member, leat::Duration patience) {
    co_await member.deliver(peer);
    if (member.is_dropped()) co_await tell(peer, "you do not keep up", patience);
    // Ends the connection's other half too, if that still waits for a line.
    peer.shutdown(leat::Half::both);
}

leat::Task<> chat(leat::TcpStream peer, Room& room, const Settings& settings) {
    auto lines = lines_from(peer, settings.longest_line);
    std::string name;
    const std::string question = "* your name?\n";
    while (name.empty()) {
        co_await peer.write_all(bytes_of(question));
        const Received* line = co_await lines.next();
        if (line == nullptr || line->is_too_long) co_return;
        if (is_name(line->text) && !room.has(line->text)) name = line->text;
    }

    Member member(room, name, settings.longest_queue);
    auto body = [&](leat::TaskGroup& group) -> leat::Task<> {
        group.spawn(send_lines, std::ref(peer), std::ref(member), settings.patience);
        group.spawn(&Member::watch, std::ref(member), settings.grace);
        for (;;) {
            const Received* line = co_await lines.next();
            if (line == nullptr || member.is_dropped()) break;
            if (line->is_too_long) {
                member.take(std::make_shared<const std::string>("* that line is too long\n"));
                break;
            }
            room.say(member.name() + ": " + line->text, &member);
            co_await room.wait_for_all();
        }
        member.fall_silent();
        // In a drain it hears the others out.
        if (peer.is_draining() && !member.is_dropped()) co_await room.wait_for_silence();
        member.leave();
    };
    co_await leat::task_group(body);
}

// ---- The server ----

leat::Task<> run_server(leat::Runtime& runtime, const Settings& settings) {
    Room room;
    auto handler = [&](leat::TcpStream peer) { return chat(std::move(peer), room, settings); };
    leat::ServeReport report = co_await server::serve("chat_server", runtime, settings.common, handler);
    console::print("chat_server: served " + std::to_string(report.accepted) + " connections");
}

void add_arguments(arguments::Parser& parser, Settings& settings) {
    arguments::add_common(parser, settings.common);
    parser.add(
        "--idle-timeout", "SECONDS",
        [&](auto& text) { settings.common.serve.idle_timeout = arguments::parse_seconds(text); },
        "closes a connection on which nothing moves for so long; 0: never (0)");
    parser.add(
        "--max-line", "BYTES", [&](auto& text) { settings.longest_line = arguments::parse_count(text); },
        "ends a connection that sends a longer line (1000)");
    parser.add(
        "--max-queue", "LINES", [&](auto& text) { settings.longest_queue = arguments::parse_count(text); },
        "a member for which more lines wait is behind, and whoever speaks waits for it (100)");
    parser.add(
        "--grace", "SECONDS", [&](auto& text) { settings.grace = arguments::parse_seconds(text); },
        "drops a member that is behind for so long (2)");
    parser.add(
        "--patience", "SECONDS", [&](auto& text) { settings.patience = arguments::parse_seconds(text); },
        "how long a member that is dropped has to read why (5)");
}

}  // namespace

int main(int argc, char* argv[]) {
    arguments::Parser parser("A chat in one room, until SIGTERM or SIGINT.", "chat_server");
    Settings settings;
    add_arguments(parser, settings);
    return server::run(parser, argc, argv, settings.common,
                       [&](leat::Runtime& runtime) { return run_server(runtime, settings); });
}
