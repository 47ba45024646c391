// SPDX-License-Identifier: BSL-1.0
// Each operation that waits, against each state of the other direction of its socket, and of the socket
// itself: what it gives, and what it costs while it waits. A wait costs no processor time, no loop iteration
// and no kernel thread; it ends when its own direction becomes ready, or when it is cancelled.
//
// All operations of a state wait at the same time, each on a connection of its own. Only if that costs
// something is each of them tried alone, to name the culprit.
#include "support/loopback_pair.hpp"
#include "support/posix.hpp"
#include "support/skip.hpp"
#include "support/system.hpp"
#include "support/watchdog.hpp"

#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::other_half_test {
namespace {

enum class Transport { tcp, unix_sockets };

enum class State {
    open,
    peer_has_ended,
    writing_is_shut,
    reading_is_shut,
    is_reset,
    errors_are_queued,
    urgent_data_is_there,
};

enum class Begins { before, meanwhile };
enum class Ends { by_itself, cancelled };

enum class Wait {
    read,
    vectored_read,
    receive,
    read_exactly,
    peek,
    readable,
    write,
    vectored_write,
    write_all,
    vectored_write_all,
    writable,
};

constexpr std::array reads{Wait::read,         Wait::vectored_read, Wait::receive,
                           Wait::read_exactly, Wait::peek,          Wait::readable};
constexpr std::array writes{Wait::write, Wait::vectored_write, Wait::write_all, Wait::vectored_write_all,
                            Wait::writable};

bool is_write(Wait wait) { return wait >= Wait::write; }

std::string name_of(Wait wait) {
    constexpr std::array names{"read",      "vectored read",      "receive", "read_exactly",
                               "peek",      "readable",           "write",   "vectored write",
                               "write_all", "vectored write_all", "writable"};
    return names[static_cast<std::size_t>(wait)];
}

enum class Expected { waits, finds_the_end, fails, anything };

Expected expected_of(Wait wait, State state, Transport transport) {
    // To poll(2), a Unix socket whose writing is shut has no more room than before.
    if (wait == Wait::writable && state == State::writing_is_shut && transport == Transport::unix_sockets)
        return Expected::anything;
    // To poll(2), such a byte can be read; only recv(2) knows better.
    if (wait == Wait::readable && state == State::urgent_data_is_there &&
        transport == Transport::unix_sockets)
        return Expected::anything;
    if (state == State::is_reset) return Expected::fails;
    if (is_write(wait)) return state == State::writing_is_shut ? Expected::fails : Expected::waits;
    const bool is_at_its_end = state == State::peer_has_ended || state == State::reading_is_shut;
    return is_at_its_end ? Expected::finds_the_end : Expected::waits;
}

/// One connection with one operation that waits on it.
struct Waiting {
    Waiting(Wait w, Transport transport) : wait(w) {
        Link link = transport == Transport::tcp ? tcp_link() : stream_link();
        shrink_send_buffer(link.source.native_handle());
        stream = TcpStream::adopt(link.source.release());
        peer = std::move(link.peer);
    }

