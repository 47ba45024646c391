// SPDX-License-Identifier: BSL-1.0
//
// A chat in one room, for `nc 127.0.0.1 7777`: the first line is the name, every other line goes to all. A member has a
// queue of lines that wait to be sent to it, which is bounded: whoever does not read fast enough is told so and dropped,
// and nobody waits for anybody. What it does for a connection is `chat`, the last function before the arguments.
#include "arguments.hpp"
#include "console.hpp"
#include "server.hpp"

#include <leat/net/serve.hpp>
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
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
    /// Lines that may wait for a member.
    std::size_t longest_queue = 100;
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

/// The lines that a peer sends, without their ends.
leat::AsyncGenerator<const Received&> lines_from(leat::TcpStream& peer, std::size_t longest) {
    Received line;
    for (;;) {
        leat::LentBuffer chunk = co_await receive_more(peer, line);  // empty: the peer closed, or a drain
        if (chunk.empty()) break;
        for (std::byte byte : chunk) {
            char character = static_cast<char>(byte);
            if (character == '\n') {
                if (line.text.ends_with('\r')) line.text.pop_back();
                co_yield line;
                line.text.clear();
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

    /// Queues a line for it. False if it does not keep up.
    bool take(Line line) { return lines_.try_send(line); }
    /// Sends what is queued, until the member is dropped, leaves or is gone.
    leat::Task<> deliver(leat::TcpStream& peer);
    /// What is queued is still delivered, and no more comes.
    void leave();
    /// What is queued is not delivered any more.
    void drop() {
        is_dropped_ = true;
        if (delivery_ != nullptr) delivery_->cancel();
    }

private:
    Room& room_;
    std::string name_;
    leat::Channel<Line> lines_;
    leat::CancelScope* delivery_ = nullptr;
    bool is_dropped_ = false;
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
    }
    void leave(Member& member) {
        if (std::erase(members_, &member) == 0) return;
        say("* " + member.name() + " has gone");
    }

    /// Says a line to everybody but `speaker`, who may be nobody. Whoever has no room for it is dropped, which is said too.
    void say(const std::string& text, const Member* speaker = nullptr) {
        std::vector<std::string> left{text};
        while (!left.empty()) {
            Line line = std::make_shared<const std::string>(left.back() + "\n");
            left.pop_back();
            std::vector<Member*> slow;
            for (Member* member : members_) {
                if (member != speaker && !member->take(line)) slow.push_back(member);
            }
            for (Member* member : slow) {
                std::erase(members_, member);
                member->drop();
                left.push_back("* " + member->name() + " did not keep up");
            }
            speaker = nullptr;
        }
    }

private:
    std::vector<Member*> members_;
};

Member::Member(Room& room, std::string name, std::size_t longest_queue)
    : room_(room), name_(std::move(name)), lines_(longest_queue) {
    room_.enter(*this);
}

Member::~Member() { room_.leave(*this); }

void Member::leave() {
    room_.leave(*this);
    lines_.close();
}

leat::Task<> Member::deliver(leat::TcpStream& peer) {
    // Also where this is cancelled, and nothing after the await runs.
    struct Ending {
        explicit Ending(Member& m) : member(m) {}
        ~Ending() { member.delivery_ = nullptr; }
        Member& member;
    };
    Ending ending(*this);
    auto body = [&](leat::CancelScope& scope) -> leat::Task<> {
        delivery_ = &scope;
        for (;;) {
            std::optional<Line> line = co_await lines_.receive();
            if (!line) co_return;
            leat::Result<void> sent = co_await as_result(peer.write_all(bytes_of(**line)));
            if (!sent) co_return;  // Gone, as the reader finds out too.
        }
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
        for (;;) {
            const Received* line = co_await lines.next();
            if (line == nullptr || member.is_dropped()) break;
            if (line->is_too_long) {
                member.take(std::make_shared<const std::string>("* that line is too long\n"));
                break;
            }
            room.say(member.name() + ": " + line->text, &member);
            // Somebody who talks without a pause would go on until the drain's deadline.
            if (peer.is_draining()) break;
        }
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
        "drops a member for which more lines wait (100)");
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
