// SPDX-License-Identifier: BSL-1.0
//
// The Windows backend on an I/O completion port.
//
// Operations are handed to the kernel (transfer.hpp); what it has done comes back as a packet that names the request. So
// that nothing the kernel still writes to can go, requests stand in entries (entry.hpp) which outlive their source (docs/adr/0010).
//
// Sources in interest mode are polled through the sockets' driver (afd.hpp), which answers once, and as to what is there: so
// each direction of a source is asked for again when its user has found it empty (`rearm`), and what an event promises is the
// same as that of an edge elsewhere. Whatever the kernel holds when that changes is let go, or comes back and is not
// looked at.

#include "src/selector.hpp"

#include "backend/iocp/afd.hpp"
#include "backend/iocp/entry.hpp"
#include "backend/iocp/transfer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <system_error>
#include <utility>

namespace leat::detail {

namespace iocp {

namespace {

using Held = Request::Held;

std::error_code last_error() noexcept { return native_error(::GetLastError()); }

/// Winsock, for as long as a queue needs it.
class Winsock {
public:
    Winsock() {
        WSADATA data;
        if (int error = ::WSAStartup(MAKEWORD(2, 2), &data); error != 0)
            throw std::system_error(native_error(static_cast<unsigned long>(error)), "leat: WSAStartup");
    }
    Winsock(const Winsock&) = delete;
    Winsock& operator=(const Winsock&) = delete;
    ~Winsock() { ::WSACleanup(); }
};

class Port {
public:
    Port() : handle_(::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1)) {
        if (handle_ == nullptr) throw std::system_error(last_error(), "leat: CreateIoCompletionPort");
    }
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;
    ~Port() { ::CloseHandle(handle_); }

    HANDLE get() const noexcept { return handle_; }

private:
    HANDLE handle_;
};

std::uint32_t readiness_of(ULONG events) noexcept {
    std::uint32_t flags = 0;
    if ((events & (AfdEvents::receive | AfdEvents::accept)) != 0) flags |= Readiness::readable;
    if ((events & AfdEvents::receive_expedited) != 0) flags |= Readiness::readable | Readiness::priority;
    if ((events & AfdEvents::send) != 0) flags |= Readiness::writable;
    if ((events & AfdEvents::disconnect) != 0) flags |= Readiness::readable | Readiness::read_closed;
    if ((events & (AfdEvents::abort | AfdEvents::connect_fail)) != 0)
        flags |= Readiness::error | Readiness::read_closed | Readiness::write_closed;
    return flags;
}

/// What is to be asked for in a direction; nothing if nobody wants it.
ULONG wanted_events(const Slot& slot, bool is_write) noexcept {
    if (is_write) return (slot.interest & Slot::wanted_writable) != 0 ? AfdEvents::to_write : 0;
    ULONG events = 0;
    if ((slot.interest & Slot::wanted_readable) != 0) events |= AfdEvents::to_read;
    if ((slot.interest & Slot::wanted_priority) != 0)
        events |= AfdEvents::receive_expedited |
                  (AfdEvents::to_read & ~(AfdEvents::receive | AfdEvents::disconnect));
    return events;
}

class IocpSelector final : public Selector {
public:
    explicit IocpSelector(const SelectorContext& context)
        : completions_(context.completions), afd_(port_.get()), transfer_(afd_) {}

    ~IocpSelector() override {
        // What has come and was not looked at is not held any more.
        for (; arrived_ != nullptr; arrived_ = arrived_->next)
            arrived_->held = Held::nothing;
        std::size_t held = 0;
        entries_.for_each([&](Entry& entry) {
            for (Request* request : {&entry.read, &entry.write}) {
                // What waits hears no more of it; but of one whose source has gone nobody else knows.
                OperationRecord* operation = std::exchange(request->operation, nullptr);
                if (operation != nullptr && entry.slot == nullptr)
                    OperationAccess::end(*operation, errc::closed);
                if (!request->is_held()) continue;
                ++held;
                transfer_.cancel(*request);
            }
        });
        // The kernel must have let go of its memory.
        while (held != 0) {
            ULONG count = dequeue(INFINITE);
            for (ULONG i = 0; i < count; ++i)
                if (packets_[i].lpOverlapped != nullptr) --held;
        }
    }

