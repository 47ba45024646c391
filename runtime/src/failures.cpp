// SPDX-License-Identifier: BSL-1.0
//
// What is known of an exception beside what it says of itself: the tasks that it has left, the failures that came after it. An
// exception may be of any type, so that stands beside it, in a table by the object's address, and goes when the object
// does, which the C++ runtime tells us (backend/exception_watch.hpp). See docs/adr/0014.
#include <leat/runtime/failures.hpp>

#include "backend/diagnostic.hpp"
#include "backend/exception_watch.hpp"
#include "src/failure.hpp"
#include "src/joined_text.hpp"
#include "src/places.hpp"

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>

namespace leat {

namespace detail {

namespace {

constexpr std::size_t longest_trace = 64;
constexpr std::size_t most_attached = 16'384;

struct Notes;

struct Attached {
    Attached(const std::exception_ptr& f, Notes& n) noexcept : failure(f), notes(&n) {}

    std::exception_ptr failure;
    // Live as long as the exception does.
    Notes* notes;
};

struct Notes {
    explicit Notes(void* o) noexcept : object(o) {}

    void* const object;
    ExceptionEnd end = nullptr;
    std::vector<Attached> attached;
    // To anything, ever: what never was is at the end of no way, and nobody need look for one.
    bool was_attached = false;
    std::vector<TraceEntry> trace;
    std::unique_ptr<Notes> next;
    // In the walk that is under way, or in the list of those that end.
    Notes* next_in_walk = nullptr;
    std::uint64_t walk = 0;
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

