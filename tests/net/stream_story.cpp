// SPDX-License-Identifier: BSL-1.0
//
// A story has two ends, A and B, and a direction from each to the other. The k-th byte of a direction is a
// function of the seed and k, so that each end can check each byte by itself, however the bytes are cut into
// pieces.
//
// A story has several legs. In a leg, tasks read and write at each end, each in the way that its own random
// stream picks. After some steps the leg is cut: the tasks are cancelled, or their streams released under
// them, or their executor destroyed. Then it is counted how far each direction came, the streams may change
// their executor, and the next leg goes on from there. In the last leg both writers close their half, and
// both readers must find the end exactly behind the last byte.
#include "stream_story.hpp"

#include "support/loopback_pair.hpp"
#include "support/stress.hpp"
#include "support/system.hpp"

#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_any.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <utility>

using namespace std::chrono_literals;

namespace leat::test::net {
namespace {

constexpr Duration patience = 60s;

std::uint64_t mix(std::uint64_t x) {
    // splitmix64
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

std::byte byte_at(std::uint64_t seed, std::uint64_t position) {
    return static_cast<std::byte>(mix(seed ^ (position / 8)) >> (position % 8 * 8));
}

/// What one end has sent to the other.
struct Direction {
    std::uint64_t seed = 0;
    std::uint64_t written = 0;
    // A write that was cut short, and that does not tell how far it came, ends between `written` and this.
    std::uint64_t possible = 0;
    std::uint64_t received = 0;
    bool is_cut = false;
    bool is_shut = false;
    bool has_ended = false;

    std::uint64_t most() const { return is_cut ? possible : written; }
};

enum class Pending { nothing, tracked, untracked };

struct End {
    End(char letter, Direction& sends, Direction& receives, std::uint64_t seed)
        : name(1, letter), out(sends), in(receives), reads(mix(seed)), writes(mix(seed + 1)) {}
    End(const End&) = delete;
    End& operator=(const End&) = delete;

    TcpStream& stream() { return places[place]; }

    std::string name;
    Direction& out;
    Direction& in;
    // Each task has a random stream of its own, so that what it does does not hang on the order of the tasks.
    Random reads;
    Random writes;
    // The stream moves from one place to the other.
    std::array<TcpStream, 2> places;
    std::size_t place = 0;
    OwnedHandle plain;
    bool is_plain = false;
    bool is_released = false;
    int tasks = 0;

    // They outlive the tasks, which may be destroyed while something is in flight.
    std::array<std::byte, 24 * 1024> read_buffer{};
    std::array<std::byte, 24 * 1024> write_buffer{};
    Progress read_progress;
    Progress write_progress;
    bool is_reading_exactly = false;
    Pending pending_write = Pending::nothing;
    std::size_t pending_size = 0;
};

bool is_an_end(const std::error_code& error) {
    return error == std::errc::connection_reset || error == std::errc::broken_pipe ||
           error == std::errc::connection_aborted || error == std::errc::not_connected ||
           error == errc::unexpected_end;
}

class Story {
public:
    Story(std::uint64_t seed, StoryLink link, StoryPeer peer, StoryLog& log);
    Story(const Story&) = delete;
    Story& operator=(const Story&) = delete;

    void tell();

private:
    // Plain functions that count and check.
    [[noreturn]] void fail(const std::string& why);
    void step(const End& end, const std::string& what);
    void take(End& end, std::span<const std::byte> bytes, const char* how);
    void check(const End& end, std::span<const std::byte> bytes, const char* how);
    void see_end(End& end, const char* how);
    void take_or_see_end(End& end, std::size_t received, const char* how);
    void take_chunk(End& end, const LentBuffer& chunk, const char* how);
    std::span<std::byte> room(End& end, std::size_t most);
    std::span<const std::byte> next_bytes(End& end, std::size_t most);
    void gave(End& end, std::size_t bytes, const char* how);
    void settle_read(End& end);
    void settle_write(End& end);
    void shut(End& end);
    void abort(End& end);
    void move(End& end);
    bool may_go_on(const End& end) const;
    bool reads_may_go_on(const End& end) const;
    bool writes_may_go_on(const End& end) const;
    Duration short_time(Random& random);

    // Tasks.
    Task<> guard(End& end, Task<> body);
    Task<> reading(End& end);
    Task<> writing(End& end);
    Task<> both_in_one(End& end);
    Task<> plain_reading(End& end);
    Task<> plain_writing(End& end);
    Task<> rest(Random& random);
    Task<> read_in_some_way(End& end);
    Task<> read_marked_in_some_way(End& end);
    Task<> read_within_some_time(End& end);
    Task<> write_in_some_way(End& end);
    Task<> write_all_in_some_way(End& end);
    Task<> write_within_some_time(End& end);
    Task<bool> read_once(End& end, std::size_t kind);
    Task<bool> write_once(End& end, std::size_t kind);
    Task<bool> turns(std::size_t count);
    Task<> until(bool (Story::*holds)(const End&) const, const End& end);

    // The legs.
    Executor& executor();
    void start(End& end, Task<> body, const char* name);
    void start_tasks(End& end);
    void run_leg();
    void cut();
    void cut_by_release();
    void cut_by_destroying();
    void change_owner();
    void adopt(End& end, NativeHandle handle);
    bool leg_is_over(const End&) const;
    bool tasks_have_ended(const End& end) const { return end.tasks == 0 || !failure_.empty(); }
    bool all_tasks_have_ended(const End&) const { return tasks_ == 0 || !failure_.empty(); }
    void wait_until(bool (Story::*holds)(const End&) const, const End& end);
    void throw_if_failed();

    StoryLog& log_;
    Random random_;
    StoryLink link_;
    Direction from_a_;
    Direction from_b_;
    End a_;
    End b_;
    std::vector<std::string> notices_;
    ManualResetEvent changed_;
    int tasks_ = 0;
    std::size_t steps_ = 0;
    std::size_t steps_of_leg_ = 0;
    bool is_last_leg_ = false;
    // One end has closed without regard for the other: only what has arrived is checked from then on.
    bool is_aborted_ = false;
    bool may_abort_ = false;
    bool may_shut_early_ = false;
    std::string failure_;
    // Behind what their tasks use to their end.
    std::size_t executor_ = 0;
    std::array<std::unique_ptr<Executor>, 2> executors_;
    std::vector<Running<void>> running_;
};

Story::Story(std::uint64_t seed, StoryLink link, StoryPeer peer, StoryLog& log)
    : log_(log),
      random_(mix(seed)),
      link_(link),
      a_('A', from_a_, from_b_, seed * 4),
      b_('B', from_b_, from_a_, seed * 4 + 2) {
    from_a_.seed = mix(seed * 2);
    from_b_.seed = mix(seed * 2 + 1);
    may_abort_ = random_.once_in(6);
    may_shut_early_ = random_.once_in(3);
    b_.is_plain = peer == StoryPeer::plain_socket;

    if (link == StoryLink::tcp) {
        TcpListener listener = TcpListener::bind(Address::loopback(0));
        Connected connected(listener);
        a_.stream() = std::move(connected.client);
        b_.stream() = std::move(connected.server);
        // Small buffers would wait for delayed acknowledgements otherwise.
        a_.stream().set_no_delay(true);
        b_.stream().set_no_delay(true);
    } else {
        Link pair = stream_link();
        a_.stream() = TcpStream::adopt(pair.source.release());
        b_.stream() = TcpStream::adopt(pair.peer.release());
    }
    for (End* end : {&a_, &b_}) {
        std::size_t size = random_.below(3);
        if (size != 0) end->stream().set_send_buffer_size(size == 1 ? 4096 : 32 * 1024);
    }
    if (b_.is_plain) b_.plain = OwnedHandle(b_.stream().release());
}

// ---- Counting and checking ----

void Story::fail(const std::string& why) { throw StoryFailure(why); }

void Story::step(const End& end, const std::string& what) {
    log_.note(end.name + " " + what);
    ++steps_;
    if (steps_ >= steps_of_leg_) changed_.set();
}

void Story::check(const End& end, std::span<const std::byte> bytes, const char* how) {
    const std::uint64_t begin = end.in.received;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (bytes[i] == byte_at(end.in.seed, begin + i)) continue;
        std::string where = "nowhere near";
        // Whether bytes were lost or doubled: where do these belong?
        const std::size_t sample = std::min<std::size_t>(bytes.size() - i, 16);
        for (std::uint64_t other = 0; sample >= 4 && other < begin + 4'000'000; ++other) {
            std::size_t same = 0;
            while (same < sample && bytes[i + same] == byte_at(end.in.seed, other + same))
                ++same;
            if (same < sample) continue;
            where = "at " + std::to_string(other);
            break;
        }
        fail(end.name + " " + how + ": byte " + std::to_string(begin + i) +
             " is wrong; what was read there belongs " + where);
    }
}

void Story::take(End& end, std::span<const std::byte> bytes, const char* how) {
    step(end, std::string(how) + ": " + std::to_string(bytes.size()));
    check(end, bytes, how);
    end.in.received += bytes.size();
}

void Story::see_end(End& end, const char* how) {
    step(end, std::string(how) + ": the end, after " + std::to_string(end.in.received));
    end.in.has_ended = true;
    if (is_aborted_) return;
    if (!end.in.is_shut)
        fail(end.name + " " + how + ": the end of a stream that nobody has ended, after " +
             std::to_string(end.in.received));
    if (end.in.received < end.in.written || end.in.received > end.in.most())
        fail(end.name + " " + how + ": the end after " + std::to_string(end.in.received) + " bytes of " +
             std::to_string(end.in.written));
}

void Story::take_or_see_end(End& end, std::size_t received, const char* how) {
    if (received == 0)
        see_end(end, how);
    else
        take(end, std::span(end.read_buffer).first(received), how);
}

void Story::take_chunk(End& end, const LentBuffer& chunk, const char* how) {
    if (chunk.empty())
        see_end(end, how);
    else
        take(end, chunk.bytes(), how);
}

std::span<std::byte> Story::room(End& end, std::size_t most) {
    return std::span(end.read_buffer).first(1 + end.reads.below(most));
}

std::span<const std::byte> Story::next_bytes(End& end, std::size_t most) {
    const std::size_t size = 1 + end.writes.below(end.writes.once_in(3) ? most : most / 16 + 1);
    for (std::size_t i = 0; i < size; ++i)
        end.write_buffer[i] = byte_at(end.out.seed, end.out.written + i);
    return std::span<const std::byte>(end.write_buffer).first(size);
}

void Story::gave(End& end, std::size_t bytes, const char* how) {
    end.out.written += bytes;
    step(end, std::string(how) + ": " + std::to_string(bytes));
}

void Story::settle_read(End& end) {
    if (!std::exchange(end.is_reading_exactly, false)) return;
    take(end, std::span(end.read_buffer).first(std::exchange(end.read_progress.bytes, 0)), "read_exactly");
}

void Story::settle_write(End& end) {
    const std::size_t bytes = std::exchange(end.write_progress.bytes, 0);
    switch (std::exchange(end.pending_write, Pending::nothing)) {
    case Pending::nothing:
        return;
    case Pending::tracked:
        gave(end, bytes, "write_all with progress");
        return;
    case Pending::untracked:
        end.out.is_cut = true;
        end.out.possible = end.out.written + end.pending_size;
        step(end, "write_all cut within " + std::to_string(end.pending_size));
        return;
    }
}

void Story::shut(End& end) {
    end.out.is_shut = true;
    step(end, "ends its direction after " + std::to_string(end.out.written));
    if (end.is_plain)
        test::shut(end.plain.get(), test::Direction::writing);
    else
        end.stream().shutdown(Half::write);
}

void Story::abort(End& end) {
    is_aborted_ = true;
    step(end, "closes without regard for the other");
    if (end.is_plain)
        reset_connection(end.plain);
    else if (link_ == StoryLink::tcp)
        reset(end.stream());
    else
        end.stream().close();
}

void Story::move(End& end) {
    step(end, "moves its stream");
    end.places[1 - end.place] = std::move(end.stream());
    end.place = 1 - end.place;
}

bool Story::may_go_on(const End& end) const {
    const bool is_open = end.is_plain ? end.plain.get() != invalid_handle : end.places[end.place].is_open();
    return is_open && failure_.empty();
}
bool Story::reads_may_go_on(const End& end) const { return !end.in.has_ended && may_go_on(end); }
bool Story::writes_may_go_on(const End& end) const { return !end.out.is_shut && may_go_on(end); }

Duration Story::short_time(Random& random) {
    return std::chrono::microseconds(random.once_in(4) ? 0 : random.below(300));
}

// ---- Reading ----

Task<> Story::rest(Random& random) {
    if (random.once_in(4)) {
        co_await sleep_for(std::chrono::microseconds(random.below(200)));
        co_return;
    }
    for (std::size_t i = random.below(8); i != 0; --i)
        co_await yield();
}

Task<> Story::read_in_some_way(End& end) {
    switch (end.reads.below(7)) {
    case 0: {
        std::size_t received = co_await end.stream().read(room(end, 8192));
        take_or_see_end(end, received, "read");
        break;
    }
    case 1: {
        Result<std::size_t> received = co_await as_result(end.stream().read(room(end, 300)));
        if (!received) throw std::system_error(received.error(), "read");
        take_or_see_end(end, *received, "read for a result");
        break;
    }
    case 2: {
        const std::span<std::byte> all = room(end, 8192);
        const std::size_t half = all.size() / 2;
        std::array<MutableBuffer, 3> places{all.first(half), std::span<std::byte>(), all.subspan(half)};
        std::size_t received = co_await end.stream().read(std::span<const MutableBuffer>(places));
        take_or_see_end(end, received, "vectored read");
        break;
    }
    case 3: {
        LentBuffer chunk = co_await end.stream().receive();
        take_chunk(end, chunk, "receive");
        break;
    }
    case 4: {
        end.is_reading_exactly = true;
        const std::span<std::byte> all = room(end, end.reads.once_in(3) ? 20'000 : 500);
        Result<void> done = co_await as_result(end.stream().read_exactly(all, end.read_progress));
        settle_read(end);
        if (done) break;
        if (done.error() != errc::unexpected_end) throw std::system_error(done.error(), "read_exactly");
        see_end(end, "read_exactly");
        break;
    }
    case 5: {
        std::size_t seen = co_await end.stream().peek(room(end, 2000));
        if (seen == 0) {
            see_end(end, "peek");
            break;
        }
        step(end, "peek: " + std::to_string(seen));
        check(end, std::span(end.read_buffer).first(seen), "peek");
        break;
    }
    default: {
        co_await end.stream().readable();
        std::optional<std::size_t> received = end.stream().try_read(room(end, 4000));
        if (received)
            take_or_see_end(end, *received, "readable, try_read");
        else if (!end.stream().is_draining())
            fail(end.name + ": readable, but there is nothing to read");
        break;
    }
    }
}

/// Reads that a drain of the stream ends.
Task<> Story::read_marked_in_some_way(End& end) {
    switch (end.reads.below(4)) {
    case 0: {
        std::size_t received = co_await end.stream().read(room(end, 4000), until_drain);
        if (received != 0 || !end.stream().is_draining()) take_or_see_end(end, received, "read until_drain");
        break;
    }
    case 1: {
        LentBuffer chunk = co_await end.stream().receive(until_drain);
        if (!chunk.empty() || !end.stream().is_draining()) take_chunk(end, chunk, "receive until_drain");
        break;
    }
    case 2: {
        co_await end.stream().readable(until_drain);
        std::optional<std::size_t> received = end.stream().try_read(room(end, 4000));
        if (received)
            take_or_see_end(end, *received, "readable until_drain, try_read");
        else if (!end.stream().is_draining())
            fail(end.name + ": readable until_drain, but there is nothing to read");
        break;
    }
    default: {
        if (!end.reads.once_in(8)) break;
        SourceWatch watch(end.stream().source());
        watch.begin_drain();
        step(end, end.stream().is_draining() ? "begins to drain" : "would drain, but is not bound");
        break;
    }
    }
    // In a drain these may have found nothing, for ever.
    co_await yield();
}

/// One wait, for `when_any` and for time limits of tasks. It counts by itself, since its value may come
/// beside another one's.
Task<bool> Story::read_once(End& end, std::size_t kind) {
    if (kind == 0) {
        std::size_t received = co_await end.stream().read(room(end, 4000));
        take_or_see_end(end, received, "read of two");
    } else if (kind == 1) {
        LentBuffer chunk = co_await end.stream().receive();
        take_chunk(end, chunk, "receive of two");
    } else {
        end.is_reading_exactly = true;
        const std::span<std::byte> all = room(end, 3000);
        Result<void> done = co_await as_result(end.stream().read_exactly(all, end.read_progress));
        settle_read(end);
        if (!done && done.error() != errc::unexpected_end)
            throw std::system_error(done.error(), "read_exactly");
        if (!done) see_end(end, "read_exactly of two");
    }
    co_return true;
}

Task<> Story::read_within_some_time(End& end) {
    const Duration limit = short_time(end.reads);
    switch (end.reads.below(7)) {
    case 0: {
        std::optional<std::size_t> received = co_await try_timeout(limit, end.stream().read(room(end, 4000)));
        if (received) take_or_see_end(end, *received, "read in time");
        break;
    }
    case 1: {
        Result<LentBuffer> chunk = co_await as_result(timeout(limit, end.stream().receive()));
        if (chunk)
            take_chunk(end, *chunk, "receive in time");
        else if (chunk.error() != errc::deadline_exceeded)
            throw std::system_error(chunk.error(), "receive");
        break;
    }
    case 2: {
        end.is_reading_exactly = true;
        const std::span<std::byte> all = room(end, 6000);
        Result<bool> done =
            co_await as_result(try_timeout(limit, end.stream().read_exactly(all, end.read_progress)));
        settle_read(end);
        if (!done && done.error() != errc::unexpected_end)
            throw std::system_error(done.error(), "read_exactly");
        if (!done) see_end(end, "read_exactly in time");
        break;
    }
    case 3: {
        bool is_readable = co_await try_timeout(limit, end.stream().readable());
        if (!is_readable) break;
        std::optional<std::size_t> received = end.stream().try_read(room(end, 4000));
        if (received)
            take_or_see_end(end, *received, "readable in time, try_read");
        else if (!end.stream().is_draining())
            fail(end.name + ": readable in time, but there is nothing to read");
        break;
    }
    case 4: {
        std::optional<std::size_t> seen = co_await try_timeout(limit, end.stream().peek(room(end, 2000)));
        if (!seen) break;
        step(end, "peek in time: " + std::to_string(*seen));
        check(end, std::span(end.read_buffer).first(*seen), "peek in time");
        break;
    }
    case 5: {
        auto [received, rested] =
            co_await when_any(read_once(end, end.reads.below(3)), turns(end.reads.below(6)));
        if (!received) settle_read(end);
        step(end, std::string("a read and turns: ") + (received ? "read " : "") + (rested ? "turns" : ""));
        break;
    }
    default: {
        auto [received, slept] =
            co_await when_any(read_once(end, end.reads.below(3)), sleep_for(short_time(end.reads)));
        if (!received) settle_read(end);
        step(end, std::string("a read and a sleep: ") + (received ? "read " : "") + (slept ? "sleep" : ""));
        break;
    }
    }
}

Task<bool> Story::turns(std::size_t count) {
    for (; count != 0; --count)
        co_await yield();
    co_return true;
}

Task<> Story::reading(End& end) {
    while (reads_may_go_on(end)) {
        switch (end.reads.below(12)) {
        case 0:
            co_await rest(end.reads);
            break;
        case 1:
            co_await read_marked_in_some_way(end);
            break;
        case 2:
        case 3:
        case 4:
            co_await read_within_some_time(end);
            break;
        case 5: {
            std::optional<std::size_t> received = end.stream().try_read(room(end, 4000));
            if (received) take_or_see_end(end, *received, "try_read");
            co_await yield();
            break;
        }
        case 6:
            if (end.reads.once_in(3)) move(end);
            break;
        default:
            co_await read_in_some_way(end);
            break;
        }
    }
}

// ---- Writing ----

Task<> Story::write_in_some_way(End& end) {
    switch (end.writes.below(5)) {
    case 0: {
        std::size_t written = co_await end.stream().write(next_bytes(end, 20'000));
        gave(end, written, "write");
        break;
    }
    case 1: {
        Result<std::size_t> written = co_await as_result(end.stream().write(next_bytes(end, 20'000)));
        if (!written) throw std::system_error(written.error(), "write");
        gave(end, *written, "write for a result");
        break;
    }
    case 2: {
        const std::span<const std::byte> all = next_bytes(end, 20'000);
        const std::size_t half = all.size() / 2;
        std::array<ConstBuffer, 3> pieces{all.first(half), std::span<const std::byte>(), all.subspan(half)};
        std::size_t written = co_await end.stream().write(std::span<const ConstBuffer>(pieces));
        gave(end, written, "vectored write");
        break;
    }
    case 3: {
        std::optional<std::size_t> written = end.stream().try_write(next_bytes(end, 20'000));
        if (written) gave(end, *written, "try_write");
        co_await yield();
        break;
    }
    default: {
        co_await end.stream().writable();
        std::optional<std::size_t> written = end.stream().try_write(next_bytes(end, 20'000));
        if (written) gave(end, *written, "writable, try_write");
        break;
    }
    }
}

Task<> Story::write_all_in_some_way(End& end) {
    const std::span<const std::byte> all = next_bytes(end, 24'000);
    const std::size_t third = all.size() / 3;
    std::array<ConstBuffer, 3> pieces{all.first(third), all.subspan(third, third), all.subspan(2 * third)};
    end.pending_size = all.size();
    switch (end.writes.below(5)) {
    case 0: {
        end.pending_write = Pending::untracked;
        co_await end.stream().write_all(all);
        break;
    }
    case 1: {
        end.pending_write = Pending::untracked;
        Result<void> done = co_await as_result(end.stream().write_all(all));
        if (!done) throw std::system_error(done.error(), "write_all");
        break;
    }
    case 2: {
        end.pending_write = Pending::untracked;
        co_await end.stream().write_all(std::span<ConstBuffer>(pieces));
        break;
    }
    case 3: {
        end.pending_write = Pending::tracked;
        co_await end.stream().write_all(all, end.write_progress);
        break;
    }
    default: {
        end.pending_write = Pending::tracked;
        co_await end.stream().write_all(std::span<ConstBuffer>(pieces), end.write_progress);
        break;
    }
    }
    const bool has_progress = std::exchange(end.pending_write, Pending::nothing) == Pending::tracked;
    const std::size_t reported = std::exchange(end.write_progress.bytes, 0);
    if (has_progress && reported != all.size())
        fail(end.name + " write_all of " + std::to_string(all.size()) + " reports " +
             std::to_string(reported));
    gave(end, all.size(), has_progress ? "write_all with progress" : "write_all");
}

Task<bool> Story::write_once(End& end, std::size_t kind) {
    if (kind == 0) {
        std::size_t written = co_await end.stream().write(next_bytes(end, 20'000));
        gave(end, written, "write of two");
        co_return true;
    }
    const std::span<const std::byte> all = next_bytes(end, 20'000);
    const std::size_t half = all.size() / 2;
    std::array<ConstBuffer, 2> pieces{all.first(half), all.subspan(half)};
    end.pending_write = Pending::tracked;
    if (kind == 1)
        co_await end.stream().write_all(all, end.write_progress);
    else
        co_await end.stream().write_all(std::span<ConstBuffer>(pieces), end.write_progress);
    settle_write(end);
    co_return true;
}

Task<> Story::write_within_some_time(End& end) {
    const Duration limit = short_time(end.writes);
    switch (end.writes.below(5)) {
    case 0: {
        std::optional<std::size_t> written =
            co_await try_timeout(limit, end.stream().write(next_bytes(end, 20'000)));
        if (written) gave(end, *written, "write in time");
        break;
    }
    case 1: {
        const std::span<const std::byte> all = next_bytes(end, 24'000);
        end.pending_write = Pending::tracked;
        bool done = co_await try_timeout(limit, end.stream().write_all(all, end.write_progress));
        if (done && end.write_progress.bytes != all.size())
            fail(end.name + " write_all in time of " + std::to_string(all.size()) + " reports " +
                 std::to_string(end.write_progress.bytes));
        settle_write(end);
        break;
    }
    case 2: {
        const std::span<const std::byte> all = next_bytes(end, 24'000);
        const std::size_t half = all.size() / 2;
        std::array<ConstBuffer, 2> pieces{all.first(half), all.subspan(half)};
        end.pending_write = Pending::tracked;
        bool done = co_await try_timeout(
            limit, end.stream().write_all(std::span<ConstBuffer>(pieces), end.write_progress));
        if (done && end.write_progress.bytes != all.size())
            fail(end.name + " vectored write_all in time of " + std::to_string(all.size()) + " reports " +
                 std::to_string(end.write_progress.bytes));
        settle_write(end);
        break;
    }
    case 3: {
        bool is_writable = co_await try_timeout(limit, end.stream().writable());
        if (!is_writable) break;
        std::optional<std::size_t> written = end.stream().try_write(next_bytes(end, 20'000));
        if (written) gave(end, *written, "writable in time, try_write");
        break;
    }
    default: {
        auto [written, rested] =
            co_await when_any(write_once(end, end.writes.below(3)), turns(end.writes.below(6)));
        if (!written) settle_write(end);
        step(end, std::string("a write and turns: ") + (written ? "write " : "") + (rested ? "turns" : ""));
        break;
    }
    }
}

Task<> Story::writing(End& end) {
    std::size_t left = is_last_leg_ ? end.writes.below(4) : 0;
    while (writes_may_go_on(end)) {
        // How far a write came that was cut is not known: nothing can follow it.
        const bool is_at_its_end = is_last_leg_ ? left-- == 0 : may_shut_early_ && end.writes.once_in(60);
        if (end.out.is_cut || is_at_its_end) {
            shut(end);
            co_return;
        }
        if (may_abort_ && end.writes.once_in(40)) {
            abort(end);
            co_return;
        }
        switch (end.writes.below(10)) {
        case 0:
            co_await rest(end.writes);
            break;
        case 1:
            if (end.writes.once_in(3)) move(end);
            break;
        case 2:
        case 3:
            co_await write_within_some_time(end);
            break;
        case 4:
        case 5:
        case 6:
            co_await write_all_in_some_way(end);
            break;
        default:
            co_await write_in_some_way(end);
            break;
        }
    }
}

/// One task that reads and writes: it waits for both at the same time, or for one of them for a while.
Task<> Story::both_in_one(End& end) {
    while (reads_may_go_on(end) || writes_may_go_on(end)) {
        if (writes_may_go_on(end) && end.out.is_cut) shut(end);
        const bool reads = reads_may_go_on(end);
        const bool writes = writes_may_go_on(end);
        if (!reads && !writes) break;
        if (reads && writes && !end.reads.once_in(3)) {
            auto [received, written] =
                co_await when_any(read_once(end, end.reads.below(3)), write_once(end, end.writes.below(3)));
            if (!received) settle_read(end);
            if (!written) settle_write(end);
            step(end,
                 std::string("a read and a write: ") + (received ? "read " : "") + (written ? "write" : ""));
        } else if (reads && (!writes || end.reads.once_in(2))) {
            co_await read_within_some_time(end);
        } else {
            co_await write_within_some_time(end);
        }
        co_await yield();
    }
}

// ---- A plain socket at the other end ----

Task<> Story::plain_reading(End& end) {
    while (reads_may_go_on(end)) {
        if (end.reads.once_in(6)) {
            co_await rest(end.reads);
            continue;
        }
        const std::span<std::byte> buffer = room(end, 8000);
        const std::span<char> text(reinterpret_cast<char*>(buffer.data()), buffer.size());
        std::error_code error;
        std::size_t received = end.reads.once_in(8) ? try_peek(end.plain.get(), text, error) : 0;
        if (!error && received != 0) check(end, buffer.first(received), "plain peek");
        error.clear();
        received = try_read(end.plain.get(), text, error);
        if (!error) {
            take_or_see_end(end, received, "plain read");
            continue;
        }
        if (error != std::errc::operation_would_block && error != std::errc::resource_unavailable_try_again)
            throw std::system_error(error, "plain read");
        co_await sleep_for(std::chrono::microseconds(end.reads.below(60)));
    }
}

Task<> Story::plain_writing(End& end) {
    std::size_t left = is_last_leg_ ? end.writes.below(4) : 0;
    while (writes_may_go_on(end)) {
        if (is_last_leg_ ? left-- == 0 : may_shut_early_ && end.writes.once_in(60)) {
            shut(end);
            co_return;
        }
        if (may_abort_ && end.writes.once_in(40)) {
            abort(end);
            co_return;
        }
        if (end.writes.once_in(4)) {
            co_await rest(end.writes);
            continue;
        }
        const std::span<const std::byte> bytes = next_bytes(end, 16'000);
        std::error_code error;
        std::size_t written =
            try_write(end.plain.get(),
                      std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), error);
        if (!error) {
            gave(end, written, "plain write");
        } else if (error != std::errc::operation_would_block &&
                   error != std::errc::resource_unavailable_try_again) {
            throw std::system_error(error, "plain write");
        }
        co_await sleep_for(std::chrono::microseconds(end.writes.below(60)));
    }
}

// ---- Legs ----

/// Runs one of an end's tasks, and sees to how it ends.
Task<> Story::guard(End& end, Task<> body) {
    class Presence {
    public:
        Presence(Story& story, End& of) noexcept : story_(story), end_(of) {}
        Presence(const Presence&) = delete;
        Presence& operator=(const Presence&) = delete;
        ~Presence() {
            --end_.tasks;
            --story_.tasks_;
            story_.changed_.set();
        }

    private:
        Story& story_;
        End& end_;
    };
    Presence presence(*this, end);
    try {
        co_await std::move(body);
    } catch (const StoryFailure& failure) {
        failure_ = failure.what();
    } catch (const std::system_error& error) {
        log_.note(end.name + " ends with: " + error.what());
        // The `try_` forms know nothing of leat's own error.
        const bool is_closed = error.code() == errc::closed || error.code() == std::errc::bad_file_descriptor;
        const bool is_expected =
            end.is_released ? is_closed : is_aborted_ && (is_closed || is_an_end(error.code()));
        if (!is_expected) failure_ = end.name + ": " + error.what();
    } catch (const std::exception& error) {
        failure_ = end.name + ": " + error.what();
    }
}

Executor& Story::executor() {
    std::unique_ptr<Executor>& place = executors_[executor_];
    if (place == nullptr) {
        ExecutorOptions options;
        options.diagnostic = [this](std::string_view text) { notices_.emplace_back(text); };
        options.seed = random_.below(1'000'000);
        place = std::make_unique<Executor>(std::move(options));
    }
    return *place;
}

void Story::start(End& end, Task<> body, const char* name) {
    ++tasks_;
    ++end.tasks;
    running_.push_back(executor().start(guard(end, std::move(body)), end.name + " " + name));
}

void Story::start_tasks(End& end) {
    if (end.is_plain) {
        if (!end.in.has_ended) start(end, plain_reading(end), "reads");
        if (!end.out.is_shut) start(end, plain_writing(end), "writes");
    } else if (!is_last_leg_ && random_.once_in(4)) {
        start(end, both_in_one(end), "reads and writes");
    } else {
        if (!end.in.has_ended) start(end, reading(end), "reads");
        if (!end.out.is_shut) start(end, writing(end), "writes");
    }
}

bool Story::leg_is_over(const End& end) const {
    if (all_tasks_have_ended(end)) return true;
    return !is_last_leg_ && !is_aborted_ && steps_ >= steps_of_leg_;
}

Task<> Story::until(bool (Story::*holds)(const End&) const, const End& end) {
    while (!(this->*holds)(end)) {
        changed_.reset();
        bool in_time = co_await try_timeout(patience, changed_.wait());
        if (!in_time) {
            failure_ = "the story does not end:\n" + executor().dump_tasks();
            co_return;
        }
    }
}

void Story::wait_until(bool (Story::*holds)(const End&) const, const End& end) {
    executor().run_until(until(holds, end));
    throw_if_failed();
}

void Story::throw_if_failed() {
    if (!failure_.empty()) fail(failure_);
}

void Story::run_leg() {
    steps_ = 0;
    log_.note("---- a leg of " + std::to_string(steps_of_leg_) + " steps on executor " +
              std::to_string(executor_));
    start_tasks(a_);
    start_tasks(b_);
    wait_until(&Story::leg_is_over, a_);
}

void Story::adopt(End& end, NativeHandle handle) {
    end.stream() = TcpStream::adopt(handle);
    end.is_released = false;
}

/// The streams are released while tasks wait on them.
void Story::cut_by_release() {
    log_.note("---- released");
    const bool is_first = random_.once_in(2);
    End& end = is_first || b_.is_plain ? a_ : b_;
    end.is_released = true;
    const NativeHandle handle = end.stream().release();
    try {
        wait_until(&Story::tasks_have_ended, end);
    } catch (...) {
        OwnedHandle closing(handle);
        throw;
    }
    adopt(end, handle);
}

void Story::cut_by_destroying() {
    log_.note("---- the executor is destroyed");
    executors_[executor_].reset();
    running_.clear();
    throw_if_failed();
    for (End* end : {&a_, &b_})
        if (!end->is_plain && end->stream().is_open()) adopt(*end, end->stream().release());
}

void Story::cut() {
    const std::size_t way = random_.below(3);
    if (way == 0 && !is_aborted_) cut_by_release();
    if (way == 1) {
        cut_by_destroying();
    } else {
        log_.note("---- cancelled");
        for (Running<void>& running : running_)
            running.cancel();
        wait_until(&Story::all_tasks_have_ended, a_);
        running_.clear();
    }
    for (End* end : {&a_, &b_}) {
        settle_read(*end);
        settle_write(*end);
    }
}

void Story::change_owner() {
    const std::size_t way = random_.below(3);
    if (way == 0) return;
    if (way == 1) executor_ = 1 - executor_;
    for (End* end : {&a_, &b_}) {
        // A stream of one executor cannot be used with another one; on the same one it may stay as it is.
        if (end->is_plain || !end->stream().is_open() || (way == 2 && random_.once_in(2))) continue;
        log_.note("---- " + end->name + " is released and adopted");
        adopt(*end, end->stream().release());
    }
}

void Story::tell() {
    const std::size_t legs = 1 + random_.below(4);
    for (std::size_t leg = 0; leg < legs && !is_aborted_; ++leg) {
        steps_of_leg_ = 4 + random_.below(random_.once_in(4) ? 100 : 30);
        run_leg();
        cut();
        change_owner();
    }
    if (is_aborted_) return;
    is_last_leg_ = true;
    run_leg();
    running_.clear();
    throw_if_failed();
    if (is_aborted_) return;
    for (const End* end : {&a_, &b_})
        if (!end->in.has_ended) fail(end->name + " has not seen the end");
}

}  // namespace

// ---- The log ----

void StoryLog::begin(const std::string& title) {
    std::lock_guard lock(mutex_);
    lines_.assign(1, title);
}

void StoryLog::note(std::string line) {
    std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
}

std::string StoryLog::text() const {
    std::lock_guard lock(mutex_);
    std::string text;
    for (const std::string& line : lines_)
        text += line + '\n';
    return text;
}

void tell_story(std::uint64_t seed, StoryLink link, StoryPeer peer, StoryLog& log) {
    log.begin("seed " + std::to_string(seed) + (link == StoryLink::tcp ? ", TCP" : ", Unix sockets") +
              (peer == StoryPeer::plain_socket ? ", B is a plain socket" : ""));
    try {
        Story story(seed, link, peer, log);
        story.tell();
    } catch (const StoryFailure& failure) {
        throw StoryFailure(log.text() + failure.what());
    }
}

}  // namespace leat::test::net
