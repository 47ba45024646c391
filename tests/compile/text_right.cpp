// SPDX-License-Identifier: BSL-1.0
// What can be written as text.
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/task.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

class Name {
public:
    operator std::string_view() const noexcept { return "name"; }
};

leat::Task<> writes(leat::TcpStream& stream, leat::TcpWriter& writer, const char* pointer) {
    std::string text = "text";
    std::string_view view = text;
    static constexpr char array[] = "array";
    std::vector<std::byte> bytes(4);
    leat::Progress progress;
    co_await stream.write_all("x");
    co_await stream.write_all(text);
    co_await stream.write_all(text + "\r\n");
    co_await stream.write_all(view);
    co_await stream.write_all(view.substr(1));
    co_await stream.write_all(pointer);
    co_await stream.write_all(array);
    co_await stream.write_all(Name());
    co_await stream.write_all(bytes);
    co_await stream.write_all("x", progress);
    co_await stream.write("x");
    co_await stream.write(text);
    co_await writer.write_all("x");
    co_await writer.write_all(text, progress);
    co_await writer.write(view);
    std::error_code error;
    stream.try_write("x");
    stream.try_write(text, error);
}
