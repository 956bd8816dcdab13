"""An error's type says what happens next, in every process it reaches."""

from __future__ import annotations

import copy
import pickle

import pytest

from airflow_provider_atlan_meta.core import errors
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    FileError,
    LeaseLostError,
    MappingMovedError,
    PatternError,
    RejectedError,
    RowsMovedError,
    TerminalError,
    TransientError,
)

EXAMPLES = [
    TransientError("the store is away", retry_after=7.5),
    TransientError("the store is away"),
    LeaseLostError("lease lost", retry_after=1.0),
    RowsMovedError("incident moved"),
    MappingMovedError("mapping moved"),
    RejectedError("no value", detail="a tombstone"),
    RejectedError("no value"),
    TerminalError("stop"),
    ConfigurationError("set it"),
    FileError("f.yaml", [(2, "no"), (0, "too large")]),
    PatternError([(("status", "to", 0), "no operator 'regex'")]),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_crosses_process_borders_whole(error: AtlanMetaError, protocol: int) -> None:
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_every_error_of_the_tree_is_an_example_here() -> None:
    tree = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AtlanMetaError)
    }

    assert {type(error) for error in EXAMPLES} == tree - {AtlanMetaError}


def test_a_branch_says_retry_set_aside_or_stop_and_never_two_of_them() -> None:
    for error in EXAMPLES:
        assert (
            sum(isinstance(error, branch) for branch in (TransientError, RejectedError, TerminalError)) == 1
        )


def test_a_rejection_s_text_is_its_reason_and_where() -> None:
    assert str(RejectedError("no value", detail="a tombstone")) == "no value: a tombstone"
    assert str(RejectedError("no value")) == "no value"


def test_a_pattern_s_problems_name_their_places() -> None:
    error = PatternError([(("status", "to", 0), "empty"), ((), "no mapping")])

    assert str(error) == "match.status.to[0]: empty; match: no mapping"


def test_a_file_s_problems_are_told_in_the_order_of_their_lines_and_not_without_end() -> None:
    error = FileError("f.yaml", [(line, "no") for line in range(30, 0, -1)])

    assert str(error).splitlines()[0] == "f.yaml:1: no"
    assert str(error).splitlines()[-1] == "... and 10 more"
    assert str(FileError("f.yaml", [(0, "too large")])) == "f.yaml: too large"
