// SPDX-License-Identifier: BSL-1.0
#include "support/system.hpp"

#include <leat/net/address.hpp>

#include <boost/test/unit_test.hpp>

#include <set>
#include <stdexcept>
#include <string>

namespace leat::test::net::address_test {
namespace {

std::string printed(const char* text) { return to_string(Address::parse(text)); }

// What parsing `text` complains of; empty if it does not.
std::string complaint(std::string_view text) {
    try {
        Address::parse(text);
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(address)

BOOST_AUTO_TEST_CASE(default_address_is_any_ipv4_with_port_zero) {
    Address address;

    BOOST_TEST(address.is_ipv4());
    BOOST_TEST(address.is_any());
    BOOST_TEST(to_string(address) == "0.0.0.0:0");
}

BOOST_AUTO_TEST_CASE(ipv4_is_parsed_into_its_parts) {
    Address address = Address::parse("192.0.2.7:8080");

    BOOST_TEST(address.is_ipv4());
    BOOST_TEST(!address.is_ipv6());
    BOOST_TEST(address.port() == 8080);
    BOOST_TEST((address == Address::ipv4({192, 0, 2, 7}, 8080)));
}

BOOST_AUTO_TEST_CASE(ipv6_is_parsed_into_its_parts) {
    Address address = Address::parse("[2001:db8::ff00:42:8329%7]:65535");

    BOOST_TEST(address.is_ipv6());
    BOOST_TEST(address.port() == 65535);
    BOOST_TEST(address.scope() == 7u);
    BOOST_TEST(
        (address ==
         Address::ipv6({0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0x42, 0x83, 0x29}, 65535, 7)));
}

BOOST_AUTO_TEST_CASE(printed_form_is_the_canonical_one_of_rfc_5952) {
    BOOST_TEST(printed("127.0.0.1:80") == "127.0.0.1:80");
    BOOST_TEST(printed("[0:0:0:0:0:0:0:0]:0") == "[::]:0");
    BOOST_TEST(printed("[0000:0:0:0:0:0:0:0001]:1") == "[::1]:1");
    BOOST_TEST(printed("[1::]:1") == "[1::]:1");
    BOOST_TEST(printed("[2001:DB8::A]:1") == "[2001:db8::a]:1");
    BOOST_TEST(printed("[2001:db8:0:1:1:1:1:1]:1") == "[2001:db8:0:1:1:1:1:1]:1");
    BOOST_TEST(printed("[2001:0:0:1:0:0:0:1]:1") == "[2001:0:0:1::1]:1");
    BOOST_TEST(printed("[2001:db8:0:0:1:0:0:1]:1") == "[2001:db8::1:0:0:1]:1");
    BOOST_TEST(printed("[1:2:3:4:5:6:7:8]:1") == "[1:2:3:4:5:6:7:8]:1");
    BOOST_TEST(printed("[1:2:3:4:5:6:7::]:1") == "[1:2:3:4:5:6:7:0]:1");
    BOOST_TEST(printed("[::ffff:c000:0207]:1") == "[::ffff:192.0.2.7]:1");
    BOOST_TEST(printed("[64:ff9b::192.0.2.33]:1") == "[64:ff9b::c000:221]:1");
    BOOST_TEST(printed("[fe80::1%3]:22") == "[fe80::1%3]:22");
}

BOOST_AUTO_TEST_CASE(scope_may_be_the_name_of_an_interface) {
    BOOST_TEST(Address::parse("[fe80::1%" + interface_name(1) + "]:22").scope() == 1u);
}

BOOST_AUTO_TEST_CASE(wrong_text_is_named_in_the_error) {
    for (const char* text : {
             "no-address",
             "127.0.0.1",
             "127.0.0.1:",
             ":80",
             "127.0.0:80",
             "127.0.0.1.1:80",
             "256.0.0.1:80",
             "1.2.3.1000:80",
             "127.0.0.01:80",
             "127.0.0.1 :80",
             " 127.0.0.1:80",
             "127.0.0.-1:80",
             "127.0.0.x:80",
             "localhost:80",
             "127.0.0.1:65536",
             "127.0.0.1:70000",
             "127.0.0.1:-1",
             "127.0.0.1:+1",
             "127.0.0.1: 1",
             "127.0.0.1:http",
             "127.0.0.1:080000",
             "::1:80",
             "[::1]",
             "[::1]80",
             "[::1:80",
             "[]:80",
             "[:]:80",
             "[:1]:80",
             "[1:]:80",
             "[:::]:80",
             "[1::2::3]:80",
             "[1:2:3:4:5:6:7]:80",
             "[1:2:3:4:5:6:7:8:9]:80",
             "[1:2:3:4:5:6:7:8::]:80",
             "[12345::]:80",
             "[g::]:80",
             "[-1::]:80",
             "[127.0.0.1]:80",
             "[1.2.3.4::]:80",
             "[::1.2.3]:80",
             "[::1.2.3.4:5]:80",
             "[1:2:3:4:5:6:7:1.2.3.4]:80",
             "[fe80::1%]:80",
             "[fe80::1%no-such-interface]:80",
             "[fe80::1%4294967296]:80",
             "[::1]:",
             "[::1]:70000",
         }) {
        BOOST_TEST(complaint(text).find("'" + std::string(text) + "'") != std::string::npos,
                   text << " is not named in: " << complaint(text));
    }
}

BOOST_AUTO_TEST_CASE(empty_text_is_refused) { BOOST_TEST(complaint("") != ""); }

BOOST_AUTO_TEST_CASE(text_with_a_zero_byte_is_refused) {
    using namespace std::string_view_literals;

    BOOST_TEST(complaint("127.0.0.1:80\0"sv) != "");
    BOOST_TEST(complaint("[fe80::1%lo\0x]:80"sv) != "");
}

BOOST_AUTO_TEST_CASE(what_is_printed_parses_to_the_same) {
    for (const char* text : {"127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::]:0", "[::1]:1",
                             "[1::]:1", "[::ffff:1.2.3.4]:5", "[1:0:0:2::3]:4", "[fe80::1%4294967295]:6"}) {
        Address address = Address::parse(text);
        BOOST_TEST((Address::parse(to_string(address)) == address), text);
    }
}

BOOST_AUTO_TEST_CASE(loopback_is_known_in_each_of_its_forms) {
    BOOST_TEST(Address::loopback(1).is_loopback());
    BOOST_TEST(Address::loopback(1, Address::Family::ipv6).is_loopback());
    BOOST_TEST(Address::parse("127.255.0.1:1").is_loopback());
    BOOST_TEST(Address::parse("[::ffff:127.0.0.1]:1").is_loopback());
    BOOST_TEST(Address::parse("[::ffff:127.0.0.1]:1").is_ipv6());
    BOOST_TEST(Address::parse("[::ffff:127.0.0.1]:1").unmapped() == Address::loopback(1));
    BOOST_TEST(Address::parse("[::127.0.0.1]:1").unmapped().is_ipv6());
    BOOST_TEST(Address::loopback(1).unmapped() == Address::loopback(1));
    BOOST_TEST(!Address::parse("128.0.0.1:1").is_loopback());
    BOOST_TEST(!Address::parse("[::2]:1").is_loopback());
    BOOST_TEST(!Address::any(1, Address::Family::ipv6).is_loopback());
}

BOOST_AUTO_TEST_CASE(any_is_the_address_of_zeros) {
    BOOST_TEST(Address::any(80).is_any());
    BOOST_TEST(Address::any(80, Address::Family::ipv6).is_any());
    BOOST_TEST(Address::parse("[::ffff:0.0.0.0]:1").is_any());
    BOOST_TEST(!Address::loopback(80).is_any());
}

BOOST_AUTO_TEST_CASE(port_can_be_exchanged) {
    Address address = Address::parse("[fe80::1%3]:22");

    BOOST_TEST(to_string(address.with_port(443)) == "[fe80::1%3]:443");
}

BOOST_AUTO_TEST_CASE(addresses_are_ordered) {
    std::set<Address> addresses{Address::loopback(2), Address::loopback(1), Address::loopback(2),
                                Address::loopback(1, Address::Family::ipv6)};

    BOOST_TEST(addresses.size() == 3u);
    BOOST_TEST((*addresses.begin() == Address::loopback(1)));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::address_test
