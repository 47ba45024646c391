// SPDX-License-Identifier: BSL-1.0
//
// The queue that other threads post to, in every order in which the atomic operations of a few threads can take place: nothing
// that was accepted is lost, called twice or out of its order, and nobody sleeps on mail. See support/interleavings.hpp for how,
// and for what that shows: the algorithm under sequential consistency, not each weaker order; those are what the thread
// sanitizer's runs of the suites `remote`, `remote_call` and `remote_channel` are for.
#include "src/inbox.hpp"

#include "support/interleavings.hpp"

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

using namespace leat;
using namespace leat::test;

namespace inbox_test {

namespace {

/// A queue with its reader's bed and bell, and what came of each post.
template <class Sync>
struct Mailbox {
    explicit Mailbox(std::size_t posters, std::size_t p) : posts(p), accepted(posters), next(posters) {}

    /// The body of a thread that posts.
    void post(std::size_t poster) {
        for (std::size_t number = 0; number < posts; ++number) {
            Interleavings::current().stand_at(number * (posts + 1) + accepted[poster]);
            auto call = [this, poster, number] {
                if (next[poster] != number) is_in_order = false;
                ++next[poster];
                ++called;
            };
            auto wake = [this] {
                ++rings;
                bell.store(true);
            };
            if (queue.push(detail::PostedFunction(call), wake)) ++accepted[poster];
        }
    }

    /// What an executor does: takes, and sleeps when there is nothing.
    void read_until(std::size_t wanted, std::size_t limit) {
        while (called < wanted) {
            // Where blocks do not end, the number says how far it has read.
            if (Sync::positions_a_block > 2 * wanted) Interleavings::current().stand_at(called);
            if (queue.has_mail()) {
                queue.take(limit, [](detail::PostedFunction& function) { function(); });
            } else if (queue.fall_asleep()) {
                ++sleeps;
                bell.wait_until_set();
                bell.store(false);
                queue.wake_up();
            }
        }
    }

    /// What an executor does in the end.
    void close_and_take_the_rest() {
        queue.close();
        do
            queue.take(100, [](detail::PostedFunction& function) { function(); });
        while (queue.has_mail());
    }

    std::string check() const {
        std::size_t sum = 0;
        for (std::size_t count : accepted)
            sum += count;
        if (called != sum)
            return std::to_string(sum) + " were accepted, and " + std::to_string(called) + " called";
        // To wake is a system call.
        if (rings > sleeps) return "a reader that was awake was woken";
        return is_in_order ? "" : "out of order";
    }

    const std::size_t posts;
    detail::InboxQueue<Sync> queue;
    ModelAtomic<bool> bell;
    // Each one's own thread's.
    std::vector<std::size_t> accepted;
    // The reader's.
    std::vector<std::size_t> next;
    std::size_t called = 0;
    std::size_t sleeps = 0;
    // One poster's at a time, as they are contexts of one thread.
    std::size_t rings = 0;
    bool is_in_order = true;
};

enum class Reader { takes_all, takes_one_at_a_time, closes };

template <std::size_t Positions>
void explore(std::size_t posters, std::size_t posts, Reader reader) {
    using Box = Mailbox<ModelSync<Positions>>;
    Exploration explored = Interleavings::explore([&] {
        auto box = std::make_shared<Box>(posters, posts);
        Scenario scenario;
        for (std::size_t poster = 0; poster < posters; ++poster)
            scenario.threads.push_back([box, poster] { box->post(poster); });
        scenario.threads.push_back([box, posters, posts, reader] {
            if (reader == Reader::closes) return box->close_and_take_the_rest();
            box->read_until(posters * posts, reader == Reader::takes_all ? 100 : 1);
        });
        scenario.check = [box] { return box->check(); };
        return scenario;
    });
    // On standard output, whatever the log's level: how much was explored is to be seen, not believed.
    std::cout << "interleavings: " << boost::unit_test::framework::current_test_case().full_name() << ", "
              << posters << " x " << posts << ": " << explored.runs << " runs, " << explored.states
              << " states, at most " << explored.longest << " operations" << std::endl;
    BOOST_TEST(explored.failure == "");
    BOOST_TEST(explored.states > 10u);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(inbox)

BOOST_AUTO_TEST_CASE(nothing_is_lost_in_any_order_of_one_poster_and_the_reader) {
    explore<64>(1, 1, Reader::takes_all);
    explore<64>(1, 3, Reader::takes_all);
    explore<64>(1, 3, Reader::takes_one_at_a_time);
}

BOOST_AUTO_TEST_CASE(nothing_is_lost_in_any_order_of_two_posters_and_the_reader) {
    explore<64>(2, 1, Reader::takes_all);
    explore<64>(2, 1, Reader::takes_one_at_a_time);
    explore<64>(2, 2, Reader::takes_all);
}

BOOST_AUTO_TEST_CASE(nothing_is_lost_where_blocks_of_places_end) {
    explore<2>(1, 3, Reader::takes_all);
    explore<2>(2, 1, Reader::takes_all);
}

BOOST_AUTO_TEST_CASE(what_is_accepted_before_the_close_is_called_in_any_order) {
    explore<64>(1, 2, Reader::closes);
    explore<64>(2, 1, Reader::closes);
    explore<2>(1, 3, Reader::closes);
    explore<64>(2, 2, Reader::closes);
}

// That an exploration finds what it looks for: a reader that sleeps without asking whether there is mail.
BOOST_AUTO_TEST_CASE(lost_wake_up_is_found) {
    struct Careless {
        ModelAtomic<bool> has_mail;
        ModelAtomic<bool> sleeps;
        ModelAtomic<bool> bell;
    };
    Exploration explored = Interleavings::explore([] {
        auto box = std::make_shared<Careless>();
        Scenario scenario;
        scenario.threads.push_back([box] {
            box->has_mail.store(true);
            if (box->sleeps.load()) box->bell.store(true);
        });
        scenario.threads.push_back([box] {
            if (box->has_mail.load()) return;
            box->sleeps.store(true);
            box->bell.wait_until_set();
        });
        scenario.check = [] { return std::string(); };
        return scenario;
    });

    BOOST_TEST(explored.failure.find("lost") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace inbox_test