    /// Whether `other` is attached to `failure`, however far down. Each is looked at once, by however many ways it is reached.
    bool leads_to(Notes& failure, const Notes& other) noexcept {
        if (!other.was_attached) return false;
        ++walk_;
        failure.walk = walk_;
        failure.next_in_walk = nullptr;
        for (Notes* left = &failure; left != nullptr;) {
            Notes* one = left;
            left = one->next_in_walk;
            for (const Attached& attached : one->attached) {
                if (attached.notes == &other) return true;
                if (std::exchange(attached.notes->walk, walk_) == walk_) continue;
                attached.notes->next_in_walk = left;
                left = attached.notes;
            }
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
    std::uint64_t walk_ = 0;
    std::array<std::unique_ptr<Notes>, 4096> lists_;
};

/// Never destroyed: exceptions may outlive everything else.
Table& table() noexcept {
    alignas(Table) static std::byte place[sizeof(Table)];
    static Table& table = *::new (static_cast<void*>(place)) Table;
    return table;
}

// What was attached goes with the notes, and may have notes itself: in a list instead of a recursion, since it may be a chain of
// any length.
constinit thread_local Notes* ending = nullptr;
constinit thread_local bool is_ending = false;

void Table::end_object(void* object) noexcept {
    // Notes go outside the lock.
    std::unique_ptr<Notes> notes;
    {
        std::lock_guard lock(table().mutex_);
        std::unique_ptr<Notes>* place = table().place_of(object);
        notes = std::move(*place);
        *place = std::move(notes->next);
    }
    if (notes->end != nullptr) notes->end(object);
    notes->next_in_walk = ending;
    ending = notes.release();
    if (is_ending) return;
    is_ending = true;
    while (ending != nullptr) {
        std::unique_ptr<Notes> one(ending);
        ending = one->next_in_walk;
    }
    is_ending = false;
}

/// Calls `use(notes)`, under the lock, unless there can be none.
template <class Use>
void with_notes(const std::exception_ptr& failure, Use use) {
    void* object = failure != nullptr ? object_of(failure) : nullptr;
    if (object == nullptr) return;
    std::lock_guard lock(table().mutex());
    use(table().find_or_make(object));
}

/// The same if there are any.
template <class Use>
void read_notes(const std::exception_ptr& failure, Use use) {
    void* object = failure != nullptr ? object_of(failure) : nullptr;
    if (object == nullptr) return;
    std::lock_guard lock(table().mutex());
    if (const Notes* notes = table().find(object)) use(*notes);
}

bool attach(const std::exception_ptr& failure, const std::exception_ptr& other) noexcept {
    try {
        bool is_attached = false;
        with_notes(failure, [&](Notes& notes) {
            Notes& others = table().find_or_make(object_of(other));
            is_attached = table().leads_to(notes, others);
            // Two that hold each other would never end; and one that is thrown again and again would hold all there ever were.
            if (is_attached || notes.attached.size() == most_attached || table().leads_to(others, notes))
                return;
            notes.attached.emplace_back(other, others);
            others.was_attached = true;
            is_attached = true;
        });
        return is_attached;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace

void stop_for_throwing_destructor(const std::exception_ptr& failure) noexcept {
    const char* what = "a destructor threw an exception while its coroutine was destroyed";
    try {
        write_notice(std::string("leat: ") + what + ": " + printable(text_of(failure)));
    } catch (...) {
        write_notice(JoinedText({"leat: ", what}).text());
    }
    std::terminate();
}

void note_passage(const std::exception_ptr& failure, const TaskFrame& task) noexcept {
    // The frame would be left half destroyed, and its task would end a second time.
    if (unwinding()) [[unlikely]]
        stop_for_throwing_destructor(failure);
    try {
        with_notes(failure, [&task](Notes& notes) {
            if (notes.trace.size() < longest_trace) notes.trace.emplace_back(task.definition(), task.line());
        });
    } catch (const std::bad_alloc&) {
        // The exception itself is what matters, and is on its way.
    }
}

void attach_or_tell(Executor& executor, const std::exception_ptr& failure,
                    const std::exception_ptr& other) noexcept {
    // The same exception may come twice, by a future's way or a retry's: it is told once.
    if (failure == other || (other != nullptr && attach(failure, other))) return;
    notice_failure(executor, "one more failure where another one is thrown", other);
}

std::error_code code_or_tell(Executor& executor, const std::exception_ptr& failure) {
    std::error_code code = code_or_rethrow(failure);
    for (const std::exception_ptr& other : attached_failures(failure))
        notice_failure(executor, "one more failure where only one code can be given", other);
    return code;
}

}  // namespace detail

std::vector<std::exception_ptr> attached_failures(const std::exception_ptr& failure) {
    std::vector<std::exception_ptr> attached;
    detail::read_notes(failure, [&attached](const detail::Notes& notes) {
        for (const detail::Attached& one : notes.attached)
            attached.push_back(one.failure);
    });
    return attached;
}

std::vector<TraceEntry> trace_of(const std::exception_ptr& failure) {
    std::vector<TraceEntry> trace;
    detail::read_notes(failure, [&trace](const detail::Notes& notes) { trace = notes.trace; });
    return trace;
}

namespace {

/// How long the UTF-8 sequence (RFC 3629 §4) is that `text` begins with. Zero if it is none, or not for a log.
std::size_t printable_length(std::string_view text) noexcept {
    auto byte = [&](std::size_t place) { return static_cast<unsigned char>(text[place]); };
    const unsigned first = byte(0);
    if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
    const std::size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
    char32_t code = first & (0x7fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0u) != 0x80) return 0;
        code = code << 6 | (byte(i) & 0x3fu);
    }
    constexpr std::array<char32_t, 5> least = {0, 0, 0x80, 0x800, 0x10000};
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 0;
    const bool is_control = code < 0xa0;
    const bool ends_line = code == 0x2028 || code == 0x2029;
    const bool turns_direction = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return is_control || ends_line || turns_direction ? 0 : length;
}

}  // namespace

std::string detail::printable(std::string_view text) {
    constexpr const char* digits = "0123456789abcdef";
    std::string clean;
    while (!text.empty()) {
        const std::size_t length = printable_length(text);
        const auto first = static_cast<unsigned char>(text.front());
        if (length != 0)
            clean += text.substr(0, length);
        else
            clean += {'\\', 'x', digits[first >> 4], digits[first & 15]};
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return clean;
}

std::string describe_failure(const std::exception_ptr& failure) {
    if (failure == nullptr) return "no failure";
    std::string text;
    // A list instead of recursion: what is attached may have others attached, to any depth, and be reached by several ways.
    std::vector<std::exception_ptr> left{failure};
    std::unordered_set<const void*> told;
    while (!left.empty()) {
        std::exception_ptr one = std::move(left.back());
        left.pop_back();
        if (!told.insert(detail::object_of(one)).second) continue;
        if (!text.empty()) text += "; and: ";
        text += detail::text_of(one);
        std::vector<std::exception_ptr> more = attached_failures(one);
        left.insert(left.end(), more.rbegin(), more.rend());
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
