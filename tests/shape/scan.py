#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Finds the coroutine shapes that GCC 12 miscompiles or refuses, in the files and folders given.

GCC says nothing about them, so the sources are scanned. It works on tokens, not on a syntax tree: it may report a
harmless expression, which is then written the plain way (one await an expression, bound to a named local).
"""

import bisect
import pathlib
import re
import sys

SHAPES = {
    "condition": "co_await in a condition: bind the result to a named bool first",
    "lambda": "a capturing lambda as a temporary beside co_await: name it first",
    "braces": "a braced temporary beside co_await: name it first, or call a constructor with (...)",
    "conditional": "?: beside co_await: write if and else",
    "statement_expression": "a statement expression with co_await: write statements",
    "second_await": "a second co_await in one expression: give each its own line",
    "default_braces": "a defaulted parameter `= {}` becomes a braced temporary at the call: write an overload",
}

TOKEN = re.compile(
    r"""
    (?P<skip>   \s+ | //[^\n]* | /\*.*?\*/ | \#(?:[^\n\\]|\\.)* )
  | (?P<raw>    (?:u8|[uUL])?R"(?P<delimiter>[^()\s\\]*)\(.*?\)(?P=delimiter)" )
  | (?P<string> (?:u8|[uUL])?"(?:[^"\\\n]|\\.)*" | (?:u8|[uUL])?'(?:[^'\\\n]|\\.)+' )
  | (?P<number> \.?\d(?:'?[\w.])* )
  | (?P<word>   [A-Za-z_]\w* )
  | (?P<mark>   -> | :: | \[\[ | \]\] | . )
    """,
    re.VERBOSE | re.DOTALL,
)

OPENERS = {"(": ")", "[": "]", "{": "}", "[[": "]]"}
CLOSERS = set(OPENERS.values())
BLOCK_BEFORE = {")", ";", "{", "}", ":", "]", "]]", "else", "do", "try", "mutable", "noexcept", "const", "override",
                "final", "extern"}
BLOCK_HEADS = {"namespace", "struct", "class", "union", "enum", "requires", "concept"}
EXPRESSION_KEYWORDS = {"return", "co_return", "co_await", "co_yield", "throw", "case", "delete", "new", "else"}


class Source:
    """The tokens of one file, with the partner of each bracket and the bracket around each token."""

    def __init__(self, text):
        line_starts = [match.end() for match in re.finditer("\n", text)]
        self.tokens, self.lines = [], []
        for match in TOKEN.finditer(text):
            kind = match.lastgroup if match.lastgroup != "delimiter" else "raw"
            if kind == "skip":
                continue
            value = '""' if kind in ("raw", "string") else match.group()
            self.tokens.append(value)
            self.lines.append(bisect.bisect_right(line_starts, match.start()) + 1)
        self._match_brackets()

    def _match_brackets(self):
        tokens, lines, stack = [], [], []
        self.partner, self.around = {}, []
        for token, line in zip(self.tokens, self.lines):
            # `]]` closes an attribute or two subscripts.
            parts = [token]
            if token == "]]" and (not stack or tokens[stack[-1]] != "[["):
                parts = ["]", "]"]
            for part in parts:
                index = len(tokens)
                if part in CLOSERS and stack and OPENERS[tokens[stack[-1]]] == part:
                    opener = stack.pop()
                    self.partner[opener], self.partner[index] = index, opener
                tokens.append(part)
                lines.append(line)
                self.around.append(stack[-1] if stack else None)
                if part in OPENERS:
                    stack.append(index)
        self.tokens, self.lines = tokens, lines

    def at(self, index):
        return self.tokens[index] if 0 <= index < len(self.tokens) else ""

    def is_lambda(self, bracket):
        """Whether this `[` opens a lambda rather than a subscript, an array's bound or a structured binding."""
        before = self.at(bracket - 1)
        is_operand = before in (")", "]", '""') or (re.match(r"\w", before) and before not in EXPRESSION_KEYWORDS)
        is_binding = self.at(self.partner.get(bracket, bracket) + 1) in {"=", ":"}
        return self.at(bracket) == "[" and not is_operand and not is_binding

    def is_block(self, brace):
        """Whether this `{` opens statements (or a type, or a namespace) rather than an initialiser."""
        before = self.at(brace - 1)
        if before == "(":
            # `({` with statements in it is a statement expression, else an argument.
            inside = range(brace + 1, self.partner.get(brace, brace))
            return any(self.tokens[index] == ";" and self.around[index] == brace for index in inside)
        if before in BLOCK_BEFORE or before == "":
            return True
        # `-> Task<int> {` ends a signature, `struct name : base {` opens a type.
        index = brace - 1
        while index >= 0 and self.tokens[index] not in {";", "{", "}", "(", ")", "=", "return", "co_return", "co_await"}:
            if self.tokens[index] == "->" and self.at(index - 1) in {")", "mutable", "noexcept", "const", "]"}:
                return True
            if self.tokens[index] in BLOCK_HEADS:
                return True
            index -= 1
        return False

    def expression(self, index):
        """The full-expression around a token: its first and last index, and the brackets passed on the way out."""
        level, passed = self.around[index], []
        while level is not None:
            opener = self.tokens[level]
            if opener == "{" and self.is_block(level):
                break
            passed.append(level)
            # A clause of `for (;;)` is an expression of its own; so is the condition of an if.
            if opener == "(" and self.head(level):
                break
            level = self.around[level]
        inner = passed[-1] if passed and self.around[passed[-1]] == level else index
        inside = level if level is not None else -1
        return self._first(inner, inside), self._last(inner, inside), passed

    def head(self, parenthesis):
        """`if`, `while`, `for` or `switch`, when this parenthesis belongs to one."""
        word = self.at(parenthesis - 1)
        if word == "constexpr":
            word = self.at(parenthesis - 2)
        return word if word in {"if", "while", "for", "switch"} else ""

    def _first(self, index, level):
        while index - 1 > level:
            before = self.tokens[index - 1]
            if before == ";":
                break
            if before == "}":
                opener = self.partner.get(index - 1, index - 1)
                continues = self.tokens[index] in {".", "->", ",", ")", "]", "(", "?", ":", "+", "-", "=", "|", "<", ">"}
                if self.is_block(opener) and not continues:
                    break
            index = self.partner[index - 1] if before in CLOSERS and index - 1 in self.partner else index - 1
        return index

    def _last(self, index, level):
        end = self.partner.get(level, len(self.tokens)) if level >= 0 else len(self.tokens)
        while index < end and self.tokens[index] != ";":
            # The body of an if or a loop begins: its head was the expression.
            if self.tokens[index] == "{" and self.at(index - 1) == ")" and self.is_block(index):
                opener = self.partner.get(index - 1)
                if opener is not None and self.head(opener):
                    break
            index = self.partner[index] + 1 if self.tokens[index] in OPENERS and index in self.partner else index + 1
        return index


def own_tokens(source, first, last):
    """The tokens of an expression without those in the bodies of its lambdas, which are statements of their own."""
    index = first
    while index < last:
        yield index
        if source.tokens[index] == "{" and index in source.partner and source.is_block(index):
            index = source.partner[index]
            continue
        index += 1


def shapes_of_await(source, await_index):
    tokens = source.tokens
    first, last, passed = source.expression(await_index)

    for level in passed:
        head = source.head(level) if tokens[level] == "(" else ""
        clause = sum(1 for index in range(level, await_index) if tokens[index] == ";" and source.around[index] == level)
        if head in {"if", "while", "switch"} or (head == "for" and clause == 1):
            yield "condition"

    block = source.around[passed[-1]] if passed else source.around[await_index]
    if block is not None and tokens[block] == "{" and source.at(block - 1) == "(":
        yield "statement_expression"

    levels = {source.around[await_index], *(source.around[level] for level in passed)}
    for index in own_tokens(source, first, last):
        token = tokens[index]
        if token == "[" and source.is_lambda(index) and source.at(index + 1) != "]":
            yield "lambda"
        elif token == "{" and not source.is_block(index):
            yield "braces"
        elif token == "?" and source.around[index] in levels:
            yield "conditional"
        elif token == "co_await" and index > await_index:
            yield "second_await"


def scan(text, is_public=True):
    """Lists (line, shape) for each dangerous shape in the text of a C++ file.

    What a user may call beside an await is_public; other files need not care how their functions are called.
    """
    source = Source(text)
    found = set()
    for index, token in enumerate(source.tokens):
        if token == "co_await" and source.at(index - 1) != "operator":
            found.update((source.lines[index], shape) for shape in shapes_of_await(source, index))
        # `= {}` before the end of a parameter.
        if is_public and token == "=" and source.at(index + 1) == "{" and source.at(index + 2) == "}" and \
                source.at(index + 3) in {",", ")"} and source.around[index] is not None and \
                source.at(source.around[index]) == "(":
            found.add((source.lines[index], "default_braces"))
    return sorted(found)


def files(arguments):
    for argument in map(pathlib.Path, arguments):
        if not argument.exists():
            sys.exit(f"{argument}: no such file or folder")
        if argument.is_file():
            yield argument
        else:
            # What tests/compile holds is wrong on purpose, and never runs.
            yield from sorted(path for path in argument.rglob("*")
                              if path.suffix in {".cpp", ".hpp"} and "compile" not in path.parts)


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: scan.py FILE_OR_FOLDER...")
    count = scanned = 0
    for path in files(sys.argv[1:]):
        scanned += 1
        for line, shape in scan(path.read_text(encoding="utf-8"), is_public="include" in path.parts):
            print(f"{path}:{line}: {shape}: {SHAPES[shape]}")
            count += 1
    print(f"{scanned} files scanned, {count} shapes found")
    sys.exit(1 if count else 0)


if __name__ == "__main__":
    main()