    Wait wait;
    TcpStream stream;
    OwnedHandle peer;
    bool has_ended = false;
    std::error_code error;
    std::size_t bytes = 0;
};

void note(Waiting& waiting, const Result<void>& result) {
    waiting.has_ended = true;
    if (!result) waiting.error = result.error();
}
void note(Waiting& waiting, const Result<std::size_t>& result) {
    waiting.has_ended = true;
    if (result)
        waiting.bytes = *result;
    else
        waiting.error = result.error();
}

const std::vector<std::byte>& much() {
    static const std::vector<std::byte> bytes = pattern(std::size_t{256} * 1024);
    return bytes;
}

Task<> wait_for_bytes(Waiting& waiting) {
    std::array<std::byte, 1> room{};
    std::array<MutableBuffer, 2> places{std::span<std::byte>(), std::span<std::byte>(room)};
    if (waiting.wait == Wait::read) {
        Result<std::size_t> result = co_await as_result(waiting.stream.read(room));
        note(waiting, result);
    } else if (waiting.wait == Wait::vectored_read) {
        Result<std::size_t> result =
            co_await as_result(waiting.stream.read(std::span<const MutableBuffer>(places)));
        note(waiting, result);
    } else if (waiting.wait == Wait::receive) {
        Result<LentBuffer> result = co_await as_result(waiting.stream.receive());
        note(waiting, result ? Result<std::size_t>(result->size())
                             : Result<std::size_t>(Unexpected<std::error_code>(result.error())));
    } else if (waiting.wait == Wait::read_exactly) {
        Result<void> result = co_await as_result(waiting.stream.read_exactly(room));
        note(waiting, result);
    } else if (waiting.wait == Wait::peek) {
        Result<std::size_t> result = co_await as_result(waiting.stream.peek(room));
        note(waiting, result);
    } else {
        Result<void> result = co_await as_result(waiting.stream.readable());
        note(waiting, result);
    }
}

Task<> wait_for_room(Waiting& waiting) {
    std::array<ConstBuffer, 2> pieces{std::span(much()).first(100'000), std::span(much()).subspan(100'000)};
    if (waiting.wait == Wait::write) {
        Result<std::size_t> result = co_await as_result(waiting.stream.write(much()));
        note(waiting, result);
    } else if (waiting.wait == Wait::vectored_write) {
        Result<std::size_t> result =
            co_await as_result(waiting.stream.write(std::span<const ConstBuffer>(pieces)));
        note(waiting, result);
    } else if (waiting.wait == Wait::write_all) {
        Result<void> result = co_await as_result(waiting.stream.write_all(much()));
        note(waiting, result);
    } else if (waiting.wait == Wait::vectored_write_all) {
        Result<void> result = co_await as_result(waiting.stream.write_all(std::span<ConstBuffer>(pieces)));
        note(waiting, result);
    } else {
        Result<void> result = co_await as_result(waiting.stream.writable());
        note(waiting, result);
    }
}

/// A plain `write_all` without a wrapper takes another way, through a request.
Task<> wait_by_itself(Waiting& waiting) {
    try {
        if (waiting.wait == Wait::write_all) {
            co_await waiting.stream.write_all(much());
        } else {
            std::array<std::byte, 1> room{};
            waiting.bytes = co_await waiting.stream.read(room);
        }
    } catch (const std::system_error& error) {
        waiting.error = error.code();
    }
    waiting.has_ended = true;
}

/// What a stretch of time cost in which nothing happened.
struct Cost {
    double processor = 0;
    std::uint64_t polls = 0;
    std::uint64_t resumes = 0;
    std::size_t threads = 0;

    bool is_small() const { return processor < 0.25 && polls < 16 && resumes < 16 && threads == 0; }
    std::string text() const {
        return std::to_string(static_cast<int>(processor * 100)) + " % of a processor, " +
               std::to_string(polls) + " polls, " + std::to_string(resumes) + " resumes, " +
               std::to_string(threads) + " threads";
    }
};

/// While nothing happens, beside `threads` that were there before. What costs something does so in every window
/// of time; a single window may hold something else.
Task<Cost> cost_of_waiting(const Executor& executor, const std::set<int>& threads) {
    Cost cost;
    for (int window = 0; window < 5; ++window) {
        // What was set off before is over, and counted.
        co_await sleep_for(5ms);
        const ExecutorStats before = executor.stats();
        const TimePoint begin = executor.now();
        const std::chrono::microseconds cpu = thread_cpu_time();
        co_await sleep_for(20ms);
        const std::chrono::duration<double> elapsed = executor.now() - begin;
        const std::chrono::duration<double> used = thread_cpu_time() - cpu;
        const ExecutorStats& after = executor.stats();
        cost = Cost();
        cost.processor = used / elapsed;
        cost.polls = after.polls - before.polls;
        cost.resumes = after.resumes - before.resumes;
        for (int id : thread_ids())
            if (!threads.contains(id)) ++cost.threads;
        if (cost.is_small()) break;
    }
    co_return cost;
}

struct Cell {
    Cell(Transport t, State s, Begins b, Ends e) : transport(t), state(s), begins(b), ends(e) {}

