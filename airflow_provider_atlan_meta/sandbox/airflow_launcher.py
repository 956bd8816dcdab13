"""Airflow's four components from one import: half the memory and CPU of four programs.

    python -m airflow_provider_atlan_meta.sandbox.airflow_launcher LOG_FOLDER

migrates the database, then runs api-server, scheduler, dag-processor and triggerer until SIGTERM, each with
``airflow-<component>.log``. One that ends by itself takes the others down: a half Airflow helps nobody.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
_MODULES = (
    "airflow.settings",
    "airflow.cli.cli_parser",
    "airflow.cli.commands.api_server_command",
    "airflow.cli.commands.dag_processor_command",
    "airflow.cli.commands.db_command",
    "airflow.cli.commands.scheduler_command",
    "airflow.cli.commands.triggerer_command",
    "airflow.jobs.dag_processor_job_runner",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.core_api.app",
    "airflow.api_fastapi.core_api.routes.public",
    "airflow.api_fastapi.core_api.routes.ui",
)
_POLL_SECONDS = 0.1
_PR_SET_CHILD_SUBREAPER = 36


def main(logs: Path) -> int:
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {time.monotonic() - begun:.1f} s: {text}", flush=True)

    _import_once()
    say("imported")
    migration = _fork(["db", "migrate"], logs / "airflow-db-migrate.log")
    if code := _wait(migration):
        say(f"db migrate failed (exit code {code}): {_last_line(logs / 'airflow-db-migrate.log')}")
        return 1
    say("migrated")
    children = {_fork([name], logs / f"airflow-{name}.log"): name for name in COMPONENTS}
    say(f"started {', '.join(f'{name} {pid}' for pid, name in children.items())}")
    return _supervise(children, logs, say)


def _import_once() -> None:
    """Plugins that ask whether they are in the api-server are told yes: it is forked from here."""
    sys.argv = ["airflow", "api-server"]
    for module in _MODULES:
        import_module(module)
    import uvicorn

    original = uvicorn.run

    def run_on_loopback(*args: object, **kwargs: object) -> None:
        # Airflow's log servers pass host="" (every interface) and have no option for it
        original(*args, **{**kwargs, "host": kwargs.get("host") or "127.0.0.1"})  # type: ignore[arg-type]

    uvicorn.run = run_on_loopback
    gc.collect()
    gc.freeze()  # what is imported now stays shared between the forks


def _fork(argv: Sequence[str], log: Path) -> int:
    pid = os.fork()
    if pid == 0:
        _run_component(argv, log)
    return pid


def _run_component(argv: Sequence[str], log: Path) -> NoReturn:
    code = 1
    try:
        with log.open("ab", 0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        from airflow import settings
        from airflow.__main__ import main as airflow_main

        # a database connection must not be shared with the parent
        settings.dispose_orm(do_log=False)
        settings.configure_orm()  # type: ignore[no-untyped-call]
        sys.argv = ["airflow", *argv]
        airflow_main()  # type: ignore[no-untyped-call]
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _supervise(children: dict[int, str], logs: Path, say: Callable[[str], None]) -> int:
    """Until SIGTERM, or until one ends by itself; the sandbox kills what does not stop in time."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopping.append(number))
    _adopt_orphans()
    failed = 0
    left = dict(children)
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return failed
        if pid in left:
            name = left.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            say(f"{name} ended (exit code {code})")
            if not stopping:
                say(f"{name} said last: {_last_line(logs / f'airflow-{name}.log')}")
                failed = 1
                stopping.append(0)
        if stopping and stopping[0] >= 0:
            for child in left:
                os.kill(child, signal.SIGTERM)
            stopping[:] = [-1]
        if pid == 0:
            time.sleep(_POLL_SECONDS)


def _adopt_orphans() -> None:
    """A task whose supervisor was killed stays in our family, where ``stop`` finds it (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
