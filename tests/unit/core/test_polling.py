from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.polling import OffsetRange, OffsetWatch, WatchPolicy

POLICY = WatchPolicy(poll_seconds=0.25, min_interval_seconds=1.0, backoff_max_seconds=60.0)


def started(ends: dict[int, int], *, now: float = 0.0) -> OffsetWatch:
    watch = OffsetWatch(POLICY)
    watch.on_ends(ends, now=now)
    return watch


def test_the_first_look_always_tells_even_of_an_empty_topic() -> None:
    outcome = OffsetWatch(POLICY).on_ends({1: 0, 0: 0}, now=100.0)

    assert outcome.moved == (
        OffsetRange(partition=0, start=0, end=0),
        OffsetRange(partition=1, start=0, end=0),
    )


def test_nothing_moved_is_nothing_to_tell_and_the_next_look_is_soon() -> None:
    outcome = started({0: 5}).on_ends({0: 5}, now=10.0)

    assert outcome.moved == ()
    assert outcome.wait_seconds == 0.25


def test_all_partitions_that_moved_are_told_at_once() -> None:
    outcome = started({0: 5, 1: 7, 2: 9}).on_ends({0: 6, 1: 7, 2: 12}, now=10.0)

    assert outcome.moved == (
        OffsetRange(partition=0, start=5, end=6),
        OffsetRange(partition=2, start=9, end=12),
    )


def test_tellings_are_a_second_apart_and_lose_nothing_in_between() -> None:
    watch = started({0: 5}, now=0.0)

    early = watch.on_ends({0: 6}, now=0.6)
    assert early.moved == ()
    assert early.wait_seconds == pytest.approx(0.4)

    late = watch.on_ends({0: 8}, now=1.0)
    assert late.moved == (OffsetRange(partition=0, start=5, end=8),)


def test_a_partition_that_was_added_starts_at_zero() -> None:
    outcome = started({0: 5}).on_ends({0: 5, 1: 3}, now=10.0)

    assert outcome.moved == (OffsetRange(partition=1, start=0, end=3),)


def test_a_topic_made_anew_with_smaller_offsets_is_told_too() -> None:
    outcome = started({0: 500}).on_ends({0: 2}, now=10.0)

    assert outcome.moved == (OffsetRange(partition=0, start=500, end=2),)


def test_a_topic_made_anew_and_still_empty_is_told_once() -> None:
    watch = started({0: 500})

    assert watch.on_ends({0: 0}, now=10.0).moved
    assert not watch.on_ends({0: 0}, now=20.0).moved


def test_failures_wait_longer_each_time_up_to_a_minute() -> None:
    watch = OffsetWatch(POLICY)

    waits = [watch.on_error(jitter=1.0).wait_seconds for _ in range(9)]

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_jitter_shortens_a_wait_by_at_most_a_fifth() -> None:
    assert OffsetWatch(POLICY).on_error(jitter=0.0).wait_seconds == pytest.approx(0.8)


def test_a_good_look_ends_the_back_off() -> None:
    watch = started({0: 5})
    for _ in range(5):
        watch.on_error(jitter=1.0)

    watch.on_ends({0: 5}, now=10.0)

    assert watch.on_error(jitter=1.0).wait_seconds == 1


def test_what_came_during_failures_is_told_after_them() -> None:
    watch = started({0: 5})
    watch.on_error(jitter=0.5)

    assert watch.on_ends({0: 9}, now=30.0).moved == (OffsetRange(partition=0, start=5, end=9),)
