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

from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES, POSTGRES_CONSUMER
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.tenancy import parse_tenant
from airflow_provider_atlan_meta.notifications.atlan_meta import AtlanMetaNotifier
from airflow_provider_atlan_meta.operators.ingest import RUNNERS, SINKS, IngestOperator
from airflow_provider_atlan_meta.operators.propagate import PropagateOperator
from airflow_provider_atlan_meta.triggers.kafka_offset_range import KafkaOffsetRangeTrigger

RESERVED_PREFIX = "atlan_meta_"
MAX_RECORDS = 1_000_000

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,100}")
# in the past: a DAG starts at once when it is switched on; the ledger decides what it does, not a date
_START = datetime(2026, 1, 1, tzinfo=UTC)
# a wake-up during a run stays as one queue row and makes exactly one run afterwards: wake-ups are not lost
_MAX_ACTIVE_RUNS = 1


@dataclass(frozen=True, kw_only=True)
class DagOptions:
    """What one set of DAGs is built from.

    :param prefix: of DAG ids, asset names, asset uris and watch ids: unique per set.
    :param topic: the topic to ingest.
    :param changes_topic: the topic whose changes are propagated; empty: the set has no such DAG.
    :param postgres_conn_id: the store, role meta_ingest. ``postgres_consumer_conn_id``: the same, role meta_consumer.
    :param sinks: the stores that ingest writes: ``postgres``, and of ``cassandra`` and ``atlas`` those that follow it.
    :param schedule: cron of the sweep; empty: asset events only.
    :param watch: wake up when a topic grows; off: the sweep alone.
    :param poll_schedule: cron of the poll; empty: by hand only.
    :param tenants: whom the set serves: shown in tags and alerts.
    :param poll_tenants: whom the poll asks for; empty: ``tenants``.
    :param alert_channel: Slack channel id; None: ``[atlan_meta] alert_channel`` when an alert is due.
    """

    prefix: str
    topic: str
    changes_topic: str = ""
    kafka_conn_id: str = KAFKA
    postgres_conn_id: str = POSTGRES
    postgres_consumer_conn_id: str = POSTGRES_CONSUMER
    schedule: str = "* * * * *"
    poll_schedule: str = "*/5 * * * *"
    watch: bool = True
    owner: str = "atlan-meta"
    tags: tuple[str, ...] = ("atlan-meta",)
    pool: str = "default_pool"
    queue: str = ""
    sinks: tuple[str, ...] = SINKS[:1]
    tenants: tuple[str, ...] = ()
    poll_tenants: tuple[str, ...] = ()
    alert_channel: str | None = None
    alert_slack_conn_id: str | None = None

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError(f"prefix {self.prefix!r} must be 1 to 100 of A-Z a-z 0-9 _ . -")
        for tenant in (*self.tenants, *self.poll_tenants):
            parse_tenant(tenant)

    @classmethod
    def from_settings(cls, settings: Settings | None = None, **overrides: Any) -> DagOptions:
        """The ``[atlan_meta]`` settings; ``overrides`` are fields of this class and win."""
        settings = settings or Settings()
        options = cls(
            prefix=settings.text("dag_prefix"),
            topic=settings.topic("events"),
            changes_topic=settings.topic("changes"),
            schedule=settings.text("dag_schedule"),
            poll_schedule=settings.text("poll_schedule"),
            poll_tenants=_listed(settings.text("poll_tenants")),
            owner=settings.text("dag_owner"),
            tags=_listed(settings.text("dag_tags")),
            pool=settings.text("dag_pool"),
            queue=settings.text("dag_queue"),
            sinks=tuple(name.strip() for name in settings.text("dag_sinks").split(",")),
        )
        for name in {"tags", "tenants", "poll_tenants", "sinks"} & overrides.keys():
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
    from airflow_provider_atlan_meta.reprocessing_dags import build_redrive_dag, build_replay_dag
    from airflow_provider_atlan_meta.source_dags import build_poll_dag

    settings = Settings()
    if prefix.startswith(RESERVED_PREFIX) or prefix == settings.text("dag_prefix"):
        raise ConfigurationError(f"prefix {prefix!r} belongs to the DAGs of the package itself; take another")
    options = DagOptions.from_settings(settings, prefix=prefix, **overrides)
    dags = [build_ingest_dag(options), build_replay_dag(options), build_redrive_dag(options)]
    if options.tenants or options.poll_tenants:
        dags.append(build_poll_dag(options))
    if options.changes_topic:
        dags.append(build_propagate_dag(options))
    for dag in dags:
        if dag.dag_id in namespace:
            raise ConfigurationError(f"this file has {dag.dag_id!r} already; take another prefix")
        namespace[dag.dag_id] = dag


