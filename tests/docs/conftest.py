"""README and docs as data: pages and their code blocks."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

if "airflow" not in sys.modules:
    # what Airflow writes at its first import stays out of the user's home
    os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

_FENCE = re.compile(r"^```(\w*)$")
_MARK = re.compile(r"^<!-- (.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``mark`` is the comment right above it, such as ``run`` or ``file: sign.py``."""

    where: str
    language: str
    mark: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What a user types: the lines behind ``$``."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


def read_blocks(page: Path) -> list[Block]:
    return list(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    mark, where = "", ""
    language: str | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if language is None:
            if fence:
                language, lines, where = fence[1], [], f"{page.relative_to(ROOT)}:{number}"
            elif line.strip():
                found = _MARK.match(line)
                mark = found[1] if found else ""
        elif line == "```":
            yield Block(where, language, mark, "\n".join(lines))
            mark, language = "", None
        else:
            lines.append(line)


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """``docs/generate.py``."""
    spec = spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pages(generator: ModuleType) -> list[Path]:
    found: list[Path] = generator.pages()
    return found


@pytest.fixture(scope="session")
def blocks() -> Callable[[Path], list[Block]]:
    return read_blocks


@pytest.fixture(scope="session")
def all_blocks(pages: list[Path]) -> list[Block]:
    return [block for page in pages for block in read_blocks(page)]
