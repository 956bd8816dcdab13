"""The tables of printable characters agree with the Python that runs."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core import printable
from airflow_provider_atlan_meta.core.printable import STEPS, own_step, spelled_by


def members(step: int) -> list[str]:
    codes = []
    for item in STEPS[step].split():
        first, _, last = item.partition("-")
        codes += range(int(first, 16), int(last or first, 16) + 1)
    return [chr(code) for code in codes]


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_this_python_prints_the_characters_of_its_steps_and_escapes_those_of_later_ones(step: int) -> None:
    assert {character.isprintable() for character in members(step)} == {step < own_step()}


def test_steps_do_not_overlap() -> None:
    every = [character for step in range(len(STEPS)) for character in members(step)]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("own", range(len(STEPS) + 1))
@pytest.mark.parametrize("target", range(len(STEPS) + 1))
def test_a_text_is_respelled_from_any_python_to_any_other(
    own: int, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spelled(step: int) -> str:
        def one(at: int, character: str) -> str:
            return (
                character
                if at < step
                else f"\\U{ord(character):08x}"
                if ord(character) > 0xFFFF
                else (f"\\u{ord(character):04x}")
            )

        new = "".join(one(at, members(at)[index]) for at in range(len(STEPS)) for index in (0, -1))
        return f"'{new} \\\\U0001fae8 \\\\\\\\u2ffc é \\n \\u200b'"

    monkeypatch.setattr(printable, "own_step", lambda: own)
    assert spelled_by(target, spelled(own)) == spelled(target)
