// SPDX-License-Identifier: BSL-1.0
//
// How long a dump of ten thousand suspended tasks stops the loop: groups of tasks that await others, as a server's do.
#include <benchmark/benchmark.h>

#include <leat/runtime/dump.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include <chrono>
#include <string>

namespace {

constexpr int connections = 3333;  // three tasks each, and one that has the group

leat::Task<> sleep_long() { co_await leat::sleep_for(std::chrono::hours(1)); }
leat::Task<> handle_message() { co_await sleep_long(); }
leat::Task<> handle_connection() { co_await handle_message(); }

leat::Task<> dump_repeatedly(leat::Executor& executor, benchmark::State& state, leat::DumpFormat format) {
    auto body = [&](leat::TaskGroup& group) -> leat::Task<> {
        for (int i = 0; i < connections; ++i)
            group.spawn(handle_connection);
        // They run first.
        co_await leat::sleep_for(std::chrono::milliseconds(100));
        for (auto _ : state) {
            std::string text = executor.dump_tasks(format);
            benchmark::DoNotOptimize(text.data());
        }
        group.cancel();
    };
    co_await leat::task_group(body);
}

void dump(benchmark::State& state, leat::DumpFormat format) {
    leat::Executor executor;
    executor.run_until(dump_repeatedly(executor, state, format));
}
BENCHMARK_CAPTURE(dump, text, leat::DumpFormat::text)->Name("dump_10000_tasks_as_text/leat");
BENCHMARK_CAPTURE(dump, json, leat::DumpFormat::json)->Name("dump_10000_tasks_as_json/leat");

}  // namespace
