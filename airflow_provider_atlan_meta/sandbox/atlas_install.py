"""Apache Atlas from the released war, made to run on Java 17 and to keep its index in Lucene.

Two classes are compiled again from their released sources with one small edit each; they stand before the war's own
on the class path.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.sandbox import downloads, java, processes

NAME = "atlas"
_COMPILE_SECONDS = 120
_CLASSES = "edited-classes.jar"


@dataclass(frozen=True)
class Edit:
    """Texts of one source file that are replaced, each exactly once there."""

    source: str
    replaced: tuple[tuple[str, str], ...]


EDITS = (
    # Adds HBase 2 and Solr to lists by writing to final fields, which Java 12 ended. Neither is used here.
    Edit(
        "org/apache/atlas/repository/graphdb/janus/AtlasJanusGraphDatabase.java",
        (("\n        addHBase2Support();\n", "\n"), ("\n        addSolr6Index();\n", "\n")),
    ),
    # Refuses the underscore in the names of Atlas's own indexes; the server starts and finds nothing.
    Edit(
        "org/janusgraph/diskstorage/lucene/LuceneIndex.java",
        (("StringUtils.isAlphanumeric(store)", 'store.matches("[A-Za-z0-9_]+")'),),
    ),
)


@dataclass(frozen=True)
class Installed:
    """:param web: the folder of the web application. :param jars: the class path, in order."""

    web: Path
    jars: tuple[Path, ...]


def install(report: Callable[[str], None]) -> Installed:
    """Atlas on this machine: fetched, checked against the lock, unpacked and compiled if need be.

    :raises TerminalError: something cannot be had, is not what the lock names, or the sources are not those the
        edits are for. Nothing half done is kept.
    """
    folder = _folder()
    with downloads.cache_locked(folder.name):
        if not folder.is_dir():
            files = downloads.install(NAME, report)
            _make(folder, files, report)
            # as large as what came out of it
            _war(files).unlink()
    return _installed(folder)


def installed() -> Installed:
    """The same without looking whether it is there."""
    return _installed(_folder())


def _folder() -> Path:
    """Among the jars, so that who throws those away makes all of it anew."""
    key = repr((downloads.read_lock(NAME), EDITS))
    return downloads.cache_folder() / "jars" / f"{NAME}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _installed(folder: Path) -> Installed:
    web = folder / "web"
    return Installed(
        web, (folder / _CLASSES, *_class_path(web / "WEB-INF" / "lib", downloads.installed(NAME)))
    )


def _class_path(library: Path, files: Sequence[Path]) -> tuple[Path, ...]:
    """The newer Groovy stands before the war's own, which knows no Java 17."""
    return (_named(files, "groovy-"), *sorted(library.glob("*.jar")))


def _war(files: Sequence[Path]) -> Path:
    return _named(files, "atlas-webapp-")


def _named(files: Sequence[Path], prefix: str) -> Path:
    return next(path for path in files if path.name.startswith(prefix))


def _make(folder: Path, files: Sequence[Path], report: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name) / "made"
        report("unpacking")
        _unpack(_war(files), made / "web")
        report("compiling two edited classes")
        sources = [path for path in files if path.name.endswith("-sources.jar")]
        edited = edit_sources(sources, Path(name) / "source")
        class_path = _class_path(made / "web" / "WEB-INF" / "lib", files)
        _compile(edited, _named(files, "ecj-"), class_path, Path(name) / "classes")
        _pack(Path(name) / "classes", made / _CLASSES)
        made.rename(folder)


def _unpack(war: Path, folder: Path) -> None:
    try:
        with ZipFile(war) as archive:
            archive.extractall(folder)
    except (BadZipFile, OSError) as error:
        raise TerminalError(f"{war.name} cannot be unpacked: {error}") from error


def edit_sources(archives: Sequence[Path], folder: Path) -> list[Path]:
    """Takes the sources of ``EDITS`` out of the archives and writes them, edited, into the folder.

    :raises TerminalError: a source is not there, or not the text the edit was made for.
    """
    return [_edited(edit, archives, folder) for edit in EDITS]


def _edited(edit: Edit, archives: Sequence[Path], folder: Path) -> Path:
    text = next((found for path in archives if (found := _read(path, edit.source)) is not None), None)
    if text is None:
        raise TerminalError(f"{edit.source} is in none of {', '.join(path.name for path in archives)}")
    for old, new in edit.replaced:
        if text.count(old) != 1:
            raise TerminalError(
                f"{edit.source} holds {old.strip()!r} {text.count(old)} times, not once: another release than the one "
                "the edit was made for"
            )
        text = text.replace(old, new)
    target = folder / edit.source
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def _read(archive: Path, member: str) -> str | None:
    with ZipFile(archive) as opened:
        return opened.read(member).decode() if member in opened.namelist() else None


def _compile(sources: Sequence[Path], compiler: Path, class_path: Sequence[Path], folder: Path) -> None:
    """By Eclipse's compiler, a jar: the wheel's Java has none."""
    flags = ("-8", "-nowarn", "-cp", java.class_path(class_path), "-d", str(folder))
    argv = (str(java.java_home() / "bin" / "java"), "-jar", str(compiler), *flags, *map(str, sources))
    done = processes.run(argv, environ=java.environ(), seconds=_COMPILE_SECONDS)
    if done.returncode:
        raise TerminalError(f"two edited classes of Atlas cannot be compiled: {done.stdout[-500:]}")


def _pack(folder: Path, jar: Path) -> None:
    with ZipFile(jar, "w") as archive:
        for path in sorted(folder.rglob("*.class")):
            archive.write(path, path.relative_to(folder))
    shutil.rmtree(folder)
