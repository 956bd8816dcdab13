"""YAML is read as people mean it, or refused with its line: never surprising, never large, never code."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_atlan_meta.config.yaml_document import MAX_BYTES, read_yaml
from airflow_provider_atlan_meta.core.errors import FileError


def problems(text: str | bytes) -> list[tuple[int, str]]:
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(FileError) as caught:
        read_yaml(content, file="f.yaml")
    return list(caught.value.problems)


def test_values_are_those_of_json_and_every_one_has_its_line() -> None:
    text = (
        b"\xef\xbb\xbf# comment\na: 1\nb:\n  - x\n  - {c: -1.5, d: null, e: true}\n"
        b'  - "no"\n  - ["=", =, ~, 1e3, yesterday]\n'
    )
    document = read_yaml(text, file="f.yaml")

    assert document.value == {
        "a": 1,
        "b": ["x", {"c": -1.5, "d": None, "e": True}, "no", ["=", "=", None, "1e3", "yesterday"]],
    }
    assert document.line(("a",)) == 2
    assert document.line(("b", 1, "d")) == 5
    assert document.line(("b", 3)) == 7
    assert document.line(("b", 1, "d", "deeper", 0)) == 5
    assert document.line(("elsewhere",)) == 2


def test_windows_line_ends_count_as_lines() -> None:
    assert read_yaml(b"a: 1\r\nb: 2\r\n", file="f").line(("b",)) == 2


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_is_nothing(text: str) -> None:
    assert read_yaml(text.encode(), file="f").value is None


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: no\n", 2, "'no' is read as true or false; write it in quotes"),
        ("a: on\n", 1, "'on'"),
        ("a: 1:30\n", 1, "a number, of a form that JSON does not have"),
        ("a: 017\n", 1, "'017'"),
        ("a: 0x1F\n", 1, "'0x1F'"),
        ("a: 1_000\n", 1, "'1_000'"),
        ("a: .inf\n", 1, "'.inf'"),
        ("a: 12345678901234567890123456789\n", 1, "this value is read as a number"),
        ("a: 2026-01-01\n", 1, "a date"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands here for the second time, first on line 1"),
        ("a: &x 1\nb: *x\n", 1, "an anchor &x"),
        ("a: [*x]\n", 1, "an alias *x"),
        ("a: *\n", 1, 'a * is an alias to YAML; write it in quotes if it is text: "..."'),
        ("a:\n  b: *pipe*\n", 2, "a * is an alias to YAML"),
        ("<<: {a: 1}\n", 1, "a merge key <<"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "tags are not read"),
        ("a: !!set {x, y}\n", 1, "tags are not read"),
        ("a: !!binary aGk=\n", 1, "tags are not read"),
        ("a: !own [1]\n", 1, "tags are not read"),
        ("1: x\n", 1, "a key '1' that is no text"),
        ("null: x\n", 1, "a key 'null' that is no text"),
        ("? [a]\n: x\n", 1, "a key that is no text"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: 1\n\tb: 2\n", 2, "a tab; YAML is indented with spaces"),
        ("a: x: y\n", 1, "mapping values are not allowed"),
        ("a: [1\n", 2, "while parsing a flow sequence"),
        ("a: 'x\n", 2, "quoted scalar"),
        ("a: 1\nb: \x00\n", 2, "a character that YAML does not allow"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        (b"x" * (MAX_BYTES + 1), 0, "larger than 1 MiB"),
        ("a: " + "[" * 33 + "]" * 33, 1, "nested"),
        ("[" * 500_000, 1, "nest"),
        ("{a: " * 200_000, 1, "nest"),
        ("- \n" * 200_000, 100_000, "more than 100,000 values"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(text: str | bytes, line: int, said: str) -> None:
    started = time.process_time()
    ((found, text_of_it),) = problems(text)

    assert (found, said in text_of_it) == (line, True), text_of_it
    assert time.process_time() - started < 3


def test_every_problem_of_the_values_is_told_at_once() -> None:
    assert [line for line, _ in problems("a: no\nb: 1\nb: 2\nc: 2026-01-01\n")] == [1, 3, 4]


def test_aliases_that_multiply_are_refused_before_anything_is_built() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))

    assert problems(bomb)[0][0] == 1


@given(st.binary(max_size=60) | st.text("ab:-[]{}#&*!|>'\"%@`?,\n\t 01=<.~", max_size=40).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_whatever_is_in_a_file_it_is_read_or_refused(content: bytes) -> None:
    try:
        read_yaml(content, file="f.yaml")
    except FileError as error:
        told = str(error)
        assert told.startswith("f.yaml:")