    // ---- Interest ----

    std::error_code add(Slot& slot) noexcept override {
        if (std::error_code error = demand_socket(slot.handle)) return error;
        Entry* entry = entries_.take(slot, true);
        if (entry == nullptr) return make_error_code(std::errc::not_enough_memory);
        entry->base = base_socket(static_cast<SOCKET>(slot.handle));
        std::error_code error = arm(*entry);
        if (error) remove(slot);
        return error;
    }

    std::error_code modify(Slot& slot) noexcept override {
        Entry& entry = *entries_.of(slot);
        // Of the past: what is ready is found anew.
        entry.found = 0;
        entry.is_spent = false;
        disarm(entry);
        return arm(entry);
    }

    void remove(Slot& slot) noexcept override {
        Entry& entry = *entries_.of(slot);
        disarm(entry);
        entries_.part(entry);
        give_back_if_done(entry);
    }

    void rearm(Slot& slot, std::uint8_t directions) noexcept override {
        Entry& entry = *entries_.of(slot);
        for (bool is_write : {false, true}) {
            std::uint8_t bits =
                is_write ? Slot::wanted_writable : Slot::wanted_readable | Slot::wanted_priority;
            if ((directions & bits) == 0) continue;
            entry.request(is_write).is_doubtful = true;
            // The only way it can fail is for want of memory; then whoever waits is to look for himself.
            if (!arm(entry, is_write)) continue;
            queue_found(entry, is_write ? AfdEvents::send : AfdEvents::receive);
            wake();
        }
    }

    // ---- Operations ----

    std::error_code bind(Slot& slot) noexcept override {
        HANDLE handle = reinterpret_cast<HANDLE>(slot.handle);
        const bool is_socket = !demand_socket(slot.handle);
        // Each of its calls would want to know where in the file.
        if (!is_socket && ::GetFileType(handle) == FILE_TYPE_DISK)
            return make_error_code(std::errc::operation_not_permitted);
        Entry* entry = entries_.take(slot, false);
        if (entry == nullptr) return make_error_code(std::errc::not_enough_memory);
        const bool is_ours = ::CreateIoCompletionPort(handle, port_.get(), 0, 0) != nullptr;
        if (!is_ours) {
            // A handle belongs to its first port for good, also when it is released and bound once more. A socket is polled
            // then, which asks nothing of that port.
            const bool may_be_polled = ::GetLastError() == ERROR_INVALID_PARAMETER && is_socket;
            if (!may_be_polled) {
                std::error_code error = last_error();
                if (error == std::errc::invalid_argument) error = make_error_code(errc::already_registered);
                entries_.part(*entry);
                entries_.give_back(*entry);
                return error;
            }
        }
        entry->is_socket = is_socket;
        entry->is_polled = !is_ours;
        entry->skips_packet =
            is_ours && ::SetFileCompletionNotificationModes(handle, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
                                                                        FILE_SKIP_SET_EVENT_ON_HANDLE);
        return {};
    }

    bool start(OperationRecord& operation, Slot& slot) noexcept override {
        const bool is_write = OperationAccess::is_write(operation);
        if (slot.waiting(is_write) != nullptr) {
            OperationAccess::end(operation, errc::busy);
            return true;
        }
        Request& request = entries_.of(slot)->request(is_write);
        request.operation = &operation;
        request.is_cancelled = false;
        request.is_outdated = false;
        if (transfer_.advance(request) == Step::ended) {
            request.operation = nullptr;
            OperationAccess::state(operation) = OperationAccess::State::ended;
            return true;
        }
        slot.park(is_write, operation);
        completions_.park(operation);
        return false;
    }

    bool cancel(OperationRecord& operation, Slot& slot) noexcept override {
        // None, or another one: its source has gone, and its end is under way.
        Entry* entry = entries_.of(slot);
        if (entry == nullptr) return false;
        Request& request = entry->request(OperationAccess::is_write(operation));
        if (request.operation != &operation) return false;
        request.is_cancelled = true;
        transfer_.cancel(request);
        return false;
    }

