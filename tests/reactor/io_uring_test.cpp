// SPDX-License-Identifier: BSL-1.0
// What only the backend on io_uring has to get right: the kernel holds the buffers and the sockets of what is in flight, its
// queues run full, a withdrawal and a result meet, and a system may refuse all of it.
#include "harvest.hpp"
#include "support/io_uring_filter.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include "backend/uring/requests.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::io_uring_test {
namespace {

// Sets a variable for as long as it lives.
class Variable {
public:
    Variable(const char* name, const char* value) : name_(name) {
        if (const char* const before = std::getenv(name)) before_ = before;
        set_environment(name, value);
    }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;
    ~Variable() { set_environment(name_, before_ ? before_->c_str() : nullptr); }

private:
    const char* name_;
    std::optional<std::string> before_;
};

// Of 8 entries: the kernel keeps twice as many ends in the queue.
const char* const entries_variable = "LEAT_IO_URING_ENTRIES";
const char* const setup_variable = "LEAT_IO_URING_SETUP";

// Runs it where queues are as long as ever, where they run full, and on rings as older kernels make them.
void on_every_ring(const std::function<void()>& body) {
    for (const char* setup : {"", "plain"}) {
        for (const char* entries : {"", "1", "2", "8"}) {
            BOOST_TEST_CONTEXT("entries '" << entries << "', setup '" << setup << "'") {
                const Variable chosen_entries(entries_variable, entries);
                const Variable chosen_setup(setup_variable, setup);
                body();
            }
        }
    }
}

// A conversation of which the near side is read.
struct Conversation {
    Conversation() = default;
    // What waits holds the addresses.
    Conversation(const Conversation&) = delete;

    Link link = stream_link();
    std::array<std::byte, 16> buffer{};
    Operation operation = Operation::receive(link.source, buffer);

    std::string received() const { return text_of(std::span(buffer).first(operation.transferred())); }
};

using Conversations = std::vector<std::unique_ptr<Conversation>>;

Conversations converse(Poll& poll, std::size_t count) {
    BOOST_TEST_REQUIRE(raise_handle_limit(2 * count + 100) >= 2 * count + 100);
    Conversations all;
    for (std::size_t i = 0; i < count; ++i) {
        all.push_back(std::make_unique<Conversation>());
        BOOST_TEST_REQUIRE(!poll.submit(all.back()->operation));
    }
    return all;
}

// Polls until nothing is in flight; how many events that took.
std::size_t await_all(Poll& poll) {
    std::size_t events = 0;
    while (poll.in_flight() != 0) {
        const Harvest found = harvest(poll);
        BOOST_TEST_REQUIRE(found.status == PollStatus::events);
        events += found.events.size();
    }
    return events;
}

void carry_out(Poll& poll, Operation& operation) {
    if (!poll.submit(operation)) await_all(poll);
}

// "x" was sent: the operation has it, or was withdrawn and has left it to the next one. Told once, either way.
void expect_one_outcome_and_no_byte_lost(Poll& poll, Conversation& conversation) {
    const std::size_t told = await_all(poll);

    BOOST_TEST(told <= 1u);
    BOOST_TEST(conversation.operation.is_ended());
    if (!conversation.operation.has_failed()) {
        BOOST_TEST(conversation.received() == "x");
    } else {
        BOOST_TEST((conversation.operation.error() == std::errc::operation_canceled));
        Operation next = Operation::receive(conversation.link.source, conversation.buffer);
        carry_out(poll, next);
        BOOST_TEST(!next.has_failed());
        BOOST_TEST(text_of(std::span(conversation.buffer).first(next.transferred())) == "x");
    }
    BOOST_TEST(glance(poll).events.empty());
}

// What happens on every ring to a receive that has been submitted, and of which the kernel has not heard.
void on_one_receive(const std::function<void(Poll&, Conversation&)>& story) {
    on_every_ring([&] {
        Poll poll;
        Conversation conversation;
        BOOST_TEST(!poll.submit(conversation.operation));
        story(poll, conversation);
    });
}

// Whether the near end is gone as seen from here, at this moment.
bool is_at_the_end(const OwnedHandle& peer) {
    std::array<char, 16> found{};
    std::error_code error;
    return try_read(peer.get(), found, error) == 0 && !error;
}

bool can_be_listened_on(const Endpoint& endpoint) {
    const OwnedHandle socket = tcp_socket();
    const auto* const address = static_cast<const sockaddr*>(endpoint.data());
    return ::bind(socket.get(), address, static_cast<socklen_t>(endpoint.size())) == 0 &&
           ::listen(socket.get(), 1) == 0;
}

auto says(const std::string& name, const std::string& value) {
    return [=](const std::invalid_argument& error) {
        const std::string text = error.what();
        return text.find(name) != std::string::npos && text.find("\"" + value + "\"") != std::string::npos;
    };
}

Backend io_uring_itself() { return Backend::by_name("io_uring"); }

// As `Backend::best` gives it where io_uring stands first and nobody has named one.
Backend automatic_choice() { return {"io_uring", io_uring_itself().row(), true}; }

}  // namespace

