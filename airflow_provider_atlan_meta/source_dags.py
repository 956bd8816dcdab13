"""DAGs that ask sources, so that nothing depends on what they sent."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from airflow_provider_atlan_meta.dag_factory import DagOptions, dag_arguments, moment_param, task_arguments
from airflow_provider_atlan_meta.operators.poll import PollMonteCarloOperator


def build_poll_dag(options: DagOptions) -> DAG:
    """``<prefix>poll``: alerts of Monte Carlo whose webhooks were lost, and the last word on those that were not."""
    dag = DAG(
        dag_id=f"{options.prefix}poll",
        description=f"Alerts that Monte Carlo's API knows, to {options.topic}",
        doc_md=_DOC.format(
            topic=options.topic,
            kafka=options.kafka_conn_id,
            store=options.postgres_conn_id,
        ),
        schedule=CronTriggerTimetable(options.poll_schedule, timezone="UTC")
        if options.poll_schedule
        else None,
        max_active_runs=1,
        dagrun_timeout=timedelta(minutes=90),
        params=_params(options),
        **dag_arguments(options),
    )
    PollMonteCarloOperator(
        task_id="poll",
        dag=dag,
        topic=options.topic,
        kafka_conn_id=options.kafka_conn_id,
        postgres_conn_id=options.postgres_conn_id,
        poll_tenants="{{ params.tenants }}",
        since="{{ params['from'] or '' }}",
        until="{{ params['to'] or '' }}",
        tenants=options.tenants,
        **task_arguments(options),
    )
    return dag


def _params(options: DagOptions) -> dict[str, Param]:
    return {
        "tenants": Param(
            list(options.poll_tenants or options.tenants),
            type="array",
            items={"type": "string", "pattern": "^[a-z][a-z0-9]{1,30}$"},
            uniqueItems=True,
            title="Tenants",
            description="Whom to ask for.",
        ),
        "from": moment_param("From", "Only alerts last updated since; empty: what is new."),
        "to": moment_param("To", "Only alerts last updated before; empty: all."),
    }


_DOC = """\
Asks Monte Carlo's API what changed since the last run, and for every incident that only webhooks told of. What the
store (connection `{store}`) does not know goes onto Kafka topic `{topic}` (connection `{kafka}`), and from there the
way of every event. Each tenant is asked for with the API key in its connection
`atlan_meta_montecarlo_tenant_<tenant>`.

**How far it has read** is an Airflow Variable per tenant, `<dag id>_cursor_<tenant>`. It is the largest time of update
that was read, never the clock; each run begins 10 minutes before it, the first one a day back.

**Params** of a manual run: `tenants`, `from` and `to` (times of update; the Variable stays as it is). A Param that is
not in the form is refused.

**When it fails.** Failures that may pass are tried again after 5, 15, 45, 135 and 300 s, or when Monte Carlo says; a
wrong key fails at once, after the other tenants had their turn. Nothing is lost: the next run asks again.
"""
