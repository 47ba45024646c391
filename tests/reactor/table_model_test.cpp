// SPDX-License-Identifier: BSL-1.0
// Long random histories, each compared with a model that is too simple to be wrong. A failure prints its seed.
#include "harvest.hpp"
#include "support/allocations.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::table_model_test {
namespace {

// What the queue must say about one source, kept beside it.
struct Modelled {
    Link link = stream_link();
    bool registered = false;
    bool oneshot = false;
    std::size_t unread = 0;
    std::string log;
    Token token;
    Interest interest;
    // What has become ready since the last report, and must therefore be reported.
    bool owes_readable = false;
    bool owes_writable = false;
};

class History {
public:
    explicit History(std::uint64_t seed) : random_(seed) {}

    void run(int steps) {
        for (int i = 0; i < steps; ++i) {
            change();
            if (pick(4) == 0) compare();
        }
        compare();
    }

private:
    std::uint64_t pick(std::uint64_t below) { return random_() % below; }

    Modelled& any() { return *sources_[pick(sources_.size())]; }

    void change() {
        if (sources_.empty() || (sources_.size() < 40 && pick(5) == 0)) {
            sources_.push_back(std::make_unique<Modelled>());
            return;
        }
        switch (pick(7)) {
        case 0:
        case 1:
            add(any());
            break;
        case 2:
            modify(any());
            break;
        case 3:
            remove(any());
            break;
        case 4:
            write(any());
            break;
        case 5:
            drain_one(any());
            break;
        default:
            close_one();
            break;
        }
    }

    void add(Modelled& source) {
        const bool was_registered = source.registered;
        const Choice choice = choose();
        std::error_code error;
        registrator_.add(source.link.source, choice.token, choice.interest, choice.mode, error);
        BOOST_TEST_REQUIRE((error == errc::already_registered) == was_registered);
        if (!was_registered) begin(source, choice);
    }

    void modify(Modelled& source) {
        const Choice choice = choose();
        std::error_code error;
        registrator_.modify(source.link.source, choice.token, choice.interest, choice.mode, error);
        BOOST_TEST_REQUIRE((error == errc::not_registered) == !source.registered);
        if (source.registered) begin(source, choice);
    }

    void remove(Modelled& source) {
        std::error_code error;
        registrator_.remove(source.link.source, error);
        BOOST_TEST_REQUIRE((error == errc::not_registered) == !source.registered);
        end(source);
    }

    void write(Modelled& source) {
        write_text(source.link.peer.get(), "x");
        const bool is_news = source.unread == 0 || tells_more_;
        ++source.unread;
        if (is_news) source.owes_readable = source.registered && source.interest.is_readable();
    }

    void drain_one(Modelled& source) {
        // All that was written: over loopback it may be on its way still.
        while (source.unread != 0) {
            await_readable(source.link.source.native_handle());
            source.unread -= drain(source.link.source);
        }
        drain(source.link.source);
        source.owes_readable = false;
    }

    void close_one() {
        const std::size_t index = pick(sources_.size());
        if (pick(2) == 0) sources_[index]->link.source.close();
        std::swap(sources_[index], sources_.back());
        sources_.pop_back();
    }

    struct Choice {
        Token token;
        Interest interest;
        Mode mode;
    };

    Choice choose() {
        static constexpr std::array<Interest, 3> interests{Interest::readable, Interest::writable,
                                                           Interest::readable | Interest::writable};
        // Never one that was used before, so that a late event is recognized.
        return {Token(next_token_ += 0x9e3779b97f4a7c15), interests[pick(3)],
                pick(3) == 0 ? Mode::oneshot : Mode::persistent};
    }

    static void begin(Modelled& source, const Choice& choice) {
        source.registered = true;
        source.token = choice.token;
        source.interest = choice.interest;
        source.oneshot = choice.mode == Mode::oneshot;
        source.owes_readable = choice.interest.is_readable() && source.unread != 0;
        source.owes_writable = choice.interest.is_writable();
    }

    static void end(Modelled& source) {
        source.registered = false;
        source.owes_readable = source.owes_writable = false;
    }

    void compare() {
        std::map<Token, Modelled*> alive;
        for (const auto& source : sources_)
            if (source->registered) alive[source->token] = source.get();

        check(alive, glance(poll_));
        BOOST_TEST_REQUIRE((!tells_more_ || !owes_anything(alive)));
        // A connection over loopback may bring it a little later.
        while (owes_anything(alive)) {
            const Harvest late = harvest(poll_);
            if (late.status != PollStatus::events)
                for (auto& [t, s] : alive)
                    if (s->owes_readable || s->owes_writable)
                        BOOST_TEST_MESSAGE("OWES r" << s->owes_readable << " w" << s->owes_writable << " int "
                                                    << s->interest.is_readable() << s->interest.is_writable()
                                                    << " one" << s->oneshot << " unread " << s->unread
                                                    << " tok " << t.value() << " log " << s->log);
            BOOST_TEST_REQUIRE(late.status == PollStatus::events);
            check(alive, late);
        }
    }

    static bool owes_anything(const std::map<Token, Modelled*>& alive) {
        return std::ranges::any_of(
            alive, [](const auto& each) { return each.second->owes_readable || each.second->owes_writable; });
    }

