#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The scanner finds each bad sample under its name, and nothing in the good ones."""

import unittest

from scan import SHAPES, scan

BAD = {
    "condition": [
        "Task<> f() { if (co_await g()) run(); }",
        "Task<> f() { if (!(co_await g())) co_return; }",
        "Task<> f() { while (co_await g()) { run(); } }",
        "Task<> f() { do { run(); } while (co_await g()); }",
        "Task<> f() { for (int i = 0; co_await g(i); ++i) run(); }",
        "Task<> f() { switch (co_await g()) { case 1: run(); } }",
        "Task<> f() { if (auto n = co_await g(); n > 0) run(); }",
        "Task<> f() { auto body = [&]() -> Task<> { if (co_await g()) run(); }; co_await body(); }",
        "Task<> f() { for (;;) { if (co_await g() == 0) co_return; } }",
    ],
    "lambda": [
        "Task<> f() { co_await group([&](TaskGroup& g) -> Task<> { co_return; }); }",
        "Task<> f() { auto r = co_await g(1, [x] { return x; }); }",
        "Task<> f() { use([this] { run(); }, co_await g()); }",
        "Task<> f() { co_await [x]() -> Task<> { co_return; }(); }",
        "Task<> f() { co_return co_await g([=] { return 1; }); }",
    ],
    "braces": [
        "Task<> f() { co_await g(Options{name}); }",
        "Task<> f() { co_await g({1, 2, 3}); }",
        "Task<> f() { co_await g(std::vector<int>{1, 2}); }",
        "Task<> f() { auto x = g(std::array{a, b}, co_await h()); }",
        "Task<> f() { co_await Awaiter{*this}; }",
        "Task<> f() { std::size_t n{co_await g()}; }",
        "Task<> f() { Options{}.apply(co_await g()); }",
        "Task<> f() { co_await g({.backlog = 5}); }",
    ],
    "conditional": [
        "Task<> f() { auto x = c ? co_await g() : T(); }",
        "Task<> f() { auto x = c ? T() : co_await g(); }",
        "Task<> f() { auto x = co_await g() ? 1 : 2; }",
        "Task<> f() { use(c ? (co_await g()) : T()); }",
    ],
    "statement_expression": [
        "Task<> f() { int x = ({ int r = co_await g(); if (!r) co_return; r; }); }",
    ],
    "second_await": [
        "Task<> f() { use(co_await g(), co_await h()); }",
        "Task<> f() { int x = co_await g() + co_await h(); }",
        "Task<> f() { co_await g(co_await h()); }",
    ],
    "default_braces": [
        "Task<> serve(Listener& listener, Options options = {});",
        "Task<> serve(Options options = {}, int backlog = 5);",
    ],
}

GOOD = [
    "Task<> f() { bool ok = co_await g(); if (ok) run(); }",
    "Task<> f() { std::array<std::byte, 16> buffer{}; std::size_t n = co_await read(buffer); }",
    "Task<> f() { auto body = [&](TaskGroup& g) -> Task<> { co_await h(); }; co_await group(body); }",
    "Task<> f() { co_await group([](TaskGroup& g) -> Task<> { co_return; }); }",
    "Task<> f() { co_await g(a[0], std::span(b)[1], c[co_index]); }",
    "Task<> f() { co_await g(a ? b : c); }",
    "Task<> f() { for (;;) { co_await g(); } }",
    "Task<> f() { for (int i = 0; i < 3; ++i) { co_await g(); } }",
    "Task<> f() { if (ok) co_await g(); else co_await h(); }",
    "Task<> f() { if (ok) { co_await g(); } co_await h(); }",
    "Task<> f() { while (ok) co_await g(); }",
    "Task<> f() { for (auto& x : list) { co_await g(x); } int y = c ? 1 : 2; }",
    "Task<> f() { Options options{name}; co_await g(options); std::vector v{1}; }",
    "Task<> f() { try { co_await g(); } catch (const Error& e) { auto x = c ? 1 : 2; } }",
    "Task<> f() { switch (n) { case 1: co_await g(); break; default: co_await h(); } }",
    "Task<> f() { // if (co_await g()) run();\n co_await g(); }",
    "Task<> f() { co_await g(\"if (co_await g({1}))\"); const char* s = R\"x(co_await [a]{})x\"; }",
    "auto operator co_await(Clock clock) { return Awaiter{clock}; }",
    "struct A { Awaiter operator co_await() && { return Awaiter{*this}; } int n = 0; };",
    "template <class T> Task<T> f(T x) { T y = co_await g<T>(x); co_return y; }",
    "Task<> f() { run([&]() -> Task<> { co_await g(); }); }",
    "Task<> f() { run([&](A a) -> Task<> { std::size_t n = co_await g(); BOOST_TEST(n == 1u); }); }",
    "Task<> f() { run([&]() mutable noexcept -> Task<std::vector<int>> { co_await g(); co_return {}; }); }",
    "Task<> f() { [[maybe_unused]] int x = co_await g(a[b[0]]); }",
    "Task<> f() { int big = 1'000'000; co_await g('{', big); }",
    "#define TWICE(x) { co_await x; \\\n co_await x; }\nTask<> f() { co_await g(); }",
    "Task<> f() { auto [a, b] = co_await g(); }",
    "Task<> f() { auto& [a, b] = co_await g(); }",
    "Task<> f() { const auto [a, b] = co_await g(); }",
    "void plain(int x = {1}, int y = 0) { std::vector<int> v = {}; }",
    "struct B { std::vector<int> v = {}; Duration d{}; };",
    "BOOST_FIXTURE_TEST_CASE(a_fact, Loopback) { run([&]() -> Task<> { co_await g(); }); }",
]


class ScannerTest(unittest.TestCase):
    def test_every_shape_has_a_bad_sample(self):
        self.assertEqual(set(BAD), set(SHAPES))

    def test_bad_samples_are_found_under_their_name(self):
        for shape, samples in BAD.items():
            for sample in samples:
                with self.subTest(sample=sample):
                    self.assertIn(shape, [found for _, found in scan(sample)])

    def test_good_samples_give_nothing(self):
        for sample in GOOD:
            with self.subTest(sample=sample):
                self.assertEqual(scan(sample), [])

    def test_the_line_is_that_of_the_await(self):
        self.assertEqual(scan("Task<> f() {\n\n    if (co_await g()) run();\n}\n"), [(3, "condition")])


if __name__ == "__main__":
    unittest.main()
