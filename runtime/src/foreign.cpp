// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/foreign.hpp>

#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/remote.hpp>

#include <cstddef>
#include <exception>

namespace leat::detail {

namespace {

struct BridgeCoroutine {
    struct promise_type {
        BridgeCoroutine get_return_object() noexcept {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_always final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }

        static void* operator new(std::size_t size) { return FramePool::allocate(size); }
        static void operator delete(void* memory, std::size_t size) noexcept {
            FramePool::deallocate(memory, size);
        }
    };

    std::coroutine_handle<> handle;
};

/// Posts while the bridge is suspended: the executor may destroy it before the thread that resumed it is out of here.
struct PostResumption {
    PostResumption(ForeignBridge& bridge, Wait& wait, const Remote& remote) noexcept
        : bridge_(&bridge), wait_(&wait), remote_(remote) {}

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const {
        Remote remote = remote_;
        ForeignBridge* bridge = bridge_;
        Wait* wait = wait_;
        bridge->mark_resumed();
        // An executor that is gone has taken its tasks with it. What is thrown here would end the process.
        (void)remote.post_surely([wait]() noexcept { ForeignBridge::resume_task(*wait); });
    }
    void await_resume() const noexcept {}

private:
    ForeignBridge* bridge_;
    Wait* wait_;
    Remote remote_;
};

BridgeCoroutine make_bridge(ForeignBridge& bridge, Wait& wait, Remote remote) {
    PostResumption resumption(bridge, wait, remote);
    co_await resumption;
}

}  // namespace

std::coroutine_handle<> ForeignBridge::open(Wait& wait, Executor& executor) {
    BridgeCoroutine bridge = make_bridge(*this, wait, executor.remote());
    handle_ = bridge.handle;
    return handle_;
}

void ForeignBridge::resume_task(Wait& wait) noexcept { static_cast<ForeignWait&>(wait).resumed(); }

ForeignBridge::~ForeignBridge() {
    if (handle_) handle_.destroy();
}

}  // namespace leat::detail
