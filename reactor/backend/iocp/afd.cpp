// SPDX-License-Identifier: BSL-1.0
#include "backend/iocp/afd.hpp"

#include <leat/reactor/error.hpp>

#include <iterator>
#include <limits>
#include <system_error>

#include <mswsock.h>
#include <winternl.h>

namespace leat::detail::iocp {

namespace {

constexpr ULONG ioctl_afd_poll = 0x00012024;
constexpr NTSTATUS status_pending = 0x103;

}  // namespace

Afd::Afd(HANDLE port) {
    // The driver wants a name below the device's, whatever it is.
    wchar_t name[] = L"\\Device\\Afd\\leat";
    UNICODE_STRING path;
    path.Buffer = name;
    path.Length = sizeof name - sizeof *name;
    path.MaximumLength = sizeof name;
    OBJECT_ATTRIBUTES attributes;
    InitializeObjectAttributes(&attributes, &path, 0, nullptr, nullptr);
    IO_STATUS_BLOCK status_block{};
    NTSTATUS status = ::NtCreateFile(&device_, SYNCHRONIZE, &attributes, &status_block, nullptr, 0,
                                     FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN, 0, nullptr, 0);
    if (status != 0)
        throw std::system_error(native_error(::RtlNtStatusToDosError(status)), "leat: \\Device\\Afd");
    if (::CreateIoCompletionPort(device_, port, 0, 0) == nullptr ||
        !::SetFileCompletionNotificationModes(device_, FILE_SKIP_SET_EVENT_ON_HANDLE)) {
        std::error_code error = native_error(::GetLastError());
        ::CloseHandle(device_);
        throw std::system_error(error, "leat: \\Device\\Afd and the completion port");
    }
}

Afd::~Afd() { ::CloseHandle(device_); }

int Afd::poll(SOCKET socket, ULONG events, AfdPollInfo& info, OVERLAPPED& overlapped) const noexcept {
    info.timeout.QuadPart = std::numeric_limits<std::int64_t>::max();
    info.count = 1;
    info.is_exclusive = FALSE;
    info.socket = reinterpret_cast<HANDLE>(socket);
    info.events = events;
    info.status = 0;
    overlapped = OVERLAPPED{};
    // The beginning of an OVERLAPPED is the status block of the system below it.
    auto* status_block = reinterpret_cast<IO_STATUS_BLOCK*>(&overlapped);
    status_block->Status = status_pending;
    NTSTATUS status = ::NtDeviceIoControlFile(device_, nullptr, nullptr, &overlapped, status_block,
                                              ioctl_afd_poll, &info, sizeof info, &info, sizeof info);
    if (status == 0 || status == status_pending) return 0;
    return static_cast<int>(::RtlNtStatusToDosError(status));
}

void Afd::cancel(OVERLAPPED& overlapped) const noexcept { ::CancelIoEx(device_, &overlapped); }

SOCKET base_socket(SOCKET socket) noexcept {
    SOCKET base = socket;
    DWORD size = 0;
    if (::WSAIoctl(socket, SIO_BASE_HANDLE, nullptr, 0, &base, sizeof base, &size, nullptr, nullptr) != 0)
        return socket;
    return base;
}

bool is_ready_now(SOCKET socket, bool is_write) noexcept {
    // By select and not by WSAPoll, which before Windows 10 2004 did not tell of a connect that failed.
    fd_set asked;
    asked.fd_count = 1;
    asked.fd_array[0] = socket;
    fd_set failed = asked;
    timeval none{};
    int ready = ::select(0, is_write ? nullptr : &asked, is_write ? &asked : nullptr, &failed, &none);
    // Of a socket that cannot be asked, the call itself is to tell the error.
    return ready != 0;
}

}  // namespace leat::detail::iocp
