// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <string>
#include <system_error>

namespace leat::test {

/// The generous limit of one wait: it is there to fail with a sentence instead of hanging, never to measure.
class Deadline {
public:
    explicit Deadline(std::chrono::seconds limit = std::chrono::seconds(60));

    /// Throws if it has passed; `awaited` completes the sentence "waited too long for …".
    void check(const std::string& awaited) const;
    int milliseconds_left() const;

private:
    std::chrono::steady_clock::time_point end_;
};

/// Waits until `descriptor` is ready for one of `events`, which are those of poll(2).
void wait_ready(int descriptor, short events, const Deadline& deadline, const std::string& awaited);

/// Whether `descriptor` is ready at this moment.
bool is_ready(int descriptor, short events);

/// `errno` as an exception.
std::system_error system_failure(const std::string& what);

}  // namespace leat::test
