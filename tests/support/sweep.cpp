// SPDX-License-Identifier: BSL-1.0
#include "support/sweep.hpp"

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/system.hpp"

#include <leat/reactor/clock.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/sleep.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace leat::test {
namespace {

using Scenario = std::function<Task<>()>;

// More steps than any scenario takes: one that needs them spins.
constexpr std::size_t most_steps = 1'000'000;
// Real time after which a scenario that waits for another thread counts as stuck.
constexpr std::chrono::seconds patience(30);

const char* name_of(Ending ending) noexcept {
    switch (ending) {
    case Ending::scope:
        return "by its scope";
    case Ending::scope_repeatedly:
        return "by its scope, repeatedly";
    case Ending::scope_after_results:
        return "by its scope, after results";
    case Ending::root:
        return "by its root";
    case Ending::executor:
        return "by its executor";
    }
    return "";
}

struct Outcome {
    std::size_t points = 0;
    bool finished = false;
    std::string complaint;
};

Task<> nothing() { co_return; }

Task<int> small_task() {
    co_await sleep_for(std::chrono::milliseconds(1));
    co_await nothing();
    co_return 7;
}

// One run of the scenario, ended at its `end_at`-th suspension point (0: before it begins; nothing: not at all).
class Run {
public:
    Run(const Scenario& scenario, Ending ending, std::optional<std::size_t> end_at)
        : scenario_(scenario), ending_(ending), end_at_(end_at) {}

    Outcome operator()() {
        ExecutorOptions options;
        options.clock = &clock_;
        options.diagnostic = [](std::string_view) {};
        executor_ = std::make_unique<Executor>(std::move(options));
        running_.emplace(executor_->start(root()));

        step_to_the_end();
        if (executor_ != nullptr) check_the_end();
        running_.reset();
        executor_.reset();
        return std::move(outcome_);
    }

private:
    Task<> root() {
        auto body = [this](CancelScope& scope) -> Task<> {
            scope_ = &scope;
            if (end_at_ == 0u) scope.cancel();
            co_await scenario_();
        };
        bool finished = co_await cancel_scope(body);
        scope_ = nullptr;
        outcome_.finished = finished;
    }

    void step_to_the_end() {
        if (end_at_ == 0u) end_before_the_beginning();
        for (std::size_t step = 0; executor_ != nullptr && !running_->has_ended(); ++step) {
            if (step == most_steps) return complain("does not come to an end");

            std::uint64_t resumes = executor_->stats().resumes;
            bool has_more = executor_->turn(1);
            if (running_->has_ended()) return;
            if (executor_->stats().resumes != resumes) at_suspension_point(has_more);
            if (executor_ == nullptr) return;
            if (!has_more && !wait_for_work()) return complain("nothing can run any more");
        }
    }

    void end_before_the_beginning() {
        // With a scope, the root's own code does it.
        if (ending_ == Ending::root) running_->cancel();
        if (ending_ == Ending::executor) destroy_executor();
    }

    void at_suspension_point(bool has_more) {
        ++outcome_.points;
        bool again = end_at_ && ending_ == Ending::scope_repeatedly && outcome_.points == *end_at_ + 1;
        if (outcome_.points != end_at_ && !again) return;
        switch (ending_) {
        case Ending::scope_after_results:
            // Events are gathered and timers fire, but nothing is resumed.
            if (!has_more) wait_for_work();
            executor_->turn(0);
            if (scope_ != nullptr) scope_->cancel();
            return;
        case Ending::scope_repeatedly:
            if (scope_ != nullptr) scope_->cancel();
            [[fallthrough]];
        case Ending::scope:
            if (scope_ != nullptr) scope_->cancel();
            return;
        case Ending::root:
            return running_->cancel();
        case Ending::executor:
            return destroy_executor();
        }
    }

    // Running ends before the executor; it is left with the task unended, so that the executor has it to unwind.
    void destroy_executor() {
        running_.reset();
        executor_.reset();
    }

    // Waits for the executor, as a foreign loop would; false if that could take for ever.
    bool wait_for_work() {
        std::optional<Duration> timeout = executor_->next_timeout();
        if (timeout && *timeout <= Duration::zero()) return true;
        if (finds_work(std::chrono::milliseconds::zero())) return true;
        if (timeout) {
            clock_.advance(*timeout);
            return true;
        }
        return finds_work(patience);
    }

