"""Only our own processes are ever signalled, and all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.sandbox import processes
from airflow_provider_atlan_meta.sandbox.processes import Command, Process

ENVIRON = {"PATH": os.environ["PATH"]}


@pytest.fixture
def member(tmp_path: Path) -> Iterator[str]:
    name = f"{tmp_path}#server"
    yield name
    processes.kill(None, name)


def _spawn(tmp_path: Path, member: str, script: str) -> Process:
    command = Command(argv=("/bin/sh", "-c", script), environ=ENVIRON, folder=tmp_path)
    return processes.spawn(command, log=tmp_path / "logs" / "server.log", member=member)


def _said(tmp_path: Path, text: str) -> bool:
    return processes.wait_for(lambda: text in (tmp_path / "logs" / "server.log").read_text(), 5)


def test_a_process_lives_until_it_is_stopped(tmp_path: Path, member: str) -> None:
    process = _spawn(tmp_path, member, "exec sleep 60")
    assert processes.alive(process)
    assert processes.stop(process, member, number=signal.SIGTERM, seconds=5)
    assert not processes.alive(process)
    assert processes.exit_code(process) == -signal.SIGTERM


def test_one_that_ignores_the_signal_is_killed_at_the_deadline(tmp_path: Path, member: str) -> None:
    process = _spawn(tmp_path, member, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    assert _said(tmp_path, "ready")
    assert not processes.stop(process, member, number=signal.SIGTERM, seconds=0.2)
    assert processes.family(process, member) == []


def test_children_die_with_their_parent(tmp_path: Path, member: str) -> None:
    process = _spawn(tmp_path, member, "sleep 60 & sleep 60 & echo ready; wait")
    assert _said(tmp_path, "ready")
    assert len(processes.family(process, member)) == 3
    processes.kill(process, member)
    assert processes.family(process, member) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/environ")
def test_a_child_that_left_session_and_parent_is_still_found(tmp_path: Path, member: str) -> None:
    process = _spawn(tmp_path, member, "setsid sleep 60 & echo ready; exec sleep 60")
    assert _said(tmp_path, "ready")
    os.kill(process.pid, signal.SIGKILL)
    assert processes.wait_for(lambda: not processes.alive(process), 5)
    assert len(processes.family(process, member)) == 1
    processes.kill(process, member)
    assert processes.family(process, member) == []


def test_a_pid_that_came_round_again_is_somebody_else(tmp_path: Path, member: str) -> None:
    process = _spawn(tmp_path, member, "exec sleep 60")
    reused = Process(process.pid, "another start time")
    assert not processes.alive(reused)
    processes.send(reused, signal.SIGKILL)
    assert processes.alive(process)


def test_memory_of_a_family_is_told(tmp_path: Path, member: str) -> None:
    process = _spawn(tmp_path, member, "exec sleep 60")
    assert 0 <= processes.resident_mb([process]) < 100
    assert processes.resident_mb([Process(2**30, "")]) == 0


def test_ps_tells_the_same_where_proc_is_missing() -> None:
    proc, ps = processes._table_of_proc(), processes._table_of_ps()
    assert ps[os.getpid()].parent == proc[os.getpid()].parent == os.getppid()


def test_a_command_never_shows_its_environment() -> None:
    command = Command(argv=("x",), environ={"PASSWORD": "hidden"}, folder=Path("/"))
    assert "hidden" not in repr(command)


def test_a_short_command_over_its_time_is_a_failure(tmp_path: Path) -> None:
    done = processes.run(["/bin/sh", "-c", "exec sleep 60"], environ=ENVIRON, seconds=0.1)
    assert done.returncode == -9
    assert "not done" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_lives_until_its_last_thread_ended(tmp_path: Path, member: str) -> None:
    """Its sockets and files do: a port is not free yet."""
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    command = Command(argv=(sys.executable, "-c", script), environ=ENVIRON, folder=tmp_path)
    process = processes.spawn(command, log=tmp_path / "logs" / "server.log", member=member)
    assert processes.wait_for(lambda: _state(process) == "Z", 10)

    assert processes.alive(process)
    processes.kill(process, member)
    assert not processes.alive(process)


def _state(process: Process) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][:1]


def test_who_started_a_server_ends_without_a_complaint_that_it_still_runs(
    tmp_path: Path, member: str
) -> None:
    script = (
        "import pathlib, sys\n"
        "from airflow_provider_atlan_meta.sandbox.processes import Command, spawn\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "command = Command(argv=('/bin/sleep', '60'), environ={}, folder=folder)\n"
        "spawn(command, log=folder / 'server.log', member=sys.argv[2])\n"
    )
    argv = [sys.executable, "-W", "error", "-c", script, str(tmp_path), member]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(processes.family(None, member)) == 1
