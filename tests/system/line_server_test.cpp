// SPDX-License-Identifier: BSL-1.0
#include "line_client.hpp"
#include "server_process.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <string>

namespace leat::test::line_server_test {
namespace {

// Connections that are not ended by the drain itself would hold it up for an hour.
class LineServer : public Server {
public:
    explicit LineServer()
        : Server("line_server", {.arguments = {"--drain-quiet", "3600", "--drain-timeout", "3600"}}) {}
};

}  // namespace

BOOST_AUTO_TEST_SUITE(line_server)

BOOST_AUTO_TEST_CASE(each_line_has_an_answer) {
    LineServer server;
    LineClient client(server.endpoint());

    client.send("one\ntwo\nth");
    BOOST_TEST(client.line() == "OK one");
    BOOST_TEST(client.line() == "OK two");
    client.send("ree\n");
    BOOST_TEST(client.line() == "OK three");

    client.finish_sending();
    BOOST_TEST(client.rest() == "");
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(connection_between_two_requests_ends_at_once_in_a_drain) {
    LineServer server;
    LineClient idle(server.endpoint());
    idle.send("one\n");
    BOOST_TEST(idle.line() == "OK one");

    server.signal(SIGTERM);

    BOOST_TEST(idle.rest() == "");
    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(request_that_has_begun_is_answered_in_a_drain_and_told_that_it_is_the_last) {
    LineServer server;
    LineClient early(server.endpoint());
    LineClient idle(server.endpoint());
    idle.send("one\n");
    BOOST_TEST(idle.line() == "OK one");
    early.send("one\nhalf a ");
    BOOST_TEST(early.line() == "OK one");

    server.signal(SIGTERM);
    // Its end shows that the drain has begun.
    BOOST_TEST(idle.rest() == "");
    early.send("request\n");

    BOOST_TEST(early.line() == "BYE half a request");
    BOOST_TEST(early.rest() == "");
    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(client_that_never_pauses_ends_with_an_answer) {
    LineServer server;
    LineClient talker(server.endpoint());
    // In halves, so that a request has always begun.
    talker.send("one\ntwo");
    BOOST_TEST(talker.line() == "OK one");
    server.signal(SIGTERM);

    std::string answer;
    for (int i = 0; i < 1000 && !answer.starts_with("BYE"); ++i) {
        talker.send("\nthr");
        answer = talker.line();
    }

    BOOST_TEST(answer.starts_with("BYE"));
    talker.send("ee\n");
    BOOST_TEST(talker.rest() == "BYE three\n");
    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::line_server_test
