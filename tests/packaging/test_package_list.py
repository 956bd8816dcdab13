from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_provider_atlan_meta"


def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def words(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_package_list_is_the_tree() -> None:
    """``find:`` would ship dags/ as a top-level module, so the list is kept by hand."""
    inside = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / PACKAGE).rglob("__init__.py")}

    assert set(words(setup()["options"]["packages"])) == inside | {f"{PACKAGE}.dags"}


def test_every_data_file_of_the_tree_is_shipped() -> None:
    """Whatever is not Python and lies in a package must match a pattern of package_data."""
    data = setup()["options.package_data"]
    for file in (ROOT / PACKAGE).rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(ROOT).parts)
        if hidden or file.is_dir() or file.suffix in {".py", ".pyc"}:
            continue
        package = ".".join(file.parent.relative_to(ROOT).parts)
        patterns = [pattern.strip() for pattern in data.get(package, "").split(",")]
        assert any(file.match(pattern) for pattern in patterns if pattern), f"{file} is not shipped"


def test_the_distribution_is_named_after_its_module() -> None:
    """Airflow derives the module of a provider from the name of its distribution."""
    name = setup()["metadata"]["name"]

    assert re.sub(r"[-_.]+", "-", name).lower() == name
    assert name.replace("-", "_") == PACKAGE


def test_a_dag_file_is_wiring_only() -> None:
    """Safe mode skips files without these two words; a long file would hold logic."""
    for file in (ROOT / "dags").glob("atlan_meta_*.py"):
        text = file.read_text()
        assert "airflow" in text
        assert "dag" in text
        assert len(words(text)) <= 3


def test_the_lock_names_no_index_and_no_path() -> None:
    for line in words((ROOT / "requirements" / "airflow-3.3.lock").read_text()):
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;]+( ; .+)?", line), line
