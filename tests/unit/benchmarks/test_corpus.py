"""The corpus is the same in every run, natural in shape and accepted whole."""

from __future__ import annotations

from itertools import islice

import msgspec
import pytest

from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.events import decode_event
from airflow_provider_atlan_meta.core.merging import plan_batch
from benchmarks import corpus, pydantic_twin
from benchmarks.corpus import LONG, SHAPES, SHORT, USUAL, Shape


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_same_seed_makes_the_same_records(shape: Shape) -> None:
    assert list(corpus.records(50, shape=shape)) == list(corpus.records(50, shape=shape))


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    assert list(islice(corpus.records(500), 100)) == list(corpus.records(100))


@pytest.mark.parametrize(
    ("shape", "low", "high"), [(SHORT, 350, 700), (USUAL, 1650, 2000), (LONG, 12_000, 16_000)]
)
def test_bodies_have_the_size_their_shape_is_named_after(shape: Shape, low: int, high: int) -> None:
    sizes = [
        len(bytes(decode_event(record.value or b"").data)) for record in corpus.records(200, shape=shape)
    ]
    assert low <= min(sizes)
    assert max(sizes) <= high


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_ours_and_the_pydantic_twins_make_the_same_rows(shape: Shape) -> None:
    for record in corpus.records(200, shape=shape):
        assert enrich(record) == pydantic_twin.enrich(record) == pydantic_twin.enrich_mapped(record)


def test_a_tenth_is_said_again_and_a_few_incidents_are_spoken_of_most() -> None:
    rows = [enrich(record) for record in corpus.records(1500)]
    duplicates = plan_batch(rows, {}).duplicates
    subjects = [row.subject for row in rows]
    most = max(subjects.count(subject) for subject in set(subjects))
    assert 0.02 * len(rows) < duplicates < 0.12 * len(rows)
    assert most > 0.04 * len(rows)


def test_every_record_has_a_key_of_its_own_however_often_its_webhook_came() -> None:
    records = list(corpus.repeated(300, distinct=100, start_ms=corpus.START_MS))
    rows = [enrich(record) for record in records]
    assert len({row.event_key for row in rows}) == 300
    assert len({row.event_id for row in rows}) <= 100
    assert [row.offset for row in rows] == list(range(300))


def test_events_may_touch_no_incident() -> None:
    rows = [enrich(record) for record in corpus.records(20, touch_incidents=False)]
    assert all(row.statement is None and row.subject.startswith("event:") for row in rows)


def test_bodies_are_shaped_like_the_vendors() -> None:
    body = msgspec.json.decode(decode_event(next(corpus.records(1)).value or b"").data)
    assert set(body) >= {"account", "action", "payload", "type", "version"}
    item = body["payload"]["event_list"][0]
    assert {"data", "rule", "table_name"} == set(item)
    assert item["data"]["hits"]
    assert item["rule"]["comparisons"]