    Transport transport;
    State state;
    Begins begins;
    Ends ends;
    std::vector<Wait> waits;
    std::size_t connections_each = 1;
    bool is_by_itself = false;

    std::string name() const {
        constexpr std::array states{"open",
                                    "the peer has ended its direction",
                                    "writing is shut",
                                    "reading is shut",
                                    "reset",
                                    "errors are queued",
                                    "urgent data is there"};
        std::string text = transport == Transport::tcp ? "TCP, " : "Unix sockets, ";
        text += states[static_cast<std::size_t>(state)];
        text += begins == Begins::before ? " before the wait" : " during the wait";
        text += ends == Ends::cancelled ? ", cancelled" : "";
        return text;
    }
};

/// Runs on a thread of its own, since the kernel's threads of one ring serve the next one of the same thread
/// too.
class Run {
public:
    explicit Run(const Cell& cell) : cell_(cell) {
        for (Wait wait : cell.waits)
            for (std::size_t i = 0; i < cell.connections_each; ++i)
                connections_.emplace_back(wait, cell.transport);
    }

    /// Checks the results, and gives the cost.
    Cost carry_out() {
        // A full buffer has no room for what fills the error queue.
        const bool is_first = cell_.state == State::errors_are_queued;
        if (cell_.begins == Begins::before && is_first) bring_about();
        fill_send_buffers();
        if (cell_.begins == Begins::before && !is_first) bring_about();
        executor_.run_until(run());
        return cost_;
    }

    /// Whether something went on waiting that was to end.
    bool hangs() const { return hangs_; }

private:
    Task<> run() {
        threads_ = thread_ids();
        auto body = [this](TaskGroup& group) -> Task<> {
            for (Waiting& waiting : connections_) {
                if (cell_.is_by_itself)
                    group.spawn(wait_by_itself, std::ref(waiting));
                else if (is_write(waiting.wait))
                    group.spawn(wait_for_room, std::ref(waiting));
                else
                    group.spawn(wait_for_bytes, std::ref(waiting));
            }
            for (int i = 0; i < 10; ++i)
                co_await yield();
            if (cell_.begins == Begins::meanwhile) bring_about();
            // Those that the state ends have ended.
            bool have_ended = co_await wait_until([](const Waiting&) {}, true);
            hangs_ = !have_ended;
            co_await measure();
            check_before();
            if (cell_.ends == Ends::cancelled) {
                group.cancel();
                co_return;
            }
            have_ended = co_await wait_until([](Waiting& waiting) { let_go_on(waiting); }, false);
            if (!have_ended) hangs_ = true;
            group.cancel();
        };
        co_await task_group(body);
        if (cell_.ends == Ends::by_itself) check_after();
    }

    /// Until all have ended, or only those that the state ends; does `between` to the others meanwhile.
    template <class Between>
    Task<bool> wait_until(Between between, bool only_those_that_end) {
        const TimePoint deadline = executor_.now() + 10s;
        for (;;) {
            bool is_done = true;
            for (Waiting& waiting : connections_) {
                if (waiting.has_ended) continue;
                const Expected expected = expected_of(waiting.wait, cell_.state, cell_.transport);
                if (expected == Expected::anything) continue;
                if (only_those_that_end && expected == Expected::waits) continue;
                is_done = false;
                between(waiting);
            }
            if (is_done || executor_.now() > deadline) co_return is_done;
            co_await sleep_for(1ms);
        }
    }

    Task<> measure() {
        Cost cost = co_await cost_of_waiting(executor_, threads_);
        cost_ = cost;
    }

