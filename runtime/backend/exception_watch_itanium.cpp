// SPDX-License-Identifier: BSL-1.0
//
// Exceptions of the Itanium C++ ABI ("Exception Handling", 2.2.1 "C++ Exception Objects"): before the object stands a
// header whose last member is the unwinder's own; in it are the type and the destructor. GCC's and LLVM's libraries lay it
// out alike from the type on, on Linux, on macOS, on the BSDs and in mingw-w64. Nothing is taken on trust: a first exception,
// made for that, shows whether type and destructor stand where they are expected, and if not, no exception is touched.
#include "backend/exception_watch.hpp"

#include <algorithm>
#include <cstddef>
#include <typeinfo>
#include <unwind.h>

namespace leat::detail {

namespace {

struct Header {
    std::type_info* type;
    ExceptionEnd end;
    void (*unexpected_handler)();
    void (*terminate_handler)();
    void* next;
    int handler_count;
    int handler_switch_value;
    const unsigned char* action_record;
    const unsigned char* language_specific_data;
    void* catch_temp;
    void* adjusted_object;
    _Unwind_Exception unwinder;
};

Header& header_of(void* object) noexcept { return *(static_cast<Header*>(object) - 1); }

void* address_in(const std::exception_ptr& exception) noexcept {
    void* object = nullptr;
    static_assert(sizeof(exception) == sizeof(object));
    // A reference counts, and is one word: the object's address.
    std::copy_n(reinterpret_cast<const std::byte*>(&exception), sizeof object,
                reinterpret_cast<std::byte*>(&object));
    return object;
}

struct Probe {
    explicit Probe(int v) noexcept : value(v) {}
    ~Probe() {}
    int value;
};

constinit int probes_ended = 0;
constinit ExceptionEnd end_of_probe = nullptr;

constinit void* probe_expected = nullptr;

void count_probe(void* object) {
    if (object == probe_expected) ++probes_ended;
    if (end_of_probe != nullptr) end_of_probe(object);
}

bool has_expected_layout() noexcept {
    try {
        throw Probe(17);
    } catch (Probe& probe) {
        std::exception_ptr exception = std::current_exception();
        void* object = address_in(exception);
        if (object != &probe) return false;
        Header& header = header_of(object);
        if (header.type != &typeid(Probe) || header.end == nullptr) return false;
        probe_expected = object;
        end_of_probe = header.end;
        header.end = &count_probe;
    } catch (...) {
        return false;
    }
    return probes_ended == 1;
}

}  // namespace

void* object_of(const std::exception_ptr& exception) noexcept {
    static const bool is_as_expected = has_expected_layout();
    return is_as_expected ? address_in(exception) : nullptr;
}

ExceptionEnd replace_end(void* object, ExceptionEnd end) noexcept {
    Header& header = header_of(object);
    ExceptionEnd former = header.end;
    header.end = end;
    return former;
}

}  // namespace leat::detail
