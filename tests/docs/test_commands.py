"""Whatever README and docs tell a user to type exists."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airflow_provider_atlan_meta import __version__
from airflow_provider_atlan_meta.cli import build_parser

ROOT = Path(__file__).parents[2]
TOOLS = {"airflow", "atlan-meta", "curl", "eval", "export", "make", "pip", "psql", "python"}
_INNER = re.compile(r"\$\((atlan-meta [^)]*)\)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]+=")
_SPAN = re.compile(r"`(atlan-meta [^`]+|make [a-z-]+)`")


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    return build_parser()


@pytest.fixture(scope="module")
def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a line, each as its words; those inside ``$( )`` too."""
    for inner in _INNER.findall(line):
        yield shlex.split(inner)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if set(token) <= set(";&|"):
            if words:
                yield words
            words = []
        elif words or not _ASSIGNMENT.match(token):
            words.append(token)


def test_every_command_starts_with_a_tool_a_user_has(all_blocks: list[Any]) -> None:
    for block in all_blocks:
        for line in block.commands:
            for words in simple_commands(line):
                assert words[0] in TOOLS, f"{block.where}: {line}"


def test_every_atlan_meta_command_is_one_the_parser_takes(
    all_blocks: list[Any], parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = 0
    for block in all_blocks:
        for line in block.commands:
            for words in simple_commands(line):
                if words[0] != "atlan-meta":
                    continue
                seen += 1
                try:
                    parser.parse_args(words[1:])
                except SystemExit:
                    pytest.fail(f"{block.where}: {line}\n{capsys.readouterr().err}")
    assert seen > 20


def test_every_make_target_exists(all_blocks: list[Any], targets: set[str]) -> None:
    for block in all_blocks:
        for line in block.commands:
            for words in simple_commands(line):
                if words[0] == "make":
                    assert set(words[1:]) <= targets, f"{block.where}: {line}"


def test_commands_named_in_the_text_exist(
    pages: list[Path], generator: ModuleType, parser: argparse.ArgumentParser, targets: set[str]
) -> None:
    """Verbs are followed as far as they are verbs; placeholders and options end them."""
    for page in pages:
        for span in _SPAN.findall(page.read_text()):
            tool, *words = span.split()
            if tool == "make":
                assert words[0] in targets, f"{page.name}: {span}"
                continue
            at = parser
            for word in words:
                verbs = generator.subcommands(at)
                if not verbs or not word.isalpha() or not word.islower():
                    break
                assert word in verbs, f"{page.name}: {span}"
                at = verbs[word][0]


def test_every_command_of_the_parser_is_in_the_reference(
    generator: ModuleType, parser: argparse.ArgumentParser
) -> None:
    reference = (ROOT / "docs" / "cli.md").read_text()
    for command, _ in generator.commands(parser):
        assert f"### `{command.prog}`" in reference


def test_every_make_target_is_told_to_contributors(targets: set[str]) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert {target for target in targets if f"`make {target}`" not in text} <= {"help"}


def test_the_wheel_that_readme_installs_is_the_one_that_is_built() -> None:
    names = set(re.findall(r"airflow_provider_atlan_meta-[^-\s]+-py3", (ROOT / "README.md").read_text()))
    assert names == {f"airflow_provider_atlan_meta-{__version__}-py3"}


def test_python_blocks_compile(all_blocks: list[Any]) -> None:
    for block in all_blocks:
        if block.language == "python":
            compile(block.text, block.where, "exec")


def test_the_line_that_shows_the_dags_is_the_one_the_command_prints() -> None:
    """For an Airflow in which nothing is configured; the packaging tests run the command itself."""
    from airflow_provider_atlan_meta.cli.bundle_config import _as_env, merged

    assert f"```text\n{_as_env(merged([]))}\n```" in (ROOT / "README.md").read_text()