    void bring_about() {
        for (Waiting& waiting : connections_) {
            const NativeHandle handle = waiting.stream.native_handle();
            switch (cell_.state) {
            case State::open:
                break;
            case State::peer_has_ended:
                shut(waiting.peer.get(), Direction::writing);
                break;
            case State::writing_is_shut:
                waiting.stream.shutdown(Half::write);
                break;
            case State::reading_is_shut:
                waiting.stream.shutdown(Half::read);
                break;
            case State::is_reset:
                if (cell_.transport == Transport::tcp)
                    reset_connection(waiting.peer);
                else
                    waiting.peer.reset();
                break;
            case State::errors_are_queued:
                fill_error_queue(handle, waiting.peer.get());
                break;
            case State::urgent_data_is_there:
                send_urgent(waiting.peer.get(), '!');
                await_urgent(handle);
                break;
            }
        }
    }

    void fill_send_buffers() {
        bool is_full = false;
        while (!is_full) {
            is_full = true;
            for (Waiting& waiting : connections_) {
                if (!is_write(waiting.wait)) continue;
                if (fill(waiting.stream.native_handle()) != 0) is_full = false;
            }
            // Late acknowledgements make room again.
            for (Waiting& waiting : connections_)
                if (is_write(waiting.wait)) await_acknowledgements(waiting.stream.native_handle());
        }
    }

    static void let_go_on(Waiting& waiting) {
        if (is_write(waiting.wait)) {
            (void)drain(waiting.peer.get());
        } else {
            std::error_code ignored;
            (void)try_write(waiting.peer.get(), "x", ignored);
        }
    }

    /// The peer's system may make room after all.
    static bool has_found_room(const Waiting& waiting) {
        if (!is_write(waiting.wait) || waiting.error) return false;
        if (waiting.wait != Wait::writable) return waiting.bytes != 0;
        std::error_code error;
        (void)try_write(waiting.stream.native_handle(), "x", error);
        return !error;
    }

    void check_before() {
        for (const Waiting& waiting : connections_) {
            const std::string name = cell_.name() + ": " + name_of(waiting.wait);
            switch (expected_of(waiting.wait, cell_.state, cell_.transport)) {
            case Expected::waits:
                if (waiting.has_ended && !has_found_room(waiting) && ++complaints_ <= few)
                    BOOST_ERROR(name + " does not wait: " + std::to_string(waiting.bytes) + " bytes, " +
                                waiting.error.message());
                break;
            case Expected::finds_the_end:
                check_end(waiting, name);
                break;
            case Expected::fails:
                check_failure(waiting, name);
                break;
            case Expected::anything:
                break;
            }
        }
    }

    static void check_end(const Waiting& waiting, const std::string& name) {
        const bool fails = waiting.wait == Wait::read_exactly;
        const bool is_end = waiting.has_ended && waiting.bytes == 0 &&
                            (fails ? waiting.error == errc::unexpected_end : !waiting.error);
        if (!is_end)
            BOOST_ERROR(name + (waiting.has_ended ? " ends otherwise: " + waiting.error.message()
                                                  : std::string(" goes on waiting")));
    }

    void check_failure(const Waiting& waiting, const std::string& name) const {
        if (!waiting.has_ended) {
            BOOST_ERROR(name + " goes on waiting");
            return;
        }
        // That a wait for readiness is over says nothing about what the operation then finds.
        if (waiting.wait == Wait::readable || waiting.wait == Wait::writable) return;
        const bool is_end = cell_.transport == Transport::unix_sockets && !is_write(waiting.wait) &&
                            waiting.bytes == 0 && (!waiting.error || waiting.error == errc::unexpected_end);
        if (!is_end && waiting.error != std::errc::connection_reset &&
            waiting.error != std::errc::broken_pipe)
            BOOST_ERROR(name + " ends otherwise: " + waiting.error.message());
    }

