"""Start, stop and look at a sandbox.

with Sandbox(home) as sandbox:
    sandbox.up(["postgres", "kafka"])
    sandbox.fields()["kafka_bootstrap"]
    sandbox.kill("kafka")
    sandbox.start("kafka")
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from airflow_provider_atlan_meta.core.errors import AtlanMetaError, ConfigurationError, TerminalError
from airflow_provider_atlan_meta.sandbox import environment, processes
from airflow_provider_atlan_meta.sandbox.diagnosis import describe_failure
from airflow_provider_atlan_meta.sandbox.home import Home, Record, Tenant
from airflow_provider_atlan_meta.sandbox.registry import ALL, DEFAULT, SERVERS, expand, with_needs
from airflow_provider_atlan_meta.sandbox.server import Server, Site

# (member, what goes on): "starting", "ready", "running", "left out: ...", or a server's own short line.
Report = Callable[[str, str], None]
_PROBE_SECONDS = 0.05


@dataclass(frozen=True)
class Status:
    """One line of ``sandbox status``. ``seconds``: from start to ready, the last time."""

    name: str
    state: str  # running | stopped | dead
    pids: tuple[int, ...]
    address: str
    seconds: float | None
    rss_mb: int
    log: str


class _Abandoned(AtlanMetaError):
    """Another member failed, or the user pressed Ctrl-C; this one stops where it is."""


class Sandbox:
    """One sandbox in one folder. As a context manager it takes everything down at the end; the data stays."""

    def __init__(self, home: Home | Path | str | None = None, report: Report | None = None) -> None:
        self.home = home if isinstance(home, Home) else Home(home)
        self._report = report or (lambda _member, _text: None)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def is_running(self, name: str) -> bool:
        record = self.home.record(name)
        return record is not None and processes.alive(record.process)

    def running(self) -> list[str]:
        return [name for name in SERVERS if self.is_running(name)]

    def pid(self, name: str) -> int:
        """The pid of the member's first process.

        :raises ConfigurationError: it does not run.
        """
        record = self.home.record(_known(name))
        if record is None or not processes.alive(record.process):
            raise ConfigurationError(f"{name} does not run; `atlan-meta sandbox start {name}` starts it")
        return record.process.pid

    def fields(self) -> dict[str, object]:
        """The object of ``sandbox env --format json``."""
        return environment.fields(self.home, self.running())

    def variables(self) -> dict[str, str]:
        """``AIRFLOW_CONN_*`` and ``AIRFLOW__ATLAN_META__*`` of what runs."""
        return environment.variables(self.home, self.running())

    def environ(self) -> dict[str, str]:
        """A whole environment for a process that works on this sandbox."""
        return environment.process_environ(self.home)

    def status(self) -> list[Status]:
        """Of every member that was ever started here."""
        return [self._status(server) for name, server in SERVERS.items() if self.home.has_log(name)]

    def _status(self, server: Server) -> Status:
        record = self.home.record(server.name)
        family = processes.family(record.process if record else None, self.home.member(server.name))
        runs = record is not None and record.process in family
        return Status(
            name=server.name,
            state="running" if runs else "dead" if record else "stopped",
            pids=tuple(process.pid for process in family),
            address=server.address(self.home),
            seconds=record.seconds if record else None,
            rss_mb=processes.resident_mb(family),
            log=str(self.home.log(server.name)),
        )

    def up(self, names: Iterable[str] | None = None, tenants: Iterable[Tenant] | None = None) -> list[Status]:
        """Starts the members named, with what they need; those that run already stay as they are.

        :param names: members or groups, None is the default; of ``all``, what cannot run here is left out.
        :raises TerminalError: one could not start. Whatever this call had started is stopped again.
        """
        with self.home.locked():
            again = [] if tenants is None else self._set_tenants(list(tenants))
            wanted = with_needs([*self._choose([DEFAULT] if names is None else names), *again])
            already = [name for name in wanted if self.is_running(name)]
            for name in already:
                self._report(name, "ready, already running")
            self._start_all([name for name in wanted if name not in already], finish=True)
        return self.status()

    def start(self, name: str) -> None:
        """Starts one member again, on its old port and data; members it needs as well."""
        with self.home.locked():
            wanted = with_needs(expand([name]))
            self._start_all([n for n in wanted if not self.is_running(n)], finish=False)

    def stop(self, name: str) -> None:
        """Stops one member in good order."""
        with self.home.locked():
            for member in expand([name]):
                self._stop(member)

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would: all processes of the member at once. Its record stays, as "dead"."""
        with self.home.locked():
            for member in expand([name]):
                record = self.home.record(member)
                processes.kill(record.process if record else None, self.home.member(member))

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    def send(self, name: str, number: signal.Signals) -> None:
        """Signals the member's first process (SIGSTOP and SIGCONT for fencing tests)."""
        processes.send(self._record(name).process, number)

    def down(self, *, purge: bool = False) -> None:
        """Stops everything that belongs to this sandbox, dependents first.

        :param purge: data, secrets and ports go as well.
        """
        if not self.home.exists:
            return
        with self.home.locked():
            self._stop_all(with_needs(SERVERS))
            if purge:
                self.home.remove()

    def _record(self, name: str) -> Record:
        self.pid(name)
        record = self.home.record(name)
        if record is None:
            raise ConfigurationError(f"{name} does not run")
        return record

    def _choose(self, names: Iterable[str]) -> list[str]:
        """In order of need. What was named must be able to run here; of ``all``, what can is enough."""
        named = list(names)
        chosen = []
        for name in expand(named):
            reasons = [f"{n} {reason}" for n in with_needs([name]) if (reason := SERVERS[n].missing())]
            if not reasons:
                chosen.append(name)
            elif ALL not in named or name in named:
                raise ConfigurationError("; ".join(reasons))
            else:
                self._report(name, f"left out: {'; '.join(reasons)}")
        return with_needs(chosen)

    def _set_tenants(self, tenants: list[Tenant]) -> list[str]:
        """Services read the tenants' secrets at their start: those that run are stopped, and returned."""
        if tuple(tenants) == self.home.tenants:
            return []
        self.home.set_tenants(tenants)
        stopped = [n for n in with_needs(SERVERS) if SERVERS[n].reads_tenants and self.is_running(n)]
        self._stop_all(stopped)
        return stopped

    def _start_all(self, names: list[str], *, finish: bool) -> None:
        """In parallel, each after its needs. All or nothing, Ctrl-C included."""
        if not names:
            return
        self.home.renew_taken_ports([port for name in names for port in SERVERS[name].ports])
        environ = environment.process_environ(self.home)
        abandoned = threading.Event()
        futures: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(len(names)) as pool:
            try:
                for name in names:
                    site = Site(self.home, environ, lambda text, name=name: self._report(name, text))  # type: ignore[misc]
                    waits = [futures[need] for need in SERVERS[name].needs if need in futures]
                    futures[name] = pool.submit(
                        self._start_one, SERVERS[name], site, waits, abandoned, finish
                    )
                _first_failure(futures.values())
            except BaseException:
                abandoned.set()
                self._stop_all(names)  # ends what the starting threads wait for
                wait(futures.values())
                self._stop_all(names)  # and what they had started meanwhile
                raise

    def _start_one(
        self, server: Server, site: Site, waits: list[Future[None]], abandoned: threading.Event, finish: bool
    ) -> None:
        """Prepare, wait for the needs, start, wait until ready, finish."""
        name = server.name
        with _named_failure(server, self.home, abandoned):
            self._report(name, "starting")
            server.prepare(site)
            for need in waits:
                need.result()
            if abandoned.is_set():
                raise _Abandoned(name)
            begun = time.monotonic()
            earlier = self.home.record(name)  # what a crash left behind
            processes.kill(earlier.process if earlier else None, self.home.member(name))
            process = processes.spawn(
                server.command(site), log=self.home.log(name), member=self.home.member(name)
            )
            self.home.set_record(name, Record(process))
            self._await_ready(server, site, process, abandoned)
            seconds = round(time.monotonic() - begun, 2)
            if finish:
                server.finish(site)
            self.home.set_record(name, Record(process, seconds))
            self._report(name, "ready")

    def _await_ready(
        self, server: Server, site: Site, process: processes.Process, abandoned: threading.Event
    ) -> None:
        deadline = time.monotonic() + server.ready_seconds
        while not server.ready(site, process.pid):
            if abandoned.wait(_PROBE_SECONDS):
                raise _Abandoned(server.name)
            if not processes.alive(process):
                raise TerminalError(f"it ended while starting (exit code {processes.exit_code(process)})")
            if time.monotonic() > deadline:
                raise TerminalError(f"it did not answer within {server.ready_seconds:.0f} s")

    def _stop(self, name: str) -> None:
        server, record = SERVERS[name], self.home.record(name)
        clean = processes.stop(
            record.process if record else None,
            self.home.member(name),
            number=server.stop_signal,
            seconds=server.stop_seconds,
        )
        self.home.set_record(name, None)
        if record is not None:
            self._report(name, "stopped" if clean else "killed")

    def _stop_all(self, ordered: list[str]) -> None:
        """Those that need others first; members of one rank together."""
        with ThreadPoolExecutor(max(1, len(ordered))) as pool:
            done: dict[str, Future[None]] = {}
            for name in reversed(ordered):
                dependents = [done[n] for n in done if name in SERVERS[n].needs]
                done[name] = pool.submit(self._stop_after, name, dependents)
            for future in done.values():
                future.result()

    def _stop_after(self, name: str, dependents: list[Future[None]]) -> None:
        for dependent in dependents:
            dependent.exception()
        self._stop(name)


def _known(name: str) -> str:
    if name not in SERVERS:
        raise ConfigurationError(f"no server {name!r}; there are {', '.join(SERVERS)}")
    return name


def _first_failure(futures: Iterable[Future[None]]) -> None:
    """Waits for all; raises what went wrong first, not what was abandoned because of it."""
    pending = list(futures)
    while pending:
        for future in list(pending):
            with contextlib.suppress(TimeoutError):
                error = future.exception(timeout=_PROBE_SECONDS)
                pending.remove(future)
                if error is not None and not isinstance(error, _Abandoned):
                    raise error


@contextlib.contextmanager
def _named_failure(server: Server, home: Home, abandoned: threading.Event) -> Iterator[None]:
    """Every failure names the server, its log and the cure, and makes the others stop waiting."""
    try:
        yield
    except _Abandoned:
        raise
    except ConfigurationError as error:
        abandoned.set()
        raise ConfigurationError(describe_failure(server.name, str(error), home)) from error
    except Exception as error:
        abandoned.set()
        raise TerminalError(
            describe_failure(server.name, str(error) or type(error).__name__, home)
        ) from error
