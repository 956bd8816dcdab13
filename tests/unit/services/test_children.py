"""`serve` without a name: its services start, drain and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.services.children import run_children

# A service: tells it is there, drains on SIGTERM, says so, ends with the code it is given.
SERVICE = """
import pathlib, signal, sys, time
folder, name, code = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def drain(*_):
    (folder / f"{name}.drained").touch()
    sys.exit(code)
signal.signal(signal.SIGTERM, drain)
(folder / f"{name}.up").touch()
time.sleep(30)
"""


def service(folder: Path, name: str, code: int = 0) -> tuple[str, ...]:
    return (sys.executable, "-c", SERVICE, str(folder), name, str(code))


def ends(code: int, folder: Path) -> tuple[str, ...]:
    """Ends by itself once the other is up."""
    wait = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\n"
    return (sys.executable, "-c", f"{wait}sys.exit({code})", str(folder / "other.up"))


@pytest.mark.parametrize(("code", "outcome"), [(0, 1), (1, 1), (2, 2), (7, 1)])
def test_when_one_ends_by_itself_the_other_is_drained_and_the_command_fails(
    code: int, outcome: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_children({"one": ends(code, tmp_path), "other": service(tmp_path, "other")}) == outcome
    assert (tmp_path / "other.drained").exists()
    assert f"one ended (exit code {code})" in capfd.readouterr().err


def parent(folder: Path, codes: tuple[int, int] = (0, 0)) -> subprocess.Popen[bytes]:
    commands = {name: service(folder, name, code) for name, code in zip(("one", "two"), codes, strict=True)}
    program = (
        f"from airflow_provider_atlan_meta.services.children import run_children as r; exit(r({commands!r}))"
    )
    return subprocess.Popen([sys.executable, "-c", program])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def both(folder: Path, suffix: str) -> Callable[[], bool]:
    return lambda: all((folder / f"{name}.{suffix}").exists() for name in ("one", "two"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all_and_the_command_exits_0(number: signal.Signals, tmp_path: Path) -> None:
    command = parent(tmp_path)
    wait_for(both(tmp_path, "up"))
    command.send_signal(number)
    assert command.wait(20) == 0
    assert both(tmp_path, "drained")()


def test_a_service_that_is_told_before_it_listens_has_nothing_to_drain(tmp_path: Path) -> None:
    deaf = (sys.executable, "-c", "import time; time.sleep(30)")
    program = (
        "from airflow_provider_atlan_meta.services.children import run_children as r; "
        f"exit(r({ {'one': service(tmp_path, 'one'), 'deaf': deaf}!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    wait_for((tmp_path / "one.up").exists)
    process.terminate()

    assert process.wait(20) == 0
    assert (tmp_path / "one.drained").exists()


def test_a_service_that_fails_to_drain_fails_the_command(tmp_path: Path) -> None:
    command = parent(tmp_path, (0, 3))
    wait_for(both(tmp_path, "up"))
    command.terminate()
    assert command.wait(20) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_when_the_command_is_killed_its_services_drain_all_the_same(tmp_path: Path) -> None:
    command = parent(tmp_path)
    wait_for(both(tmp_path, "up"))
    os.kill(command.pid, signal.SIGKILL)
    command.wait(20)
    wait_for(both(tmp_path, "drained"))
