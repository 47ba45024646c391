# SPDX-License-Identifier: BSL-1.0
"""The table on fairness: what a neighbour's bursts cost quiet connections, beside a level-triggered loop."""

import os
import re
import statistics
import subprocess

from harness import Server, Skip, pin

LOOP = "level_echo"
P99_RATIO = 1.30


def neighbour(bench, table):
    programs = {name: str(bench.build / "benchmarks" / name) for name in (LOOP, "neighbour_load")}
    for program in programs.values():
        if not os.access(program, os.X_OK):
            raise Skip(f"{program} is not built")
    servers = {LOOP: [programs[LOOP], "--listen", "127.0.0.1:0"]}
    if bench.leat_servers():
        for backend in ("epoll", "io_uring"):
            servers[f"echo_server, {backend}"] = bench.leat_server(backend)
    figures = {name: [] for name in servers}
    processors = sorted(os.sched_getaffinity(0))
    for _ in range(5 if bench.quick else 11):
        for name, command in servers.items():
            with Server(command) as server:
                server.pin({processors[-1]})
                figures[name].append(measure(programs["neighbour_load"], server.address, {processors[0]}))
    floor = statistics.median(p99 for _, p99 in figures[LOOP])
    for name, values in figures.items():
        bench.report.add(table, "50 connections, 128 KiB each 2 ms: median", name,
                         statistics.median(p50 for p50, _ in values), "us")
        p99 = statistics.median(p99 for _, p99 in values)
        bench.report.add(table, "the same: 99th percentile", name, p99, "us")
        if name != LOOP:
            bench.report.add(table, "the same: 99th percentile, ratio", name, p99 / floor, "x the loop", P99_RATIO)


def measure(program, address, cpus):
    load = subprocess.Popen([program, "--connect", address, "--messages", "20000"], stdout=subprocess.PIPE, text=True)
    pin(load.pid, cpus)
    text = load.communicate(timeout=300)[0]
    match = re.search(r"p50 ([\d.]+) us, p99 ([\d.]+) us", text)
    if not match:
        raise RuntimeError(f"neighbour_load failed: {text.strip()}")
    return float(match[1]), float(match[2])
