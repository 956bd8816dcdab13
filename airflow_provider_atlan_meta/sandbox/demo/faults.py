"""Two accidents that happen to a working DAG task: its database goes away, and the process is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox.demo.airflow_rest import AirflowRest
from airflow_provider_atlan_meta.sandbox.demo.lanes import Ledger, TaskLease
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

OUTAGE_SECONDS = 20.0
_WORK_STARTS_SECONDS = 90.0
_LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class CaughtTask:
    """A task in the middle of its work, stopped by SIGSTOP."""

    lease: TaskLease
    pid: int


def catch_working_task(rest: AirflowRest, ledger: Ledger, dag: str, *, until: int) -> CaughtTask | None:
    """Waits for a task of ``dag`` that owns partitions and stops its process, as a busy host would.

    :param until: records in the log; a task that is done with all of them was too quick to be caught.
    :return: None: it was.
    :raises TerminalError: no task began to work.
    """
    deadline = time.monotonic() + _WORK_STARTS_SECONDS
    while (lease := ledger.working_task(dag)) is None:
        if ledger.total() >= until:
            return None
        if time.monotonic() > deadline:
            raise TerminalError(f"no task of {dag} began to work within {_WORK_STARTS_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)
    instance = rest.task(lease.dag, lease.run, lease.task)
    pid = instance.get("pid")
    if instance["state"] != "running" or not pid:
        return None
    try:
        os.kill(int(pid), signal.SIGSTOP)
    except ProcessLookupError:
        return None
    if ledger.total() >= until:
        os.kill(int(pid), signal.SIGCONT)
        return None
    return CaughtTask(lease, int(pid))


def stop_store_during(sandbox: Sandbox, caught: CaughtTask, say: Callable[[str], None]) -> None:
    """The store's PostgreSQL is away for 20 s while the task works; Airflow's own stays."""
    sandbox.stop("postgres")
    say(f"PostgreSQL stopped while try {caught.lease.number} of {caught.lease.run} was working")
    os.kill(caught.pid, signal.SIGCONT)
    time.sleep(OUTAGE_SECONDS)
    sandbox.start("postgres")
    say(f"PostgreSQL back after {OUTAGE_SECONDS:.0f} s")


def kill_task(caught: CaughtTask, say: Callable[[str], None]) -> None:
    """``kill -9``: the task can neither finish its batch nor release its lease."""
    os.kill(caught.pid, signal.SIGKILL)
    say(f"kill -9 {caught.pid}: try {caught.lease.number} of {caught.lease.run}")
