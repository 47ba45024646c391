// SPDX-License-Identifier: BSL-1.0
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace leat::test::source_test {
namespace {

struct Fixture {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = stream_link();
    std::array<std::byte, 16> buffer{};
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(source, Fixture)

BOOST_AUTO_TEST_CASE(default_source_is_closed) {
    const Source none;

    BOOST_TEST(!none.is_open());
    BOOST_TEST(none.native_handle() == invalid_handle);
}

BOOST_AUTO_TEST_CASE(source_owns_its_handle_and_the_peer_sees_it_close) {
    {
        const Source owner(std::move(link.source));
        BOOST_TEST(owner.is_open());
    }

    BOOST_TEST(read_text(link.peer.get()).empty());
}

BOOST_AUTO_TEST_CASE(registered_source_closes_for_the_peer_when_it_dies) {
    {
        Source owner(std::move(link.source));
        registrator.add(owner, Token(1), Interest::readable);
    }

    BOOST_TEST(read_text(link.peer.get()).empty());
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(closing_twice_is_harmless) {
    registrator.add(link.source, Token(1), Interest::readable);

    link.source.close();
    const OwnedHandle reuse(tcp_socket());
    link.source.close();

    BOOST_TEST(!link.source.is_open());
    BOOST_TEST(link.source.native_handle() == invalid_handle);
    BOOST_TEST(open_handles().contains(reuse.get()));
}

BOOST_AUTO_TEST_CASE(close_removes_the_registration) {
    registrator.add(link.source, Token(1), Interest::readable);
    link.source.close();
    std::error_code error;

    registrator.remove(link.source, error);

    BOOST_TEST((error == errc::not_registered));
}

BOOST_AUTO_TEST_CASE(registration_moves_with_the_source) {
    registrator.add(link.source, Token(1), Interest::readable);
    Source moved(std::move(link.source));

    write_text(link.peer.get(), "x");

    BOOST_TEST(harvest(poll).of(Token(1)) != nullptr);
    BOOST_TEST(!link.source.is_open());
    registrator.modify(moved, Token(2), Interest::readable);
    BOOST_TEST(harvest(poll).of(Token(2)) != nullptr);
    registrator.remove(moved);
}

BOOST_AUTO_TEST_CASE(assignment_closes_what_was_held_before) {
    Link other = stream_link();
    registrator.add(link.source, Token(1), Interest::readable);
    registrator.add(other.source, Token(2), Interest::readable);

    link.source = std::move(other.source);

    BOOST_TEST(read_text(link.peer.get()).empty());
    write_text(other.peer.get(), "x");
    const Harvest found = harvest(poll);
    BOOST_TEST(found.of(Token(1)) == nullptr);
    BOOST_TEST(found.of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(assignment_to_itself_changes_nothing) {
    registrator.add(link.source, Token(1), Interest::readable);
    Source& same = link.source;

    link.source = std::move(same);

    write_text(link.peer.get(), "x");
    BOOST_TEST(harvest(poll).of(Token(1)) != nullptr);
}

BOOST_AUTO_TEST_CASE(release_gives_the_handle_away_and_removes_the_registration) {
    registrator.add(link.source, Token(1), Interest::readable);
    const NativeHandle number = link.source.native_handle();

    Source owner(link.source.release());

    BOOST_TEST(owner.native_handle() == number);
    BOOST_TEST(!link.source.is_open());
    Poll other;
    other.registrator().add(owner, Token(2), Interest::writable);
    BOOST_TEST(glance(other).of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(release_of_a_closed_source_gives_no_handle) {
    link.source.close();

    BOOST_TEST(link.source.release() == invalid_handle);
}

BOOST_AUTO_TEST_CASE(source_may_outlive_its_poll_and_serve_another) {
    std::optional<Poll> first(std::in_place);
    first->registrator().add(link.source, Token(1), Interest::writable);
    first.reset();
    std::error_code error;

    registrator.add(link.source, Token(2), Interest::writable, Mode::persistent, error);

    // It belonged to a queue that is gone: either answer must leave it usable.
    if (error) {
        BOOST_TEST((error == errc::already_registered));
        Source again(link.source.release());
        registrator.add(again, Token(2), Interest::writable);
        link.source = std::move(again);
    }
    BOOST_TEST(glance(poll).of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(source_may_be_moved_while_an_operation_waits) {
    Operation operation = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(operation));

    Source moved(std::move(link.source));
    write_text(link.peer.get(), "x");

    BOOST_TEST_REQUIRE(harvest(poll).events.size() == 1u);
    BOOST_TEST(operation.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(operations_with_another_poll_are_refused) {
    Poll other;
    Operation first = Operation::receive(link.source, std::span<std::byte>());
    poll.submit(first);
    Operation second = Operation::send(link.source, bytes_of("x"));

    BOOST_TEST(other.submit(second));
    BOOST_TEST((second.error() == errc::already_registered));
}

// A socket of Windows stays with its first queue.
BOOST_AUTO_TEST_CASE(released_source_takes_operations_with_another_poll, *boost::unit_test::label("posix")) {
    Poll other;
    BOOST_TEST(!poll.bind(link.source));

    Source again(link.source.release());
    Operation operation = Operation::send(again, bytes_of("x"));
    BOOST_TEST(other.submit(operation));
    BOOST_TEST(!operation.has_failed());
}

BOOST_AUTO_TEST_CASE(watch_sees_the_handle_until_the_source_is_closed) {
    BOOST_TEST(!poll.bind(link.source));
    const SourceWatch watch(link.source);
    BOOST_TEST(watch.native_handle() == link.source.native_handle());

    link.source.close();
    Link next = stream_link();
    BOOST_TEST(!poll.bind(next.source));

    BOOST_TEST(watch.native_handle() == invalid_handle);
}

BOOST_AUTO_TEST_CASE(watch_sees_a_release_as_an_end) {
    BOOST_TEST(!poll.bind(link.source));
    const SourceWatch watch(link.source);

    const OwnedHandle owner(link.source.release());

    BOOST_TEST(watch.native_handle() == invalid_handle);
}

BOOST_AUTO_TEST_CASE(watch_counts_the_bytes_that_operations_moved) {
    BOOST_TEST(!poll.bind(link.source));
    const SourceWatch watch(link.source);
    BOOST_TEST(watch.moved() == 0u);

    Operation send = Operation::send(link.source, bytes_of("hello"));
    BOOST_TEST(poll.submit(send));
    write_text(link.peer.get(), "hi");
    Operation receive = Operation::receive(link.source, buffer);
    BOOST_TEST(poll.submit(receive));
    BOOST_TEST(watch.moved() == 7u);

    link.source.close();
    BOOST_TEST(watch.moved() == 7u);
}

BOOST_AUTO_TEST_CASE(watch_of_a_closed_source_is_not_confused_by_the_next_owner_of_its_place) {
    BOOST_TEST(!poll.bind(link.source));
    const SourceWatch watch(link.source);
    link.source.close();

    for (int i = 0; i < 10; ++i) {
        Link next = stream_link();
        BOOST_TEST(!poll.bind(next.source));
        Operation send = Operation::send(next.source, bytes_of("x"));
        poll.submit(send);
        BOOST_TEST(watch.native_handle() == invalid_handle);
    }
}

BOOST_AUTO_TEST_CASE(reads_that_end_give_what_has_arrived_and_then_the_end) {
    BOOST_TEST(!poll.bind(link.source));
    SourceWatch watch(link.source);
    write_text(link.peer.get(), "ab");

    watch.end_reads();

    BOOST_TEST(link.source.reads_end());
    Operation arrived = Operation::receive(link.source, buffer);
    BOOST_TEST(poll.submit(arrived));
    BOOST_TEST(arrived.transferred() == 2u);
    for (int i = 0; i < 3; ++i) {
        Operation end = Operation::receive(link.source, buffer);
        BOOST_TEST(poll.submit(end));
        BOOST_TEST(!end.has_failed());
        BOOST_TEST(end.transferred() == 0u);
    }
    Operation peek = Operation::peek(link.source, buffer);
    BOOST_TEST(poll.submit(peek));
    BOOST_TEST(peek.transferred() == 0u);
    Operation whole = Operation::receive_all(link.source, buffer);
    BOOST_TEST(poll.submit(whole));
    BOOST_TEST((whole.error() == errc::unexpected_end));
}

BOOST_AUTO_TEST_CASE(connection_whose_reads_end_goes_on_as_before) {
    BOOST_TEST(!poll.bind(link.source));
    SourceWatch watch(link.source);

    watch.end_reads();

    Operation send = Operation::send(link.source, bytes_of("x"));
    BOOST_TEST(poll.submit(send));
    BOOST_TEST(read_text(link.peer.get()) == "x");
    write_text(link.peer.get(), "late");
    Operation late = Operation::receive(link.source, buffer);
    BOOST_TEST(poll.submit(late));
    BOOST_TEST(late.transferred() == 4u);
}

BOOST_AUTO_TEST_CASE(read_that_waits_ends_when_reads_do) {
    using Make = Operation (*)(Source&, std::span<std::byte>);
    for (Make make :
         {Make([](Source& source, std::span<std::byte> into) { return Operation::receive(source, into); }),
          Make([](Source& source, std::span<std::byte> into) { return Operation::peek(source, into); }),
          Make([](Source& source, std::span<std::byte>) { return Operation::wait_readable(source); })}) {
        Link stream = stream_link();
        Operation waiting = make(stream.source, buffer);
        BOOST_TEST(!poll.submit(waiting));
        SourceWatch watch(stream.source);

        watch.end_reads();
        watch.end_reads();

        BOOST_TEST(glance(poll).events.size() == 1u);
        BOOST_TEST(waiting.is_ended());
        BOOST_TEST(!waiting.has_failed());
        BOOST_TEST(waiting.transferred() == 0u);
    }
}

BOOST_AUTO_TEST_CASE(drain_ends_only_the_reads_that_are_marked) {
    BOOST_TEST(!poll.bind(link.source));
    SourceWatch watch(link.source);
    Operation waiting = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(waiting));

    watch.begin_drain();

    BOOST_TEST(link.source.is_draining());
    BOOST_TEST(glance(poll).events.empty());
    write_text(link.peer.get(), "ab");
    BOOST_TEST(harvest(poll).events.size() == 1u);
    BOOST_TEST(waiting.transferred() == 2u);
}

BOOST_AUTO_TEST_CASE(marked_read_gives_what_has_arrived_and_then_the_end_in_a_drain) {
    using Make = Operation (*)(Source&, std::span<std::byte>);
    for (Make make :
         {Make([](Source& source, std::span<std::byte> into) { return Operation::receive(source, into); }),
          Make([](Source& source, std::span<std::byte>) { return Operation::receive_lent(source); })}) {
        Link stream = stream_link();
        // So that the queue has seen it empty before the drain.
        Operation before = make(stream.source, buffer);
        BOOST_TEST(!poll.submit(before));
        write_text(stream.peer.get(), "x");
        BOOST_TEST(harvest(poll).events.size() == 1u);
        SourceWatch watch(stream.source);
        watch.begin_drain();
        write_text(stream.peer.get(), "ab");

        Operation arrived = make(stream.source, buffer).until_drain();
        BOOST_TEST(poll.submit(arrived));
        Operation end = make(stream.source, buffer).until_drain();
        BOOST_TEST(poll.submit(end));

        BOOST_TEST(arrived.transferred() == 2u);
        BOOST_TEST(!end.has_failed());
        BOOST_TEST(end.transferred() == 0u);
    }
}

BOOST_AUTO_TEST_CASE(marked_read_that_waits_ends_when_a_drain_begins) {
    using Make = Operation (*)(Source&, std::span<std::byte>);
    for (Make make :
         {Make([](Source& source, std::span<std::byte> into) { return Operation::receive(source, into); }),
          Make([](Source& source, std::span<std::byte>) { return Operation::receive_lent(source); }),
          Make([](Source& source, std::span<std::byte> into) { return Operation::peek(source, into); }),
          Make([](Source& source, std::span<std::byte>) { return Operation::wait_readable(source); })}) {
        Link stream = stream_link();
        Operation waiting = make(stream.source, buffer).until_drain();
        BOOST_TEST(!poll.submit(waiting));
        SourceWatch watch(stream.source);

        watch.begin_drain();
        watch.begin_drain();

        BOOST_TEST(glance(poll).events.size() == 1u);
        BOOST_TEST(!waiting.has_failed());
        BOOST_TEST(waiting.transferred() == 0u);
    }
}

// A socket of Windows stays with its first queue, and does not say which one that is.
BOOST_AUTO_TEST_CASE(source_that_serves_again_reads_again, *boost::unit_test::label("posix")) {
    BOOST_TEST(!poll.bind(link.source));
    {
        SourceWatch watch(link.source);
        watch.end_reads();
    }
    Source again(link.source.release());

    Operation read = Operation::receive(again, buffer);

    BOOST_TEST(!again.reads_end());
    BOOST_TEST(!poll.submit(read));
}

BOOST_AUTO_TEST_CASE(watch_keeps_the_handle_that_its_owner_closes) {
    BOOST_TEST(!poll.bind(link.source));
    SourceWatch watch(link.source);
    watch.keep_handle();
    BOOST_TEST(watch.take_handle() == invalid_handle);
    const NativeHandle handle = link.source.native_handle();
    write_text(link.peer.get(), "unread, ");

    link.source.close();

    BOOST_TEST(!link.source.is_open());
    const OwnedHandle kept(watch.take_handle());
    BOOST_TEST(kept.get() == handle);
    BOOST_TEST(watch.take_handle() == invalid_handle);
    // The peer has been told, and may still say something.
    BOOST_TEST(read_text(link.peer.get()).empty());
    write_text(link.peer.get(), "still open");
    BOOST_TEST(read_text(kept.get()) == "unread, still open");
}

BOOST_AUTO_TEST_CASE(kept_handle_that_nobody_takes_is_closed_with_the_watch) {
    const std::set<NativeHandle> before = open_handles();
    BOOST_TEST(!poll.bind(link.source));
    {
        SourceWatch watch(link.source);
        watch.keep_handle();
        write_text(link.peer.get(), "unread");
        link.source.close();
        BOOST_TEST((open_handles() == before));
    }

    BOOST_TEST(open_handles().size() == before.size() - 1);
}

BOOST_AUTO_TEST_CASE(handle_whose_close_costs_the_peer_nothing_is_closed_at_once) {
    BOOST_TEST(!poll.bind(link.source));
    SourceWatch watch(link.source);
    watch.keep_handle();

    link.source.close();

    BOOST_TEST(watch.take_handle() == invalid_handle);
    BOOST_TEST(read_text(link.peer.get()).empty());
}

BOOST_AUTO_TEST_CASE(default_watch_sees_nothing) {
    const SourceWatch watch;

    BOOST_TEST(watch.native_handle() == invalid_handle);
}

// Neither of them would know what belongs to it.
BOOST_AUTO_TEST_CASE(second_source_of_a_handle_is_refused_and_changes_nothing) {
    Operation first = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(first));
    Source second(link.source.native_handle());
    std::array<std::byte, 16> others{};

    Operation refused = Operation::receive(second, others);
    BOOST_TEST(poll.submit(refused));
    BOOST_TEST((refused.error() == std::errc::file_exists), refused.error().message());
    BOOST_TEST((poll.bind(second) == std::errc::file_exists));
    std::error_code error;
    registrator.add(second, Token(1), Interest::readable, Mode::persistent, error);
    BOOST_TEST((error == std::errc::file_exists), error.message());

    write_text(link.peer.get(), "x");
    while (!first.is_ended())
        BOOST_TEST_REQUIRE((harvest(poll).status == PollStatus::events));
    BOOST_TEST(first.transferred() == 1u);
    static_cast<void>(second.release());
}

BOOST_AUTO_TEST_CASE(second_source_of_a_registered_handle_is_refused_and_changes_nothing) {
    registrator.add(link.source, Token(1), Interest::readable);
    Source second(link.source.native_handle());
    std::error_code error;

    registrator.add(second, Token(2), Interest::readable, Mode::persistent, error);
    BOOST_TEST((error == std::errc::file_exists), error.message());
    Operation refused = Operation::receive(second, buffer);
    BOOST_TEST(poll.submit(refused));
    BOOST_TEST((refused.error() == std::errc::file_exists), refused.error().message());

    write_text(link.peer.get(), "x");
    const Harvest seen = harvest(poll);
    BOOST_TEST_REQUIRE(seen.events.size() == 1u);
    BOOST_TEST((seen.events[0].token() == Token(1)));
    static_cast<void>(second.release());
}

BOOST_AUTO_TEST_CASE(handle_that_its_source_has_let_go_of_is_anybodys, *boost::unit_test::label("posix")) {
    for (int i = 0; i < 3; ++i) {
        BOOST_TEST(!poll.bind(link.source));
        link.source = Source(link.source.release());
        registrator.add(link.source, Token(1), Interest::readable);
        registrator.remove(link.source);
    }
}

// Sources that come and go in any order: each handle is known while its source is bound, and no longer.
BOOST_AUTO_TEST_CASE(second_source_is_refused_among_many) {
    std::vector<Link> links;
    for (int i = 0; i < 200; ++i)
        links.push_back(stream_link());
    for (Link& each : links)
        BOOST_TEST_REQUIRE(!poll.bind(each.source));
    for (std::size_t i = 0; i < links.size(); i += 3)
        links[i].source.close();

    for (std::size_t i = 0; i < links.size(); ++i) {
        if (i % 3 == 0) {
            Link fresh = stream_link();
            BOOST_TEST(!poll.bind(fresh.source));
            continue;
        }
        Source second(links[i].source.native_handle());
        BOOST_TEST((poll.bind(second) == std::errc::file_exists));
        static_cast<void>(second.release());
    }
}

BOOST_AUTO_TEST_CASE(binding_twice_is_harmless_and_elsewhere_refused) {
    Poll other;

    BOOST_TEST(!poll.bind(link.source));
    BOOST_TEST(!poll.bind(link.source));
    BOOST_TEST((other.bind(link.source) == errc::already_registered));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::source_test
