// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/source.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

/// The system as tests of what lies below `net` need it: plain sockets and pipes, non-blocking, not inherited, on loopback.
/// Everything throws `std::system_error` when the machine refuses. Each system has a file in `backend/`; what only POSIX has
/// is in posix.hpp.
namespace leat::test {

/// Owns a handle that no queue knows: the far end of a `Link`.
class OwnedHandle {
public:
    OwnedHandle() noexcept = default;
    explicit OwnedHandle(NativeHandle value) noexcept : value_(value) {}
    OwnedHandle(OwnedHandle&& other) noexcept : value_(std::exchange(other.value_, invalid_handle)) {}
    OwnedHandle& operator=(OwnedHandle&& other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    ~OwnedHandle() { reset(); }

    NativeHandle get() const noexcept { return value_; }
    [[nodiscard]] NativeHandle release() noexcept { return std::exchange(value_, invalid_handle); }
    void reset() noexcept;

private:
    NativeHandle value_ = invalid_handle;
};

/// A source and what lies at its other end.
struct Link {
    Source source;
    OwnedHandle peer;
};

/// The nearest to a connection that the system has: a pair of Unix sockets, or else a connection over loopback.
Link stream_link();
Link pipe_to_read();
Link pipe_to_write();
/// The source is the side that connected.
Link tcp_link();

/// Where a socket listens, in the form that `connect` takes.
struct Endpoint {
    alignas(8) std::array<std::byte, 16> address{};

    const void* data() const noexcept { return address.data(); }
    std::size_t size() const noexcept { return address.size(); }
    /// It follows the family, in network order, in every system's sockaddr_in.
    std::uint16_t port() const noexcept {
        return static_cast<std::uint16_t>(std::to_integer<unsigned>(address[2]) << 8 |
                                          std::to_integer<unsigned>(address[3]));
    }
};

struct Listening {
    Source source;
    Endpoint endpoint;
};

Listening tcp_listener(int backlog = 128);

/// A port that refuses connections for as long as this lives: it is bound and does not listen.
struct RefusingPort {
    RefusingPort();

    OwnedHandle socket;
    Endpoint endpoint;
};

OwnedHandle tcp_socket();
OwnedHandle udp_socket();
/// A socket whose connection to `endpoint` has begun, and on loopback mostly ended too.
OwnedHandle start_connect(const Endpoint& endpoint);
OwnedHandle accept_from(const Source& listener);

/// Closes with a zero linger: the peer receives a reset.
void reset_connection(OwnedHandle& socket);
void shrink_send_buffer(NativeHandle handle);

enum class Direction { reading, writing, both };
/// shutdown(2). That nobody is connected any more is no error.
void shut(NativeHandle socket, Direction direction);
bool has_peer(NativeHandle socket);
/// To a datagram socket, from another one.
void send_empty_datagram(NativeHandle to);
/// Takes the error that a socket keeps for its next call.
std::error_code take_error(NativeHandle socket);
/// Sends a byte out of band.
void send_urgent(NativeHandle socket, char byte);
bool is_non_blocking(NativeHandle handle);
bool is_inherited(NativeHandle handle);
/// What a socket of a stranger's may be: blocking, and inherited.
void make_blocking_and_inherited(NativeHandle socket);
/// Lets the handshakes of a listener last until the first bytes come. False where the system has no such
/// thing.
bool defer_accept(NativeHandle listener);
/// Changes how many connections a listener holds.
void set_backlog(NativeHandle listener, int backlog);

/// When a silent connection is probed, in seconds, and how many times, as the system tells it.
struct KeepAliveTimes {
    int idle = 0;
    int interval = 0;
    int probes = 0;
};
KeepAliveTimes keep_alive_times(NativeHandle socket);

/// The name of a network interface; number 1 is the loopback.
std::string interface_name(unsigned number);

/// Writes all of it, which must fit.
void write_text(NativeHandle handle, std::string_view text);
/// What waits, at most `most` bytes; empty at the end of the stream.
std::string read_text(NativeHandle handle, std::size_t most = 65536);
/// One call that does not wait: how many bytes it moved, or the error.
std::size_t try_read(NativeHandle handle, std::span<char> buffer, std::error_code& error);
std::size_t try_peek(NativeHandle socket, std::span<char> buffer, std::error_code& error);
std::size_t try_write(NativeHandle handle, std::string_view text, std::error_code& error);
/// Reads until the call would block, or until the end, and counts.
std::size_t drain(NativeHandle handle);
/// Writes until the call would block, and counts.
std::size_t fill(NativeHandle handle);

/// Whether a read, or a write, would find something now.
bool is_readable(NativeHandle handle);
bool is_writable(NativeHandle handle);
/// Wait for it. Loopback delivers soon, but not always within the sender's call.
void await_readable(NativeHandle handle);
/// The same for at most so long; whether it is then.
bool becomes_readable(NativeHandle handle, int milliseconds);
void await_writable(NativeHandle handle);
/// The same, also where the system hands over at once to a read that waits: there it gives that some time.
void await_arrival(NativeHandle socket);
/// Waits for urgent data, or for the end of what the peer sends.
void await_urgent(NativeHandle socket);
void await_end(NativeHandle socket);

/// The same on a source that may be registered: whoever reads or writes past a queue says what he found (`Source::rearm`).
std::size_t drain(Source& source);
std::size_t fill(Source& source);
std::string read_text(Source& source, std::size_t most = 65536);

std::span<const std::byte> bytes_of(std::string_view text);
std::string text_of(std::span<const std::byte> bytes);

/// Sets a variable of this process's environment, or removes it if `value` is null.
void set_environment(const char* name, const char* value);

/// All handles of this process.
std::set<NativeHandle> open_handles();

/// Whether a system call is one to another process, as in an emulator: what is done in great numbers then takes a tenth.
bool calls_are_slow();

/// Lets this process have `wanted` handles, if the system allows; how many it may have then.
std::size_t raise_handle_limit(std::size_t wanted);

/// Lets this process have no more handles than those that are open and `spare` others, where the system has such a limit.
class HandleShortage {
public:
    // No handle at all: also those that are open count as too many.
    static constexpr int nothing = -1;

    explicit HandleShortage(int spare);
    HandleShortage(const HandleShortage&) = delete;
    HandleShortage& operator=(const HandleShortage&) = delete;
    ~HandleShortage();

private:
    std::size_t before_;
};

/// Spins until the thread `id` of this process sleeps in the kernel, or has had the time to, if the system does not tell.
void await_sleeping(int id);
int thread_id();

}  // namespace leat::test