BOOST_AUTO_TEST_SUITE(io_uring)

// ---- How it is made ----

BOOST_AUTO_TEST_CASE(size_that_is_none_is_refused_by_naming_it) {
    for (const char* value : {"0", "-1", "many", "8x", " 8", "16385", "99999999999999999999"}) {
        const Variable entries(entries_variable, value);

        BOOST_CHECK_EXCEPTION(Poll{io_uring_itself()}, std::invalid_argument, says(entries_variable, value));
        // A wish that cannot be met is told, whoever has chosen the backend.
        BOOST_CHECK_EXCEPTION(Poll{automatic_choice()}, std::invalid_argument, says(entries_variable, value));
    }
}

BOOST_AUTO_TEST_CASE(setup_that_is_none_is_refused_by_naming_it) {
    for (const char* value : {"fancy", "Plain", "plain "}) {
        const Variable setup(setup_variable, value);

        BOOST_CHECK_EXCEPTION(Poll{io_uring_itself()}, std::invalid_argument, says(setup_variable, value));
    }
}

BOOST_AUTO_TEST_CASE(choice_of_nobody_gives_way_where_the_kernel_refuses_and_tells_why) {
    const bool is_last = static_cast<std::size_t>(io_uring_itself().row()) + 1 == Backend::all().size();
    BOOST_TEST_REQUIRE(!is_last);
    for (int error : {EPERM, ENOSYS, ENOMEM}) {
        const int status = run_in_child([&] {
            refuse_io_uring(error);
            Poll poll(automatic_choice());
            poll.wake();
            const std::string& why = poll.passed_over();
            return poll.backend() == Backend::all()[static_cast<std::size_t>(io_uring_itself().row()) + 1] &&
                   harvest(poll).status == PollStatus::woken && why.starts_with("io_uring is refused: ") &&
                   why.find("io_uring_setup") != std::string::npos &&
                   why.find(std::system_category().message(error)) != std::string::npos;
        });

        BOOST_TEST(status == 0, std::system_category().message(error));
    }
}

BOOST_AUTO_TEST_CASE(choice_of_somebody_is_an_error_where_the_kernel_refuses) {
    for (int error : {EPERM, ENOSYS, ENOMEM}) {
        const int status = run_in_child([&] {
            refuse_io_uring(error);
            try {
                Poll poll(io_uring_itself());
            } catch (const std::system_error& refusal) {
                return refusal.code() == std::error_code(error, std::system_category()) &&
                       std::string(refusal.what()).find("io_uring_setup") != std::string::npos;
            }
            return false;
        });

        BOOST_TEST(status == 0, std::system_category().message(error));
    }
}

BOOST_AUTO_TEST_CASE(choice_that_is_carried_out_passes_nothing_over) {
    for (Backend backend : {io_uring_itself(), automatic_choice()}) {
        const Poll poll(backend);

        BOOST_TEST((poll.backend() == io_uring_itself()));
        BOOST_TEST(poll.passed_over() == "");
    }
}

// ---- Queues that run full ----