def build_ingest_dag(options: DagOptions) -> DAG:
    """``<prefix>ingest``: drains the topic into PostgreSQL, woken by the topic and swept by the clock."""
    dag = _waking_dag(
        options,
        name="ingest",
        topic=options.topic,
        description=f"{options.topic} into PostgreSQL, exactly once",
        doc_md=_INGEST_DOC.format(
            topic=options.topic, kafka=options.kafka_conn_id, store=options.postgres_conn_id, failing=_FAILING
        ),
        params=_ingest_params(options),
    )
    IngestOperator(
        task_id="ingest",
        dag=dag,
        topic=options.topic,
        kafka_conn_id=options.kafka_conn_id,
        postgres_conn_id=options.postgres_conn_id,
        tenants=options.tenants,
        **from_params(dag),
        **task_arguments(options),
    )
    return dag


def build_propagate_dag(options: DagOptions) -> DAG:
    """``<prefix>propagate``: tells the subscribers what changed, woken by the changes topic and swept by the clock.

    :raises ConfigurationError: the options name no ``changes_topic``.
    """
    if not options.changes_topic:
        raise ConfigurationError(f"{options.prefix}propagate needs a changes_topic")
    dag = _waking_dag(
        options,
        name="propagate",
        topic=options.changes_topic,
        description=f"{options.changes_topic} to the systems that subscribed",
        doc_md=_PROPAGATE_DOC.format(
            topic=options.changes_topic,
            kafka=options.kafka_conn_id,
            store=options.postgres_consumer_conn_id,
            failing=_FAILING,
        ),
        params=_propagate_params(),
    )
    PropagateOperator(
        task_id="propagate",
        dag=dag,
        topic=options.changes_topic,
        kafka_conn_id=options.kafka_conn_id,
        postgres_conn_id=options.postgres_consumer_conn_id,
        tenants=options.tenants,
        **from_params(dag),
        **task_arguments(options),
    )
    return dag


def _waking_dag(
    options: DagOptions, *, name: str, topic: str, description: str, doc_md: str, params: dict[str, Param]
) -> DAG:
    """Follows a topic: what every such DAG has in common."""
    return DAG(
        dag_id=f"{options.prefix}{name}",
        description=description,
        doc_md=doc_md,
        schedule=_schedule(options, topic),
        start_date=_START,
        max_active_runs=_MAX_ACTIVE_RUNS,
        dagrun_timeout=timedelta(minutes=90),
        params=params,
        **dag_arguments(options),
    )


def dag_arguments(options: DagOptions) -> dict[str, Any]:
    """What every DAG of a set has in common."""
    return {
        "catchup": False,
        "is_paused_upon_creation": True,
        "tags": sorted({*options.tags, *(f"tenant:{tenant}" for tenant in options.tenants)}),
        "on_failure_callback": AtlanMetaNotifier(
            channel=options.alert_channel,
            slack_conn_id=options.alert_slack_conn_id,
            tenant=",".join(options.tenants),
        ),
    }


def task_arguments(options: DagOptions) -> dict[str, Any]:
    """What every task of a set has in common."""
    arguments = {
        "owner": options.owner,
        "pool": options.pool,
        "execution_timeout": timedelta(minutes=10),
    }
    return arguments | ({"queue": options.queue} if options.queue else {})


def from_params(dag: DAG) -> dict[str, Any]:
    """Each Param of the form is the operator's argument of the same name."""
    return {name: f"{{{{ params.{name} }}}}" for name in dag.params}


def _schedule(options: DagOptions, topic: str) -> Any:
    sweep = CronTriggerTimetable(options.schedule, timezone="UTC") if options.schedule else None
    if not options.watch:
        return sweep
    asset = _asset(options, topic)
    return AssetOrTimeSchedule(timetable=sweep, assets=[asset]) if sweep else [asset]


