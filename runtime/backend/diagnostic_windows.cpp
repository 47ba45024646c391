// SPDX-License-Identifier: BSL-1.0
#include "backend/diagnostic.hpp"

#include <algorithm>
#include <new>
#include <string>

// Before <windows.h>, which has an older one in it.
#include <winsock2.h>

#include <windows.h>

namespace leat::detail {

namespace {

/// Of a pipe: whether it takes `size` bytes at once. Anything else is taken to; a console whose user has marked text does not
/// until he is done.
bool has_room(HANDLE output, std::size_t size) noexcept {
    if (::GetFileType(output) != FILE_TYPE_PIPE) return true;
    using Query = LONG(NTAPI*)(HANDLE, void*, void*, ULONG, int);
    // FILE_PIPE_LOCAL_INFORMATION, whose WriteQuotaAvailable the documented calls do not tell.
    struct {
        ULONG type, configuration, most_instances, instances, inbound_quota, readable, outbound_quota,
            writable, state, end;
    } info{};
    struct {
        void* status;
        ULONG_PTR size;
    } status_block{};
    constexpr int pipe_local_information = 24;
    static const auto query = reinterpret_cast<Query>(reinterpret_cast<void*>(
        ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "NtQueryInformationFile")));
    if (query == nullptr || query(output, &status_block, &info, sizeof info, pipe_local_information) < 0)
        return true;
    return info.writable >= size;
}

/// Standard error, or null if there is none. Handles are used again: one that was closed may be a connection
/// by now.
HANDLE standard_error() noexcept {
    HANDLE output = ::GetStdHandle(STD_ERROR_HANDLE);
    if (output == INVALID_HANDLE_VALUE) return nullptr;
    int type = 0;
    int size = sizeof type;
    const bool is_socket = ::getsockopt(reinterpret_cast<SOCKET>(output), SOL_SOCKET, SO_TYPE,
                                        reinterpret_cast<char*>(&type), &size) == 0;
    return is_socket ? nullptr : output;
}

}  // namespace

std::optional<std::size_t> write_what_fits(std::string_view text) noexcept {
    HANDLE output = standard_error();
    if (output == nullptr) return std::nullopt;
    // No pipe is smaller by default.
    constexpr std::size_t piece = 4096;
    std::size_t left = text.size();
    while (left != 0) {
        std::size_t size = std::min(left, piece);
        if (!has_room(output, size)) break;
        DWORD written = 0;
        if (!::WriteFile(output, text.data() + (text.size() - left), static_cast<DWORD>(size), &written,
                         nullptr))
            return std::nullopt;
        left -= written;
    }
    return text.size() - left;
}

void write_notice(std::string_view text) noexcept {
    HANDLE output = standard_error();
    if (output == nullptr || !has_room(output, text.size() + 1)) return;
    auto write = [output](std::string_view piece) {
        DWORD written = 0;
        ::WriteFile(output, piece.data(), static_cast<DWORD>(piece.size()), &written, nullptr);
    };
    if (text.ends_with('\n')) return write(text);
    try {
        // In one call, so that another process's line does not come in between.
        std::string line(text);
        line += '\n';
        write(line);
    } catch (const std::bad_alloc&) {
        write(text);
        write("\n");
    }
}

}  // namespace leat::detail
