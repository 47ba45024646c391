// SPDX-License-Identifier: BSL-1.0
#include "line_client.hpp"
#include "server_process.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <deque>
#include <string>

namespace leat::test::chat_server_test {
namespace {

class ChatServer : public Server {
public:
    explicit ChatServer(const std::vector<std::string>& arguments = {})
        : Server("chat_server", {.arguments = arguments}) {}
};

/// Somebody who has entered; `here` is who was there before, each with a blank in front.
class Person : public LineClient {
public:
    Person(const Server& server, const std::string& name, const std::string& here,
           const ClientOptions& options = {})
        : LineClient(server.endpoint(), options) {
        BOOST_TEST_REQUIRE(line() == "* your name?");
        send(name + "\n");
        BOOST_TEST_REQUIRE(line() == "* here:" + here);
    }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(chat_server)

BOOST_AUTO_TEST_CASE(line_goes_to_all_others) {
    ChatServer server;
    Person ada(server, "ada", "");
    Person ben(server, "ben", " ada");
    Person cyd(server, "cyd", " ada ben");

    ben.send("hello\n");

    BOOST_TEST(ada.line() == "* ben has come");
    BOOST_TEST(ada.line() == "* cyd has come");
    BOOST_TEST(ada.line() == "ben: hello");
    BOOST_TEST(cyd.line() == "ben: hello");
    cyd.send("hi\n");
    BOOST_TEST(ben.line() == "* cyd has come");
    BOOST_TEST(ben.line() == "cyd: hi");
    BOOST_TEST(server.stop() == 0);
    BOOST_TEST(server.complaints() == 0u);
}

BOOST_AUTO_TEST_CASE(name_is_asked_for_until_it_is_one_that_nobody_has) {
    ChatServer server;
    Person ada(server, "ada", "");
    LineClient other(server.endpoint());

    for (const std::string name : {"ada", "", "two words", "a-name-that-is-far-too-long", "\x01"}) {
        BOOST_TEST(other.line() == "* your name?");
        other.send(name + "\n");
    }
    BOOST_TEST(other.line() == "* your name?");
    other.send("ben\n");

    BOOST_TEST(other.line() == "* here: ada");
    BOOST_TEST(ada.line() == "* ben has come");
}

BOOST_AUTO_TEST_CASE(lines_may_come_in_pieces_several_at_once_and_with_a_carriage_return) {
    ChatServer server;
    Person ada(server, "ada", "");
    Person ben(server, "ben", " ada");
    ada.line();

    for (const char piece : std::string("one\r\n"))
        ben.send(std::string(1, piece));
    ben.send("two\n\nthree\nwithout an end");
    ben.finish_sending();

    for (const char* line :
         {"ben: one", "ben: two", "ben: ", "ben: three", "ben: without an end", "* ben has gone"})
        BOOST_TEST(ada.line() == line);
}

BOOST_AUTO_TEST_CASE(who_leaves_or_is_reset_is_seen_to_go_and_the_name_is_free_again) {
    ChatServer server;
    Person ada(server, "ada", "");
    for (bool is_reset : {false, true}) {
        Person ben(server, "ben", " ada");
        BOOST_TEST(ada.line() == "* ben has come");
        if (is_reset)
            ben.reset();
        else
            ben.finish_sending();
        BOOST_TEST(ada.line() == "* ben has gone");
    }
    BOOST_TEST(server.stop() == 0);
    BOOST_TEST(server.complaints() == 0u, server.process().errors());
}

BOOST_AUTO_TEST_CASE(line_that_is_too_long_ends_its_sender_alone) {
    ChatServer server({"--max-line", "20"});
    Person ada(server, "ada", "");
    Person ben(server, "ben", " ada");
    ada.line();

    ben.send(std::string(20, 'x') + "\n");
    BOOST_TEST(ada.line() == "ben: " + std::string(20, 'x'));
    ben.send(std::string(1000, 'y'));

    BOOST_TEST(ben.rest() == "* that line is too long\n");
    BOOST_TEST(ada.line() == "* ben has gone");
    ada.send("still here\n");
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(member_that_reads_is_not_dropped_however_many_lines_come_at_once) {
    ChatServer server({"--grace", "3600"});
    Person ada(server, "ada", "");
    Person ben(server, "ben", " ada");
    ada.line();
    constexpr std::size_t lines = 5000;
    std::string burst;
    for (std::size_t i = 0; i < lines; ++i)
        burst += "a\n";

    ben.send(burst);
    ben.finish_sending();

    std::size_t heard = 0;
    std::string line = ada.line();
    for (; line == "ben: a"; line = ada.line())
        ++heard;
    BOOST_TEST(heard == lines);
    BOOST_TEST(line == "* ben has gone");
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(member_that_reads_is_not_dropped_when_many_leave_at_once) {
    ChatServer server({"--grace", "3600", "--max-queue", "10"});
    Person ada(server, "ada", "");
    constexpr std::size_t members = 120;
    std::deque<Person> people;
    std::string here = " ada";
    for (std::size_t i = 0; i < members; ++i) {
        const std::string name = "m" + std::to_string(i);
        people.emplace_back(server, name, here);
        BOOST_TEST(ada.line() == "* " + name + " has come");
        here += " " + name;
    }
    // All of them are there when the server looks again.
    server.signal(SIGSTOP);
    people.clear();
    server.signal(SIGCONT);

    for (std::size_t gone = 0; gone < members; ++gone)
        BOOST_TEST(ada.line().ends_with(" has gone"));
    BOOST_TEST(server.stop() == 0);
}

// It takes a line now and then, and nobody can speak meanwhile, but not for longer than the grace.
BOOST_AUTO_TEST_CASE(member_that_reads_too_slowly_for_the_room_is_dropped) {
    ChatServer server({"--max-queue", "20", "--grace", "0.3", "--patience", "60"});
    Person slow(server, "slow", "", {.narrow = true});
    Person ada(server, "ada", " slow");
    Person ben(server, "ben", " slow ada");
    ada.line();
    const std::string text(900, 'x');

    std::string heard;
    for (int lines = 0; heard != "* slow did not keep up"; ++lines) {
        BOOST_TEST_REQUIRE(lines < 100'000);
        ben.send(text + "\n");
        heard = ada.line();
        if (lines % 100 == 99) slow.line();
    }

    ada.send("and on\n");
    while (heard != "ada: and on")
        heard = ben.line();
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(member_that_does_not_keep_up_is_told_and_dropped_and_holds_nobody_up) {
    ChatServer server({"--max-queue", "10", "--patience", "60"});
    Person slow(server, "slow", "", {.narrow = true});
    Person ada(server, "ada", " slow");
    Person ben(server, "ben", " slow ada");
    ada.line();
    const std::string text(900, 'x');

    // Nobody but the slow one lags: each line is answered for by the other's having it.
    std::string heard;
    int lines = 0;
    while (heard != "* slow did not keep up") {
        BOOST_TEST_REQUIRE(++lines < 100'000);
        ben.send(text + "\n");
        heard = ada.line();
    }
    BOOST_TEST(ada.line() == "ben: " + text);
    BOOST_TEST(ben.line() == "* slow did not keep up");

    BOOST_TEST(slow.rest().ends_with("\n* you do not keep up\n"));
    ada.send("and on\n");
    BOOST_TEST(ben.line() == "ada: and on");
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(member_that_never_reads_is_gone_when_patience_ends) {
    ChatServer server({"--max-queue", "5", "--patience", "0.1"});
    Person ada(server, "ada", "");
    std::size_t baseline = server.descriptors_at_rest();
    Person slow(server, "slow", " ada", {.narrow = true});
    Person ben(server, "ben", " ada slow");
    ada.line();
    ada.line();

    std::string line(900, 'x');
    line += '\n';
    std::string heard;
    while (heard != "* slow did not keep up") {
        ben.send(line);
        heard = ada.line();
    }

    Deadline deadline;
    while (server.open_descriptors() > baseline + 1)
        deadline.check("the connection of a member that never reads to be closed");
}

BOOST_AUTO_TEST_CASE(hundred_members_hear_each_other) {
    constexpr std::size_t members = 100;
    ChatServer server({"--max-queue", "1000"});
    std::deque<Person> people;
    std::string here;
    for (std::size_t i = 0; i < members; ++i) {
        const std::string name = "m" + std::to_string(i);
        people.emplace_back(server, name, here);
        here += " " + name;
    }

    for (Person& person : people)
        person.send("hello\n");

    for (std::size_t i = 0; i < members; ++i) {
        std::size_t arrivals = 0;
        std::size_t greetings = 0;
        while (greetings < members - 1) {
            const std::string line = people[i].line();
            arrivals += line.ends_with(" has come") ? 1u : 0u;
            greetings += line.ends_with(": hello") ? 1u : 0u;
        }
        BOOST_TEST(arrivals == members - 1 - i);
    }
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(terminate_delivers_what_was_said_before_and_ends_in_order) {
    ChatServer server;
    Person ada(server, "ada", "");
    Person ben(server, "ben", " ada");
    ada.line();
    server.signal(SIGSTOP);
    std::string said;
    std::string expected;
    for (int i = 0; i < 1000; ++i) {
        said += "line " + std::to_string(i) + "\n";
        expected += "ben: line " + std::to_string(i) + "\n";
    }
    ben.send(said);
    ada.send("three\n");
    server.signal(SIGTERM);
    server.signal(SIGCONT);

    const std::string heard = ada.rest();

    BOOST_TEST(heard.starts_with(expected), heard.size());
    const std::string answer = ben.rest();
    BOOST_TEST(answer.starts_with("ada: three\n"), answer);
    BOOST_TEST(server.process().wait() == 0);
    BOOST_TEST(server.process().output().ends_with("chat_server: served 2 connections\n"));
    BOOST_TEST(server.complaints() == 0u);
}

BOOST_AUTO_TEST_CASE(second_signal_ends_it_whoever_does_not_read) {
    ChatServer server({"--max-queue", "100000", "--drain-timeout", "3600"});
    Person slow(server, "slow", "", {.narrow = true});
    Person ada(server, "ada", " slow");
    std::string line(900, 'x');
    line += '\n';
    for (int i = 0; i < 1000; ++i)
        ada.send(line);
    server.wait_until_idle();

    server.signal(SIGTERM);
    ada.rest();
    server.signal(SIGTERM);

    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::chat_server_test
