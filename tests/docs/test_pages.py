"""Pages hold together: generated parts are fresh, links lead somewhere, nothing of this machine is in them."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PROVEN = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def functions(module: Path) -> set[str]:
    body = ast.parse(module.read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = set()
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        found.add(words.replace(" ", "-"))
    return found


def test_every_part_that_can_be_generated_is_on_a_page(pages: list[Path], generator: ModuleType) -> None:
    text = "".join(page.read_text() for page in pages)
    for name in generator.PARTS:
        assert f"<!-- generated: {name} -->" in text


def test_links_lead_somewhere(pages: list[Path]) -> None:
    for page in pages:
        for link in _LINK.findall(page.read_text()):
            if link.startswith("https://"):
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_reached_from_readme(pages: list[Path]) -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for link in _LINK.findall(page.read_text()):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.is_file():
                left.append(target)
    assert {page.resolve() for page in pages} <= reached


def test_no_path_of_a_machine_and_no_package_index_is_named(pages: list[Path]) -> None:
    for page in pages:
        for pattern in (
            r"(?<![\w.])/(home|root|tmp|work|Users|opt)/",
            r"index-url",
            r"\bpypi\b",
            r"simple/?\b.*http",
        ):
            assert not re.search(pattern, page.read_text()), f"{page.name}: {pattern}"


def test_every_test_that_proves_a_guarantee_exists() -> None:
    named = _PROVEN.findall((ROOT / "docs" / "guarantees.md").read_text())
    assert len(named) > 30
    for file, name in named:
        assert name in functions(ROOT / file), f"{file}::{name}"


def test_json_blocks_are_json(all_blocks: list[Any]) -> None:
    for block in all_blocks:
        if block.language == "json":
            try:
                json.loads(block.text)
            except ValueError as error:
                pytest.fail(f"{block.where}: {error}")


def test_decisions_are_numbered_listed_and_complete() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    files = sorted(folder.glob("[0-9]*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        text = file.read_text()
        assert f"({file.name})" in index
        assert text.startswith(f"# {file.name[:4]}: ")
        assert re.search(r"^Status: (accepted|replaced by \d{4})", text, re.MULTILINE)
        for part in ("Context", "Decision", "Consequences"):
            assert f"\n## {part}\n" in text, file.name
