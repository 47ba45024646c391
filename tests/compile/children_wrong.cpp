// SPDX-License-Identifier: BSL-1.0
// clang-format off
// What a child of a group cannot be started from.
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/task_results.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

leat::Task<> takes_a_reference(leat::TcpStream& stream);
leat::Task<> takes_a_value(leat::TcpStream stream);
leat::Task<> takes_text(std::string text, int number);
leat::Task<int> gives_a_number();
leat::Task<std::string> gives_text(std::string& text);
leat::Task<> is_ready(leat::Ready<int>& ready, leat::TcpStream& stream);
void is_no_coroutine();

void spawns(leat::TaskGroup& group, leat::GroupHandle& handle, leat::TaskResults<std::string>& results) {
    leat::TcpStream stream;
    std::string text;
    group.spawn(takes_a_reference, stream);             // says: leat: a child owns its function and arguments
    // says: or pass std::ref(x) of what outlives the group
    group.spawn(takes_a_reference, std::move(stream));
    group.spawn(takes_a_value, stream);                 // says: cannot be copied into it: pass std::move(x)
    // says: leat: a child is started from a function and its
    group.spawn(takes_a_value(std::move(stream)));
    // says: leat: a child's function cannot be called with these
    group.spawn(takes_text, "text");
    // says: leat: a child's function cannot be called with these
    group.spawn(takes_text, 1, "text");
    // says: leat: the function of a child must return leat::Task<>
    group.spawn(gives_a_number);
    // says: leat: the function of a child must return leat::Task<>
    group.spawn(is_no_coroutine);
    auto by_reference = [](std::string&) -> leat::Task<> { co_return; };
    // says: or pass std::ref(x) of what outlives the group
    group.spawn(by_reference, text);
    // says: leat: a child's function cannot be called with these
    group.spawn_named("name", takes_text, 2, 3);
    // says: leat: a child's function cannot be called with these
    handle.spawn(takes_text, 4, 5, 6);
    results.spawn(gives_a_number);                      // says: TaskResults<T> must return leat::Task<T>
    // says: or pass std::ref(x) of what outlives the group
    results.spawn(gives_text, text);
}

leat::Task<> spawns_later(leat::TaskGroup& group) {
    leat::TcpStream stream;
    auto text = std::make_unique<std::string>();
    auto takes = [](std::unique_ptr<std::string>) -> leat::Task<> { co_return; };
    co_await group.spawn_when_free(takes, text);  // says: leat: a child owns its function and arguments
    // says: or pass std::ref(x) of what outlives the group
    co_await group.start<int>(is_ready, std::move(stream));
}
