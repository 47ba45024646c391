// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <ostream>
#include <vector>

namespace leat::test {

/// What one poll reported.
struct Harvest {
    PollStatus status;
    std::vector<Event> events;

    /// The first event of `token`, or null.
    const Event* of(Token token) const {
        for (const Event& event : events)
            if (event.token() == token) return &event;
        return nullptr;
    }
};

/// Longer than any of these tests may take: it only ends a test that has failed.
inline constexpr Duration patience = std::chrono::seconds(60);

inline Harvest harvest(Poll& poll, Duration timeout = patience) {
    Events events(256);
    const PollStatus status = poll.poll(events, timeout);
    Harvest result{status, {}};
    for (const Event& event : events)
        result.events.push_back(event);
    return result;
}

/// What is there already, without waiting for more.
inline Harvest glance(Poll& poll) { return harvest(poll, Duration::zero()); }

/// Whether the kernel carries operations out, and so may have bytes for one that nobody has been told of.
inline bool hands_operations_over(Backend backend) {
    return backend.name() == "iocp" || backend.name() == "io_uring";
}

/// Cancels an operation that waits, and polls until it has ended so.
inline void withdraw(Poll& poll, Operation& operation) {
    if (!poll.cancel(operation))
        while (!operation.is_ended() && harvest(poll).status == PollStatus::events) {
        }
    BOOST_TEST((operation.error() == std::errc::operation_canceled));
}

/// Polls until `token` is reported with what `wanted` asks for. Events may come separately, and early hints too.
template <class Predicate>
Event harvest_until(Poll& poll, Token token, Predicate wanted) {
    for (;;) {
        const Harvest found = harvest(poll);
        if (found.status != PollStatus::events) return {};
        for (const Event& event : found.events)
            if (event.token() == token && wanted(event)) return event;
    }
}

}  // namespace leat::test

// For the messages of Boost.Test, which looks the operator up where the type lives.
namespace leat {

inline std::ostream& boost_test_print_type(std::ostream& out, PollStatus status) {
    switch (status) {
    case PollStatus::events:
        return out << "events";
    case PollStatus::timed_out:
        return out << "timed_out";
    case PollStatus::woken:
        return out << "woken";
    case PollStatus::closed:
        return out << "closed";
    }
    return out << "?";
}

inline std::ostream& boost_test_print_type(std::ostream& out, Token token) { return out << token.value(); }

inline std::ostream& boost_test_print_type(std::ostream& out, errc code) {
    return out << make_error_code(code).message();
}

}  // namespace leat
