// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/gate.hpp"

#include <leat/runtime/executor.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/task.hpp>

#include <atomic>
#include <future>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace leat::test {

/// An executor on a thread of its own, which runs until `end`.
///
/// Thread-safety: the thread that made it; `remote` from any.
class OtherThread {
public:
    OtherThread() {
        std::promise<Remote> ready;
        std::future<Remote> remote = ready.get_future();
        thread_ = std::thread([this, &ready] { run(ready); });
        remote_.emplace(remote.get());
    }
    OtherThread(const OtherThread&) = delete;
    OtherThread& operator=(const OtherThread&) = delete;
    ~OtherThread() { end(); }

    Remote remote() const { return *remote_; }
    std::thread::id id() const noexcept { return id_; }

    /// Ends the executor, and gives its notices. Twice is harmless.
    std::vector<std::string> end() {
        if (thread_.joinable()) {
            ask_to_end();
            thread_.join();
        }
        return std::exchange(notices_, {});
    }
    /// The same without waiting for it.
    void ask_to_end() {
        (void)remote_->try_post([this] { over_->open(); });
    }

    /// Waits until everything that was posted before has been called and destroyed, and gives back the blocks of frames that
    /// the thread keeps.
    void settle() {
        std::atomic<bool> has_come = false;
        remote_->post([&has_come] {
            detail::FramePool::trim();
            has_come = true;
        });
        while (!has_come)
            std::this_thread::yield();
    }

private:
    void run(std::promise<Remote>& ready) {
        ExecutorOptions options;
        options.diagnostic = [this](std::string_view text) { notices_.emplace_back(text); };
        Executor executor(std::move(options));
        Gate over;
        over_ = &over;
        id_ = std::thread::id(std::this_thread::get_id());
        ready.set_value(executor.remote());
        executor.run_until(wait_for(over));
    }
    static Task<> wait_for(Gate& over) { co_await over.pass(); }

    std::thread thread_;
    std::optional<Remote> remote_;
    std::thread::id id_;
    Gate* over_ = nullptr;
    std::vector<std::string> notices_;
};

}  // namespace leat::test
