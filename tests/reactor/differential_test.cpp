// SPDX-License-Identifier: BSL-1.0
// One random story, told to every backend of this build: they must report the same. What a system may tell or leave out (hints,
// and that something is writable, which comes along with much else) is left out of the comparison.
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <system_error>
#include <vector>

namespace leat::test::differential_test {
namespace {

constexpr std::size_t actors = 5;
constexpr int steps = 120;

/// One end of a connection, and what is under way on it.
struct Actor {
    enum class Mode { idle, interest, operations };

    Link link = stream_link();
    Mode mode = Mode::idle;
    bool peer_has_ended = false;
    std::array<std::byte, 7> buffer{};
    std::optional<Operation> read;
    std::string name;
};

class Story {
public:
    Story(Backend backend, unsigned seed) : poll_(backend), random_(seed) {
        for (std::size_t i = 0; i < actors; ++i)
            actors_.push_back(std::make_unique<Actor>());
    }

    /// What happened, in words.
    std::string tell() {
        for (int step = 0; step < steps; ++step) {
            trace_ += std::to_string(step) + ":";
            act(random_() % actors);
            look();
            trace_ += "\n";
        }
        return trace_;
    }

private:
    void say(std::size_t actor, const std::string& what) {
        trace_ += " " + std::to_string(actor) + "." + what;
    }
    void say_error(std::size_t actor, const std::string& what, const std::error_code& error) {
        say(actor, what + "=" + (error ? error.message() : "ok"));
    }

    void act(std::size_t number) {
        Actor& actor = *actors_[number];
        std::error_code error;
        Token token(number);
        switch (random_() % 9) {
        case 0:
            registrator_.add(actor.link.source, token, Interest::readable,
                             random_() % 4 == 0 ? Mode::oneshot : Mode::persistent, error);
            return say_error(number, "add", error);
        case 1:
            registrator_.modify(actor.link.source, token, Interest::readable | Interest::writable,
                                random_() % 4 == 0 ? Mode::oneshot : Mode::persistent, error);
            return say_error(number, "modify", error);
        case 2:
            registrator_.remove(actor.link.source, error);
            return say_error(number, "remove", error);
        case 3:
        case 4:
            return write(number, actor);
        case 5:
        case 6:
            return read(number, actor);
        case 7:
            return send(number, actor);
        default:
            return end_or_begin_anew(number, actor);
        }
    }

    void write(std::size_t number, Actor& actor) {
        if (actor.peer_has_ended) return;
        write_text(actor.link.peer.get(), std::string(1 + random_() % 12, 'x'));
        say(number, "written");
    }

    void read(std::size_t number, Actor& actor) {
        if (actor.read && !actor.read->is_ended()) return;
        actor.read.reset();
        actor.read.emplace(Operation::receive(actor.link.source, actor.buffer));
        if (poll_.submit(*actor.read)) tell_read(number, actor);
    }

    void tell_read(std::size_t number, Actor& actor) {
        if (actor.read->has_failed())
            say_error(number, "read", actor.read->error());
        else
            say(number, "read " + std::to_string(actor.read->transferred()));
        actor.read.reset();
    }

    void send(std::size_t number, Actor& actor) {
        Operation operation = Operation::send(actor.link.source, bytes_of("abc"));
        bool has_ended = poll_.submit(operation);
        if (has_ended)
            say_error(number, "sent " + std::to_string(operation.transferred()), operation.error());
    }

    // A half-close, a close of the peer, or of the source; then a new connection takes the place.
    void end_or_begin_anew(std::size_t number, Actor& actor) {
        auto what = random_() % 3;
        if (what != 2 && actor.peer_has_ended) what = 2;
        if (what == 2) {
            say(number, "closed");
            actor.link.source.close();
            look();
            actors_[number] = std::make_unique<Actor>();
            return;
        }
        actor.peer_has_ended = true;
        say(number, what == 0 ? "half-closed" : "peer closed");
        if (what == 0)
            shut(actor.link.peer.get(), Direction::writing);
        else
            actor.link.peer.reset();
    }

    // Until there is nothing more to report. Readiness of one step may come in one event or in several.
    void look() {
        std::set<std::uint64_t> readable;
        for (;;) {
            const Harvest found = glance(poll_);
            if (found.status != PollStatus::events) break;
            for (const Event& event : found.events) {
                if (event.operation() == nullptr) {
                    if (event.is_readable()) readable.insert(event.token().value());
                    continue;
                }
                for (std::size_t i = 0; i < actors; ++i) {
                    if (actors_[i]->read && event.operation() == &*actors_[i]->read)
                        tell_read(i, *actors_[i]);
                }
            }
        }
        for (std::uint64_t token : readable)
            say(token, "readable");
    }

    Poll poll_;
    Registrator registrator_ = poll_.registrator();
    std::mt19937 random_;
    std::vector<std::unique_ptr<Actor>> actors_;
    std::string trace_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(differential)

BOOST_AUTO_TEST_CASE(every_backend_tells_the_same_story) {
    BOOST_REQUIRE(Backend::all().size() > 1u);
    const Backend first = Backend::all().front();
    std::size_t ends_seen = 0;
    for (unsigned seed = 1; seed <= 200; ++seed) {
        const std::string expected = Story(first, seed).tell();
        ends_seen += expected.find("read 0") != std::string::npos ? 1u : 0u;
        for (Backend backend : Backend::all().subspan(1)) {
            const std::string told = Story(backend, seed).tell();
            const auto [left, right] =
                std::mismatch(expected.begin(), expected.end(), told.begin(), told.end());
            const auto from = std::max<std::ptrdiff_t>(left - expected.begin() - 400, 0);
            BOOST_TEST_INFO("seed " << seed << "\n"
                                    << first.name() << ": "
                                    << expected.substr(static_cast<std::size_t>(from), 600) << "\n"
                                    << backend.name() << ": "
                                    << told.substr(static_cast<std::size_t>(from), 600));
            BOOST_TEST_REQUIRE((told == expected));
        }
    }
    // The story is worth telling only if all of it happens.
    BOOST_TEST(ends_seen > 20u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::differential_test
