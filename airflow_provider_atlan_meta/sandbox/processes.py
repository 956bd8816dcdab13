"""Processes that outlive the command that started them: known by pid and start time, stopped whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# In the environment of everything a sandbox starts: finds what left the process tree.
MARKER = "ATLAN_META_SANDBOX_MEMBER"
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.02
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
# Of this process only: keeps exit codes and reaps, so that a finished server is no zombie.
_CHILDREN: dict[int, _Child] = {}


class _Child(subprocess.Popen[bytes]):
    """Outlives us by design; Python warns of any other that still runs when it is forgotten."""

    def __del__(self) -> None:
        return


@dataclass(frozen=True)
class Process:
    """One process and nobody else: pids come round again, start times do not."""

    pid: int
    mark: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """The unprivileged user a server runs as when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run. ``environ`` is the whole environment; secrets go there, never into ``argv``."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    folder: Path
    account: Account | None = None


class _Row(NamedTuple):
    parent: int
    session: int
    mark: str
    resident_mb: float


def spawn(command: Command, *, log: Path, member: str) -> Process:
    """Starts ``command`` in a session of its own, both outputs appended to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    account = command.account
    with log.open("ab") as output:
        child = _Child(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**command.environ, MARKER: member},
            cwd=command.folder,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    _CHILDREN[child.pid] = child
    row = _table().get(child.pid)
    return Process(child.pid, row.mark if row else "")


def run(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    folder: Path | None = None,
    account: Account | None = None,
    seconds: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """A short command to its end; both outputs are in ``stdout``. Over time is an exit code of -9."""
    try:
        return subprocess.run(  # noqa: S603 - every command is made by the sandbox
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=dict(environ),
            cwd=folder or "/",
            timeout=seconds,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, -9, f"not done after {seconds:.0f} s")


def alive(process: Process) -> bool:
    """Whether exactly this process still runs; a zombie does not."""
    return process.pid in running([process])


def running(processes: Iterable[Process]) -> set[int]:
    """The pids of those that still run."""
    table = _table()
    return {p.pid for p in processes if (row := table.get(p.pid)) is not None and row.mark == p.mark}


def exit_code(process: Process) -> int | None:
    """Its exit code, when this process started it and it has ended."""
    child = _CHILDREN.get(process.pid)
    return child.poll() if child else None


def family(root: Process | None, member: str) -> list[Process]:
    """``root``, its descendants, its session even after its death, and whatever else carries the marker."""
    table = _table()
    pids: set[int] = set()
    if root is not None:
        row = table.get(root.pid)
        if row is None or row.mark == root.mark:
            pids = {pid for pid, other in table.items() if other.session == root.pid}
        if row is not None and row.mark == root.mark:
            pids |= _descendants(root.pid, table)
    pids |= {pid for pid in table if pid not in pids and _carries(pid, member)}
    return [Process(pid, table[pid].mark) for pid in sorted(pids)]


def running_in(folder: Path, program: str) -> list[Process]:
    """Processes of that program whose working folder this is (Linux; elsewhere none are found)."""
    table = _table()
    return [Process(pid, row.mark) for pid, row in table.items() if _works_in(pid, folder, program)]


def send(process: Process, number: signal.Signals) -> None:
    """Signals exactly this process; one that is gone is no error."""
    if alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def stop(root: Process | None, member: str, *, number: signal.Signals, seconds: float) -> bool:
    """Asks the root to stop, waits for all of its family, kills what is left.

    :return: whether all went of their own accord.
    """
    members = family(root, member)
    if root is not None and alive(root):
        send(root, number)
        deadline = time.monotonic() + seconds
        wait_for(lambda: not alive(root), seconds)
        members = family(root, member)
        for orphan in members if not alive(root) else ():
            send(orphan, number)
        members = _until_gone(members, deadline - time.monotonic(), lambda: family(root, member))
    clean = not members
    kill(root, member, members)
    return clean


def kill(root: Process | None, member: str, known: Iterable[Process] = ()) -> None:
    """SIGKILL for the root and its whole family at once; returns when they are gone."""
    members = [*known, *family(root, member)]
    for process in members:
        send(process, signal.SIGKILL)
    left = _until_gone(members, _KILL_SECONDS, lambda: family(root, member), again=signal.SIGKILL)
    if left:
        raise TimeoutError(f"processes {[p.pid for p in left]} of {member} do not die")


def resident_mb(processes: Iterable[Process]) -> int:
    """Memory of all of them; pages they share count once where the kernel tells."""
    table = _table()
    return round(sum(_memory_mb(p.pid, table[p.pid]) for p in processes if p.pid in table))


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Polls until ``condition`` holds; False when the deadline comes first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _until_gone(
    members: list[Process],
    seconds: float,
    find: Callable[[], list[Process]],
    again: signal.Signals | None = None,
) -> list[Process]:
    """Those left at the deadline, with what they started meanwhile."""
    deadline = time.monotonic() + seconds
    while members and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        pids = running(members)
        members = [p for p in members if p.pid in pids]
        if not members:
            members = find()
            for process in members if again else ():
                send(process, again or signal.SIGKILL)
    return members


def _descendants(pid: int, table: Mapping[int, _Row]) -> set[int]:
    children: dict[int, list[int]] = {}
    for child, row in table.items():
        children.setdefault(row.parent, []).append(child)
    found, todo = set(), [pid]
    while todo:
        found.add(current := todo.pop())
        todo += [child for child in children.get(current, ()) if child not in found]
    return found


def _carries(pid: int, member: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARKER}={member}".encode() in environ.split(b"\0")


def _works_in(pid: int, folder: Path, program: str) -> bool:
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return name == program and Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False


def _memory_mb(pid: int, row: _Row) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return row.resident_mb


def _table() -> dict[int, _Row]:
    """Every living process; our own finished children are reaped first."""
    for child in list(_CHILDREN.values()):
        child.poll()
    return _table_of_proc() if sys.platform == "linux" else _table_of_ps()


def _table_of_proc() -> dict[int, _Row]:
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_text(errors="replace")
        except OSError:
            continue
        # the command's name may hold spaces and parentheses; the fields after the last one are numbers
        fields = stat[stat.rindex(")") + 2 :].split()
        # a killed server's first thread may be a zombie while others still hold its sockets
        if fields[0] not in "ZX" or int(fields[17]) > 1:
            table[int(name)] = _Row(int(fields[1]), int(fields[3]), fields[19], int(fields[21]) * _PAGE_MB)
    return table


def _table_of_ps() -> dict[int, _Row]:
    listing = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,pgid=,stat=,rss=,lstart="],  # noqa: S607 - where /proc is missing, ps is not always in /bin
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
    ).stdout
    table = {}
    for line in listing.splitlines():
        pid, parent, group, state, resident_kb, started = line.split(None, 5)
        if not state.startswith("Z"):
            table[int(pid)] = _Row(int(parent), int(group), started, int(resident_kb) / 1024)
    return table
