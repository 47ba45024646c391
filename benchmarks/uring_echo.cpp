// SPDX-License-Identifier: BSL-1.0
//
// The floor that the coroutine echo server is measured against on io_uring: the loops that a careful engineer writes
// by hand for this one job. One io_uring_enter a turn submits what the last turn asked for and waits; the accept is
// multishot, and the end is asked for by a read of a signalfd, an operation as any other.
//
// `plain`: a connection has one operation under way, a receive into its own buffer or a send from it, so that
// whichever ends may close it. A receive goes to poll at once unless the last one left something behind.
//
// `multishot`: one receive a connection stays armed and takes buffers from a ring that all share; a buffer is sent as
// it is and goes back when its send has ended. Sends of one connection follow each other, since two under way would
// mix their bytes where the first one is cut short. A connection that holds `most_queued` buffers is not received
// from until they are sent; who finds the ring empty waits until a buffer is back.
//
// Tried and left out: IOSQE_CQE_SKIP_SUCCESS on sends (no faster, and only their completion tells when a buffer may
// go back), IOSQE_IO_LINK from the send to the next receive (no faster), registered files (a hundredth, for
// connections that no other call can use), 128 or 1024 buffers (the same), and send(2) in place of the send operation
// (3 % less time at one connection, 5 to 10 % more from a thousand on). Registering the ring's own descriptor saves
// 5 % at one connection.
#include "address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace {

constexpr std::size_t buffer_size = 4096;
constexpr unsigned submissions = 4096;
constexpr unsigned completions = 16384;  // more at once overflow into the kernel's memory, and are not lost
constexpr unsigned buffer_count = 256;   // a power of two
constexpr std::uint32_t most_queued = 16;

[[noreturn]] void fail(int error, const char* call) {
    throw std::system_error(error, std::generic_category(), call);
}

// ---- The ring ----

/// What a completion is of; stands in the low bits of `user_data`, beside the connection's address.
enum class Kind : std::uint64_t { accept, signal, receive, send, cancel };
constexpr std::uint64_t kind_mask = 7;

class Ring {
public:
    Ring() {
        constexpr unsigned always = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        constexpr unsigned since_5_19 = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN;
        constexpr unsigned since_6_1 = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
        int result = 0;
        for (unsigned flags : {always | since_5_19 | since_6_1, always | since_5_19, always}) {
            io_uring_params parameters{};
            parameters.flags = flags;
            parameters.cq_entries = completions;
            result = io_uring_queue_init_params(submissions, &ring_, &parameters);
            if (result != -EINVAL) break;
        }
        if (result != 0) fail(-result, "io_uring_setup");
        io_uring_register_ring_fd(&ring_);  // each enter then looks up no descriptor; older kernels refuse
    }

    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring() { io_uring_queue_exit(&ring_); }

    io_uring* get() { return &ring_; }

    /// A place for one operation; `io_uring_prep_…` and `name` fill it.
    io_uring_sqe* next() {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        while (sqe == nullptr) [[unlikely]] {
            int result = io_uring_submit(&ring_);
            if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
                fail(-result, "io_uring_enter");
            sqe = io_uring_get_sqe(&ring_);
        }
        return sqe;
    }

    static std::uint64_t name(const void* connection, Kind kind) {
        return reinterpret_cast<std::uintptr_t>(connection) | static_cast<std::uint64_t>(kind);
    }

    void submit_and_wait() {
        int result = io_uring_submit_and_wait(&ring_, 1);
        if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
            fail(-result, "io_uring_enter");
    }

private:
    io_uring ring_{};
};

// ---- One receive and one send a message ----

class PlainEcho {
public:
    struct Connection {
        int fd;
        bool input_waits = true;  // the first receive may find some
        std::uint32_t unsent = 0;
        std::uint32_t next_unsent = 0;
        std::array<std::byte, buffer_size> buffer;  // left as it is: only what was received is read

        explicit Connection(int accepted) : fd(accepted) {}
    };

    explicit PlainEcho(Ring& ring) : ring_(ring) {}

    void opened(int fd) { receive(new Connection(fd)); }

