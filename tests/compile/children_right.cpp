// SPDX-License-Identifier: BSL-1.0
// The right shapes of what children_wrong.cpp gets wrong.
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/task_results.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

leat::Task<> takes_a_reference(leat::TcpStream& stream);
leat::Task<> takes_a_value(leat::TcpStream stream);
leat::Task<> takes_text(std::string text, int number);
leat::Task<> takes_a_view(std::string_view text);
leat::Task<std::string> gives_text(std::string& text);
leat::Task<> is_ready(leat::Ready<int>& ready, leat::TcpStream& stream);

class Session {
public:
    leat::Task<> run(int number);
};

void spawns(leat::TaskGroup& group, leat::GroupHandle& handle, leat::TaskResults<std::string>& results) {
    leat::TcpStream stream;
    std::string text;
    Session session;
    group.spawn(takes_a_reference, std::ref(stream));
    group.spawn(takes_a_value, std::move(stream));
    group.spawn(takes_text, "text", 1);
    group.spawn(takes_a_view, std::string("text"));
    group.spawn(&Session::run, &session, 1);
    group.spawn([text]() -> leat::Task<> { co_return; });
    group.spawn([&](auto number) -> leat::Task<> { co_await takes_text(text, number); }, 1);
    group.spawn_named("name", takes_text, "text", 3);
    handle.spawn(takes_text, "text", 4);
    results.spawn(gives_text, std::ref(text));
}

leat::Task<> spawns_later(leat::TaskGroup& group, leat::TcpStream& stream) {
    auto text = std::make_unique<std::string>();
    auto takes = [](std::unique_ptr<std::string>) -> leat::Task<> { co_return; };
    co_await group.spawn_when_free(takes, std::move(text));
    co_await group.start<int>(is_ready, std::ref(stream));
}
