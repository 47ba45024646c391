// SPDX-License-Identifier: BSL-1.0
// Two tasks in a group, which sleep: the runtime without sockets.
#include <leat/reactor/config.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include <chrono>
#include <cstdio>
#include <functional>

namespace {

leat::Task<> add_later(int& sum, int number) {
    co_await leat::sleep_for(std::chrono::milliseconds(number));
    sum += number;
}

leat::Task<int> add_both() {
    int sum = 0;
    auto body = [&](leat::TaskGroup& group) -> leat::Task<> {
        group.spawn(add_later, std::ref(sum), 2);
        group.spawn(add_later, std::ref(sum), 1);
        co_return;
    };
    co_await leat::task_group(body);
    co_return sum;
}

}  // namespace

int main() {
    int sum = leat::run(add_both());
    std::printf("leat %s: %d\n", LEAT_VERSION_STRING, sum);
    return sum == 3 ? 0 : 1;
}