    void received(Connection* connection, int result, unsigned flags) {
        if (result <= 0) [[unlikely]] {
            if (result == -EINTR || result == -EAGAIN) return receive(connection);
            return close_connection(connection);
        }
        connection->input_waits = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
        connection->unsent = static_cast<std::uint32_t>(result);
        connection->next_unsent = 0;
        send(connection);
    }

    void sent(Connection* connection, int result) {
        if (result < 0) [[unlikely]] {
            if (result == -EINTR || result == -EAGAIN) return send(connection);
            return close_connection(connection);
        }
        connection->next_unsent += static_cast<std::uint32_t>(result);
        connection->unsent -= static_cast<std::uint32_t>(result);
        if (connection->unsent != 0) return send(connection);
        receive(connection);
    }

    void cancelled(Connection*) {}
    void turn_is_over() {}

private:
    void receive(Connection* connection) {
        io_uring_sqe* sqe = ring_.next();
        io_uring_prep_recv(sqe, connection->fd, connection->buffer.data(), buffer_size, 0);
        if (!connection->input_waits) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
        sqe->user_data = Ring::name(connection, Kind::receive);
    }

    void send(Connection* connection) {
        io_uring_sqe* sqe = ring_.next();
        io_uring_prep_send(sqe, connection->fd, connection->buffer.data() + connection->next_unsent,
                           connection->unsent, MSG_NOSIGNAL);
        sqe->user_data = Ring::name(connection, Kind::send);
    }

    static void close_connection(Connection* connection) {
        close(connection->fd);
        delete connection;  // the operation that told of the end was the only one
    }

    Ring& ring_;
};

// ---- One receive a connection, and buffers that all share ----

/// Buffers that receives take by themselves; each comes with its number in the completion.
class BufferRing {
public:
    explicit BufferRing(Ring& ring) {
        // The entries, then the buffers, both at the start of a page.
        void* memory = mmap(nullptr, entries_size + buffer_count * buffer_size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) fail(errno, "mmap");
        entries_ = static_cast<io_uring_buf_ring*>(memory);
        buffers_ = static_cast<std::byte*>(memory) + entries_size;
        io_uring_buf_reg registration{};
        registration.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
        registration.ring_entries = buffer_count;
        int result = io_uring_register_buf_ring(ring.get(), &registration, 0);
        if (result != 0) fail(-result, "io_uring_register, a ring of buffers");
        for (unsigned number = 0; number < buffer_count; ++number) {
            give_back(static_cast<std::uint16_t>(number));
        }
        publish();
    }

    std::byte* operator[](std::uint16_t number) { return buffers_ + number * buffer_size; }

    void take() { --available_; }

    /// Takes effect at `publish`.
    void give_back(std::uint16_t number) {
        io_uring_buf_ring_add(entries_, (*this)[number], buffer_size, number,
                              io_uring_buf_ring_mask(buffer_count), given_back_++);
        ++available_;
    }

    void publish() {
        if (given_back_ == 0) return;
        io_uring_buf_ring_advance(entries_, given_back_);
        given_back_ = 0;
    }

    bool is_empty() const { return available_ == 0; }

private:
    static constexpr std::size_t entries_size = (buffer_count * sizeof(io_uring_buf) + 4095) / 4096 * 4096;

    io_uring_buf_ring* entries_ = nullptr;
    std::byte* buffers_ = nullptr;
    int given_back_ = 0;
    unsigned available_ = 0;
};

class MultishotEcho {
public:
    struct Connection {
        int fd;
        bool receives = false;  // its receive is armed
        bool sends = false;
        bool is_cancelling = false;
        bool is_starved = false;  // stands in the list of those that wait for a buffer
        bool is_over = false;     // nothing more comes in
        std::uint16_t first = 0;  // of the buffers to send, in the order of their arrival
        std::uint16_t last = 0;
        std::uint32_t queued = 0;
        std::uint32_t sent = 0;  // of the first one
        Connection* next_starved = nullptr;

        explicit Connection(int accepted) : fd(accepted) {}
    };

    explicit MultishotEcho(Ring& ring) : ring_(ring), buffers_(ring) {}

