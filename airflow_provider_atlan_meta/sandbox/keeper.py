"""Takes a temporary sandbox down when the process that uses it is gone, however it ended (kill -9 too)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_atlan_meta.sandbox.home import Home

_END_SECONDS = 60


@contextmanager
def kept(home: Home) -> Iterator[None]:
    """While the block runs, the sandbox lives as long as this process; afterwards it is purged."""
    argv = (sys.executable, "-m", "airflow_provider_atlan_meta.sandbox.keeper", str(home.path))
    # the pipe is the bond: the kernel closes our end with us
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True) as watcher:  # noqa: S603 - our own
        try:
            yield
        finally:
            watcher.communicate(timeout=_END_SECONDS)


def main(home: str) -> None:
    from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

    sys.stdin.read()
    Sandbox(home).down(purge=True)


if __name__ == "__main__":
    main(sys.argv[1])