    void end_reads(Slot& slot) noexcept override {
        Request& request = entries_.of(slot)->read;
        // What comes back then finds what has arrived, or the end.
        if (request.is_held()) transfer_.cancel(request);
    }

    void retry(Slot& slot, bool is_write) noexcept override {
        Request& request = entries_.of(slot)->request(is_write);
        if (!request.is_held()) return;
        request.is_outdated = true;
        transfer_.cancel(request);
    }

    void detach(Slot& slot) noexcept override {
        Entry& entry = *entries_.of(slot);
        for (bool is_write : {false, true}) {
            Request& request = entry.request(is_write);
            if (!request.is_held()) continue;
            slot.unpark(is_write);
            transfer_.cancel(request);
        }
        entries_.part(entry);
        give_back_if_done(entry);
    }

    void await_end(OperationRecord& operation) noexcept override {
        while (OperationAccess::state(operation) == OperationAccess::State::in_flight)
            take_packets(dequeue(INFINITE));
    }

    void wait(Harvest& harvest, std::optional<Duration> timeout) override {
        if (harvest.room() == 0) return;
        if (has_more_to_report_ || arrived_ != nullptr || was_woken_) timeout = Duration::zero();
        was_woken_ = false;
        take_packets(dequeue(milliseconds(timeout)));
        was_woken_ = false;
        if (has_more_to_report_ || arrived_ != nullptr || has_found_.load(std::memory_order_relaxed))
            report_readiness(harvest);
    }

    void wake() noexcept override { ::PostQueuedCompletionStatus(port_.get(), 0, 0, nullptr); }
    NativeHandle native_handle(std::error_code& error) noexcept override {
        error = std::make_error_code(std::errc::operation_not_supported);
        return invalid_handle;
    }
    bool rearms() const noexcept override { return true; }

private:
    static std::error_code demand_socket(NativeHandle handle) noexcept {
        int type = 0;
        int size = sizeof type;
        if (::getsockopt(static_cast<SOCKET>(handle), SOL_SOCKET, SO_TYPE, reinterpret_cast<char*>(&type),
                         &size) == 0)
            return {};
        return native_error(static_cast<unsigned long>(::WSAGetLastError()));
    }

    static DWORD milliseconds(std::optional<Duration> timeout) noexcept {
        if (!timeout) return INFINITE;
        if (*timeout <= Duration::zero()) return 0;
        auto rounded_up = std::chrono::ceil<std::chrono::milliseconds>(*timeout).count();
        return static_cast<DWORD>(std::min<std::chrono::milliseconds::rep>(rounded_up, INFINITE - 1));
    }

    // ---- Interest: under the core's lock ----

    /// Asks for what the slot wants in both directions.
    std::error_code arm(Entry& entry) noexcept {
        std::error_code error = arm(entry, false);
        return error ? error : arm(entry, true);
    }

    std::error_code arm(Entry& entry, bool is_write) noexcept {
        Request& request = entry.request(is_write);
        ULONG events = wanted_events(*entry.slot, is_write);
        // What is held already asks for the same, or is outdated and asked for anew when it comes back.
        if (events == 0 || entry.is_spent || request.is_held()) return {};
        request.is_outdated = false;
        request.is_doubtful = false;
        int error = afd_.poll(entry.base, events, request.info, request.overlapped);
        if (error != 0) return error_of_number(error);
        request.held = Held::poll;
        return {};
    }

    void disarm(Entry& entry) noexcept {
        for (Request* request : {&entry.read, &entry.write}) {
            if (!request->is_held()) continue;
            request->is_outdated = true;
            afd_.cancel(request->overlapped);
        }
    }

    void queue_found(Entry& entry, ULONG events) noexcept {
        entry.found |= events;
        if (!entry.is_queued) {
            entry.is_queued = true;
            entry.next = nullptr;
            *found_tail_ = &entry;
            found_tail_ = &entry.next;
        }
        has_found_.store(true, std::memory_order_relaxed);
    }

    void give_back_if_done(Entry& entry) noexcept {
        if (!entry.is_held() && !entry.is_queued) entries_.give_back(entry);
    }