BOOST_AUTO_TEST_CASE(thousand_operations_end_at_once_in_whatever_place_there_is) {
    static constexpr std::size_t count = 1000;
    on_every_ring([] {
        Poll poll;
        Conversations all = converse(poll, count);
        BOOST_TEST(glance(poll).status == PollStatus::timed_out);

        for (const auto& each : all)
            write_text(each->link.peer.get(), "x");

        BOOST_TEST(await_all(poll) == count);
        for (const auto& each : all)
            BOOST_TEST_REQUIRE(each->received() == "x");
    });
}

BOOST_AUTO_TEST_CASE(ends_that_find_no_place_are_kept_by_the_kernel_and_counted) {
    static constexpr std::size_t count = 1000;
    struct Ends final : detail::uring::Requests::Taker {
        void take(const io_uring_cqe& completion) noexcept override {
            ++taken;
            if (completion.res != 1) ++failed;
        }
        std::size_t taken = 0;
        std::size_t failed = 0;
    } ends;
    for (bool is_plain : {false, true}) {
        detail::uring::RingOptions options;
        options.entries = 8;
        options.completions = 16;
        options.is_plain = is_plain;
        detail::uring::Requests requests(options, ends);
        ends.taken = 0;
        struct Request {
            Link link = stream_link();
            alignas(8) std::array<std::byte, 8> buffer{};
        };
        BOOST_TEST_REQUIRE(raise_handle_limit(2 * count + 100) >= 2 * count + 100);
        std::vector<Request> all(count);
        for (Request& each : all) {
            io_uring_sqe* const request = requests.demand();
            BOOST_TEST_REQUIRE(request != nullptr);
            ::io_uring_prep_recv(request, each.link.source.native_handle(), each.buffer.data(), 1, 0);
            requests.mark(*request,
                          detail::uring::Mark::of(&each.buffer, detail::uring::Mark::Kind::operation));
        }
        BOOST_TEST(requests.advance(0));

        for (Request& each : all)
            write_text(each.link.peer.get(), "x");
        while (requests.held() != 0)
            BOOST_TEST_REQUIRE(requests.advance(1));

        BOOST_TEST(ends.taken == count);
        BOOST_TEST(ends.failed == 0u);
        BOOST_TEST(requests.ring().overflows() > 0u);
    }
}

BOOST_AUTO_TEST_CASE(thousands_of_operations_are_withdrawn_in_the_same_moment_and_none_is_left) {
    static constexpr std::size_t count = 3000;
    on_every_ring([] {
        Poll poll;
        Conversations all = converse(poll, count);
        BOOST_TEST(glance(poll).status == PollStatus::timed_out);

        std::size_t to_come = 0;
        for (const auto& each : all)
            to_come += poll.cancel(each->operation) ? 0u : 1u;

        BOOST_TEST(await_all(poll) == to_come);
        for (const auto& each : all)
            BOOST_TEST_REQUIRE((each->operation.error() == std::errc::operation_canceled));
    });
}

BOOST_AUTO_TEST_CASE(sources_are_closed_by_the_thousand_with_their_operations_in_flight) {
    static constexpr std::size_t count = 1000;
    on_every_ring([] {
        Poll poll;
        Conversations all = converse(poll, count);

        for (const auto& each : all)
            each->link.source.close();

        BOOST_TEST(await_all(poll) == count);
        for (const auto& each : all) {
            BOOST_TEST_REQUIRE((each->operation.error() == errc::closed));
            BOOST_TEST_REQUIRE(is_at_the_end(each->link.peer));
        }
    });
}

// ---- A withdrawal and a result ----

BOOST_AUTO_TEST_CASE(cancel_before_the_kernel_has_heard_of_it) {
    on_one_receive([](Poll& poll, Conversation& conversation) {
        poll.cancel(conversation.operation);
        await_all(poll);

        BOOST_TEST((conversation.operation.error() == std::errc::operation_canceled));
        write_text(conversation.link.peer.get(), "x");
        expect_one_outcome_and_no_byte_lost(poll, conversation);
    });
}

BOOST_AUTO_TEST_CASE(cancel_before_the_kernel_has_heard_of_it_when_data_comes_with_that) {
    on_one_receive([](Poll& poll, Conversation& conversation) {
        poll.cancel(conversation.operation);
        write_text(conversation.link.peer.get(), "x");

        expect_one_outcome_and_no_byte_lost(poll, conversation);
    });
}

