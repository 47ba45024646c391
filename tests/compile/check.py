#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compiles a file of mistakes, and looks whether each is named by its sentence, first.

check.py wrong|right|older FILE COMPILER FLAG...

`wrong`: `// says: …`, a part of the sentence, is at the end of a line with a mistake, or alone before it. The first error that
the compiler reports for the line contains it, and no error is about another line. `// says on gcc 12: …` is a mistake
for that compiler only; another one compiles the line.
`right`: the file compiles, without a warning.
`older`: FILE lists public headers. With -std=c++17 the first error of each, alone, says what leat needs."""
import re
import subprocess
import sys

MARK = re.compile(r"// says(?P<gcc> on gcc 12)?: (?P<sentence>.+)$")


def compile_file(compiler, flags, path):
    plain = ["-ferror-limit=0", "-fno-caret-diagnostics"] if is_clang(compiler) else ["-fno-diagnostics-show-caret"]
    return subprocess.run([compiler, *flags, *plain, "-fsyntax-only", "-ftemplate-backtrace-limit=0", path],
                          capture_output=True, text=True, check=False)


def is_clang(compiler):
    return "clang" in subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout


def is_gcc_before_13(compiler):
    version = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True, check=True).stdout
    return not is_clang(compiler) and int(version.split(".")[0]) < 13


def marks_of(path, has_gcc_12):
    marks = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            found = MARK.search(line.rstrip())
            if found and (has_gcc_12 or not found["gcc"]):
                stands_alone = line.lstrip().startswith("//")
                marks[number + stands_alone] = found["sentence"]
    return marks


def errors_of(text, path):
    """Each error with the lines of the file that it is about: GCC names them before it, clang after it."""
    here = re.compile(re.escape(path) + r":(\d+):")
    errors, before = [], set()
    for line in text.splitlines():
        found = here.match(line)
        lines = {int(found[1])} if found else set()
        if re.search(r": (fatal )?error: ", line):
            errors.append((line.split("error: ", 1)[1], before | lines))
            before = set()
        elif re.search(r": note: ", line):
            if errors:
                errors[-1][1].update(before | lines)
            before = set()
        else:
            before |= lines
    return errors


def complaints_about_wrong(path, result, marks):
    complaints, named, last = [], set(), None
    for message, lines in errors_of(result.stderr, path):
        marked = sorted(lines & marks.keys())
        # One that has no place of its own belongs to what was compiled before it.
        line = marked[0] if marked else last if not lines else None
        if line is None:
            complaints.append(f"an error about no marked line: {message}")
        elif line not in named:
            named.add(line)
            if marks[line] not in message:
                complaints.append(f"line {line}: expected \"{marks[line]}\", got \"{message}\"")
        last = line
    complaints += [f"line {line}: compiles, expected \"{marks[line]}\"" for line in sorted(marks.keys() - named)]
    return complaints


def complaints_about_older(path, compiler, flags):
    complaints = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            result = subprocess.run([compiler, *flags, "-std=c++17", "-Wfatal-errors", "-fsyntax-only", "-x", "c++", "-"], input=line,
                                    capture_output=True, text=True, check=False)
            first = next((text for text in result.stderr.splitlines() if "error: " in text), "no error")
            if "leat needs C++20: compile with -std=c++20 or later" not in first:
                complaints.append(f"{line.strip()}: {first}")
    return complaints


def main():
    kind, path, compiler, *flags = sys.argv[1:]
    if kind == "older":
        complaints = complaints_about_older(path, compiler, flags)
        print("\n".join(complaints))
        return 1 if complaints else 0
    result = compile_file(compiler, flags, path)
    if kind == "right":
        complaints = [] if result.returncode == 0 and not result.stderr else ["it does not compile cleanly"]
    elif not marks_of(path, True):
        complaints = ["no line is marked"]
    else:
        complaints = complaints_about_wrong(path, result, marks_of(path, is_gcc_before_13(compiler)))
    for complaint in complaints:
        print(f"{path}: {complaint}")
    if complaints:
        print(result.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
