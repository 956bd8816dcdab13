"""Builds the DAGs; a DAG file only calls it.

Parsing costs little more than Airflow's own SDK: settings are read, no client library is imported.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable, Param

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.tenancy import parse_tenant
from airflow_provider_atlan_meta.notifications.atlan_meta import AtlanMetaNotifier
from airflow_provider_atlan_meta.operators.ingest import RUNNERS, SINKS, IngestOperator
from airflow_provider_atlan_meta.triggers.kafka_offset_range import KafkaOffsetRangeTrigger

RESERVED_PREFIX = "atlan_meta_"
MAX_RECORDS = 1_000_000

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,100}")
# in the past: ingest starts at once when it is switched on; the ledger decides what it does, not a date
_START = datetime(2026, 1, 1, tzinfo=UTC)
# a wake-up during a run stays as one queue row and makes exactly one run afterwards: wake-ups are not lost
_MAX_ACTIVE_RUNS = 1


@dataclass(frozen=True, kw_only=True)
class DagOptions:
    """What one set of DAGs is built from.

    :param prefix: of DAG ids, asset names, asset uris and watch ids: unique per set.
    :param topic: the topic to ingest.
    :param schedule: cron of the sweep; empty: asset events only.
    :param watch: wake up when the topic grows; off: the sweep alone.
    :param tenants: whom the set serves: shown in tags and alerts.
    :param alert_channel: Slack channel id; None: ``[atlan_meta] alert_channel`` when an alert is due.
    """

    prefix: str
    topic: str
    kafka_conn_id: str = KAFKA
    postgres_conn_id: str = POSTGRES
    schedule: str = "* * * * *"
    watch: bool = True
    owner: str = "atlan-meta"
    tags: tuple[str, ...] = ("atlan-meta",)
    pool: str = "default_pool"
    queue: str = ""
    tenants: tuple[str, ...] = ()
    alert_channel: str | None = None
    alert_slack_conn_id: str | None = None

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError(f"prefix {self.prefix!r} must be 1 to 100 of A-Z a-z 0-9 _ . -")
        for tenant in self.tenants:
            parse_tenant(tenant)

    @classmethod
    def from_settings(cls, settings: Settings | None = None, **overrides: Any) -> DagOptions:
        """The ``[atlan_meta]`` settings; ``overrides`` are fields of this class and win."""
        settings = settings or Settings()
        options = cls(
            prefix=settings.text("dag_prefix"),
            topic=settings.topic("events"),
            schedule=settings.text("dag_schedule"),
            owner=settings.text("dag_owner"),
            tags=_tags(settings.text("dag_tags")),
            pool=settings.text("dag_pool"),
            queue=settings.text("dag_queue"),
        )
        for name in {"tags", "tenants"} & overrides.keys():
            overrides[name] = tuple(overrides[name])
        return replace(options, **overrides)


def build_dags(namespace: MutableMapping[str, Any], *, prefix: str, **overrides: Any) -> None:
    """A further set of DAGs, from a file in your DAGs folder::

        from airflow_provider_atlan_meta import build_dags

        build_dags(globals(), prefix="acme_", topic="acme.events.v1", tenants=["acme"])

    :param overrides: fields of ``DagOptions``.
    :raises ConfigurationError: the prefix is reserved or a DAG id is taken: equal ids in two files replace
        one another at every parse, and Airflow does not say so.
    """
    settings = Settings()
    if prefix.startswith(RESERVED_PREFIX) or prefix == settings.text("dag_prefix"):
        raise ConfigurationError(f"prefix {prefix!r} belongs to the DAGs of the package itself; take another")
    options = DagOptions.from_settings(settings, prefix=prefix, **overrides)
    for dag in (build_ingest_dag(options),):
        if dag.dag_id in namespace:
            raise ConfigurationError(f"this file has {dag.dag_id!r} already; take another prefix")
        namespace[dag.dag_id] = dag


def build_ingest_dag(options: DagOptions) -> DAG:
    """``<prefix>ingest``: drains the topic into PostgreSQL, woken by the topic and swept by the clock."""
    dag = DAG(
        dag_id=f"{options.prefix}ingest",
        description=f"{options.topic} into PostgreSQL, exactly once",
        doc_md=_INGEST_DOC.format(
            topic=options.topic, kafka=options.kafka_conn_id, store=options.postgres_conn_id
        ),
        schedule=_schedule(options),
        start_date=_START,
        catchup=False,
        is_paused_upon_creation=True,
        max_active_runs=_MAX_ACTIVE_RUNS,
        dagrun_timeout=timedelta(minutes=90),
        tags=sorted({*options.tags, *(f"tenant:{tenant}" for tenant in options.tenants)}),
        params=_ingest_params(),
        on_failure_callback=AtlanMetaNotifier(
            channel=options.alert_channel,
            slack_conn_id=options.alert_slack_conn_id,
            tenant=",".join(options.tenants),
        ),
    )
    IngestOperator(
        task_id="ingest",
        dag=dag,
        owner=options.owner,
        pool=options.pool,
        execution_timeout=timedelta(minutes=10),
        kafka_conn_id=options.kafka_conn_id,
        postgres_conn_id=options.postgres_conn_id,
        topic=options.topic,
        max_records="{{ params.max_records }}",
        dry_run="{{ params.dry_run }}",
        runner="{{ params.runner }}",
        sinks="{{ params.sinks }}",
        tenants=options.tenants,
        **({"queue": options.queue} if options.queue else {}),
    )
    return dag


def _schedule(options: DagOptions) -> Any:
    sweep = CronTriggerTimetable(options.schedule, timezone="UTC") if options.schedule else None
    if not options.watch:
        return sweep
    asset = _asset(options)
    return AssetOrTimeSchedule(timetable=sweep, assets=[asset]) if sweep else [asset]


def _asset(options: DagOptions) -> Asset:
    """The topic as this set sees it; every name carries the prefix, so that sets never share a watcher."""
    name = f"{options.prefix}{options.topic}"
    trigger = KafkaOffsetRangeTrigger(
        topic=options.topic, kafka_conn_id=options.kafka_conn_id, watch_id=f"{name}_watch"
    )
    return Asset(
        name=name,
        uri=f"kafka://{options.kafka_conn_id}/{options.topic}?set={options.prefix}",
        watchers=[AssetWatcher(name=f"{name}_watch", trigger=trigger)],
    )


def _ingest_params() -> dict[str, Param]:
    return {
        "max_records": Param(
            10_000,
            type="integer",
            minimum=1,
            maximum=MAX_RECORDS,
            title="Records",
            description="Stop after so many records; the rest is the next run's.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Read and count only: no row is written, the ledger stays where it is.",
        ),
        "runner": Param(
            RUNNERS[0],
            type="string",
            enum=list(RUNNERS),
            title="Runner",
            description="Where the work is done; local: in the task's own process.",
        ),
        "sinks": Param(
            list(SINKS),
            type="array",
            items={"type": "string", "enum": list(SINKS)},
            examples=list(SINKS),
            minItems=1,
            uniqueItems=True,
            title="Sinks",
            description="The stores to write.",
        ),
    }


def _tags(text: str) -> tuple[str, ...]:
    return tuple(sorted({tag.strip() for tag in text.split(",") if tag.strip()}))


_INGEST_DOC = """\
Drains Kafka topic `{topic}` (connection `{kafka}`) into PostgreSQL (connection `{store}`), exactly once.

**When it runs.** At once when the topic grows (a watcher looks at its end offsets), and every minute for
what came while no watcher ran. The ledger in PostgreSQL decides what is left to do, not the event that woke
the run: asset events that belong to no run are normal.

**Params** of a manual run: `max_records`, `dry_run` (reads and counts, writes nothing), `runner`, `sinks`.
A Param that is not in the form is refused.

**Together with `atlan-meta serve ingest`.** Partitions that a live service drains are left to it; the run
ends green and its log names the owner.

**When it fails.** Failures that may pass are tried again after 5, 15, 45, 135 and 300 s; a wrong
configuration fails at once. The last try's log says what to do; nothing is lost: the ledger stands at the
last commit. One Slack alert is sent when `[atlan_meta] alert_channel` is set, and the next run that succeeds
resolves it. Clearing the failed task or waiting for the next run is the same.
"""
