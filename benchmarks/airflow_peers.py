"""What a DAG would use without us: Airflow's own PostgreSQL hook and Kafka operator, as their pages show them."""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import structlog

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from benchmarks.stage import reader_options


def quiet_airflow() -> None:
    """Airflow imported without a word said and without a file left in the user's home."""
    if "AIRFLOW_HOME" not in os.environ:
        folder = tempfile.mkdtemp(prefix="atlan-meta-bench-airflow-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["AIRFLOW_HOME"] = folder
    import airflow.sdk  # noqa: F401 - configures its own logging

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def postgres_hook(info: ConnectionInfo) -> Any:
    """A PostgresHook of that role that sees the corpus' tenants."""
    quiet_airflow()
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from airflow.sdk import Connection

    connection = Connection(
        conn_id="bench",
        conn_type="postgres",
        host=info.host,
        port=info.port,
        login=info.login,
        password=info.password,
        schema=info.schema,
    )
    return PostgresHook(connection=connection, options=reader_options())


def consume_operator(
    *,
    kafka: ConnectionInfo,
    topic: str,
    group: str,
    apply: Callable[[list[Any]], object],
    max_messages: int,
    poll_timeout: float,
) -> Any:
    """A ConsumeFromTopicOperator that hands on 1,000 messages at a time, its fastest form."""
    quiet_airflow()
    from airflow.providers.apache.kafka.operators.consume import ConsumeFromTopicOperator

    extra = {**kafka.extra, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    os.environ["AIRFLOW_CONN_BENCH_KAFKA"] = json.dumps({"conn_type": "kafka", "extra": extra})
    return ConsumeFromTopicOperator(
        task_id="consume",
        topics=[topic],
        kafka_config_id="bench_kafka",
        apply_function_batch=apply,
        commit_cadence="end_of_batch",
        max_messages=max_messages,
        max_batch_size=1000,
        poll_timeout=poll_timeout,
    )