    // By the queue's handle, as another loop would learn of it; where there is none, by looking again and again.
    bool finds_work(std::chrono::milliseconds limit) {
        if (NativeHandle handle = handle_of_queue(); handle != invalid_handle)
            return becomes_readable(handle, static_cast<int>(limit.count()));
        const auto end = std::chrono::steady_clock::now() + limit;
        while (!gather()) {
            if (std::chrono::steady_clock::now() >= end) return false;
            std::this_thread::yield();
        }
        return true;
    }

    NativeHandle handle_of_queue() const {
        try {
            return executor_->poll_handle();
        } catch (const std::system_error& error) {
            if (error.code() != std::errc::operation_not_supported) throw;
            return invalid_handle;
        }
    }

    // Events and posts are taken, and nothing is resumed.
    bool gather() { return executor_->turn(0) || executor_->next_timeout() == Duration::zero(); }

    void complain(const std::string& what) {
        outcome_.complaint = what + ":\n" + executor_->dump_tasks();
        // Its end could only hang: tell, and leave what is stuck alone.
        (void)executor_.release();
        (void)new std::optional<Running<void>>(std::move(running_));
    }

    void check_the_end() {
        if (!end_at_ || ending_ != Ending::root) {
            running_->get();
        } else {
            try {
                running_->get();
            } catch (const std::system_error& error) {
                if (error.code() != errc::cancelled) outcome_.complaint = error.what();
            }
        }
        int answer = executor_->run_until(small_task());
        if (answer != 7) outcome_.complaint = "the executor does not work any more";
    }

    const Scenario& scenario_;
    Ending ending_;
    std::optional<std::size_t> end_at_;
    VirtualClock clock_;
    std::unique_ptr<Executor> executor_;
    std::optional<Running<void>> running_;
    CancelScope* scope_ = nullptr;
    Outcome outcome_;
};

struct Leftovers {
    std::size_t allocations = 0;
    int objects = 0;
    int misused = 0;
};

Leftovers look() {
    detail::FramePool::trim();
    return Leftovers{outstanding_allocations(), Counted::live(), Counted::misused()};
}

Outcome run_and_check(const Scenario& scenario, const SweepOptions& options,
                      std::optional<std::size_t> end_at) {
    Outcome outcome;
    Leftovers before;
    Leftovers after;
    // What is allocated once and kept (a locale, say) shows up in one run, a leak in each.
    for (int attempt = 0; attempt < 3; ++attempt) {
        before = look();
        if (options.before) options.before();
        outcome = Run(scenario, options.ending, end_at)();
        if (options.after) options.after();
        after = look();
        if (!outcome.complaint.empty() || after.allocations == before.allocations) break;
    }
    BOOST_TEST_INFO("the scenario was ended at its suspension point "
                    << (end_at ? std::to_string(*end_at) : "(none)"));
    BOOST_TEST_REQUIRE(outcome.complaint == "");
    BOOST_TEST(after.allocations == before.allocations);
    BOOST_TEST(after.objects == before.objects);
    BOOST_TEST(after.misused == before.misused);
    return outcome;
}

}  // namespace

SweepReport sweep(const std::function<Task<>()>& scenario, const SweepOptions& options) {
    SweepReport report;
    Outcome undisturbed = run_and_check(scenario, options, std::nullopt);
    BOOST_TEST_REQUIRE(undisturbed.finished);
    report.points = undisturbed.points;
    BOOST_TEST_REQUIRE(report.points > 0u);

    for (std::size_t point = 0; point <= report.points; ++point) {
        Outcome outcome = run_and_check(scenario, options, point);
        if (outcome.finished)
            ++report.finished;
        else
            ++report.unwound;
    }
    // On standard output, whatever the log's level: how much was swept is to be seen, not believed.
    std::cout << "sweep: " << boost::unit_test::framework::current_test_case().full_name() << ", "
              << name_of(options.ending) << ": K = " << report.points << ", " << report.unwound
              << " unwound, " << report.finished << " finished first" << std::endl;
    return report;
}

SweepReport sweep(const std::function<Task<>()>& scenario) { return sweep(scenario, SweepOptions()); }

SweepReport sweep_all_endings(const std::function<Task<>()>& scenario) {
    return sweep_all_endings(scenario, SweepOptions());
}

SweepReport sweep_all_endings(const std::function<Task<>()>& scenario, SweepOptions options) {
    options.ending = Ending::scope;
    SweepReport report = sweep(scenario, options);
    for (Ending ending :
         {Ending::scope_repeatedly, Ending::scope_after_results, Ending::root, Ending::executor}) {
        options.ending = ending;
        sweep(scenario, options);
    }
    return report;
}

}  // namespace leat::test
