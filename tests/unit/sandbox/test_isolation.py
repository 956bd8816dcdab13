"""What a test is given can be used at once."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.errors import AtlanMetaError, TerminalError, TransientError
from airflow_provider_atlan_meta.sandbox.isolation import until_answered


def test_a_new_topic_is_asked_again_until_all_of_it_has_a_leader() -> None:
    answers: list[AtlanMetaError | None] = [
        TerminalError("unknown topic"),
        TransientError("unknown epoch"),
        None,
    ]

    def ask() -> None:
        if (error := answers.pop(0)) is not None:
            raise error

    until_answered(ask, 30)

    assert answers == []


def test_one_that_never_answers_raises_what_was_wrong() -> None:
    def ask() -> None:
        raise TransientError("an election is under way")

    with pytest.raises(TransientError, match="election"):
        until_answered(ask, 0)
