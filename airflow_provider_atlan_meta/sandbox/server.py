"""The shape every server has. A new one is one file with a ``Server`` in it and one row in ``registry``."""

from __future__ import annotations

import http.client
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.sandbox.processes import MARKER, Command, run

PIP_LINE = "pip install 'airflow-provider-atlan-meta[sandbox]'"
_PACKAGE = "airflow_provider_atlan_meta"
_STEP_SECONDS = 120


@dataclass(frozen=True)
class Site:
    """Where a server runs.

    :param environ: the whole environment for our own processes, connections and settings included.
    :param report: takes one short line about what goes on now.
    """

    home: Home
    environ: Mapping[str, str] = field(repr=False)
    report: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What others may know of a running server.

    :param fields: for ``sandbox env --format json``.
    :param connections: Airflow connections by id.
    :param settings: keys of ``[atlan_meta]``.
    """

    fields: Mapping[str, object] = field(default_factory=dict)
    connections: Mapping[str, Mapping[str, object]] = field(default_factory=dict, repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A frozen description; all state is in ``Home``.

    :param command: what to start; called after ``prepare`` and after every server in ``needs`` is ready.
    :param ready: one quick look, given the pid: does it answer?
    :param needs: ready before this one starts. ``brings``: started along with it, in any order.
    :param missing: why it cannot run here, with the cure; None when it can.
    :param prepare: downloads, data folders, configuration. May take long the first time; harmless to repeat.
    :param reads_tenants: takes the tenants' secrets at its start.
    :param finish: what makes the answering server useful (schema, topics). Harmless to repeat.
    """

    name: str
    summary: str
    command: Callable[[Site], Command]
    ready: Callable[[Site, int], bool]
    address: Callable[[Home], str]
    ports: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    brings: tuple[str, ...] = ()
    missing: Callable[[], str | None] = lambda: None
    prepare: Callable[[Site], None] = lambda _site: None
    finish: Callable[[Site], None] = lambda _site: None
    offer: Callable[[Home], Offer] = lambda _home: Offer()
    reads_tenants: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 30.0
    ready_seconds: float = 60.0


def missing_modules(*names: str) -> str | None:
    """For ``Server.missing``: which modules are not there, with the pip line where pip brings them."""
    absent = [name for name in names if _absent(name)]
    if not absent:
        return None
    own = [name for name in absent if name.startswith(f"{_PACKAGE}.")]
    return f"is not part of this version ({own[0]})" if own else f"needs {', '.join(absent)}: {PIP_LINE}"


def _absent(name: str) -> bool:
    try:
        return find_spec(name) is None
    except ModuleNotFoundError:
        return True


def project_command(*arguments: str) -> tuple[str, ...]:
    """``atlan-meta ARGUMENTS`` with this interpreter, installed script or not."""
    return (sys.executable, "-m", "airflow_provider_atlan_meta.cli", *arguments)


def service_url(name: str, home: Home) -> str:
    return f"http://127.0.0.1:{home.port(name)}"


def project_service(
    name: str,
    *,
    modules: tuple[str, ...],
    needs: tuple[str, ...],
    offer: Callable[[Home], Offer],
    reads_tenants: bool = False,
) -> Server:
    """``atlan-meta serve NAME`` as a member.

    :param modules: without which it cannot run here.
    """
    return Server(
        name=name,
        summary=f"atlan-meta serve {name}",
        missing=lambda: missing_modules(*modules),
        ports=(name,),
        needs=needs,
        command=lambda site: Command(
            argv=project_command("serve", name), environ=site.environ, folder=site.home.path
        ),
        ready=lambda site, _pid: http_status(site.home.port(name), "/readyz") == 200,
        address=lambda home: service_url(name, home),
        offer=offer,
        reads_tenants=reads_tenants,
    )


def run_step(
    site: Site, argv: tuple[str, ...], *, what: str, name: str, environ: Mapping[str, str] | None = None
) -> None:
    """Runs a short command of member ``name`` to its end, output into the member's log.

    :raises TerminalError: it failed; names the log and the last line.
    """
    log = site.home.log(name)
    marked = {**(environ or site.environ), MARKER: site.home.member(name)}
    done = run(argv, environ=marked, folder=site.home.path, seconds=_STEP_SECONDS)
    with log.open("a") as file:
        file.write(done.stdout)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["it said nothing"]
        raise TerminalError(f"{what} failed (exit code {done.returncode}): {lines[-1][:300]}")


def http_status(port: int, path: str, seconds: float = 2.0, headers: Mapping[str, str] | None = None) -> int:
    """The status of ``GET path`` on loopback; 0 while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
