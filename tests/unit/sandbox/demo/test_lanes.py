"""The ledger says which lane did the work."""

from __future__ import annotations

import time

import psycopg
import pytest

from airflow_provider_atlan_meta.sandbox.demo import lanes
from airflow_provider_atlan_meta.sandbox.demo.lanes import LaneWatch, TaskLease, lane_of, wait_until


def test_an_owner_label_names_its_lane() -> None:
    assert lane_of("service host:17") == "service"
    assert lane_of("ingest some/where:17") == "service"
    assert lane_of("atlan_meta_ingest/manual__2026-11-24T22:00:00+00:00/ingest#1") == "dag"


def test_a_tasks_label_is_its_address_in_airflow() -> None:
    lease = TaskLease.parse("atlan_meta_ingest/manual__2026-11-24T22:00:00+00:00/ingest#12")
    assert lease == TaskLease("atlan_meta_ingest", "manual__2026-11-24T22:00:00+00:00", "ingest", 12)


class Scripted:
    """A ledger whose positions are given, one look after the other; None: the store is away."""

    def __init__(self, looks: list[dict[int, tuple[int, str]] | None]) -> None:
        self._looks = looks

    def positions(self) -> dict[int, tuple[int, str]]:
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if look is None:
            raise psycopg.OperationalError("the store is away")
        return look

    def close(self) -> None: ...


def test_every_step_belongs_to_the_lane_that_owned_the_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_LOOK_SECONDS", 0.001)
    task = "d/manual__1/t#1"
    looks: list[dict[int, tuple[int, str]] | None] = [
        {0: (5, "service a:1")},
        {0: (7, "service a:1"), 1: (3, task)},
        None,
        {0: (7, task), 1: (4, task)},
        {0: (9, task), 1: (4, task)},
    ]
    with LaneWatch(Scripted(looks)) as watch:  # type: ignore[arg-type]
        deadline = time.monotonic() + 5
        while len(looks) > 1 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert watch.events == {"service": 2, "dag": 3 + 1 + 2}


def test_waiting_ends_when_it_is_true_or_the_time_is_up() -> None:
    answers = iter([False, True])

    def asked() -> bool:
        return next(answers)

    assert wait_until(asked, seconds=5, every=0)
    assert not wait_until(lambda: False, seconds=0)


def test_a_store_that_is_away_is_not_there_yet() -> None:
    def away() -> bool:
        raise psycopg.OperationalError

    assert not wait_until(away, seconds=0)
