# SPDX-License-Identifier: BSL-1.0
"""What the tables are made with: the processes that are measured, and the report."""

import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import time

READY_SECONDS = 60
SLACK = 0.005  # calls a message: the ends of two runs differ a little; one in every message or batch would be far more


class Skip(Exception):
    """A measurement that this machine cannot make, and why."""


class Refused(RuntimeError):
    """A server that does not know its arguments, and what it says about them."""


class Report:
    def __init__(self):
        self.rows = []

    def add(self, table, what, subject, figure, unit, bound=None, counted=False):
        missed = bound is not None and figure > bound
        self.rows.append(dict(table=table, what=what, subject=subject, figure=figure, unit=unit, bound=bound,
                              counted=counted, missed=missed))

    def skip(self, table, why):
        self.rows.append(dict(table=table, skipped=why, counted=False, missed=False))

    def print_table(self, table):
        rows = [row for row in self.rows if row["table"] == table]
        print(f"\n{table}")
        for row in rows:
            if "skipped" in row:
                print(f"  skipped: {row['skipped']}")
                continue
            figure = f"{row['figure']:.6g}" if row["figure"] < 1e6 else f"{row['figure']:.0f}"
            verdict = ""
            if row["bound"] is not None:
                verdict = f"at most {row['bound']:g}: {'MISSED' if row['missed'] else 'held'}"
            print(f"  {row['what']:<44} {row['subject']:<30} {figure:>9} {row['unit']:<13} {verdict}")
        sys.stdout.flush()

    def counted_miss(self):
        return any(row["missed"] and row["counted"] for row in self.rows)


class Server:
    """A server process, started with any wrapper, from its ready line until SIGTERM."""

    def __init__(self, command, wrapper=(), environment=None):
        self.command = command
        self.process = subprocess.Popen([*wrapper, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **(environment or {})})
        try:
            self.address = self.read_ready_line()
            self.pid = self.find_pid() if wrapper and wrapper[0].endswith("strace") else self.process.pid
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise

    def read_ready_line(self):
        end = time.monotonic() + READY_SECONDS
        text = b""
        while b"\n" not in text:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            if not piece:
                if not readable:
                    self.process.kill()
                error = self.process.communicate()[1].decode(errors="replace").strip()
                if self.process.returncode == 2:
                    raise Refused(error)
                raise RuntimeError(f"{' '.join(self.command)}: no ready line. {error}")
            text += piece
        match = re.search(rb"listening on (\S+)", text)
        if not match:
            raise RuntimeError(f"{' '.join(self.command)}: not a ready line: {text.decode(errors='replace')}")
        return match[1].decode()

    def find_pid(self):
        """The traced child of a wrapper: a signal for the wrapper would end the tracing, not the server."""
        pid = self.process.pid
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            try:
                if f"\nPPid:\t{pid}\n" in status.read_text():
                    return int(status.parent.name)
            except OSError:
                pass
        raise RuntimeError("the traced server is not to be found")

    def cpu_nanoseconds(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def anonymous_bytes(self):
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Anonymous:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def pin(self, cpus):
        pin(self.pid, cpus)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.kill(self.pid, 15)
        except ProcessLookupError:
            pass
        try:
            _, error = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise RuntimeError(f"{' '.join(self.command)} does not end on SIGTERM")
        if self.process.returncode != 0 and sys.exc_info()[0] is None:
            text = error.decode(errors="replace").strip()
            raise RuntimeError(f"{' '.join(self.command)} ended with {self.process.returncode}. {text}")


class Load:
    """echo_load with its connections open, told how many messages to make."""

    def __init__(self, program, server, connections, size=64, options=()):
        self.process = subprocess.Popen([program, "--connect", server.address, "--connections", str(connections),
                                         "--size", str(size), "--hold", *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.expect("holding")

    def expect(self, word):
        line = self.process.stdout.readline()
        if word not in line:
            self.process.kill()
            self.process.communicate()
            raise RuntimeError(f"echo_load failed: {line.strip()}")

    def run(self, messages):
        self.process.stdin.write(f"{messages}\n")
        self.process.stdin.flush()
        self.expect(f" {messages} messages")

    def pin(self, cpus):
        pin(self.process.pid, cpus)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()


def pin(pid, cpus):
    try:
        os.sched_setaffinity(pid, cpus)
    except OSError:
        pass  # the figures are only noisier


def need(tool):
    path = shutil.which(tool)
    if path is None:
        raise Skip(f"{tool} is not installed")
    return path