BOOST_AUTO_TEST_CASE(cancel_in_flight) {
    on_one_receive([](Poll& poll, Conversation& conversation) {
        BOOST_TEST(glance(poll).events.empty());

        poll.cancel(conversation.operation);
        await_all(poll);

        BOOST_TEST((conversation.operation.error() == std::errc::operation_canceled));
        write_text(conversation.link.peer.get(), "x");
        expect_one_outcome_and_no_byte_lost(poll, conversation);
    });
}

BOOST_AUTO_TEST_CASE(cancel_after_the_kernel_has_ended_it) {
    on_one_receive([](Poll& poll, Conversation& conversation) {
        BOOST_TEST(glance(poll).events.empty());
        write_text(conversation.link.peer.get(), "x");

        poll.cancel(conversation.operation);

        expect_one_outcome_and_no_byte_lost(poll, conversation);
    });
}

BOOST_AUTO_TEST_CASE(cancel_after_its_end_was_taken_changes_nothing) {
    on_one_receive([](Poll& poll, Conversation& conversation) {
        write_text(conversation.link.peer.get(), "x");
        await_all(poll);

        BOOST_TEST(!poll.cancel(conversation.operation));

        expect_one_outcome_and_no_byte_lost(poll, conversation);
        BOOST_TEST(!conversation.operation.has_failed());
    });
}

BOOST_AUTO_TEST_CASE(cancel_twice_is_one_outcome) {
    on_one_receive([](Poll& poll, Conversation& conversation) {
        BOOST_TEST(glance(poll).events.empty());

        poll.cancel(conversation.operation);
        poll.cancel(conversation.operation);
        write_text(conversation.link.peer.get(), "x");

        expect_one_outcome_and_no_byte_lost(poll, conversation);
    });
}

BOOST_AUTO_TEST_CASE(withdrawn_receive_that_waits_for_more_gives_what_it_had) {
    on_every_ring([] {
        Poll poll;
        Link link = stream_link();
        std::array<std::byte, 6> buffer{};
        Operation operation = Operation::receive_all(link.source, buffer);
        BOOST_TEST(!poll.submit(operation));
        BOOST_TEST(glance(poll).events.empty());
        write_text(link.peer.get(), "abc");
        BOOST_TEST(glance(poll).events.empty());

        poll.cancel(operation);
        await_all(poll);

        BOOST_TEST((operation.error() == std::errc::operation_canceled));
        BOOST_TEST(operation.transferred() == 3u);
        BOOST_TEST(text_of(std::span(buffer).first(3)) == "abc");
    });
}

// ---- What the kernel holds ----

BOOST_AUTO_TEST_CASE(memory_of_a_destroyed_operation_is_not_written_to) {
    on_every_ring([] {
        Poll poll;
        for (bool has_been_submitted : {false, true}) {
            Link link = stream_link();
            std::array<std::byte, 16> buffer{};
            {
                Operation operation = Operation::receive(link.source, buffer);
                BOOST_TEST(!poll.submit(operation));
                if (has_been_submitted) BOOST_TEST(glance(poll).events.empty());
            }
            BOOST_TEST(poll.in_flight() == 0u);
            buffer.fill(std::byte{'.'});

            write_text(link.peer.get(), "x");

            BOOST_TEST(glance(poll).events.empty());
            BOOST_TEST(text_of(buffer) == "................");
            std::array<std::byte, 16> other{};
            Operation next = Operation::receive(link.source, other);
            carry_out(poll, next);
            BOOST_TEST(text_of(std::span(other).first(next.transferred())) == "x");
        }
    });
}

BOOST_AUTO_TEST_CASE(closed_source_leaves_its_number_to_another_ones_socket) {
    on_every_ring([] {
        Poll poll;
        for (bool has_been_submitted : {false, true}) {
            Conversation conversation;
            const NativeHandle number = conversation.link.source.native_handle();
            BOOST_TEST(!poll.submit(conversation.operation));
            if (has_been_submitted) BOOST_TEST(glance(poll).events.empty());

            conversation.link.source.close();
            Link stranger = stream_link();
            const OwnedHandle same_number(
                stranger.source.native_handle() == number
                    ? stranger.source.release()
                    : checked(::dup2(stranger.source.native_handle(), number), "dup2"));
            write_text(stranger.peer.get(), "his");

            BOOST_TEST(same_number.get() == number);
            await_all(poll);
            BOOST_TEST((conversation.operation.error() == errc::closed));
            BOOST_TEST(read_text(number) == "his");
        }
    });
}

