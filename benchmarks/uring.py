# SPDX-License-Identifier: BSL-1.0
"""The tables on io_uring: leat's backend beside the hand-written loops, each beside the one of its kind.

The echo server reads into its own buffer, as `uring_echo --mode plain` does; with --pooled-buffers it borrows one of
the backend's, as `--mode multishot` does. What this build of the server refuses is skipped with what it says.
"""

import os
import re
import signal
import statistics
import subprocess
import tempfile

from harness import SLACK, Load, Refused, Server, Skip, need

EPOLL_LOOP = "epoll_echo"
PLAIN = "uring_echo plain"
MULTISHOT = "uring_echo multishot"
LEAT_EPOLL = "echo_server, epoll"
LEAT = "echo_server, io_uring"
LEAT_POOLED = "echo_server, io_uring, pooled"
KIN = {LEAT: PLAIN, LEAT_POOLED: MULTISHOT}  # the loop that each is measured against

CALLS = {1: 2 + SLACK, 64: 0.06}  # at most so many system calls a message, by connections
ENTERS_RATIO = 1.10
TIME_RATIO = 1.05
IDLE_BYTES = 512  # the buffer included
PIPELINE = 16


def loops(bench):
    if not os.access(bench.uring_loop, os.X_OK):
        raise Skip("uring_echo is not built: it needs liburing")
    servers = {name: [bench.uring_loop, "--listen", "127.0.0.1:0", "--mode", name.split()[1]]
               for name in (PLAIN, MULTISHOT)}
    try:
        with Server(servers[PLAIN]):
            pass
    except RuntimeError as error:
        raise Skip(str(error))  # a kernel or a container without io_uring
    return servers


def leat_servers(bench, table):
    """Those on io_uring that this build knows; the others are skipped in the table."""
    known = {}
    if not bench.leat_servers():
        return known
    for name, options in ((LEAT, ()), (LEAT_POOLED, ("--pooled-buffers",))):
        command = bench.leat_server("io_uring", *options)
        try:
            with Server(command):
                known[name] = command
        except Refused as why:
            bench.report.skip(table, f"{name}: {why}")
    return known


def calls(bench, table):
    strace = need("strace")
    servers = {**loops(bench), **leat_servers(bench, table)}
    # Few calls are traced, so that the runs can be long; at their end some closes are made or not.
    for connections, lengths in ((1, (300, 1_300)), (64, (2_000, 12_000) if bench.quick else (2_000, 42_000))):
        for name, command in servers.items():
            few, many = (bench.count_calls(strace, command, connections, messages) for messages in lengths)
            slopes = {call: (many[call][0] - few[call][0]) / (lengths[1] - lengths[0]) for call in many}
            what = f"{connections} connection{'s' * (connections > 1)}"
            bench.report.add(table, f"{what}: all calls", name, sum(slopes.values()), "a message",
                             CALLS[connections] if name in KIN else None, counted=True)
            bench.report.add(table, f"{what}: io_uring_enter", name, slopes.get("io_uring_enter", 0), "a message")


