"""docs/mapping.md: its files are taken, its commands print what it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.core.mapping import NAMINGS
from airflow_provider_atlan_meta.sandbox.isolation import Isolation

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mapping.md"


@pytest.fixture
def page(blocks: Callable[[Path], list[Any]]) -> list[Any]:
    return blocks(PAGE)


@pytest.fixture
def folder(page: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the files of the page."""
    for block in page:
        if block.mark.startswith("file: "):
            file = tmp_path / block.mark.removeprefix("file: ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printing(page: list[Any]) -> Iterator[tuple[Any, str]]:
    """Blocks of commands, and what they print by the page."""
    for number, block in enumerate(page):
        if block.mark == "prints":
            yield block, page[number + 1].text


def printed(block: Any, capsys: pytest.CaptureFixture[str]) -> str:
    for command in block.commands:
        assert main(shlex.split(command)[1:]) == 0, command
    return capsys.readouterr().out.strip()


@pytest.mark.usefixtures("folder")
def test_what_needs_no_server_prints_what_the_page_shows(
    page: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    block, shown = next(printing(page))

    assert "-f mapping.yaml" in block.text
    assert printed(block, capsys) == shown


@pytest.mark.integration
@pytest.mark.usefixtures("folder")
def test_from_payloads_to_a_mapping_everything_prints_what_the_page_shows(
    page: list[Any],
    isolation: Isolation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in isolation.new_database().environ.items():
        monkeypatch.setenv(name, value)

    told = [(printed(block, capsys), shown) for block, shown in printing(page)]

    assert len(told) == 2
    for found, shown in told:
        assert found == shown


def test_the_naming_of_every_dialect_is_told() -> None:
    text = PAGE.read_text().partition("| dialect |")[2].partition("\n\n")[0]

    assert dict(re.findall(r"^\| `(\w+)` \| `(.+)` \|$", text, re.MULTILINE)) == NAMINGS