    void opened(int fd) { receive(new Connection(fd)); }

    void received(Connection* connection, int result, unsigned flags) {
        if ((flags & IORING_CQE_F_MORE) == 0) connection->receives = false;
        if (result > 0) [[likely]] {
            push(connection, static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT),
                 static_cast<std::uint32_t>(result));
            if (!connection->sends) send_first(connection);
        } else if (result == -ENOBUFS) {
            connection->is_starved = true;
            connection->next_starved = starved_;
            starved_ = connection;
        } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
            connection->is_over = true;
        }
        settle(connection);
    }

    void sent(Connection* connection, int result) {
        connection->sends = false;
        if (result < 0 && result != -EINTR && result != -EAGAIN) [[unlikely]] {
            abandon(connection);
            return settle(connection);
        }
        if (result > 0) connection->sent += static_cast<std::uint32_t>(result);
        if (connection->sent == pieces_[connection->first].length) pop(connection);
        if (connection->queued != 0) return send_first(connection);
        settle(connection);
    }

    void cancelled(Connection* connection) {
        connection->is_cancelling = false;
        settle(connection);
    }

    /// Makes what came back available, and lets those receive who found nothing.
    void turn_is_over() {
        buffers_.publish();
        if (starved_ == nullptr || buffers_.is_empty()) [[likely]]
            return;
        Connection* connection = starved_;
        starved_ = nullptr;
        while (connection != nullptr) {
            Connection* next = connection->next_starved;
            connection->is_starved = false;
            settle(connection);
            connection = next;
        }
    }

private:
    /// What was received into the buffer of the same number.
    struct Piece {
        std::uint32_t length = 0;
        std::uint16_t next = 0;
    };

    void push(Connection* connection, std::uint16_t number, std::uint32_t length) {
        buffers_.take();
        pieces_[number].length = length;
        if (connection->queued++ == 0) {
            connection->first = number;
        } else {
            pieces_[connection->last].next = number;
        }
        connection->last = number;
    }

    void pop(Connection* connection) {
        const std::uint16_t number = connection->first;
        connection->first = pieces_[number].next;
        connection->sent = 0;
        --connection->queued;
        buffers_.give_back(number);
    }

    /// Nobody takes the echo any more; the shutdown ends the receive, whose completion then ends the connection.
    void abandon(Connection* connection) {
        while (connection->queued != 0) {
            pop(connection);
        }
        shutdown(connection->fd, SHUT_RDWR);
        if (!connection->receives) connection->is_over = true;
    }

    /// Receives on, pauses or ends, as the connection's state asks for.
    void settle(Connection* connection) {
        if (connection->receives) [[likely]] {
            if (connection->queued >= most_queued && !connection->is_cancelling) [[unlikely]]
                cancel_receive(connection);
            return;
        }
        if (connection->is_starved || connection->is_cancelling || connection->sends) return;
        if (!connection->is_over) return receive(connection);
        close(connection->fd);
        delete connection;
    }

    void receive(Connection* connection) {
        io_uring_sqe* sqe = ring_.next();
        io_uring_prep_recv_multishot(sqe, connection->fd, nullptr, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 0;
        sqe->user_data = Ring::name(connection, Kind::receive);
        connection->receives = true;
    }

    void send_first(Connection* connection) {
        const std::uint16_t number = connection->first;
        io_uring_sqe* sqe = ring_.next();
        io_uring_prep_send(sqe, connection->fd, buffers_[number] + connection->sent,
                           pieces_[number].length - connection->sent, MSG_NOSIGNAL);
        sqe->user_data = Ring::name(connection, Kind::send);
        connection->sends = true;
    }

    void cancel_receive(Connection* connection) {
        io_uring_sqe* sqe = ring_.next();
        io_uring_prep_cancel64(sqe, Ring::name(connection, Kind::receive), 0);
        sqe->user_data = Ring::name(connection, Kind::cancel);
        connection->is_cancelling = true;
    }

    Ring& ring_;
    BufferRing buffers_;
    std::array<Piece, buffer_count> pieces_;
    Connection* starved_ = nullptr;
};

// ---- The loop ----

