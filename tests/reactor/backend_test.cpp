// SPDX-License-Identifier: BSL-1.0
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>

namespace leat::test::backend_test {
namespace {

// Sets LEAT_BACKEND for one case, and puts back what CTest had set.
class ChosenBackend {
public:
    explicit ChosenBackend(const char* name) {
        if (const char* const before = std::getenv(variable)) before_ = before;
        set_environment(variable, name);
    }
    ChosenBackend(const ChosenBackend&) = delete;
    ChosenBackend& operator=(const ChosenBackend&) = delete;
    ~ChosenBackend() { set_environment(variable, before_ ? before_->c_str() : nullptr); }

private:
    static constexpr const char* variable = "LEAT_BACKEND";
    std::optional<std::string> before_;
};

auto mentions(const std::string& text) {
    return [text](const std::invalid_argument& error) {
        return std::string(error.what()).find(text) != std::string::npos;
    };
}

}  // namespace

BOOST_AUTO_TEST_SUITE(backend)

BOOST_AUTO_TEST_CASE(each_row_of_the_table_is_found_by_its_name) {
    BOOST_TEST_REQUIRE(!Backend::all().empty());

    for (const Backend each : Backend::all()) {
        BOOST_TEST(!each.name().empty());
        BOOST_TEST((Backend::by_name(each.name()) == each));
    }
}

BOOST_AUTO_TEST_CASE(unknown_name_is_refused_by_naming_it_and_what_there_is) {
    const std::string known(Backend::all().front().name());

    BOOST_CHECK_EXCEPTION(Backend::by_name("water-wheel"), std::invalid_argument, mentions("water-wheel"));
    BOOST_CHECK_EXCEPTION(Backend::by_name("water-wheel"), std::invalid_argument, mentions(known));
    BOOST_CHECK_THROW(Backend::by_name(""), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(environment_chooses_the_best) {
    for (const Backend each : Backend::all()) {
        const ChosenBackend chosen(std::string(each.name()).c_str());

        BOOST_TEST((Backend::best() == each));
    }
}

BOOST_AUTO_TEST_CASE(without_the_environment_the_first_row_is_the_best) {
    const ChosenBackend chosen(nullptr);

    BOOST_TEST((Backend::best() == Backend::all().front()));
}

BOOST_AUTO_TEST_CASE(choice_is_automatic_only_if_nobody_has_named_a_backend) {
    for (const char* unset : {static_cast<const char*>(nullptr), ""}) {
        const ChosenBackend chosen(unset);
        BOOST_TEST(Backend::best().is_automatic());
    }
    for (const Backend each : Backend::all()) {
        const ChosenBackend chosen(std::string(each.name()).c_str());

        BOOST_TEST(!Backend::best().is_automatic());
        BOOST_TEST(!each.is_automatic());
        BOOST_TEST(!Backend::by_name(each.name()).is_automatic());
    }
}

BOOST_AUTO_TEST_CASE(unknown_name_in_the_environment_is_refused_by_naming_it) {
    const ChosenBackend chosen("water-wheel");

    BOOST_CHECK_EXCEPTION(Backend::best(), std::invalid_argument, mentions("water-wheel"));
}

BOOST_AUTO_TEST_CASE(poll_tells_which_backend_carries_it) {
    for (const Backend each : Backend::all()) {
        const Poll poll(each);

        BOOST_TEST((poll.backend() == each));
        BOOST_TEST(poll.passed_over() == "");
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::backend_test
