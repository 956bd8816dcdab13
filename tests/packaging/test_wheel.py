"""The wheel in an Airflow of its own, as a user installs it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "airflow-3.3.lock"
NAME, PACKAGE = "airflow-provider-atlan-meta", "airflow_provider_atlan_meta"
VERSIONS = (
    "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
)
FILES = f"import importlib.metadata as m, json; print(json.dumps([str(f) for f in m.files({NAME!r})]))"


def run(command: Sequence[str], **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, timeout=600, **options
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@dataclass
class Installation:
    """A virtual environment with Airflow under the lock, and our wheel in it."""

    folder: Path
    home: Path
    environ: dict[str, str] = field(init=False)
    before: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        run([sys.executable, "-m", "venv", *(["--without-pip"] if find_spec("uv") else []), str(self.folder)])
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTHON"))}
        self.environ = {
            **clean,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }

    def install(self, *what: str) -> None:
        """Under the lock; the faster installer when there is one."""
        python = str(self.folder / "bin" / "python")
        if find_spec("uv"):
            run(
                [
                    sys.executable,
                    "-m",
                    "uv",
                    "pip",
                    "install",
                    "-q",
                    "--python",
                    python,
                    "-c",
                    str(LOCK),
                    *what,
                ]
            )
        else:
            run([python, "-m", "pip", "install", "-q", "-c", str(LOCK), *what])

    def python(self, code: str) -> Any:
        return json.loads(self.command("python", "-I", "-c", code))

    def command(self, *argv: str) -> str:
        """In an empty folder: nothing may be found because the repository is near."""
        return run([str(self.folder / "bin" / argv[0]), *argv[1:]], env=self.environ, cwd=self.home)

    def listed(self, *argv: str) -> list[dict[str, Any]]:
        """A table of Airflow's, which may follow log lines."""
        lines = self.command(*argv).splitlines()
        found: list[dict[str, Any]] = json.loads(next(line for line in lines if line.startswith("[{")))
        return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git has and what is new, never from a build folder that is left over."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in (PACKAGE, "dags"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)])
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = Installation(tmp_path_factory.mktemp("venv") / "v", tmp_path_factory.mktemp("airflow"))
    installation.install("apache-airflow==3.3.2")
    installation.before = installation.python(VERSIONS)
    installation.install(str(wheel))
    return installation


def test_no_version_that_airflow_pinned_changes(installed: Installation) -> None:
    after = installed.python(VERSIONS)

    assert after[NAME]
    assert {name: after.get(name) for name in installed.before} == installed.before


def test_only_our_package_lands_in_site_packages(installed: Installation) -> None:
    files = [Path(name) for name in installed.python(FILES)]
    tops = {file.parts[0] for file in files if file.parts[0] != ".."}

    assert {top for top in tops if not top.endswith(".dist-info")} == {PACKAGE}
    assert {file.name for file in files if file.parts[0] == ".."} == {"atlan-meta"}


def test_airflow_lists_the_provider(installed: Installation) -> None:
    listed = installed.listed("airflow", "providers", "list", "-o", "json")

    assert NAME in {entry["package_name"] for entry in listed}


def test_the_printed_bundle_line_shows_the_dag_paused(installed: Installation) -> None:
    _, assignment = shlex.split(installed.command("atlan-meta", "bundle-config"))
    name, _, value = assignment.partition("=")
    installed.environ[name] = value
    installed.command("airflow", "db", "migrate")
    installed.command("airflow", "dags", "reserialize")

    listed = installed.listed("airflow", "dags", "list", "-o", "json")

    found = {entry["dag_id"]: entry for entry in listed}["atlan_meta_ingest"]
    assert str(found["is_paused"]) == "True"
    assert found["bundle_name"] == "atlan-meta"


def test_the_command_line_needs_no_airflow_command(installed: Installation) -> None:
    settings = json.loads(installed.command("atlan-meta", "config", "list", "--json"))

    assert "topic_prefix" in {entry["name"] for entry in settings}
