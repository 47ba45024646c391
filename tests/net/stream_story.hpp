// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace leat::test::net {

/// What the two ends of a story's connection are.
enum class StoryLink { tcp, unix_sockets };
/// Who drives the second end: tasks that wait, or calls on a socket that no executor knows, which do not.
enum class StoryPeer { tasks, plain_socket };

/// A story whose bytes are wrong, or that does not end. The text has the log of its steps.
class StoryFailure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The steps of a story, for the reader of a failure.
///
/// Thread-safety: any thread.
class StoryLog {
public:
    void begin(const std::string& title);
    void note(std::string line);
    std::string text() const;

private:
    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
};

/// Tells the story of `seed`: connects two streams, and reads, writes, cancels, moves, releases, adopts and
/// closes at random, until both directions have ended. Each end checks each byte.
///
/// Errors: `StoryFailure`.
void tell_story(std::uint64_t seed, StoryLink link, StoryPeer peer, StoryLog& log);

}  // namespace leat::test::net