def _asset(options: DagOptions, topic: str) -> Asset:
    """The topic as this set sees it; every name carries the prefix, so that sets never share a watcher."""
    name = f"{options.prefix}{topic}"
    trigger = KafkaOffsetRangeTrigger(
        topic=topic, kafka_conn_id=options.kafka_conn_id, watch_id=f"{name}_watch"
    )
    return Asset(
        name=name,
        uri=f"kafka://{options.kafka_conn_id}/{topic}?set={options.prefix}",
        watchers=[AssetWatcher(name=f"{name}_watch", trigger=trigger)],
    )


def moment_param(title: str, description: str) -> Param:
    """A time that may be left out."""
    return Param(None, type=["string", "null"], format="date-time", title=title, description=description)


def _max_records(of: str) -> Param:
    return Param(
        10_000,
        type="integer",
        minimum=1,
        maximum=MAX_RECORDS,
        title=of.capitalize(),
        description=f"Stop after so many {of}; the rest is the next run's.",
    )


def _dry_run(without: str) -> Param:
    return Param(
        False,
        type="boolean",
        title="Dry run",
        description=f"Read and count only: {without}, the ledger stays where it is.",
    )


def _propagate_params() -> dict[str, Param]:
    return {"max_records": _max_records("changes"), "dry_run": _dry_run("nobody is told")}


def _ingest_params(options: DagOptions) -> dict[str, Param]:
    return {
        "max_records": _max_records("records"),
        "dry_run": _dry_run("no row is written"),
        "runner": Param(
            RUNNERS[0],
            type="string",
            enum=list(RUNNERS),
            title="Runner",
            description="Where the work is done; local: in the task's own process.",
        ),
        "sinks": Param(
            list(options.sinks),
            type="array",
            items={"type": "string", "enum": list(SINKS)},
            examples=list(SINKS),
            minItems=1,
            uniqueItems=True,
            title="Sinks",
            description="The stores to write: postgres, and those that follow it.",
        ),
    }


def _listed(text: str) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in text.split(",") if name.strip()}))


_INGEST_DOC = """\
Drains Kafka topic `{topic}` (connection `{kafka}`) into PostgreSQL (connection `{store}`), exactly once.

**When it runs.** At once when the topic grows (a watcher looks at its end offsets), and every minute for
what came while no watcher ran. The ledger in PostgreSQL decides what is left to do, not the event that woke
the run: asset events that belong to no run are normal.

**Params** of a manual run: `max_records`, `dry_run` (reads and counts, writes nothing), `runner`, `sinks`
(`postgres`, and the stores that follow it). A Param that is not in the form is refused.

**Together with `atlan-meta serve ingest`.** Partitions that a live service drains are left to it; the run
ends green and its log names the owner.

{failing}"""

_PROPAGATE_DOC = """\
Reads the changes on Kafka topic `{topic}` (connection `{kafka}`) and tells every subscription they match:
Slack, webhooks. Which subscriptions there are, what was sent and what waits for another try is in PostgreSQL
(connection `{store}`).

**When it runs.** At once when the topic grows (a watcher looks at its end offsets), and every minute for
what came while no watcher ran and for deliveries whose next try is due. The ledger in PostgreSQL decides what
is left to do, not the event that woke the run: asset events that belong to no run are normal.

**Params** of a manual run: `max_records`, `dry_run` (reads and counts, sends and writes nothing). A Param that
is not in the form is refused.

**Together with `atlan-meta serve consumer`.** Partitions that a live service works on are left to it; the run
ends green and its log names the owner.

**A receiver that is away** fails no run: its deliveries are parked and tried again, the others go on.

{failing}"""

_FAILING = """\
**When it fails.** Failures that may pass are tried again after 5, 15, 45, 135 and 300 s; a wrong
configuration fails at once. The last try's log says what to do; nothing is lost: the ledger stands at the
last commit. One Slack alert is sent when `[atlan_meta] alert_channel` is set, and the next run that succeeds
resolves it. Clearing the failed task or waiting for the next run is the same.
"""