class EnterCounter:
    """Counts a process's io_uring_enter calls by their tracepoint, which costs the process next to nothing."""

    EVENT = "syscalls:sys_enter_io_uring_enter"

    def __init__(self, perf, pid):
        orders, self.orders = os.pipe()
        self.answers, answers = os.pipe()
        self.process = subprocess.Popen([perf, "stat", "-x", ",", "-e", self.EVENT, "-p", str(pid), "-D", "-1",
                                         "--control", f"fd:{orders},{answers}"],
                                        pass_fds=(orders, answers), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        os.close(orders)
        os.close(answers)

    def order(self, word):
        try:
            os.write(self.orders, f"{word}\n".encode())
            answer = os.read(self.answers, 64)
        except BrokenPipeError:
            answer = b""
        if b"ack" not in answer:
            error = self.process.communicate()[1].strip().splitlines()
            raise Skip(f"perf stat -e {self.EVENT}: {error[0] if error else 'no answer'}")

    def count(self, work):
        self.order("enable")
        work()
        self.order("disable")
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate(timeout=30)[1]
        match = re.search(rf"^(\d+),.*{self.EVENT}", text, re.MULTILINE)
        if not match:
            raise Skip(f"perf stat -e {self.EVENT}: {text.strip().splitlines()[-1]}")
        return int(match[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.orders)
        os.close(self.answers)
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def enters(bench, table):
    perf = need("perf")
    try:
        with EnterCounter(perf, os.getpid()) as counter:
            counter.count(lambda: None)
    except Skip as why:
        raise Skip(f"{why} (is tracefs there? mount -t tracefs nodev /sys/kernel/tracing)")
    servers = {**loops(bench), **leat_servers(bench, table)}
    processors = sorted(os.sched_getaffinity(0))
    places = {"one processor": (processors[-1], processors[-1])}
    if len(processors) > 1:
        places["two processors"] = (processors[-1], processors[0])
    # On two, the wake-ups between them decide how much is there at a time: one program differs from itself by half.
    for place, (server_at, load_at) in places.items():
        bounded = server_at == load_at
        figures = enters_at(bench, perf, servers, server_at, load_at)
        for name, values in figures.items():
            bound = statistics.median(figures[KIN[name]]) * ENTERS_RATIO if bounded and name in KIN else None
            bench.report.add(table, f"64 connections, {place}", name, statistics.median(values), "a message", bound)


def enters_at(bench, perf, servers, server_at, load_at):
    messages = 20_000
    figures = {name: [] for name in servers}
    for _ in range(5 if bench.quick else 15):
        for name, command in servers.items():
            with Server(command) as server, Load(bench.load, server, 64) as load:
                server.pin({server_at})
                load.pin({load_at})
                load.run(messages // 10)
                with EnterCounter(perf, server.pid) as counter:
                    figures[name].append(counter.count(lambda: load.run(messages)) / messages)
    return figures


def time(bench, table):
    servers = {EPOLL_LOOP: bench.servers[EPOLL_LOOP], **loops(bench)}
    if bench.leat_servers():
        servers[LEAT_EPOLL] = bench.leat_server("epoll")
    servers.update(leat_servers(bench, table))
    plans = [(f"{connections} connection{'s' * (connections > 1)}, {size} bytes", connections, messages,
              dict(size=size))
             for size in (64, 4096)
             for connections, messages in ((1, 5_000), (64, 10_000), (1_000, 10_000), (10_000, 20_000))]
    plans.append((f"64 connections, {PIPELINE} messages ahead", 64, 64 * PIPELINE * 40,
                  dict(options=("--pipeline", str(PIPELINE)))))
    plans.append(("64 at once, a connection each message", 64, 3_000, dict(options=("--churn",))))
    for what, connections, messages, talk in plans:
        if bench.has_descriptors(table, connections):
            add_time(bench, table, what, seated(bench, servers, connections, messages, talk))


def seated(bench, servers, connections, messages, talk):
    """The figures of several sets of processes.

    Where a process happens to have its memory moves it by some per cent against its neighbour for as long as it
    lives, however many rounds are made.
    """
    figures = {name: [] for name in servers}
    for _ in range(2 if bench.quick else 4):
        for name, values in bench.interleaved(servers, connections, messages, 4 if bench.quick else 7, **talk).items():
            figures[name].extend(values)
    return figures


def add_time(bench, table, what, figures):
    medians = {name: statistics.median(values) for name, values in figures.items()}
    for name, median in medians.items():
        bench.report.add(table, what, name, median / 1000, "us a message")
    for name, kin in KIN.items():
        if name in medians:
            bench.report.add(table, f"{what}: ratio", name, medians[name] / medians[kin], "x its loop", TIME_RATIO)
            bench.report.add(table, f"{what}: ratio", name, medians[name] / medians[LEAT_EPOLL], "x on epoll")


def memory(bench, table):
    servers = {**loops(bench), **leat_servers(bench, table)}
    few, more = 1_000, 9_000
    if not bench.has_descriptors(table, few + more):
        return
    for name, command in servers.items():
        with Server(command) as server, Load(bench.load, server, few, size=4096):
            before = server.anonymous_bytes()  # with the pool, which is there once for all
            with Load(bench.load, server, more, size=4096):
                held = (server.anonymous_bytes() - before) / more
        bench.report.add(table, f"{few + more} connections, with their buffers", name, held, "bytes",
                         IDLE_BYTES if name == LEAT_POOLED else None, counted=True)
    library = bench.allocation_counter()
    for name, command in servers.items():
        a_message, a_connection = bench.count_allocations(library, command)
        bench.report.add(table, "a message, 64 connections", name, a_message, "allocations",
                         0 if name in KIN else None, counted=True)
        bench.report.add(table, "an accepted connection, 1 000 to 4 000", name, a_connection, "allocations")
