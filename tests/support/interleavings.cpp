// SPDX-License-Identifier: BSL-1.0
#include "support/interleavings.hpp"

#include <algorithm>
#include <memory>

namespace leat::test {

namespace {

Interleavings* exploration = nullptr;
constexpr std::size_t stack_size = 128 * 1024;

// On its own, as the compiler takes getcontext for a function that may return twice.
[[gnu::noinline]] void prepare_context(ucontext_t& context, std::byte* stack, void (*begin)()) {
    ::getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = stack_size;
    ::makecontext(&context, begin, 0);
}

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    // The finalizer of SplitMix64.
    std::uint64_t mixed = hash * 0x9e3779b97f4a7c15u + value + 0x7f4a7c159e3779b9u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

}  // namespace

Observed::Observed() { Interleavings::current().observed_.push_back(this); }

Observed::~Observed() { std::erase(Interleavings::current().observed_, this); }

Interleavings& Interleavings::current() { return *exploration; }

Exploration Interleavings::explore(const std::function<Scenario()>& make) {
    Interleavings explored;
    exploration = &explored;
    do
        explored.run(make);
    while (explored.report_.failure.empty() && explored.go_back());
    explored.report_.states = explored.seen_.size();
    exploration = nullptr;
    return explored.report_;
}

void Interleavings::run(const std::function<Scenario()>& make) {
    numbers_.clear();
    depth_ = 0;
    steps_ = 0;
    fruitless_yields_ = 0;
    is_known_ = false;
    Scenario scenario = make();
    std::vector<std::unique_ptr<Thread>> threads;
    threads_.clear();
    for (std::function<void()>& body : scenario.threads) {
        threads.push_back(std::make_unique<Thread>());
        Thread& thread = *threads.back();
        threads_.push_back(&thread);
        thread.body = body;
        thread.stack = std::make_unique_for_overwrite<std::byte[]>(stack_size);
        prepare_context(thread.context, thread.stack.get(), &Interleavings::enter);
    }
    is_running_ = true;
    own_number_ = choose();
    ::swapcontext(&outside_, &threads_[own_number_]->context);
    is_running_ = false;
    ++report_.runs;
    report_.longest = std::max(report_.longest, steps_);
    if (std::all_of(threads_.begin(), threads_.end(), [](Thread* each) { return each->has_ended; })) {
        report_.failure = scenario.check();
        return;
    }
    report_.failure = "nobody can go on: a wake-up is lost";
    // What lies on the stacks of those that have not ended cannot be destroyed any more, and may be referred to.
    for (std::unique_ptr<Thread>& thread : threads)
        (void)thread.release();
    (void)new Scenario(std::move(scenario));
}

/// Where each context begins.
void Interleavings::enter() {
    Interleavings& explored = current();
    Thread& own = *explored.threads_[explored.own_number_];
    own.body();
    own.has_ended = true;
    explored.pass_on(explored.own_number_);
}

/// False: no choice is left.
bool Interleavings::go_back() {
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().open.size())
        choices_.pop_back();
    if (choices_.empty()) return false;
    ++choices_.back().taken;
    return true;
}

bool Interleavings::may_go_on(std::size_t number) const {
    const Thread& thread = *threads_[number];
    if (thread.has_ended || thread.has_yielded) return false;
    return thread.waits_for == nullptr || thread.waits_for->raw() != 0;
}

std::vector<std::size_t> Interleavings::open_threads() const {
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < threads_.size(); ++i)
        if (may_go_on(i)) open.push_back(i);
    return open;
}

std::size_t Interleavings::choose() {
    std::vector<std::size_t> open = open_threads();
    if (open.empty() && fruitless_yields_++ < most_fruitless_yields) {
        // What they gave way for may have happened between their look and the yield.
        for (Thread* thread : threads_)
            thread->has_yielded = false;
        open = open_threads();
    }
    if (open.empty()) return none;
    if (open.size() == 1) return open.front();
    if (depth_ < choices_.size()) {
        const Choice& choice = choices_[depth_++];
        return choice.open[choice.taken];
    }
    if (!is_known_) is_known_ = !seen_.insert(state()).second;
    if (is_known_) return open.front();
    choices_.push_back(Choice{open, 0});
    ++depth_;
    return open.front();
}

void Interleavings::pass_on(std::size_t from) {
    const std::size_t next = choose();
    if (next == from) return;
    own_number_ = next;
    ::swapcontext(&threads_[from]->context, next == none ? &outside_ : &threads_[next]->context);
}

void Interleavings::step() {
    if (!is_running_) return;
    // How far it has come counts, too: not every operation reads.
    note(0);
    pass_on(own_number_);
    ++steps_;
    for (std::size_t i = 0; i < threads_.size(); ++i)
        if (i != own_number_) threads_[i]->has_yielded = false;
}

void Interleavings::note(std::uint64_t read) {
    if (!is_running_) return;
    std::uint64_t& history = threads_[own_number_]->history;
    history = mix(history, read);
}

void Interleavings::stand_at(std::uint64_t place) {
    if (is_running_) threads_[own_number_]->history = mix(~std::uint64_t{0}, place);
}

void Interleavings::yield() { threads_[own_number_]->has_yielded = true; }

void Interleavings::wait_for(const Observed& observed) {
    Thread& own = *threads_[own_number_];
    own.waits_for = &observed;
    step();
    own.waits_for = nullptr;
}

std::uint64_t Interleavings::number_of(const void* pointer) {
    if (pointer == nullptr) return 0;
    return numbers_.emplace(pointer, numbers_.size() + 1).first->second;
}

std::uint64_t Interleavings::state() const {
    std::uint64_t hash = 0;
    for (const Observed* each : observed_)
        hash = mix(hash, each->raw());
    for (const Thread* thread : threads_) {
        hash = mix(hash, thread->history);
        hash = mix(hash, (thread->has_ended ? 1u : 0u) + (thread->has_yielded ? 2u : 0u) +
                             (thread->waits_for != nullptr ? 4u : 0u));
    }
    return hash;
}

}  // namespace leat::test
