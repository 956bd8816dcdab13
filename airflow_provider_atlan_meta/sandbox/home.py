"""A sandbox on disk: one folder (``.sandbox/``) with its ports, secrets, data, logs and process records.

Everything is 0700/0600: passwords are generated here and stay here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.tenancy import parse_tenant
from airflow_provider_atlan_meta.sandbox.processes import Process

HOME_VARIABLE = "ATLAN_META_SANDBOX_HOME"
# of a tenant, as files and environments name them
SECRETS = ("montecarlo_webhook_secret", "atlan_webhook_secret")
DEFAULT_TENANTS = ("acme", "globex", "initech")
# Below the range kernels take outgoing connections' ports from: a server that is down keeps its port.
_FIRST_PORT, _LAST_PORT = 10_240, 32_000
# Socket paths end at 108 bytes and root's home is closed to the account PostgreSQL runs as.
_OUTSIDE = Path("/var/tmp")  # noqa: S108 - a folder of our own in it, checked by owner


@dataclass(frozen=True)
class Tenant:
    """A tenant and the secrets of its webhooks."""

    id: str
    montecarlo_webhook_secret: str
    atlan_webhook_secret: str

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Tenant:
        """What an entry of a list says; a secret it does not give is generated.

        :raises KeyError: it has no id.
        """
        named = {name: str(entry.get(name) or secrets.token_urlsafe(24)) for name in SECRETS}
        return cls(parse_tenant(entry["id"]), **named)

    def to_dict(self) -> dict[str, str]:
        return {"id": self.id, **{name: getattr(self, name) for name in SECRETS}}

    def __repr__(self) -> str:
        return f"Tenant({self.id!r})"


@dataclass(frozen=True)
class Record:
    """What is known of a member that was started."""

    process: Process
    seconds: float | None = None


class Home:
    """The folder's contents. Threads may share one; whoever changes anything holds ``locked()``."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path or os.environ.get(HOME_VARIABLE) or ".sandbox").expanduser().absolute()
        self._guard = threading.RLock()

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        return self.path.is_dir()

    @property
    def outside(self) -> Path:
        """Where root keeps what an unprivileged server must reach."""
        digest = hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
        return _OUTSIDE / f"atlan-meta-{digest}"

    def create(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.path / ".gitignore").write_text("*\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time changes a sandbox; a second one waits."""
        self.create()
        with (self.path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def remove(self) -> None:
        """Deletes the folder and root's part outside it."""
        for folder in (self.outside, self.path):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.outside, self.path):
            if folder.exists():
                raise ConfigurationError(f"{folder} could not be removed; remove it as the user who made it")

    def folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def log(self, name: str) -> Path:
        return self.folder("logs") / f"{name}.log"

    def has_log(self, name: str) -> bool:
        return (self.path / "logs" / f"{name}.log").exists()

    def port(self, name: str) -> int:
        """The port of that name: chosen once, remembered, the same after every restart."""
        with self._guard:
            ports = self._read("ports.json")
            if name not in ports:
                ports[name] = _free_port(set(ports.values()))
                self._write("ports.json", ports)
            return int(ports[name])

    def renew_taken_ports(self, names: Iterable[str]) -> list[str]:
        """Chooses again where a stranger sits on a remembered port; the names that moved."""
        with self._guard:
            moved = [name for name in names if not is_free(self.port(name))]
            ports = {k: v for k, v in self._read("ports.json").items() if k not in moved}
            self._write("ports.json", ports)
            for name in moved:
                self.port(name)
            return moved

    def secret(self, name: str) -> str:
        """The generated secret of that name."""
        with self._guard:
            known = self._read("secrets.json")
            if name not in known:
                known[name] = secrets.token_urlsafe(24)
                self._write("secrets.json", known)
            return str(known[name])

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """Those of ``--tenants``, else three with generated secrets."""
        with self._guard:
            if not (self.path / "tenants.json").exists():
                self.set_tenants([Tenant.of({"id": name}) for name in DEFAULT_TENANTS])
            listed = self._read("tenants.json")["tenants"]
            if any(name not in entry for name in SECRETS for entry in listed):
                # written before there was this kind of secret
                self.set_tenants([Tenant.of(entry) for entry in listed])
                listed = self._read("tenants.json")["tenants"]
            return tuple(Tenant.of(entry) for entry in listed)

    def set_tenants(self, tenants: Iterable[Tenant]) -> None:
        self._write("tenants.json", {"tenants": [tenant.to_dict() for tenant in tenants]})

    def member(self, name: str) -> str:
        """What marks the processes of that member, in this sandbox and no other."""
        return f"{self.path}#{name}"

    def record(self, name: str) -> Record | None:
        entry = self._read(f"run/{name}.json")
        if not entry:
            return None
        return Record(Process(int(entry["pid"]), str(entry["mark"])), entry.get("seconds"))

    def set_record(self, name: str, record: Record | None) -> None:
        if record is None:
            (self.path / "run" / f"{name}.json").unlink(missing_ok=True)
            return
        self.folder("run")
        process = record.process
        self._write(f"run/{name}.json", {"pid": process.pid, "mark": process.mark, "seconds": record.seconds})

    def recorded(self) -> list[str]:
        """Members with a record, running or not."""
        return sorted(path.stem for path in (self.path / "run").glob("*.json"))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            document = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise ConfigurationError(
                f"{self.path / name} is damaged; `atlan-meta sandbox down --purge` starts anew"
            ) from None
        return dict(document)

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        write_private(self.path / name, json.dumps(document, indent=1))


def write_private(path: Path, text: str) -> None:
    """Replaces a file at once, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(name).replace(path)


def parse_tenants(text: str, origin: str) -> list[Tenant]:
    """A JSON list of ``{id, montecarlo_webhook_secret, atlan_webhook_secret}``; a missing secret is generated.

    :raises ConfigurationError: another shape, a wrong or doubled id.
    """
    shape = f'{origin} must be a JSON list like [{{"id": "acme", "montecarlo_webhook_secret": "..."}}]'
    try:
        entries = json.loads(text)
        tenants = [Tenant.of(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigurationError(shape) from None
    if not tenants or len({t.id for t in tenants}) != len(tenants):
        raise ConfigurationError(f"{shape}, with at least one tenant and no id twice")
    return tenants


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(taken: set[int]) -> int:
    for _ in range(1000):
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if port not in taken and is_free(port):
            return port
    raise ConfigurationError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} on 127.0.0.1")
