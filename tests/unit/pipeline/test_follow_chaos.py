"""Two workers, commits, lost answers, late effects, pauses, kills: at rest the store equals PostgreSQL.

Planted mistakes must make it fail, or it would prove nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_atlan_meta.core.errors import LeaseLostError
from airflow_provider_atlan_meta.core.projection import Candidate, Settlement
from airflow_provider_atlan_meta.core.stores import Landed, Landing, RowRef, StateRow
from airflow_provider_atlan_meta.pipeline.follow import LEASE, Follow, FollowOutcome
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase, ProjectionRow
from airflow_provider_atlan_meta.testing.memory_projection import MemoryProjection
from tests.unit.pipeline.following_world import SINK, stories


@pytest.mark.parametrize("has_echo", [True, False], ids=["anything at any time", "bounded, without echoes"])
def test_at_rest_the_store_equals_postgresql(has_echo: bool) -> None:
    for seed, world in enumerate(stories(range(150), has_echo=has_echo)):
        assert world.wrong() == [], f"story {seed}"


class _CountsEveryAnswer(MemoryProjection):
    """Projected, whoever else was at the row since the claim."""

    def _settled(self, stored: ProjectionRow | None, one: Settlement) -> ProjectionRow:
        if stored is not None:
            stored = replace(stored, version=one.version)
        return super()._settled(stored, one)


class _NoReread(Follow):
    def _read_again(self, refs: Sequence[RowRef]) -> dict[RowRef, Candidate]:
        return {}


class _DropsWhatItSent(Follow):
    """After the answer it finds its lease gone, and forgets what it did."""

    def _read_again(self, refs: Sequence[RowRef]) -> dict[RowRef, Candidate]:
        if self._lease and not self._leases.renew(LEASE, [self._lease]):
            raise LeaseLostError("gone")
        return super()._read_again(refs)


class _ProjectsBeforeTheAnswer(Follow):
    def _write(self, claimed: list[Candidate], done: FollowOutcome) -> None:
        self._projection.settle(
            [
                Settlement(one.row.ref, one.standing.version, one.row.revision, one.row.content_hash)
                for one in claimed
            ]
        )
        self._sink.write([one.row for one in claimed])


class _UnknownIsDone(Follow):
    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._sink = _Optimist(self._sink)


class _Optimist:
    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.name = sink.name

    def write(self, rows: Sequence[StateRow]) -> list[Landed]:
        return [
            one._replace(landing=Landing.DONE) if one.landing is Landing.UNKNOWN else one
            for one in self._sink.write(rows)
        ]

    def close(self) -> None:
        return


class _TakesClaimsForNothing(MemoryProjection):
    """A claim somebody left behind keeps nobody away."""

    def __init__(self, database: MemoryDatabase, *, sink: str) -> None:
        super().__init__(database, sink=sink, claim_seconds=0.0)


_MISTAKES: dict[str, dict[str, Any]] = {
    "no re-read": {
        "make": _NoReread,
        "ledger": lambda database: _CountsEveryAnswer(database, sink=SINK),
    },
    "drop after lost lease": {"make": _DropsWhatItSent},
    "projected before the answer": {"make": _ProjectsBeforeTheAnswer},
    "unknown is done": {"make": _UnknownIsDone},
    "claims keep nobody away": {"ledger": lambda database: _TakesClaimsForNothing(database, sink=SINK)},
}


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_planted_mistake_is_found(mistake: str) -> None:
    assert any(world.wrong() for world in stories(range(600), has_echo=False, **_MISTAKES[mistake]))


def test_where_nothing_is_bounded_a_lost_echo_leaves_an_old_row_to_reconcile() -> None:
    assert any(world.wrong() for world in stories(range(600), has_echo=True, loses_echoes=True))