BOOST_AUTO_TEST_CASE(peer_sees_a_close_at_once) {
    on_every_ring([] {
        Poll poll;
        for (bool has_been_submitted : {false, true}) {
            Conversation conversation;
            BOOST_TEST(!poll.submit(conversation.operation));
            if (has_been_submitted) BOOST_TEST(glance(poll).events.empty());

            conversation.link.source.close();

            BOOST_TEST(is_at_the_end(conversation.link.peer));
            await_all(poll);
        }
    });
}

BOOST_AUTO_TEST_CASE(listener_that_is_closed_while_it_accepts_lets_go_of_its_port_at_once) {
    on_every_ring([] {
        Poll poll;
        for (bool has_been_submitted : {false, true}) {
            Listening listening = tcp_listener();
            Operation accept = Operation::accept(listening.source);
            BOOST_TEST(!poll.submit(accept));
            if (has_been_submitted) BOOST_TEST(glance(poll).events.empty());

            listening.source.close();

            BOOST_TEST(can_be_listened_on(listening.endpoint));
            await_all(poll);
            BOOST_TEST((accept.error() == errc::closed));
        }
    });
}

BOOST_AUTO_TEST_CASE(listener_that_another_thread_closes_lets_go_of_its_port_at_once) {
    on_every_ring([] {
        Poll poll;
        Listening listening = tcp_listener();
        Operation accept = Operation::accept(listening.source);
        BOOST_TEST(!poll.submit(accept));
        BOOST_TEST(glance(poll).events.empty());
        withdraw(poll, accept);

        std::thread([&] { listening.source.close(); }).join();

        BOOST_TEST(can_be_listened_on(listening.endpoint));
    });
}

// While nobody waits, any thread may close a source; the kernel may be answering for it at that moment.
BOOST_AUTO_TEST_CASE(stream_that_another_thread_closes_while_data_comes_is_no_harm_to_the_queue) {
    Poll poll;
    for (int i = 0; i < 300; ++i) {
        Link link = stream_link();
        Operation receive = Operation::receive_lent(link.source);
        write_text(link.peer.get(), "first");
        carry_out(poll, receive);
        std::thread closer([&] {
            write_text(link.peer.get(), "more");
            link.source.close();
        });
        glance(poll);
        closer.join();
        glance(poll);

        // Whoever has its place then has it whole.
        Link next = stream_link();
        poll.registrator().add(next.source, Token(static_cast<std::uint64_t>(i)), Interest::readable);
        write_text(next.peer.get(), "x");
        BOOST_TEST_REQUIRE(glance(poll).of(Token(static_cast<std::uint64_t>(i))) != nullptr);
    }
    BOOST_TEST(poll.in_flight() == 0u);
}

BOOST_AUTO_TEST_CASE(withdrawn_accept_that_was_never_submitted_takes_no_connection_of_another_listener) {
    on_every_ring([] {
        Poll poll;
        Listening listening = tcp_listener();
        const NativeHandle number = listening.source.native_handle();
        Operation accept = Operation::accept(listening.source);
        BOOST_TEST(!poll.submit(accept));
        withdraw(poll, accept);

        std::thread([&] { listening.source.close(); }).join();
        Listening other = tcp_listener();
        BOOST_TEST_REQUIRE(other.source.native_handle() == number);
        const OwnedHandle client = start_connect(other.endpoint);
        glance(poll);

        Operation next = Operation::accept(other.source);
        carry_out(poll, next);
        BOOST_TEST(!next.has_failed());
        OwnedHandle accepted(next.accepted());
    });
}

// ---- Connections ----

