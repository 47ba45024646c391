// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>

/// kqueue(2) on Linux, as far as leat's backend goes, so that its tests and the sanitizers can run over that backend
/// here. It is strict where systems differ: what only some of them forgive ends the program with a line that says why.
///
/// - an entry that is not edge-triggered, or a flag that it does not know
/// - adding again with other notes
/// - closing a descriptor that has an entry (noticed in programs that wrap close(2), as the tests do)
/// - a receipt that finds no room; a timeout that is none
///
/// It refuses urgent data to what is no socket, and in a forked child there are no queues, and their numbers are free.
///
/// Underneath, each filter has an epoll set of its own, since an edge of one direction must not show in another's.
namespace leat::test::kqueue_shim {

/// Makes every queue of the process behave as the worst system would: events for nothing, EV_EOF where data is still
/// to be read, one event a call at times. From a seed; zero ends it. Also: the environment variable
/// LEAT_KQUEUE_NOISE, read when the first queue is made.
void make_noise(std::uint32_t seed) noexcept;

/// The `which`-th change from now (the first is 1), of any queue, fails with `error`; once.
void fail_change(int which, int error) noexcept;

/// Entries of all queues.
int entries() noexcept;

/// Ends the program if `fd` has an entry; forgets it if it is a queue. Called before it is closed.
void before_close(int fd) noexcept;

}  // namespace leat::test::kqueue_shim
