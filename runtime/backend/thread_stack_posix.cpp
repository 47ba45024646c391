// SPDX-License-Identifier: BSL-1.0
//
// The thread is sent a signal, and its handler walks the stack that it stands on. It allocates nothing and takes no lock
// of ours: it fills one array, which is there from the beginning. One thread is looked at at a time.

#include "backend/thread_stack.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <thread>

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <unwind.h>

namespace leat::detail {

struct ThreadStack::Thread {
    pthread_t id;
    void (*note)(void*) noexcept;
    void* argument;
};

namespace {

constexpr int look_signal = SIGURG;

enum class Stage : int { idle, wanted, taking, taken };

std::mutex one_at_a_time;
// Written by the asking thread before `wanted`, by the handler between `taking` and `taken`.
std::atomic<Stage> stage{Stage::idle};
pthread_t wanted_thread;
void (*wanted_note)(void*) noexcept = nullptr;
void* wanted_argument = nullptr;
std::array<std::uintptr_t, 64> calls;
std::size_t call_count = 0;

_Unwind_Reason_Code note_call(_Unwind_Context* context, void*) {
    if (call_count == calls.size()) return _URC_END_OF_STACK;
    std::uintptr_t address = _Unwind_GetIP(context);
    if (address == 0) return _URC_END_OF_STACK;
    calls[call_count++] = address;
    return _URC_NO_REASON;
}

extern "C" void leat_note_stack(int) {
    // Somebody else's signal, or one that came too late.
    if (stage.load(std::memory_order_acquire) != Stage::wanted) return;
    if (::pthread_equal(wanted_thread, ::pthread_self()) == 0) return;
    Stage wanted = Stage::wanted;
    if (!stage.compare_exchange_strong(wanted, Stage::taking, std::memory_order_acquire)) return;
    const int error = errno;
    call_count = 0;
    _Unwind_Backtrace(note_call, nullptr);
    wanted_note(wanted_argument);
    errno = error;
    stage.store(Stage::taken, std::memory_order_release);
}

/// False if somebody else handles the signal.
bool install() {
    static const bool installed = [] {
        struct sigaction before{};
        if (::sigaction(look_signal, nullptr, &before) != 0) return false;
        if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return false;
        struct sigaction action{};
        action.sa_handler = leat_note_stack;
        // Most system calls do not notice; those that wait with a limit of time of their own do, with EINTR (signal(7)).
        action.sa_flags = SA_RESTART;
        ::sigemptyset(&action.sa_mask);
        // The first walk may load what it needs; not in a handler.
        _Unwind_Backtrace([](_Unwind_Context*, void*) { return _URC_END_OF_STACK; }, nullptr);
        return ::sigaction(look_signal, &action, nullptr) == 0;
    }();
    return installed;
}

/// Whether nobody has taken the signal since.
bool is_ours() {
    struct sigaction now{};
    return ::sigaction(look_signal, nullptr, &now) == 0 && now.sa_handler == leat_note_stack;
}

constexpr std::chrono::milliseconds pause(1);

/// Not locked if that takes too long, as a forked child may have inherited it locked. Tried again and again, since GCC 12's
/// thread sanitizer takes the unlocking of a mutex that was locked with a limit of time for a mistake.
std::unique_lock<std::mutex> take_turn() {
    std::unique_lock turn(one_at_a_time, std::try_to_lock);
    for (int i = 0; !turn && i < 2000; ++i) {
        std::this_thread::sleep_for(pause);
        (void)turn.try_lock();
    }
    return turn;
}

/// Whether the thread has answered.
bool has_been_taken() {
    for (int i = 0; i < 1000; ++i) {
        if (stage.load(std::memory_order_acquire) == Stage::taken) return true;
        std::this_thread::sleep_for(pause);
    }
    Stage wanted = Stage::wanted;
    if (stage.compare_exchange_strong(wanted, Stage::idle)) return false;
    while (stage.load(std::memory_order_acquire) != Stage::taken)
        std::this_thread::sleep_for(pause);
    return true;
}

std::string line_of(std::uintptr_t address) {
    Dl_info module{};
    char text[64];
    if (::dladdr(reinterpret_cast<void*>(address), &module) == 0 || module.dli_fname == nullptr) {
        std::snprintf(text, sizeof text, "  %#llx\n", static_cast<unsigned long long>(address));
        return text;
    }
    std::string_view path = module.dli_fname;
    std::snprintf(
        text, sizeof text, "+%#llx",
        static_cast<unsigned long long>(address - reinterpret_cast<std::uintptr_t>(module.dli_fbase)));
    std::string line = "  " + std::string(path.substr(path.rfind('/') + 1)) + text;
    if (module.dli_sname != nullptr) line += std::string(" (") + module.dli_sname + ")";
    return line + "\n";
}

}  // namespace

ThreadStack::ThreadStack(void (*note)(void*) noexcept, void* argument) {
    if (install()) thread_.reset(new Thread{::pthread_self(), note, argument});
}

ThreadStack::~ThreadStack() = default;

std::string ThreadStack::take() {
    if (thread_ == nullptr) return {};
    std::unique_lock turn = take_turn();
    if (!turn || !is_ours()) return {};
    wanted_thread = thread_->id;
    wanted_note = thread_->note;
    wanted_argument = thread_->argument;
    stage.store(Stage::wanted, std::memory_order_release);
    if (::pthread_kill(thread_->id, look_signal) != 0 || !has_been_taken()) {
        stage.store(Stage::idle);
        return {};
    }
    std::string text;
    // The first is the handler's own, the second the way back from it.
    for (std::size_t i = 2; i < call_count; ++i)
        text += line_of(calls[i]);
    stage.store(Stage::idle);
    return text;
}

void refuse_signals() noexcept {
    sigset_t signals;
    ::sigfillset(&signals);
    // Its own mistakes stay its own.
    for (int signal : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP})
        ::sigdelset(&signals, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace leat::detail