BOOST_AUTO_TEST_CASE(connection_of_a_withdrawn_accept_is_the_next_one_s) {
    on_every_ring([] {
        Poll poll;
        Listening listening = tcp_listener();
        Operation withdrawn = Operation::accept(listening.source);
        BOOST_TEST(!poll.submit(withdrawn));
        BOOST_TEST(glance(poll).events.empty());
        const OwnedHandle early = start_connect(listening.endpoint);
        await_writable(early.get());

        poll.cancel(withdrawn);
        await_all(poll);

        BOOST_TEST((withdrawn.error() == std::errc::operation_canceled));
        Operation next = Operation::accept(listening.source);
        carry_out(poll, next);
        BOOST_TEST(!next.has_failed());
        OwnedHandle accepted(next.accepted());
        write_text(early.get(), "early");
        BOOST_TEST(read_text(accepted.get()) == "early");
    });
}

BOOST_AUTO_TEST_CASE(connections_that_come_after_a_withdrawal_are_kept) {
    static constexpr std::size_t count = 100;
    on_every_ring([] {
        Poll poll;
        Listening listening = tcp_listener(2 * count);
        Operation withdrawn = Operation::accept(listening.source);
        BOOST_TEST(!poll.submit(withdrawn));
        BOOST_TEST(glance(poll).events.empty());
        withdraw(poll, withdrawn);
        std::vector<OwnedHandle> clients;
        for (std::size_t i = 0; i < count; ++i) {
            clients.push_back(start_connect(listening.endpoint));
            await_writable(clients.back().get());
            if (i == count / 2) glance(poll);
        }

        std::vector<OwnedHandle> accepted;
        for (std::size_t i = 0; i < count; ++i) {
            Operation accept = Operation::accept(listening.source);
            carry_out(poll, accept);
            BOOST_TEST_REQUIRE(!accept.has_failed());
            accepted.emplace_back(accept.accepted());
        }

        for (std::size_t i = 0; i < count; ++i) {
            write_text(clients[i].get(), std::to_string(i));
            BOOST_TEST_REQUIRE(read_text(accepted[i].get()) == std::to_string(i));
        }
    });
}

BOOST_AUTO_TEST_CASE(queue_that_ends_leaves_the_connections_to_the_listener_s_next_one) {
    on_every_ring([] {
        std::optional<Poll> poll(std::in_place);
        Listening listening = tcp_listener();
        Operation withdrawn = Operation::accept(listening.source);
        BOOST_TEST(!poll->submit(withdrawn));
        BOOST_TEST(glance(*poll).events.empty());
        withdraw(*poll, withdrawn);
        std::vector<OwnedHandle> clients;
        for (int i = 0; i < 5; ++i) {
            clients.push_back(start_connect(listening.endpoint));
            await_writable(clients.back().get());
        }
        BOOST_TEST(glance(*poll).events.empty());

        Source released(listening.source.release());
        poll.reset();

        Poll next;
        for (std::size_t i = 0; i < clients.size(); ++i) {
            Operation accept = Operation::accept(released);
            carry_out(next, accept);
            BOOST_TEST_REQUIRE(!accept.has_failed());
            OwnedHandle accepted(accept.accepted());
        }
    });
}

// ---- Other threads ----

BOOST_AUTO_TEST_CASE(wake_ends_a_poll_that_nothing_else_would_end) {
    on_every_ring([] {
        Poll poll;
        Registrator registrator = poll.registrator();
        const int owner = thread_id();
        for (int i = 0; i < 20; ++i) {
            std::thread other([&] {
                await_sleeping(owner);
                registrator.wake();
            });

            BOOST_TEST(harvest(poll).status == PollStatus::woken);

            other.join();
        }
    });
}

BOOST_AUTO_TEST_CASE(interest_that_another_thread_adds_is_reported_to_a_poll_that_sleeps) {
    on_every_ring([] {
        Poll poll;
        Registrator registrator = poll.registrator();
        const int owner = thread_id();
        for (unsigned i = 0; i < 20; ++i) {
            Link link = stream_link();
            write_text(link.peer.get(), "x");
            std::thread other([&] {
                await_sleeping(owner);
                registrator.add(link.source, Token(i), Interest::readable);
            });

            BOOST_TEST(harvest(poll).of(Token(i)) != nullptr);

            other.join();
        }
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::io_uring_test