    /// A packet of a poll of interest has come.
    void take_readiness(Request& request) noexcept {
        Entry& entry = request.entry;
        const bool is_write = &request == &entry.write;
        request.held = Held::nothing;
        if (entry.slot == nullptr) {
            give_back_if_done(entry);
            return;
        }
        const bool says_something = !request.is_outdated &&
                                    static_cast<NTSTATUS>(request.overlapped.Internal) >= 0 &&
                                    (!request.is_doubtful || is_ready_now(entry.base, is_write));
        if (says_something)
            queue_found(entry, request.info.events);
        else if (arm(entry, is_write))
            queue_found(entry, is_write ? AfdEvents::send : AfdEvents::receive);
    }

    void report_readiness(Harvest& harvest) noexcept {
        harvest.begin_readiness();
        while (Request* request = arrived_) {
            arrived_ = request->next;
            take_readiness(*request);
        }
        while (first_found_ != nullptr && harvest.room() != 0) {
            Entry& entry = *first_found_;
            first_found_ = entry.next;
            if (first_found_ == nullptr) found_tail_ = &first_found_;
            entry.is_queued = false;
            report(entry, harvest);
        }
        has_more_to_report_ = first_found_ != nullptr;
        has_found_.store(has_more_to_report_, std::memory_order_relaxed);
        harvest.end_readiness();
    }

    void report(Entry& entry, Harvest& harvest) noexcept {
        ULONG events = std::exchange(entry.found, 0);
        if (entry.slot == nullptr) {
            give_back_if_done(entry);
            return;
        }
        // Somebody else has closed the socket: nothing to tell.
        if (readiness_of(events) == 0) return;
        Slot& slot = *entry.slot;
        if (slot.is_oneshot) {
            entry.is_spent = true;
            disarm(entry);
        }
        harvest.ready(slot.index, slot.generation.load(std::memory_order_relaxed), readiness_of(events));
    }

    // ---- Packets: the owner's ----

    ULONG dequeue(DWORD limit) {
        ULONG count = 0;
        if (::GetQueuedCompletionStatusEx(port_.get(), packets_.data(), static_cast<ULONG>(packets_.size()),
                                          &count, limit, FALSE))
            return count;
        if (::GetLastError() == WAIT_TIMEOUT) return 0;
        throw std::system_error(last_error(), "leat: GetQueuedCompletionStatusEx");
    }

    void take_packets(ULONG count) noexcept {
        for (ULONG i = 0; i < count; ++i) {
            OVERLAPPED* overlapped = packets_[i].lpOverlapped;
            if (overlapped == nullptr) {
                was_woken_ = true;
                continue;
            }
            Request& request = Request::of(overlapped);
            if (request.entry.is_interest) {
                // Whoever asked may not have come to note it yet: what it is, is seen under the lock.
                request.next = arrived_;
                arrived_ = &request;
            } else if (request.is_held()) {
                advance(request);
            }
        }
    }

    void advance(Request& request) noexcept {
        Entry& entry = request.entry;
        const Held was_held = std::exchange(request.held, Held::nothing);
        OperationRecord& operation = *request.operation;
        if (transfer_.take_packet(request, was_held) == Step::held) return;
        request.operation = nullptr;
        if (entry.slot != nullptr)
            entry.slot->unpark(OperationAccess::is_write(operation));
        else
            give_back_if_done(entry);
        completions_.push(operation);
    }

    Completions& completions_;
    Winsock winsock_;
    // Before what sends packets to it, and so gone after it.
    Port port_;
    Afd afd_;
    Transfer transfer_;
    EntryTable entries_;

    // Interest. Under the core's lock: entries with something to report, the oldest first.
    Entry* first_found_ = nullptr;
    Entry** found_tail_ = &first_found_;
    std::atomic<bool> has_found_{false};
    // The owner's: packets of polls that nobody has looked at (their requests are held until then), and whether the last batch was
    // too small for all there was.
    Request* arrived_ = nullptr;
    bool has_more_to_report_ = false;
    // A wake came where nobody waited for one.
    bool was_woken_ = false;
    std::array<OVERLAPPED_ENTRY, 256> packets_;
};

}  // namespace

}  // namespace iocp

std::unique_ptr<Selector> make_selector_iocp(const SelectorContext& context) {
    return std::make_unique<iocp::IocpSelector>(context);
}

}  // namespace leat::detail
