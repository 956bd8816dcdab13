from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, AssetOrTimeSchedule
from airflow.sdk.exceptions import ParamValidationError

from airflow_provider_atlan_meta import DagOptions, build_dags
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.dag_factory import build_ingest_dag, build_propagate_dag
from airflow_provider_atlan_meta.notifications.atlan_meta import AtlanMetaNotifier

Builder = Callable[[DagOptions], DAG]


def options(**changes: Any) -> DagOptions:
    topics = {"topic": "meta.events.v1", "changes_topic": "meta.changes.v1"}
    return DagOptions(**{"prefix": "acme_", **topics, **changes})


def assets_of(dag: DAG) -> list[Any]:
    return list(dag.timetable.asset_condition.objects)  # type: ignore[union-attr]


# ---- what a parse costs and leaves


def test_importing_the_provider_costs_at_most_50_ms_over_the_sdk(import_milliseconds: float) -> None:
    assert import_milliseconds <= 50


def test_a_parse_imports_no_client_library(parsed: dict[str, Any]) -> None:
    assert parsed["clients"] == []


def test_the_shipped_files_parse_and_are_found_where_they_are(parsed: dict[str, Any]) -> None:
    assert parsed["import_errors"] == {}
    names = ("ingest", "poll", "propagate", "redrive", "replay")
    assert set(parsed["files"]) == {f"atlan_meta_{name}" for name in names}
    for dag_id, file in parsed["files"].items():
        assert file.endswith(f"/dags/{dag_id}.py")


# ---- both DAGs

BUILT = [
    pytest.param(build_ingest_dag, "ingest", "meta.events.v1", id="ingest"),
    pytest.param(build_propagate_dag, "propagate", "meta.changes.v1", id="propagate"),
]


@pytest.mark.parametrize(("build", "name", "topic"), BUILT)
def test_the_dag_is_a_safe_guest_in_any_airflow(build: Builder, name: str, topic: str) -> None:
    dag = build(options())

    assert dag.dag_id == f"acme_{name}"
    assert dag.is_paused_upon_creation is True
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    assert dag.dagrun_timeout is not None
    task = dag.get_task(name)
    assert task.execution_timeout == timedelta(minutes=10)
    assert task.retries == 5
    assert task.retry_delay == timedelta(seconds=10)
    assert task.retry_policy is not None
    assert isinstance(dag.on_failure_callback, AtlanMetaNotifier)
    assert dag.on_success_callback is None
    assert topic in (dag.doc_md or "")
    assert "after 5, 15, 45, 135 and 300 s" in (dag.doc_md or "")


@pytest.mark.parametrize(("build", "name", "topic"), BUILT)
def test_it_wakes_by_asset_and_sweeps_by_the_minute(build: Builder, name: str, topic: str) -> None:
    dag = build(options())

    assert isinstance(dag.schedule, AssetOrTimeSchedule)
    (asset,) = assets_of(dag)
    (watcher,) = asset.watchers
    for name in (asset.name, asset.uri, watcher.name, watcher.trigger.watch_id):
        assert "acme_" in name
    assert watcher.trigger.topic == topic


def test_no_two_dags_share_an_asset_or_a_watcher() -> None:
    assets = [
        assets_of(build(options(prefix=prefix)))[0]
        for build in (build_ingest_dag, build_propagate_dag)
        for prefix in ("a_", "b_")
    ]

    assert len({asset.name for asset in assets}) == 4
    assert len({asset.uri for asset in assets}) == 4
    assert len({str(asset.watchers[0].trigger.serialize()) for asset in assets}) == 4


def test_the_sweep_and_the_watcher_can_be_switched_off() -> None:
    assert not build_ingest_dag(options(schedule="", watch=False)).timetable.can_be_scheduled
    assert [a.name for a in assets_of(build_ingest_dag(options(schedule="")))] == ["acme_meta.events.v1"]
    assert build_ingest_dag(options(watch=False)).timetable.can_be_scheduled


@pytest.mark.parametrize(("build", "name", "topic"), BUILT)
def test_tenants_are_shown_in_tags_and_alerts(build: Builder, name: str, topic: str) -> None:
    dag = build(options(tenants=("acme",)))

    assert "tenant:acme" in dag.tags
    assert dag.on_failure_callback.tenant == "acme"  # type: ignore[union-attr]
    task: Any = dag.get_task(name)
    assert task.tenants == ("acme",)


@pytest.mark.parametrize(("build", "name", "topic"), BUILT)
def test_every_param_of_the_form_reaches_the_task(build: Builder, name: str, topic: str) -> None:
    dag = build(options())
    task: Any = dag.get_task(name)

    given = {"is_dry_run" if param == "dry_run" else param for param in dag.params}
    for field in given:
        assert getattr(task, field) == f"{{{{ params.{field.removeprefix('is_')} }}}}"
    assert given <= set(task.template_fields)
    assert task.topic == topic


# ---- the propagate DAG


def test_propagate_works_as_the_consumers_role() -> None:
    task: Any = build_propagate_dag(options()).get_task("propagate")

    assert task.postgres_conn_id == "atlan_meta_postgres_consumer"


def test_the_form_of_propagate_has_defaults_that_work_and_limits() -> None:
    params = build_propagate_dag(options()).params

    assert params.validate() == {"max_records": 10_000, "dry_run": False}
    for name, value in (("max_records", 0), ("max_records", 1_000_001), ("dry_run", "yes")):
        with pytest.raises(ParamValidationError, match=name):
            params[name] = value


def test_without_a_changes_topic_there_is_nothing_to_propagate() -> None:
    with pytest.raises(ConfigurationError, match="acme_propagate needs a changes_topic"):
        build_propagate_dag(options(changes_topic=""))


# ---- the ingest DAG


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
        ("sinks", ["mongo"]),
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

    assert (made.prefix, made.tags, made.queue) == ("acme_", ("a", "b"), "big")
    assert (made.topic, made.changes_topic) == ("lake.events.v1", "lake.changes.v1")
    assert made.tenants == ("acme",)
    assert build_ingest_dag(made).get_task("ingest").queue == "big"


def test_a_stub_gets_its_own_dags() -> None:
    namespace: dict[str, Any] = {}

    build_dags(
        namespace,
        prefix="acme_",
        topic="acme.events.v1",
        changes_topic="acme.changes.v1",
        tenants=["acme"],
    )

    assert set(namespace) == {"acme_ingest", "acme_replay", "acme_redrive", "acme_propagate", "acme_poll"}
    assert namespace["acme_poll"].get_task("poll").topic == "acme.events.v1"
    assert namespace["acme_redrive"].get_task("redrive").topic == "acme.events.v1"
    waking = {name: namespace[name] for name in ("acme_ingest", "acme_propagate")}
    topics = {name: assets_of(dag)[0].watchers[0].trigger.topic for name, dag in waking.items()}
    assert topics == {"acme_ingest": "acme.events.v1", "acme_propagate": "acme.changes.v1"}


def test_a_stub_without_a_changes_topic_and_tenants_gets_no_dag_for_them() -> None:
    namespace: dict[str, Any] = {}

    build_dags(namespace, prefix="acme_", changes_topic="")

    assert list(namespace) == ["acme_ingest", "acme_replay", "acme_redrive"]


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
