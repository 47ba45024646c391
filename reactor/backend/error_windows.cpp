// SPDX-License-Identifier: BSL-1.0
//
// Windows numbers its errors twice, those of sockets (WSAE…, "Windows Sockets Error Codes") and the rest (ERROR_…, "System Error
// Codes"). The standard library knows their names but compares few of them with `std::errc` (libstdc++ 12 none of sockets),
// so they are in a category of their own.
#include <leat/reactor/error.hpp>

#include <algorithm>
#include <iterator>
#include <string>

#include <winsock2.h>

namespace leat::detail {

namespace {

struct ErrorRow {
    unsigned long windows;
    std::errc posix;
};

constexpr ErrorRow error_rows[] = {
    {ERROR_ACCESS_DENIED, std::errc::permission_denied},
    {ERROR_ADDRESS_ALREADY_ASSOCIATED, std::errc::address_in_use},
    {ERROR_ALREADY_EXISTS, std::errc::file_exists},
    {ERROR_BROKEN_PIPE, std::errc::broken_pipe},
    {ERROR_COMMITMENT_LIMIT, std::errc::not_enough_memory},
    {ERROR_CONNECTION_ABORTED, std::errc::connection_aborted},
    {ERROR_CONNECTION_REFUSED, std::errc::connection_refused},
    {ERROR_HOST_UNREACHABLE, std::errc::host_unreachable},
    {ERROR_INVALID_HANDLE, std::errc::bad_file_descriptor},
    {ERROR_INVALID_PARAMETER, std::errc::invalid_argument},
    // A reset, in the words of who carried out the call (WSAGetOverlappedResult says WSAECONNRESET).
    {ERROR_NETNAME_DELETED, std::errc::connection_reset},
    {ERROR_NETWORK_UNREACHABLE, std::errc::network_unreachable},
    {ERROR_NOT_ENOUGH_MEMORY, std::errc::not_enough_memory},
    {ERROR_NOT_SUPPORTED, std::errc::operation_not_supported},
    {ERROR_NO_DATA, std::errc::broken_pipe},
    {ERROR_NO_SYSTEM_RESOURCES, std::errc::no_buffer_space},
    {ERROR_OPERATION_ABORTED, std::errc::operation_canceled},
    {ERROR_OUTOFMEMORY, std::errc::not_enough_memory},
    {ERROR_PIPE_NOT_CONNECTED, std::errc::broken_pipe},
    {ERROR_PORT_UNREACHABLE, std::errc::connection_refused},
    {ERROR_SEM_TIMEOUT, std::errc::timed_out},
    {ERROR_TOO_MANY_OPEN_FILES, std::errc::too_many_files_open},
    {ERROR_WORKING_SET_QUOTA, std::errc::not_enough_memory},
    {WSAEACCES, std::errc::permission_denied},
    {WSAEADDRINUSE, std::errc::address_in_use},
    {WSAEADDRNOTAVAIL, std::errc::address_not_available},
    {WSAEAFNOSUPPORT, std::errc::address_family_not_supported},
    {WSAEALREADY, std::errc::connection_already_in_progress},
    {WSAEBADF, std::errc::bad_file_descriptor},
    {WSAECONNABORTED, std::errc::connection_aborted},
    {WSAECONNREFUSED, std::errc::connection_refused},
    {WSAECONNRESET, std::errc::connection_reset},
    {WSAEDESTADDRREQ, std::errc::destination_address_required},
    {WSAEDISCON, std::errc::connection_reset},
    {WSAEFAULT, std::errc::bad_address},
    {WSAEHOSTUNREACH, std::errc::host_unreachable},
    {WSAEINPROGRESS, std::errc::operation_in_progress},
    {WSAEINTR, std::errc::interrupted},
    {WSAEINVAL, std::errc::invalid_argument},
    {WSAEISCONN, std::errc::already_connected},
    {WSAEMFILE, std::errc::too_many_files_open},
    {WSAEMSGSIZE, std::errc::message_size},
    {WSAENETDOWN, std::errc::network_down},
    {WSAENETRESET, std::errc::connection_reset},
    {WSAENETUNREACH, std::errc::network_unreachable},
    {WSAENOBUFS, std::errc::no_buffer_space},
    {WSAENOPROTOOPT, std::errc::no_protocol_option},
    {WSAENOTCONN, std::errc::not_connected},
    {WSAENOTSOCK, std::errc::not_a_socket},
    {WSAEOPNOTSUPP, std::errc::operation_not_supported},
    {WSAEPROTONOSUPPORT, std::errc::protocol_not_supported},
    {WSAESHUTDOWN, std::errc::broken_pipe},
    {WSAETIMEDOUT, std::errc::timed_out},
    {WSAEWOULDBLOCK, std::errc::operation_would_block},
    {WSA_NOT_ENOUGH_MEMORY, std::errc::not_enough_memory},
};

template <class Predicate>
const ErrorRow* find_row(Predicate predicate) noexcept {
    const ErrorRow* row = std::find_if(std::begin(error_rows), std::end(error_rows), predicate);
    return row == std::end(error_rows) ? nullptr : row;
}

class Category final : public std::error_category {
public:
    const char* name() const noexcept override { return "system"; }
    std::string message(int value) const override { return std::system_category().message(value); }
    std::error_condition default_error_condition(int value) const noexcept override {
        const ErrorRow* row =
            find_row([&](const ErrorRow& each) { return each.windows == static_cast<unsigned long>(value); });
        if (row != nullptr) return std::make_error_condition(row->posix);
        return std::system_category().default_error_condition(value);
    }
};

const std::error_category& category() noexcept {
    static const Category instance;
    return instance;
}

}  // namespace

std::error_code native_error(unsigned long number) noexcept { return {static_cast<int>(number), category()}; }

std::error_code error_of_number(int number) noexcept { return {number, category()}; }

int error_number(const std::error_code& error) noexcept {
    if (error.category() != std::generic_category()) return error.value();
    const ErrorRow* row =
        find_row([&](const ErrorRow& each) { return each.posix == static_cast<std::errc>(error.value()); });
    return row != nullptr ? static_cast<int>(row->windows) : ERROR_NOT_SUPPORTED;
}

}  // namespace leat::detail
