# SPDX-License-Identifier: BSL-1.0
"""The tasks of leat's executors, for gdb: of a process that runs, or of a core file. docs/debugging.md tells more.

    gdb -x tools/leat_gdb.py -p PID          (or: gdb -x tools/leat_gdb.py PROGRAM CORE)
    (gdb) leat-tasks                         the tasks of every executor that a thread runs
    (gdb) leat-tasks EXPRESSION              those of the executor that the expression is

Nothing is called in the process. What leat's own types look like is read from the debug information of its library, so
that must have been built with -g (the dev preset is); the program's own code may have less. How a wait is laid out is
told by the functions in its table of virtual functions, whose names are in the symbol table.
"""

import re
import struct

import gdb

WORD = gdb.lookup_type("unsigned long").sizeof
VIRTUAL_FUNCTIONS = 16  # as many as are looked at; a Wait has fewer


class Place:
    """A std::source_location."""

    def __init__(self, location):
        address = int(location["_M_impl"])
        self.file = self.function = ""
        self.line = 0
        if address == 0:
            return
        file, function, self.line = struct.unpack("=QQI", bytes(memory(address, 20)))
        self.file, self.function = text_at(file), text_at(function)

    def __str__(self):
        return f"{self.file.rsplit('/', 1)[-1]}:{self.line}"


def memory(address, size):
    return gdb.selected_inferior().read_memory(address, size)


def word_at(address):
    return struct.unpack("=Q", bytes(memory(address, WORD)))[0]


def text_at(address):
    pointer = gdb.Value(address).cast(gdb.lookup_type("char").pointer())
    return pointer.string(errors="replace")


def symbol_at(address):
    text = gdb.execute(f"info symbol {address:#x}", to_string=True).strip()
    return re.sub(r" in section .*$", "", text)


class Object:
    """Something of a type of leat's at an address. Its members are found by their offsets: gdb itself would look for the
    debug information of what the object really is, which the program need not have."""

    def __init__(self, type_name, address):
        self.type = gdb.lookup_type(type_name)
        self.address = int(address)

    def __getitem__(self, name):
        found = Object.find(self.type, name)
        if found is None:
            raise gdb.GdbError(f"{self.type} has no member {name}: this script is of another version of leat")
        offset, member_type = found
        value = gdb.Value(self.address + offset).cast(member_type.pointer()).dereference()
        stripped = member_type.strip_typedefs()
        if stripped.code == gdb.TYPE_CODE_STRUCT and str(stripped).startswith("leat::"):
            return Object(str(stripped), self.address + offset)
        return value

    @staticmethod
    def find(kind, name):
        for member in kind.strip_typedefs().fields():
            if not hasattr(member, "bitpos"):
                continue
            if member.name == name:
                return member.bitpos // 8, member.type
            if member.is_base_class or not member.name:
                found = Object.find(member.type, name)
                if found is not None:
                    return member.bitpos // 8 + found[0], found[1]
        return None


class Kind:
    """What the virtual functions of a wait tell about it."""

    known = {}

    def __init__(self, table):
        name = symbol_at(table)
        self.name = re.sub(r"^vtable for |( \+ \d+)$", "", name)
        self.functions = []
        for i in range(VIRTUAL_FUNCTIONS):
            try:
                self.functions.append(symbol_at(word_at(table + i * WORD)))
            except gdb.MemoryError:
                break

    def has(self, function):
        return any(each.startswith(function + "(") for each in self.functions)

    @staticmethod
    def of(wait):
        table = word_at(int(wait))
        if table not in Kind.known:
            Kind.known[table] = Kind(table)
        return Kind.known[table]


