// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/source.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

/// Plain sockets and pipes for tests of what lies below `net`: everything here is non-blocking and close-on-exec,
/// on loopback, and throws `std::system_error` when the machine refuses.
namespace leat::test {

/// Owns a descriptor that no queue knows: the far end of a `Link`.
class OwnedFd {
public:
    OwnedFd() noexcept = default;
    explicit OwnedFd(int value) noexcept : value_(value) {}
    OwnedFd(OwnedFd&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
    OwnedFd& operator=(OwnedFd&& other) noexcept {
        std::swap(value_, other.value_);
        return *this;
    }
    ~OwnedFd() { reset(); }

    int get() const noexcept { return value_; }
    [[nodiscard]] int release() noexcept { return std::exchange(value_, -1); }
    void reset() noexcept;

private:
    int value_ = -1;
};

/// The result of a system call, or an exception that names it.
int checked(int result, const char* call);

/// A source and what lies at its other end.
struct Link {
    Source source;
    OwnedFd peer;
};

Link stream_link();
Link pipe_to_read();
Link pipe_to_write();
/// The source is the side that connected.
Link tcp_link();

/// Where a socket listens, in the form that `connect` takes.
struct Endpoint {
    sockaddr_in address{};

    const void* data() const noexcept { return &address; }
    std::size_t size() const noexcept { return sizeof address; }
};

struct Listening {
    Source source;
    Endpoint endpoint;
};

Listening tcp_listener(int backlog = 128);

/// A port that refuses connections for as long as this lives: it is bound and does not listen.
struct RefusingPort {
    RefusingPort();

    OwnedFd socket;
    Endpoint endpoint;
};

OwnedFd tcp_socket();
OwnedFd udp_socket();
/// A socket whose connection to `endpoint` has begun, and on loopback mostly ended too.
OwnedFd start_connect(const Endpoint& endpoint);
OwnedFd accept_from(const Source& listener);

/// Closes with a zero linger: the peer receives a reset.
void reset_connection(OwnedFd& socket);
void shrink_send_buffer(int fd);

/// Writes all of it, which must fit.
void write_text(int fd, std::string_view text);
/// What waits, at most `most` bytes; empty at the end of the stream.
std::string read_text(int fd, std::size_t most = 65536);
/// Reads until the call would block, or until the end, and counts.
std::size_t drain(int fd);
/// Writes until the call would block, and counts.
std::size_t fill(int fd);
/// Waits until `events` of poll(2) hold. Loopback delivers soon, but not always within the sender's call.
void await_ready(int fd, short events);

std::span<const std::byte> bytes_of(std::string_view text);
std::string text_of(std::span<const std::byte> bytes);

/// All descriptors of this process.
std::set<int> open_descriptors();
/// What a descriptor is, as the system names it: "anon_inode:[eventfd]".
std::string kind_of(int fd);
bool closes_on_exec(int fd);
/// Raises the soft limit of descriptors to `wanted` if the hard one allows; the limit that holds then.
std::size_t raise_descriptor_limit(std::size_t wanted);

/// Runs `body` in a forked child and gives its exit status, or minus the signal that ended it.
///
/// `body` says whether all was well; the status is then 0.
int run_in_child(const std::function<bool()>& body);

/// Spins until the thread `id` of this process sleeps in the kernel.
void await_sleeping(int id);
int thread_id();

}  // namespace leat::test
