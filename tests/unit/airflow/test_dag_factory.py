from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, AssetOrTimeSchedule
from airflow.sdk.exceptions import ParamValidationError

from airflow_provider_atlan_meta import DagOptions, build_dags
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.dag_factory import build_ingest_dag
from airflow_provider_atlan_meta.notifications.atlan_meta import AtlanMetaNotifier


def options(**changes: Any) -> DagOptions:
    return DagOptions(**{"prefix": "acme_", "topic": "meta.events.v1", **changes})


def assets_of(dag: DAG) -> list[Any]:
    return list(dag.timetable.asset_condition.objects)  # type: ignore[union-attr]


# ---- what a parse costs and leaves


def test_importing_the_provider_costs_at_most_50_ms_over_the_sdk(import_milliseconds: float) -> None:
    assert import_milliseconds <= 50


def test_a_parse_imports_no_client_library(parsed: dict[str, Any]) -> None:
    assert parsed["clients"] == []


def test_the_shipped_files_parse_and_are_found_where_they_are(parsed: dict[str, Any]) -> None:
    assert parsed["import_errors"] == {}
    assert list(parsed["files"]) == ["atlan_meta_ingest"]
    assert parsed["files"]["atlan_meta_ingest"].endswith("/dags/atlan_meta_ingest.py")


# ---- the ingest DAG


def test_the_dag_is_a_safe_guest_in_any_airflow() -> None:
    dag = build_ingest_dag(options())

    assert dag.dag_id == "acme_ingest"
    assert dag.is_paused_upon_creation is True
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    assert dag.dagrun_timeout is not None
    task = dag.get_task("ingest")
    assert task.execution_timeout == timedelta(minutes=10)
    assert task.retries == 5
    assert task.retry_delay == timedelta(seconds=10)
    assert task.retry_policy is not None
    assert isinstance(dag.on_failure_callback, AtlanMetaNotifier)
    assert dag.on_success_callback is None
    assert "meta.events.v1" in (dag.doc_md or "")


def test_it_wakes_by_asset_and_sweeps_by_the_minute() -> None:
    dag = build_ingest_dag(options())

    assert isinstance(dag.schedule, AssetOrTimeSchedule)
    (asset,) = assets_of(dag)
    (watcher,) = asset.watchers
    for name in (asset.name, asset.uri, watcher.name, watcher.trigger.watch_id):
        assert "acme_" in name
    assert watcher.trigger.topic == "meta.events.v1"


def test_two_sets_share_neither_asset_nor_watcher() -> None:
    one, other = (assets_of(build_ingest_dag(options(prefix=prefix)))[0] for prefix in ("a_", "b_"))

    assert one.name != other.name
    assert one.uri != other.uri
    assert one.watchers[0].trigger.serialize() != other.watchers[0].trigger.serialize()


def test_the_sweep_and_the_watcher_can_be_switched_off() -> None:
    assert not build_ingest_dag(options(schedule="", watch=False)).timetable.can_be_scheduled
    assert [a.name for a in assets_of(build_ingest_dag(options(schedule="")))] == ["acme_meta.events.v1"]
    assert build_ingest_dag(options(watch=False)).timetable.can_be_scheduled


def test_tenants_are_shown_in_tags_and_alerts() -> None:
    dag = build_ingest_dag(options(tenants=("acme",)))

    assert "tenant:acme" in dag.tags
    assert dag.on_failure_callback.tenant == "acme"  # type: ignore[union-attr]
    task: Any = dag.get_task("ingest")
    assert task.tenants == ("acme",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_records", 0),
        ("max_records", 1_000_001),
        ("max_records", "many"),
        ("max_records", 1.5),
        ("dry_run", "yes"),
        ("runner", "flink"),
        ("sinks", []),
        ("sinks", ["cassandra"]),
        ("sinks", "postgres"),
    ],
)
def test_the_form_refuses_a_value_outside_its_limits(name: str, value: Any) -> None:
    params = build_ingest_dag(options()).params

    with pytest.raises(ParamValidationError, match=name):
        params[name] = value


def test_the_form_has_defaults_that_work() -> None:
    assert build_ingest_dag(options()).params.validate() == {
        "max_records": 10_000,
        "dry_run": False,
        "runner": "local",
        "sinks": ["postgres"],
    }


# ---- options and stubs


def test_options_come_from_the_settings_and_overrides_win() -> None:
    settings = Settings(
        {
            "AIRFLOW__ATLAN_META__TOPIC_PREFIX": "lake",
            "AIRFLOW__ATLAN_META__DAG_TAGS": "b, a,,",
            "AIRFLOW__ATLAN_META__DAG_QUEUE": "big",
            "AIRFLOW_CONFIG": "/nowhere",
        }
    )

    made = DagOptions.from_settings(settings, prefix="acme_", tenants=["acme"])

    assert (made.prefix, made.topic, made.tags, made.queue) == ("acme_", "lake.events.v1", ("a", "b"), "big")
    assert made.tenants == ("acme",)
    assert build_ingest_dag(made).get_task("ingest").queue == "big"


def test_a_stub_gets_its_own_dags() -> None:
    namespace: dict[str, Any] = {}

    build_dags(namespace, prefix="acme_", topic="acme.events.v1", tenants=["acme"])

    assert list(namespace) == ["acme_ingest"]
    assert assets_of(namespace["acme_ingest"])[0].watchers[0].trigger.topic == "acme.events.v1"


@pytest.mark.parametrize("prefix", ["atlan_meta_", "atlan_meta_acme_"])
def test_the_prefix_of_the_shipped_dags_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="belongs to the DAGs of the package"):
        build_dags({}, prefix=prefix)


def test_a_renamed_prefix_of_the_shipped_dags_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ATLAN_META__DAG_PREFIX", "lake_")

    with pytest.raises(ConfigurationError):
        build_dags({}, prefix="lake_")


def test_an_id_that_is_taken_is_refused() -> None:
    namespace: dict[str, Any] = {}
    build_dags(namespace, prefix="acme_")

    with pytest.raises(ConfigurationError, match="acme_ingest"):
        build_dags(namespace, prefix="acme_")


@pytest.mark.parametrize("prefix", ["", "a b", "ü_", "x" * 101])
def test_a_prefix_that_is_no_dag_id_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        build_dags({}, prefix=prefix)


def test_a_tenant_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="tenant"):
        build_dags({}, prefix="acme_", tenants=["Not A Tenant"])


def test_a_misspelled_option_is_refused() -> None:
    with pytest.raises(TypeError, match="topik"):
        build_dags({}, prefix="acme_", topik="x")
