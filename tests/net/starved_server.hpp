// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "server.hpp"
#include "support/allocations.hpp"

#include <leat/net/serve_threads.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/remote_call.hpp>

#include <array>
#include <cstddef>
#include <exception>
#include <future>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace leat::test::net {

/// Keeps what fits of the messages that an executor writes, and needs no memory for that.
class Messages {
public:
    /// Any thread.
    void add(std::string_view text) noexcept {
        std::lock_guard lock(mutex_);
        size_ += text.copy(text_.data() + size_, text_.size() - size_);
    }
    bool have(std::string_view text) {
        std::lock_guard lock(mutex_);
        return std::string_view(text_.data(), size_).find(text) != std::string_view::npos;
    }

private:
    std::mutex mutex_;
    std::array<char, 4096> text_;
    std::size_t size_ = 0;
};

/// Fixture: an echo server on threads of its own, where memory may run out, and clients on this thread, where
/// it does not.
class StarvedServer {
public:
    /// A drain ends each connection at once.
    static ServeOptions without_quiet() {
        ServeOptions options;
        options.drain_quiet = Duration::zero();
        return options;
    }

    StarvedServer(std::size_t threads, Sharing sharing, const ServeOptions& options = without_quiet())
        : options_(options) {
        std::promise<void> is_bound;
        thread_ = std::thread([this, threads, sharing, &is_bound] { work(threads, sharing, is_bound); });
        is_bound.get_future().wait();
    }
    StarvedServer(const StarvedServer&) = delete;
    StarvedServer& operator=(const StarvedServer&) = delete;
    ~StarvedServer() {
        if (!thread_.joinable()) return;
        control.drain();
        thread_.join();
    }

    TcpStream connect() { return clients_.run_until(connect_to(address)); }

    /// Whether it is echoed. If not, the peer has seen the connection's end.
    bool is_answered(TcpStream& stream) { return clients_.run_until(ask(stream)); }

    /// Whether a new connection is served.
    bool serves() {
        TcpStream stream = connect();
        return is_answered(stream);
    }

    /// Reads until the peer has closed.
    void await_end(TcpStream& stream) { clients_.run_until(read_to_its_end(stream)); }

    /// Comes back when every thread accepts, so that a shortage is none of the beginning, and no thread has a
    /// free block left, so that each frame is an allocation.
    void prepare_for_shortage() {
        std::vector<TcpStream> streams;
        while (threads_that_serve() < executors_.size()) {
            streams.push_back(connect());
            is_answered(streams.back());
        }
        for (TcpStream& stream : streams) {
            stream.shutdown(Half::write);
            await_end(stream);
        }
        for (Remote& executor : executors_)
            executor.block_on([] { detail::FramePool::trim(); });
    }

    /// After a drain. Throws what the server has thrown.
    ServeReport join() {
        thread_.join();
        if (failure_ != nullptr) std::rethrow_exception(failure_);
        return report_;
    }

    MemoryShortage shortage;
    Messages messages;
    ThreadedServeControl control;
    Address address = Address::loopback(0);

private:
    void work(std::size_t threads, Sharing sharing, std::promise<void>& is_bound) {
        RuntimeOptions options(threads);
        options.executor.diagnostic = [this](std::string_view text) { messages.add(text); };
        Runtime runtime(options);
        for (std::size_t index = 0; index < threads; ++index) {
            executors_.push_back(runtime.remote(index));
            executors_.back().post([this] { shortage.subject_this_thread(); });
        }
        SharedListener listener = SharedListener::bind(Address::loopback(0), ListenOptions(), sharing);
        address = listener.local_address();
        is_bound.set_value();
        try {
            auto note_and_echo = [this](TcpStream peer) -> Task<> {
                note_thread();
                co_await echo(std::move(peer));
            };
            report_ = runtime.executor().run_until(
                serve(runtime, std::move(listener), note_and_echo, options_, control));
        } catch (...) {
            failure_ = std::current_exception();
        }
        executors_.clear();
    }

    static Task<TcpStream> connect_to(Address address) {
        TcpStream stream = co_await TcpStream::connect(address);
        co_return stream;
    }

    static Task<bool> ask(TcpStream& stream) {
        std::array<std::byte, 3> buffer{};
        Result<void> sent = co_await as_result(stream.write_all(bytes_of("abc")));
        if (!sent) co_return false;
        Result<void> answered = co_await as_result(stream.read_exactly(buffer));
        co_return answered&& text_of(buffer) == "abc";
    }

    static Task<> read_to_its_end(TcpStream& stream) {
        std::array<std::byte, 64> buffer;
        for (;;) {
            Result<std::size_t> received = co_await as_result(stream.read(buffer));
            if (!received || *received == 0) co_return;
        }
    }

    void note_thread() {
        std::lock_guard lock(mutex_);
        serving_.insert(std::this_thread::get_id());
    }
    std::size_t threads_that_serve() {
        std::lock_guard lock(mutex_);
        return serving_.size();
    }

    ServeOptions options_;
    Executor clients_;
    std::mutex mutex_;
    std::set<std::thread::id> serving_;
    std::vector<Remote> executors_;
    ServeReport report_;
    std::exception_ptr failure_;
    std::thread thread_;
};

/// The ways of sharing that this system has, for so many threads.
inline std::vector<Sharing> sharings_of(std::size_t threads) {
    const Sharing best = SharedListener::best_sharing();
    if (threads == 1 || best == Sharing::by_hand) return {best};
    return {Sharing::by_system, Sharing::by_hand};
}

}  // namespace leat::test::net
