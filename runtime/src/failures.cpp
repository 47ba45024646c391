// SPDX-License-Identifier: BSL-1.0
//
// What is known of an exception beside what it says of itself: the tasks that it has left, the failures that came after it. An
// exception may be of any type, so that stands beside it, in a table by the object's address, and goes when the object
// does, which the C++ runtime tells us (backend/exception_watch.hpp). See docs/adr/0014.
#include <leat/runtime/failures.hpp>

#include "backend/exception_watch.hpp"
#include "src/failure.hpp"
#include "src/places.hpp"

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <utility>

namespace leat {

namespace detail {

namespace {

constexpr std::size_t longest_trace = 64;

struct Notes {
    explicit Notes(void* o) noexcept : object(o) {}

    void* const object;
    ExceptionEnd end = nullptr;
    std::vector<std::exception_ptr> attached;
    std::vector<TraceEntry> trace;
    std::unique_ptr<Notes> next;
};

/// All notes, in lists by address.
class Table {
public:
    std::mutex& mutex() noexcept { return mutex_; }

    /// Null if there are none.
    Notes* find(void* object) noexcept { return place_of(object)->get(); }

    /// Errors: std::bad_alloc, and nothing has changed.
    Notes& find_or_make(void* object) {
        std::unique_ptr<Notes>* place = place_of(object);
        if (*place == nullptr) {
            *place = std::make_unique<Notes>(object);
            (*place)->end = replace_end(object, &end_object);
        }
        return **place;
    }

    /// Whether `object` is attached to `failure`, however far down.
    bool leads_to(const std::exception_ptr& failure, const void* object) {
        std::vector<void*> left{object_of(failure)};
        while (!left.empty()) {
            void* one = left.back();
            left.pop_back();
            if (one == object) return true;
            if (Notes* notes = find(one))
                for (const std::exception_ptr& attached : notes->attached)
                    left.push_back(object_of(attached));
        }
        return false;
    }

private:
    static void end_object(void* object) noexcept;

    std::unique_ptr<Notes>* place_of(void* object) noexcept {
        std::unique_ptr<Notes>* place =
            &lists_[reinterpret_cast<std::uintptr_t>(object) / 64 % lists_.size()];
        while (*place != nullptr && (*place)->object != object)
            place = &(*place)->next;
        return place;
    }

    std::mutex mutex_;
    std::array<std::unique_ptr<Notes>, 256> lists_;
};

/// Never destroyed: exceptions may outlive everything else.
Table& table() noexcept {
    alignas(Table) static std::byte place[sizeof(Table)];
    static Table& table = *::new (static_cast<void*>(place)) Table;
    return table;
}

void Table::end_object(void* object) noexcept {
    // Outside the lock: what was attached goes with the notes, and may have notes itself.
    std::unique_ptr<Notes> notes;
    {
        std::lock_guard lock(table().mutex_);
        std::unique_ptr<Notes>* place = table().place_of(object);
        notes = std::move(*place);
        *place = std::move(notes->next);
    }
    if (notes->end != nullptr) notes->end(object);
}

/// Calls `use(notes)`, under the lock. False if there can be none.
template <class Use>
bool with_notes(const std::exception_ptr& failure, Use use) {
    void* object = failure != nullptr ? object_of(failure) : nullptr;
    if (object == nullptr) return false;
    std::lock_guard lock(table().mutex());
    use(table().find_or_make(object));
    return true;
}

bool attach(const std::exception_ptr& failure, const std::exception_ptr& other) noexcept {
    try {
        bool is_attached = false;
        with_notes(failure, [&](Notes& notes) {
            // Two that hold each other would never end.
            if (table().leads_to(other, notes.object)) return;
            notes.attached.push_back(other);
            is_attached = true;
        });
        return is_attached;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace

void note_passage(const std::exception_ptr& failure, const TaskFrame& task) noexcept {
    try {
        with_notes(failure, [&task](Notes& notes) {
            if (notes.trace.size() < longest_trace) notes.trace.emplace_back(task.definition(), task.line());
        });
    } catch (const std::bad_alloc&) {
        // The exception itself is what matters, and is on its way.
    }
}

void attach_or_tell(Executor& executor, const std::exception_ptr& failure,
                    std::exception_ptr other) noexcept {
    // The same exception may come twice, by a future's way or a retry's: it is told once.
    if (failure == other || attach(failure, other)) return;
    notice_failure(executor, "one more failure where another one is thrown", other);
}

std::error_code code_or_tell(Executor& executor, std::exception_ptr failure) {
    std::error_code code = code_or_rethrow(failure);
    for (const std::exception_ptr& other : attached_failures(failure))
        notice_failure(executor, "one more failure where only one code can be given", other);
    return code;
}

}  // namespace detail

std::vector<std::exception_ptr> attached_failures(const std::exception_ptr& failure) {
    std::vector<std::exception_ptr> attached;
    void* object = failure != nullptr ? detail::object_of(failure) : nullptr;
    if (object == nullptr) return attached;
    std::lock_guard lock(detail::table().mutex());
    if (detail::Notes* notes = detail::table().find(object)) attached = notes->attached;
    return attached;
}

std::vector<TraceEntry> trace_of(const std::exception_ptr& failure) {
    std::vector<TraceEntry> trace;
    void* object = failure != nullptr ? detail::object_of(failure) : nullptr;
    if (object == nullptr) return trace;
    std::lock_guard lock(detail::table().mutex());
    if (detail::Notes* notes = detail::table().find(object)) trace = notes->trace;
    return trace;
}

std::string describe_failure(const std::exception_ptr& failure) {
    if (failure == nullptr) return "no failure";
    std::string text = detail::text_of(failure);
    // A list instead of recursion: what is attached may have others attached, to any depth.
    std::vector<std::exception_ptr> left = attached_failures(failure);
    for (std::size_t i = 0; i < left.size(); ++i) {
        text += "; and: " + detail::text_of(left[i]);
        std::vector<std::exception_ptr> more = attached_failures(left[i]);
        left.insert(left.begin() + static_cast<std::ptrdiff_t>(i) + 1, more.begin(), more.end());
    }
    return text;
}

std::string async_trace(const std::exception_ptr& failure) {
    std::string text;
    for (const TraceEntry& entry : trace_of(failure)) {
        text += std::string("in ") + entry.definition.function_name() + " (" +
                detail::place_of(entry.definition) + ")";
        if (entry.line.line() != 0) text += ", at " + detail::place_of(entry.line);
        text += '\n';
    }
    return text;
}

}  // namespace leat