def tasks_below(wait):
    """The frames that a wait runs, in the order of `Wait::visit_tasks`."""
    kind = Kind.of(wait)
    if kind.has("leat::TaskGroupWait::visit_tasks"):
        group = Object("leat::TaskGroupWait", wait)
        if group["body_runs_"]:
            yield group["body_"]
        address = int(group["group_"]["children_"])
        while address != 0:
            child = Object("leat::detail::GroupChild", address)
            yield child["frame_"]
            address = int(child["next_sibling_"])
    elif kind.has("leat::detail::ScopeWait::visit_tasks"):
        scope = Object("leat::detail::ScopeWait", wait)
        if int(scope["body_"]) != 0 and not scope["has_ended_"]:
            yield scope["body_"]
    elif kind.has("leat::detail::BranchWait::visit_tasks"):
        branches = Object("leat::detail::BranchWait", wait)["branches_"]
        size = gdb.lookup_type("leat::detail::Branch").sizeof
        for i in range(int(branches["_M_extent"]["_M_extent_value"])):
            branch = Object("leat::detail::Branch", int(branches["_M_ptr"]) + i * size)
            if branch["is_running_"]:
                yield branch["task_"]
    elif kind.has("leat::detail::FinallyWait::visit_tasks"):
        wait = Object("leat::detail::FinallyWait", wait)
        if wait["body_runs_"]:
            yield wait["body_"]
        elif int(wait["cleanup_"]["task_"]) != 0:
            yield wait["cleanup_"]["task_"]
    elif kind.has("leat::detail::TaskAwaiterBase::awaited_task"):
        awaiter = Object("leat::detail::TaskAwaiterBase", wait)
        if int(awaiter["child_"]) != 0:
            yield awaiter["child_"]


def description(wait):
    kind = Kind.of(wait)
    text = kind.name
    if kind.has("leat::IoOperation::cancel"):
        operation = Object("leat::IoOperation", wait)
        if "in_flight" in str(operation["state_"]):
            text += f" fd {int(Object('leat::detail::Slot', operation['slot_'])['handle'])}"
    return text


def beginning(parent):
    """Where the task that `parent` runs was started, and its name, if that is known."""
    kind = Kind.of(parent)
    if not kind.has("leat::detail::Root::origin"):
        return "", ""
    root = Object("leat::detail::Root", parent)
    name = root["name_"]["_M_dataplus"]["_M_p"].string(errors="replace")
    return f", started at {Place(root['origin_'])},", name


def print_tasks(executor):
    stack = []
    address = int(executor["roots_"])
    while address != 0:
        root = Object("leat::detail::Root", address)
        stack.append((root["task_"], 0))
        address = int(root["next_root"])
    number = 0
    while stack:
        frame, depth = stack.pop()
        frame = Object("leat::TaskFrame", frame)
        number += 1
        # The low bits of parent_ are marks; 4 means that exception_ is in the place of wait_.
        parent = int(frame["parent_"])
        wait = 0 if parent & 4 else frame["wait_"]
        started, name = beginning(parent & ~7)
        definition, line = Place(frame["definition_"]), Place(frame["line_"])
        if int(wait) != 0:
            state = f" at {line} waits for {description(wait)}"
        elif line.line != 0:
            state = f" runs on from {line}"
        else:
            state = " has not begun, or runs"
        name = f' "{name}"' if name else ""
        print(f"{'  ' * min(depth, 20)}#{number}{name} task {definition.function} ({definition}){started}{state}")
        if int(wait) != 0:
            stack.extend((child, depth + 1) for child in tasks_below(wait))
    if number == 0:
        print("no tasks")


def executors():
    """Those whose member functions are on the stack of a thread."""
    found = {}
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        frame = gdb.newest_frame()
        while frame is not None:
            if (frame.name() or "").startswith("leat::Executor::"):
                try:
                    this = frame.read_var("this")
                    if not this.is_optimized_out:
                        found.setdefault(int(this), thread.num)
                except (ValueError, gdb.error):
                    pass
            frame = frame.older()
    return found


class LeatTasks(gdb.Command):
    """leat-tasks [EXPRESSION]: the tree of tasks of every executor that a thread runs, or of the one that is given."""

    def __init__(self):
        super().__init__("leat-tasks", gdb.COMMAND_STACK, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        Kind.known.clear()
        if argument:
            value = gdb.parse_and_eval(argument)
            is_pointer = value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR
            print_tasks(Object("leat::Executor", value if is_pointer else value.address))
            return
        selected = gdb.selected_thread()
        try:
            found = executors()
        finally:
            if selected is not None:
                selected.switch()
        if not found:
            raise gdb.GdbError("no thread runs an executor whose address can be read; give it: leat-tasks EXPRESSION")
        for address, thread in found.items():
            print(f"executor {address:#x}, thread {thread}")
            print_tasks(Object("leat::Executor", address))


LeatTasks()
