"""Jars by coordinate, each held to the sha256 of a committed lock file; kept in a cache outside the project.

    python -m airflow_provider_atlan_meta.sandbox.downloads kafka GROUP:ARTIFACT:VERSION[:CLASSIFIER][@war] ...

resolves coordinates with all they need and rewrites ``kafka.lock``; ``--alone`` before them leaves out what they
need. Installing never resolves: it fetches exactly the coordinates of the lock. Repositories come from jgo's own
configuration (``~/.config/jgo.conf``, ``[repositories]``), so a mirror set there is used.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta.core.errors import ConfigurationError, TerminalError

CACHE_VARIABLE = "ATLAN_META_CACHE"
_CONNECTIONS = 8
_TIMEOUT_SECONDS = 60
_Fetch = Callable[["Jar", Path], Path]


@dataclass(frozen=True)
class Jar:
    """One line of a lock file."""

    sha256: str
    coordinate: str  # group:artifact:version, :classifier where it has one, @war where it is no jar

    @property
    def names(self) -> tuple[str, str, str, str]:
        """Group, artifact, version, classifier or nothing."""
        group, artifact, version, *classifier = self.coordinate.partition("@")[0].split(":")
        return group, artifact, version, "".join(classifier)

    @property
    def packaging(self) -> str:
        return self.coordinate.partition("@")[2] or "jar"

    @property
    def relative_path(self) -> Path:
        group, artifact, version, classifier = self.names
        stem = "-".join(part for part in (artifact, version, classifier) if part)
        return Path(*group.split("."), artifact, version, f"{stem}.{self.packaging}")


def cache_folder() -> Path:
    """``$ATLAN_META_CACHE``, else ``~/.cache/atlan-meta``; shared by all sandboxes of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get(CACHE_VARIABLE) or f"{base}/atlan-meta").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def cache_locked(name: str) -> Iterator[None]:
    """Two sandboxes that start at once do the long work once."""
    with (cache_folder() / f"{name}.in-use").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_lock(name: str) -> tuple[Jar, ...]:
    """The jars of ``<name>.lock``, in class path order."""
    text = (files("airflow_provider_atlan_meta.sandbox") / f"{name}.lock").read_text()
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return tuple(Jar(sha256, coordinate) for sha256, coordinate in lines)


def install(name: str, report: Callable[[str], None], fetch: _Fetch | None = None) -> tuple[Path, ...]:
    """The jars of ``<name>.lock`` on this machine, fetched if need be, every one checked.

    :param fetch: brings one jar into a folder and returns its path; jgo unless a test says otherwise.
    :raises TerminalError: a jar cannot be had, or is not the one of the lock; it is not kept.
    """
    jars = read_lock(name)
    repository = _repository()
    with cache_locked(name), ThreadPoolExecutor(_CONNECTIONS) as pool:
        sound = list(pool.map(lambda jar: _sha256(repository / jar.relative_path) == jar.sha256, jars))
        absent = [jar for jar, is_sound in zip(jars, sound, strict=True) if not is_sound]
        if absent:
            report(f"downloading {len(absent)} jars")
            bring = fetch or _fetch_with_jgo
            for done, _ in enumerate(pool.map(lambda jar: _bring(jar, repository, bring), absent), 1):
                report(f"downloaded {done} of {len(absent)} jars")
    return installed(name)


def installed(name: str) -> tuple[Path, ...]:
    """Where the jars of ``<name>.lock`` are, in class path order; nothing is fetched or checked."""
    return tuple(_repository() / jar.relative_path for jar in read_lock(name))


def _repository() -> Path:
    return cache_folder() / "jars"


def _bring(jar: Jar, repository: Path, fetch: _Fetch) -> None:
    """Fetches beside the cache and moves in only what the lock names."""
    repository.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repository) as folder:
        try:
            path = fetch(jar, Path(folder))
        except (OSError, RuntimeError) as error:
            raise TerminalError(
                f"{jar.coordinate} cannot be fetched ({type(error).__name__}: {str(error)[:200]}); "
                "check the network, or name your mirror under [repositories] in ~/.config/jgo.conf"
            ) from error
        found = _sha256(path)
        if found != jar.sha256:
            raise TerminalError(
                f"{jar.coordinate} is not the file the lock names: sha256 {found}, expected {jar.sha256}; "
                "it was not kept. A mirror or proxy may have changed it"
            )
        target = repository / jar.relative_path
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _fetch_with_jgo(jar: Jar, folder: Path) -> Path:
    group, artifact, version, classifier = jar.names
    component = _context(folder).project(group, artifact).at_version(version)
    return Path(component.artifact(classifier=classifier, packaging=jar.packaging).resolve())


def _context(folder: Path) -> Any:
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    central = MavenContext().remote_repos
    configured = GlobalSettings.load().repositories
    return MavenContext(
        repo_cache=folder,
        local_repos=[],
        remote_repos={**configured, **{k: v for k, v in central.items() if k not in configured}},
        timeout=_TIMEOUT_SECONDS,
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def resolve(coordinates: Sequence[str]) -> list[Jar]:
    """The coordinates with everything they need at run time, hashed."""
    from jgo.parse import Coordinate

    with tempfile.TemporaryDirectory() as folder:
        context = _context(Path(folder))
        # raw: a root's own dependencyManagement must not decide the versions of the others
        wanted = [
            context.create_dependency(dataclasses.replace(Coordinate.parse(text), scope="compile", raw=True))
            for text in coordinates
        ]
        roots, more = context.resolver.resolve(wanted)
        artifacts = [d.artifact for d in [*roots, *more] if d.scope in (None, "compile", "runtime")]
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            hashes = list(pool.map(lambda artifact: _sha256(Path(artifact.resolve())), artifacts))
    jars = [Jar(sha256, _coordinate(artifact)) for sha256, artifact in zip(hashes, artifacts, strict=True)]
    return sorted(jars, key=lambda jar: jar.coordinate)


def resolve_alone(coordinates: Sequence[str]) -> list[Jar]:
    """The coordinates and nothing else, in the order given, hashed."""
    with tempfile.TemporaryDirectory() as folder:
        return [Jar(_sha256(_fetch_with_jgo(Jar("", text), Path(folder))), text) for text in coordinates]


def _coordinate(artifact: Any) -> str:
    parts = (artifact.groupId, artifact.artifactId, artifact.version, artifact.classifier)
    return ":".join(part for part in parts if part)


def main(argv: Sequence[str]) -> int:
    name, *coordinates = argv
    jars = resolve_alone(coordinates[1:]) if coordinates[0] == "--alone" else resolve(coordinates)
    command = f"python -m airflow_provider_atlan_meta.sandbox.downloads {name} {' '.join(coordinates)}"
    lines = [f"# {command}", *(f"{jar.sha256} {jar.coordinate}" for jar in jars)]
    target = Path(str(files("airflow_provider_atlan_meta.sandbox"))) / f"{name}.lock"
    target.write_text("\n".join(lines) + "\n")
    print(f"{len(jars)} jars written to {target}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise ConfigurationError((__doc__ or "").splitlines()[2].strip())
    sys.exit(main(sys.argv[1:]))