    static void check(const std::map<Token, Modelled*>& alive, const Harvest& harvested) {
        for (const Event& event : harvested.events) {
            const auto found = alive.find(event.token());
            BOOST_TEST_REQUIRE((found != alive.end()));
            Modelled& source = *found->second;
            BOOST_TEST_REQUIRE((!event.is_readable() || source.interest.is_readable()));
            BOOST_TEST_REQUIRE((!event.is_writable() || source.interest.is_writable()));
            if (event.is_readable()) source.owes_readable = false;
            if (event.is_writable()) source.owes_writable = false;
            // Silent until it is modified: as an interest in nothing.
            if (source.oneshot) {
                source.interest = Interest();
                source.owes_readable = source.owes_writable = false;
            }
        }
    }

    std::mt19937_64 random_;
    Poll poll_;
    Registrator registrator_ = poll_.registrator();
    // Whether more data is reported of a source that was not found empty.
    const bool tells_more_ = poll_.backend().name() != "iocp";
    std::vector<std::unique_ptr<Modelled>> sources_;
    std::uint64_t next_token_ = 0;
};

// One stream whose reads are cancelled, destroyed and closed at random: the bytes must arrive all the same.
class CancelledReads {
public:
    explicit CancelledReads(std::uint64_t seed) : random_(seed) {}

    void run(int steps) {
        for (int i = 0; i < steps; ++i) {
            switch (random_() % 6) {
            case 0:
                send();
                break;
            case 1:
                submit();
                break;
            case 2:
                cancel();
                break;
            case 3:
                destroy();
                break;
            case 4:
                move_source();
                break;
            default:
                poll();
                break;
            }
            BOOST_TEST_REQUIRE(poll_.in_flight() == (operation_ ? 1u : 0u));
        }
        while (received_ < sent_) {
            submit();
            poll();
        }
        BOOST_TEST_REQUIRE(received_ == sent_);
    }

private:
    void send() {
        const char next = static_cast<char>('a' + sent_ % 26);
        write_text(link_.peer.get(), std::string_view(&next, 1));
        ++sent_;
    }

    void submit() {
        if (operation_) return;
        operation_.emplace(Operation::receive(link_.source, std::span(buffer_).first(1 + random_() % 3)));
        if (poll_.submit(*operation_)) take();
    }

    void cancel() {
        if (!operation_) return;
        if (poll_.cancel(*operation_)) {
            take();
        } else {
            poll();
        }
    }

    // Bytes that it has been given would die with it, so this happens only before the poll; and, where the kernel gives them
    // by itself, only while there are none.
    void destroy() {
        if (sent_ == received_ || !hands_operations_over(poll_.backend())) operation_.reset();
    }

    void move_source() {
        Source moved(std::move(link_.source));
        link_.source = std::move(moved);
    }

    void poll() {
        poll_.poll(events_, 0ns);
        for (const Event& event : events_) {
            BOOST_TEST_REQUIRE((operation_ && event.operation() == &*operation_));
            take();
        }
    }

    void take() {
        BOOST_TEST_REQUIRE(operation_->is_ended());
        if (operation_->has_failed()) {
            BOOST_TEST_REQUIRE((operation_->error() == std::errc::operation_canceled));
        } else {
            BOOST_TEST_REQUIRE(operation_->transferred() > 0u);
        }
        for (std::size_t i = 0; i < operation_->transferred(); ++i)
            BOOST_TEST_REQUIRE(static_cast<char>(buffer_[i]) == static_cast<char>('a' + received_++ % 26));
        operation_.reset();
    }

    std::mt19937_64 random_;
    Poll poll_;
    Events events_;
    Link link_ = stream_link();
    std::array<std::byte, 4> buffer_{};
    std::uint64_t sent_ = 0;
    std::uint64_t received_ = 0;
    std::optional<Operation> operation_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(table_model)

BOOST_AUTO_TEST_CASE(random_registrations_report_what_a_plain_list_would) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        BOOST_TEST_CONTEXT("seed " << seed) {
            History history(seed);
            history.run(2000);
        }
    }
}

BOOST_AUTO_TEST_CASE(random_cancels_and_moves_lose_no_byte_and_change_no_order) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        BOOST_TEST_CONTEXT("seed " << seed) {
            CancelledReads reads(seed);
            reads.run(2000);
        }
    }
}

BOOST_AUTO_TEST_CASE(table_does_not_grow_with_the_sources_that_came_and_went) {
    Poll poll;
    Registrator registrator = poll.registrator();
    auto come_and_go = [&](std::uint64_t token) {
        Link link = stream_link();
        registrator.add(link.source, Token(token), Interest::writable);
        if (token % 64 == 0) BOOST_TEST_REQUIRE(glance(poll).of(Token(token)) != nullptr);
    };
    // A backend may keep what the kernel holds until the next poll.
    for (std::uint64_t i = 0; i <= 128; ++i)
        come_and_go(i);
    const std::size_t before = outstanding_allocations();

    const std::uint64_t last = calls_are_slow() ? 5056 : 20'032;
    for (std::uint64_t i = 129; i <= last; ++i)
        come_and_go(i);

    BOOST_TEST(outstanding_allocations() == before);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::table_model_test