    void check_after() {
        for (const Waiting& waiting : connections_) {
            if (expected_of(waiting.wait, cell_.state, cell_.transport) != Expected::waits) continue;
            const std::string name = cell_.name() + ": " + name_of(waiting.wait);
            if (!waiting.has_ended)
                BOOST_ERROR(name + " goes on waiting when its direction is ready");
            else if (waiting.error)
                BOOST_ERROR(name + " fails when its direction is ready: " + waiting.error.message());
        }
    }

    const Cell& cell_;
    // Behind the executor: closing them is its affair.
    Executor executor_;
    std::deque<Waiting> connections_;
    // Those of the executor itself, and perhaps some that the last one has left behind.
    std::set<int> threads_;
    Cost cost_;
    bool hangs_ = false;
    std::size_t complaints_ = 0;
    static constexpr std::size_t few = 5;
};

struct Outcome {
    Cost cost;
    bool hangs = false;
};

Outcome carry_out(const Cell& cell) {
    auto run = [&cell] {
        Run one(cell);
        const Cost cost = one.carry_out();
        return Outcome{cost, one.hangs()};
    };
    return std::async(std::launch::async, run).get();
}

/// Looks for the one that costs something when it waits alone.
void name_culprits(Cell cell, Watchdog& watchdog) {
    const std::vector<Wait> waits = std::exchange(cell.waits, {});
    for (Wait wait : waits) {
        if (expected_of(wait, cell.state, cell.transport) != Expected::waits) continue;
        cell.waits = {wait};
        watchdog.feed();
        const Cost cost = carry_out(cell).cost;
        if (!cost.is_small()) BOOST_ERROR(cell.name() + ": " + name_of(wait) + " costs " + cost.text());
    }
}

/// All combinations of one state; the first that goes wrong is enough.
void check_state(State state, Transport transport) {
    const bool fills_late = state == State::errors_are_queued;
    for (Begins begins : {Begins::before, Begins::meanwhile}) {
        for (Ends ends : {Ends::by_itself, Ends::cancelled}) {
            for (bool is_by_itself : {false, true}) {
                if (is_by_itself && ends == Ends::cancelled) continue;
                Cell cell(transport, state, begins, ends);
                cell.is_by_itself = is_by_itself;
                if (is_by_itself)
                    cell.waits = {Wait::read};
                else
                    cell.waits.assign(reads.begin(), reads.end());
                // No room is left for what fills the error queue while they wait.
                if (!fills_late || begins == Begins::before) {
                    if (is_by_itself)
                        cell.waits.push_back(Wait::write_all);
                    else
                        cell.waits.insert(cell.waits.end(), writes.begin(), writes.end());
                }
                Watchdog watchdog([&cell] { return cell.name(); });
                const auto [cost, hangs] = carry_out(cell);
                if (!cost.is_small()) {
                    BOOST_ERROR(cell.name() + ": all at once cost " + cost.text());
                    name_culprits(cell, watchdog);
                }
                if (hangs || !cost.is_small()) return;
            }
        }
    }
    BOOST_TEST(true);
}

void check_state(State state) {
    check_state(state, Transport::tcp);
    check_state(state, Transport::unix_sockets);
}

bool unix_sockets_have_urgent_data() {
    Link link = stream_link();
    try {
        send_urgent(link.peer.get(), '!');
        return true;
    } catch (const std::system_error&) {
        return false;
    }
}

/// For tasks of `executor` that wait already; `threads` are those that there were before they did.
Task<> check_that_waits_cost_nothing(const Executor& executor, std::set<int> threads) {
    Cost cost = co_await cost_of_waiting(executor, threads);
    BOOST_TEST(cost.is_small(), cost.text());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(other_half)

BOOST_AUTO_TEST_CASE(waits_cost_nothing_on_an_open_connection) { check_state(State::open); }

BOOST_AUTO_TEST_CASE(waits_for_room_cost_nothing_when_the_peer_has_ended_its_direction) {
    check_state(State::peer_has_ended);
}

BOOST_AUTO_TEST_CASE(waits_for_bytes_cost_nothing_when_writing_is_shut) {
    check_state(State::writing_is_shut);
}

BOOST_AUTO_TEST_CASE(waits_for_room_cost_nothing_when_reading_is_shut) {
    check_state(State::reading_is_shut);
}

BOOST_AUTO_TEST_CASE(no_wait_outlasts_a_reset) { check_state(State::is_reset); }

BOOST_AUTO_TEST_CASE(waits_cost_nothing_when_errors_are_queued) {
    check_state(State::errors_are_queued, Transport::tcp);
}

BOOST_AUTO_TEST_CASE(waits_cost_nothing_when_urgent_data_is_there) {
    check_state(State::urgent_data_is_there, Transport::tcp);
}

BOOST_AUTO_TEST_CASE(waits_cost_nothing_when_urgent_data_of_a_unix_socket_is_there) {
    if (!unix_sockets_have_urgent_data()) return skip("unix_oob", "Unix sockets have no urgent data here");
    check_state(State::urgent_data_is_there, Transport::unix_sockets);
}

// A peer of many that sends its request, ends its direction and does not read holds up nobody else.
BOOST_AUTO_TEST_CASE(three_hundred_writers_to_peers_that_have_ended_cost_nothing_and_can_be_cancelled) {
    constexpr std::size_t count = 300;
    const std::size_t handles = raise_handle_limit(2 * count + 100);
    if (handles < 2 * count + 100) return skip("descriptors", "too few");
    for (Wait wait : writes) {
        for (Begins begins : {Begins::before, Begins::meanwhile}) {
            Cell cell(Transport::tcp, State::peer_has_ended, begins, Ends::cancelled);
            cell.waits = {wait};
            cell.connections_each = count;
            Watchdog watchdog([&] { return cell.name() + ", 300 times " + name_of(wait); });
            const Cost cost = carry_out(cell).cost;
            if (!cost.is_small())
                BOOST_ERROR(cell.name() + ", 300 times " + name_of(wait) + ": " + cost.text());
        }
    }
    BOOST_TEST(true);
}

// ---- Operations without another half ----

BOOST_AUTO_TEST_CASE(accept_that_waits_costs_nothing) {
    Watchdog watchdog([] { return std::string("accept"); });
    TcpListener listener = TcpListener::bind(Address::loopback(0));
    Executor executor;
    bool is_accepted = false;
    auto body = [&](TaskGroup& group) -> Task<> {
        auto accept = [&]() -> Task<> {
            TcpStream stream = co_await listener.accept();
            is_accepted = stream.is_open();
        };
        const std::set<int> threads = thread_ids();
        group.spawn(accept);
        co_await check_that_waits_cost_nothing(executor, threads);
        TcpStream client = co_await TcpStream::connect(listener.local_address());
        co_await group.join();
    };
    auto story = [&]() -> Task<> { co_await task_group(body); };

    executor.run_until(story());

    BOOST_TEST(is_accepted);
}

BOOST_AUTO_TEST_CASE(connect_that_waits_for_an_answer_costs_nothing_and_can_be_cancelled) {
    Watchdog watchdog([] { return std::string("connect"); });
    // A full backlog does not answer.
    ListenOptions options;
    options.backlog = 0;
    TcpListener listener = TcpListener::bind(Address::loopback(0), options);
    std::array<TcpStream, 3> filling;
    for (TcpStream& stream : filling)
        stream = TcpStream::start_connect(listener.local_address());
    Executor executor;
    bool is_connected = false;
    auto body = [&](TaskGroup& group) -> Task<> {
        auto connect = [&]() -> Task<> {
            TcpStream stream = co_await TcpStream::connect(listener.local_address());
            is_connected = stream.is_open();
        };
        const std::set<int> threads = thread_ids();
        group.spawn(connect);
        co_await check_that_waits_cost_nothing(executor, threads);
        group.cancel();
    };
    auto story = [&]() -> Task<> { co_await task_group(body); };

    executor.run_until(story());

    BOOST_TEST(!is_connected);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::other_half_test
