"""DAGs that people start: what was set aside or stored before is worked on again."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param

from airflow_provider_atlan_meta.dag_factory import (
    DagOptions,
    dag_arguments,
    from_params,
    moment_param,
    task_arguments,
)
from airflow_provider_atlan_meta.operators.redrive import RedriveOperator
from airflow_provider_atlan_meta.operators.replay import MODES, ReplayOperator

# nobody answers: the run ends, the dead letters wait on
_ANSWER_WITHIN = timedelta(hours=24)


def build_replay_dag(options: DagOptions) -> DAG:
    """``<prefix>replay``: reads a range of the topic again, beside the live lanes."""
    dag = DAG(
        dag_id=f"{options.prefix}replay",
        description=f"A range of {options.topic} read again; the live cursor stays where it is",
        doc_md=_REPLAY_DOC.format(
            topic=options.topic, kafka=options.kafka_conn_id, store=options.postgres_conn_id
        ),
        schedule=None,
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=26),
        params=_replay_params(),
        **dag_arguments(options),
    )
    ReplayOperator(
        task_id="replay",
        dag=dag,
        topic=options.topic,
        kafka_conn_id=options.kafka_conn_id,
        postgres_conn_id=options.postgres_conn_id,
        since="{{ params['from'] or '' }}",
        until="{{ params['to'] or '' }}",
        mode="{{ params.mode }}",
        notify="{{ params.notify }}",
        tenants=options.tenants,
        **task_arguments(options) | {"execution_timeout": timedelta(hours=24)},
    )
    return dag


def build_redrive_dag(options: DagOptions) -> DAG:
    """``<prefix>redrive``: says what could be redriven, asks, and does it after the approval."""
    dag = DAG(
        dag_id=f"{options.prefix}redrive",
        description="Dead letters tried again, after somebody approved it",
        doc_md=_REDRIVE_DOC.format(topic=options.topic, store=options.postgres_conn_id),
        schedule=None,
        max_active_runs=1,
        dagrun_timeout=_ANSWER_WITHIN + timedelta(hours=2),
        params=_redrive_params(),
        **dag_arguments(options),
    )
    work = {
        "topic": options.topic,
        "postgres_conn_id": options.postgres_conn_id,
        "tenants": options.tenants,
        **from_params(dag),
        **task_arguments(options),
    }
    preview = RedriveOperator(task_id="preview", dag=dag, **work | {"dry_run": True})
    approve = ApprovalOperator(
        task_id="approve",
        dag=dag,
        subject=_SUBJECT,
        body=_BODY,
        response_timeout=_ANSWER_WITHIN,
        owner=options.owner,
    )
    redrive = RedriveOperator(task_id="redrive", dag=dag, **work | {"execution_timeout": timedelta(hours=1)})
    preview >> approve >> redrive
    return dag


def _replay_params() -> dict[str, Param]:
    return {
        "from": moment_param("From", "Records that Kafka received since; empty: the oldest it keeps."),
        "to": moment_param("To", "Records that Kafka received before; empty: up to the cursor."),
        "mode": Param(
            MODES[0],
            type="string",
            enum=list(MODES),
            title="Mode",
            description="verify: store what is missing. reapply: derive again, too, and write what differs.",
        ),
        "notify": _notify(),
    }


def _notify() -> Param:
    return Param(False, type="boolean", title="Notify", description="Subscribers hear of what changes.")


def _redrive_params() -> dict[str, Param]:
    return {
        "fingerprint": Param(
            "",
            type="string",
            maxLength=64,
            title="Fingerprint",
            description="Only letters that fail like this (`atlan-meta dlq list`); empty: all that wait.",
        ),
        "tenant": Param(
            "",
            type="string",
            maxLength=31,
            title="Tenant",
            description="Only letters of this tenant; empty: all.",
        ),
        "reason": Param(
            type="string",
            minLength=1,
            maxLength=1000,
            title="Reason",
            description="Why it will work now; it stands in the audit.",
        ),
        "notify": _notify(),
        "dry_run": Param(
            False, type="boolean", title="Dry run", description="Ask and count only; nothing is stored."
        ),
    }


_REPLAY_DOC = """\
Reads records of `{topic}` (connection `{kafka}`) again and compares them with PostgreSQL (connection `{store}`).

`verify` stores the events that are missing; what is stored stays as it is: no new row version, no change message.
`reapply` also derives stored records again with today's code and mapping and writes what differs; this undoes
changes made by hand. The live cursor neither moves nor is passed; a second run finds nothing to do.

**Params**: `from`, `to` (times of receipt by Kafka), `mode`, `notify`: without it nobody hears of what changes.

It may run beside the live lanes, be cleared and repeated. The same by hand: `atlan-meta replay`.
"""

_SUBJECT = (
    "Redrive {{ ti.xcom_pull(task_ids='preview')['redriven'] }} of "
    "{{ ti.xcom_pull(task_ids='preview')['letters'] }} dead letters?"
)
_BODY = """\
{% set found = ti.xcom_pull(task_ids='preview') %}
{{ found['redriven'] }} can be read now, {{ found['rejected'] }} fail as before and stay.

Subscribers {{ 'hear' if params.notify else 'do not hear' }} of what changes.
Nothing newer is overwritten; a second run finds nothing to do.
"""

_REDRIVE_DOC = """\
Tries dead letters of `{topic}` again and stores what can be stored now, in PostgreSQL (connection `{store}`).

**Steps.** `preview` counts what could be read now; where no letter waits the run ends there. `approve` waits up to
a day for an answer under *Required Actions*; a rejection ends the run, nothing is changed. `redrive` stores: a
record keeps its partition, offset and time of receipt, so it changes only what nothing newer has said, and a second
run repeats nothing.

**Params**: `fingerprint`, `tenant`, `reason` (needed; it stands in the audit), `notify`, `dry_run`.

What still fails stays a dead letter with its reason; the log counts them. The same by hand: `atlan-meta dlq redrive`.
"""
