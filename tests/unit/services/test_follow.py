"""Which stores follow beside the ingest service, and what is told of them."""

from __future__ import annotations

import json

import pytest

from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.config.connections import ATLAS, CASSANDRA, POSTGRES, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.services import follow, follow_process
from airflow_provider_atlan_meta.services.follow import FollowOutcome
from airflow_provider_atlan_meta.services.follow_process import followers


def connections(*conn_ids: str) -> Connections:
    text = json.dumps({"conn_type": "generic", "host": "127.0.0.1", "schema": "db"})
    return Connections(environ={f"AIRFLOW_CONN_{one.upper()}": text for one in (POSTGRES, *conn_ids)})


class Made:
    """What ``followers`` asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stores: dict[str, str] = {}
        self.telling: follow.Telling | None = None
        monkeypatch.setattr(follow_process, "Followers", self)

    def __call__(
        self, stores: dict[str, object], *, owner: object, telling: follow.Telling, **_: object
    ) -> None:
        self.stores = {sink: info.conn_id for sink, info in stores.items()}  # type: ignore[attr-defined]
        self.telling = telling


@pytest.mark.parametrize(
    ("conn_ids", "stores"),
    [
        ((), {}),
        ((ATLAS,), {"atlas": ATLAS}),
        ((ATLAS, CASSANDRA), {"atlas": ATLAS, "cassandra": CASSANDRA}),
    ],
    ids=["none", "one", "both"],
)
def test_a_store_follows_once_it_has_a_connection(
    monkeypatch: pytest.MonkeyPatch, conn_ids: tuple[str, ...], stores: dict[str, str]
) -> None:
    made, known = Made(monkeypatch), connections(*conn_ids)

    followers(Settings({}), known, known.get, PrometheusMetrics())

    assert made.stores == stores


def test_rows_and_troubles_are_counted_by_store(monkeypatch: pytest.MonkeyPatch) -> None:
    made, known, metrics = Made(monkeypatch), connections(ATLAS), PrometheusMetrics()
    followers(Settings({}), known, known.get, metrics)
    assert made.telling is not None

    made.telling.followed(FollowOutcome(sink="atlas", written=3, rejected=1))
    made.telling.follow_trouble("atlas", TransientError("away"), 1.0)

    told = metrics.exposition()[0].decode()
    assert 'atlan_meta_follow_rows_total{outcome="written",sink="atlas"} 3.0' in told
    assert 'atlan_meta_follow_rows_total{outcome="rejected",sink="atlas"} 1.0' in told
    assert 'outcome="unchanged"' not in told
    assert 'atlan_meta_follow_restarts_total{sink="atlas"} 1.0' in told


def test_without_stores_nothing_is_started_and_a_wake_is_nothing() -> None:
    known = connections()
    made = followers(Settings({}), known, known.get, PrometheusMetrics())

    with made:
        made.wake()
