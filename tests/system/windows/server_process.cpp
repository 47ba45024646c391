// SPDX-License-Identifier: BSL-1.0
#include "windows/server_process.hpp"

#include <cstdlib>
#include <stdexcept>

#include <windows.h>

namespace leat::test {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": error " + std::to_string(::GetLastError()));
}

}  // namespace

struct ServerProcess::Handles {
    ~Handles() {
        if (process != nullptr) {
            ::TerminateProcess(process, 99);
            ::WaitForSingleObject(process, INFINITE);
            ::CloseHandle(process);
        }
        if (output != nullptr) ::CloseHandle(output);
    }

    HANDLE process = nullptr;
    DWORD group = 0;
    HANDLE output = nullptr;
};

ServerProcess::ServerProcess(const std::vector<std::string>& arguments)
    : handles_(std::make_unique<Handles>()) {
    const char* program = std::getenv("LEAT_ECHO_SERVER");
    if (program == nullptr) throw std::runtime_error("LEAT_ECHO_SERVER does not name the program");
    SECURITY_ATTRIBUTES inherited{sizeof inherited, nullptr, TRUE};
    HANDLE writer = nullptr;
    if (!::CreatePipe(&handles_->output, &writer, &inherited, 0)) fail("CreatePipe");
    ::SetHandleInformation(handles_->output, HANDLE_FLAG_INHERIT, 0);

    std::string command = "\"" + std::string(program) + "\" --listen 127.0.0.1:0";
    for (const std::string& argument : arguments)
        command += ' ' + argument;
    STARTUPINFOA startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdOutput = writer;
    startup.hStdError = writer;
    PROCESS_INFORMATION started{};
    if (!::CreateProcessA(nullptr, command.data(), nullptr, nullptr, TRUE, CREATE_NEW_PROCESS_GROUP, nullptr,
                          nullptr, &startup, &started))
        fail(command);
    ::CloseHandle(writer);
    ::CloseHandle(started.hThread);
    handles_->process = started.hProcess;
    handles_->group = started.dwProcessId;

    // "echo_server: listening on ADDRESS (BACKEND)"
    const std::string line = read_line();
    const std::string before = "listening on ";
    const std::size_t begin = line.find(before);
    const std::size_t end = line.find(" (");
    if (begin == std::string::npos || end == std::string::npos) throw std::runtime_error("it says: " + line);
    address_ = Address::parse(line.substr(begin + before.size(), end - begin - before.size()));
}

ServerProcess::~ServerProcess() = default;

std::string ServerProcess::read_line() {
    std::string line;
    char byte = 0;
    DWORD got = 0;
    while (::ReadFile(handles_->output, &byte, 1, &got, nullptr) && got == 1 && byte != '\n')
        line += byte;
    return line;
}

bool ServerProcess::press_break() {
    if (::GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, handles_->group)) return true;
    if (::GetLastError() != ERROR_INVALID_ACCESS) fail("GenerateConsoleCtrlEvent");
    return false;
}

int ServerProcess::wait() {
    ::WaitForSingleObject(handles_->process, INFINITE);
    DWORD code = 0;
    ::GetExitCodeProcess(handles_->process, &code);
    return static_cast<int>(code);
}

std::string ServerProcess::rest_of_output() {
    std::string text;
    for (std::string line = read_line(); !line.empty(); line = read_line())
        text += line + '\n';
    return text;
}

}  // namespace leat::test