int listen_on(sockaddr_in& address) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) fail(errno, "socket");
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // those accepted have it, too
    socklen_t length = sizeof address;
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0) fail(errno, "bind");
    if (listen(listener, SOMAXCONN) != 0) fail(errno, "listen");
    if (getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0)
        fail(errno, "getsockname");
    return listener;
}

/// A descriptor that becomes readable on SIGTERM and SIGINT.
int catch_signals() {
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, nullptr);
    int signals = signalfd(-1, &ending, SFD_CLOEXEC);
    if (signals < 0) fail(errno, "signalfd");
    return signals;
}

template <class Echo>
class Loop {
public:
    explicit Loop(int listener) : listener_(listener) {
        io_uring_sqe* sqe = ring_.next();
        io_uring_prep_read(sqe, catch_signals(), &signal_, sizeof signal_, 0);
        sqe->user_data = Ring::name(nullptr, Kind::signal);
        accept();
    }

    void run() {
        while (!asked_to_end_) {
            ring_.submit_and_wait();
            unsigned head = 0;
            unsigned count = 0;
            io_uring_cqe* cqe = nullptr;
            io_uring_for_each_cqe(ring_.get(), head, cqe) {
                ++count;
                dispatch(*cqe);
            }
            io_uring_cq_advance(ring_.get(), count);
            echo_.turn_is_over();
        }
    }

private:
    using Connection = typename Echo::Connection;
    static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ > kind_mask);

    void dispatch(const io_uring_cqe& cqe) {
        auto* connection = reinterpret_cast<Connection*>(cqe.user_data & ~kind_mask);
        switch (static_cast<Kind>(cqe.user_data & kind_mask)) {
        case Kind::receive:
            return echo_.received(connection, cqe.res, cqe.flags);
        case Kind::send:
            return echo_.sent(connection, cqe.res);
        case Kind::accept:
            return accepted(cqe);
        case Kind::cancel:
            return echo_.cancelled(connection);
        case Kind::signal:
            asked_to_end_ = true;
        }
    }

    void accepted(const io_uring_cqe& cqe) {
        if (cqe.res >= 0) {
            echo_.opened(cqe.res);
        } else if (cqe.res != -ECONNABORTED && cqe.res != -EINTR && cqe.res != -EAGAIN) {
            fail(-cqe.res, "accept");
        }
        if ((cqe.flags & IORING_CQE_F_MORE) == 0) accept();
    }

    void accept() {
        io_uring_sqe* sqe = ring_.next();
        io_uring_prep_multishot_accept(sqe, listener_, nullptr, nullptr, SOCK_CLOEXEC);
        sqe->user_data = Ring::name(nullptr, Kind::accept);
    }

    int listener_;
    signalfd_siginfo signal_{};
    bool asked_to_end_ = false;
    Ring ring_;
    Echo echo_{ring_};
};

template <class Echo>
void run(std::string_view where, std::string_view mode) {
    sockaddr_in address = parse_address(where);
    Loop<Echo> loop(listen_on(address));

    std::array<char, INET_ADDRSTRLEN> name{};
    inet_ntop(AF_INET, &address.sin_addr, name.data(), name.size());
    fmt::print("uring_echo: listening on {}:{} ({})\n", name.data(), ntohs(address.sin_port), mode);
    std::fflush(stdout);
    loop.run();
}

int refuse() {
    fmt::print(stderr, "usage: uring_echo [--listen ADDRESS:PORT] [--mode plain|multishot]\n");
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    std::string_view where = "127.0.0.1:7777";
    std::string_view mode = "plain";
    for (int i = 1; i < argc; i += 2) {
        const std::string_view option = argv[i];
        if (i + 1 == argc || (option != "--listen" && option != "--mode")) return refuse();
        (option == "--listen" ? where : mode) = argv[i + 1];
    }
    if (mode != "plain" && mode != "multishot") return refuse();
    try {
        mode == "plain" ? run<PlainEcho>(where, mode) : run<MultishotEcho>(where, mode);
    } catch (const std::exception& error) {
        fmt::print(stderr, "uring_echo: {}\n", error.what());
        return 1;
    }
}
