// SPDX-License-Identifier: BSL-1.0
#include "backend/thread_name.hpp"

#include <string>

#include <windows.h>

namespace leat::detail {

namespace {

using SetDescription = HRESULT(WINAPI*)(HANDLE, PCWSTR);

// Windows 10 1607 and later have it; not every header and import library does ("SetThreadDescription function").
SetDescription find_set_description() noexcept {
    HMODULE kernel = ::GetModuleHandleW(L"kernel32.dll");
    if (kernel == nullptr) return nullptr;
    return reinterpret_cast<SetDescription>(
        reinterpret_cast<void*>(::GetProcAddress(kernel, "SetThreadDescription")));
}

}  // namespace

void name_thread(const std::string& name) noexcept {
    SetDescription set_description = find_set_description();
    if (set_description == nullptr) return;
    try {
        // Names here are ASCII.
        std::wstring wide(name.begin(), name.end());
        set_description(::GetCurrentThread(), wide.c_str());
    } catch (...) {
        // A thread without a name does as well.
    }
}

}  // namespace leat::detail
